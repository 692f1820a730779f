//! R-IMAP: one login after the other through every form, with the node's record as the judge.

use std::sync::Arc;

use mailferry::proto::{BAD_COMMANDS_MAX, Channel, ClientDialogue, Input, Protocol, Step};
use mailferry::server::ListenerSettings;
use mailferry::testkit::dialogues;
use mailferry::{session, testkit};

use crate::client::Client;
use crate::node::{self, FakeNode, REFUSAL, WRONG};
use crate::site::{Door, Site, Spec, log_lines, logged};

/// Sends LOGIN with each argument in the given form, waiting for the continuation of synchronising literals, and
/// returns the tagged answer and the number of continuations.
async fn login(client: &mut Client, arguments: [(&str, Form); 2]) -> (String, usize) {
    let mut continuations = 0;
    client.send("a LOGIN").await;
    for (value, form) in arguments {
        match form {
            Form::Atom => client.send(format!(" {value}")).await,
            Form::Quoted => client.send(format!(" \"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))).await,
            Form::NonSync => client.send(format!(" {{{}+}}\r\n{value}", value.len())).await,
            Form::Sync => {
                client.send(format!(" {{{}}}\r\n", value.len())).await;
                let line = client.line().await;
                assert!(line.starts_with("+ "), "{line}");
                continuations += 1;
                client.send(value).await;
            }
        }
    }
    client.send("\r\n").await;
    (client.answer("a").await.pop().unwrap(), continuations)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Atom,
    Quoted,
    Sync,
    NonSync,
}

const FORMS: [Form; 4] = [Form::Atom, Form::Quoted, Form::Sync, Form::NonSync];

#[tokio::test]
async fn r_imap_01_each_command_gets_exactly_one_tagged_answer() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    client.send("a1 CAPABILITY\r\n.2 NOOP\r\n3]x ID NIL\r\nA`~4 FOO\r\n5 LOGIN alice x-Pa55\r\n6 LOGOUT\r\n").await;
    let all = String::from_utf8(client.rest().await).unwrap();
    let tagged: Vec<&str> = all.lines().filter(|line| !line.starts_with('*')).collect();
    let starts = ["a1 OK ", ".2 OK ", "3]x OK ", "A`~4 BAD ", "5 NO [UNAVAILABLE] ", "6 OK "];
    assert_eq!(tagged.len(), starts.len(), "{all}");
    for (line, start) in tagged.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    assert!(all.split_inclusive('\n').all(|line| line.ends_with("\r\n")), "{all:?}");
    site.end(&["x-Pa55"]).await;
}

#[tokio::test]
async fn r_imap_02_a_bad_tag_is_answered_untagged_and_not_echoed() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for tag in ["+", "a+b", "a*b", "\u{e9}t\u{e9}", "(a", "a\"b", &"t".repeat(65)] {
        let mut client = site.greeted(Door::ImapTls).await;
        client.send(format!("{tag} LOGIN alice tagged-Pa55\r\n")).await;
        let line = client.line().await;
        assert!(line.starts_with("* BAD "), "{tag}: {line}");
        assert!(!line.contains(tag) && !line.contains("Pa55"), "{line}");
    }
    assert_eq!(node.connections(), 0);
    site.end(&["tagged-Pa55"]).await;
}

#[tokio::test]
async fn r_imap_03_command_names_are_case_insensitive_and_wrong_states_bad() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    for command in ["SELECT INBOX", "ENABLE IMAP4rev2", "UNAUTHENTICATE", "COMPRESS DEFLATE", "XYZZY"] {
        let line = client.command("x", command).await;
        assert!(line.starts_with("x BAD "), "{command}: {line}");
    }
    assert!(client.command("n", "nOoP").await.starts_with("n OK "));
    assert!(client.command("l", "lOgIn alice case-Pa55").await.starts_with("l OK "));
    site.end(&["case-Pa55"]).await;
}

#[tokio::test]
async fn r_imap_04_login_accepts_every_form_in_both_places() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for door in [Door::ImapTls, Door::ImapClear] {
        for user in FORMS {
            for password in FORMS {
                let mut client = site.greeted(door).await;
                let (answer, _) = login(&mut client, [("alice", user), ("forms-Pa55", password)]).await;
                assert_eq!(answer, "a OK [CAPABILITY IMAP4rev1 IDLE UIDPLUS] Logged in", "{user:?} {password:?}");
            }
        }
    }
    assert_eq!(node.logins(), vec![("alice".to_owned(), "forms-Pa55".to_owned()); 32]);
    site.end(&["forms-Pa55"]).await;
}

#[tokio::test]
async fn r_imap_05_only_two_escapes_exist() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", r#"LOGIN "alice" "a\n""#).await.starts_with("a BAD "));
    assert!(client.command("b", r#"LOGIN "alice" "a\\ \" b-Pa55""#).await.starts_with("b OK "));
    assert_eq!(node.logins(), [("alice".to_owned(), r#"a\ " b-Pa55"#.to_owned())]);
    site.end(&["b-Pa55"]).await;
}

#[tokio::test]
async fn r_imap_06_odd_passwords_arrive_unchanged() {
    let long = "x".repeat(1000);
    let passwords: [&[u8]; 6] = [
        br#"%{}\" *()&"#,
        "p\u{e4}ssw\u{f6}rt-\u{1f511}".as_bytes(),
        b"latin-\xe4\xf6\xfc",
        b" lead and trail ",
        long.as_bytes(),
        b"{5}",
    ];
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for password in passwords {
        let mut client = site.greeted(Door::ImapTls).await;
        client.send(format!("a LOGIN alice {{{}+}}\r\n", password.len())).await;
        client.send(password).await;
        client.send("\r\n").await;
        assert!(client.answer("a").await.pop().unwrap().starts_with("a OK "));
        assert_eq!(node.seen.logins.get().pop().unwrap().1, password);
    }
    // A quoted "{5}" is text, not a literal.
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", r#"LOGIN "alice" "{5}""#).await.starts_with("a OK "));
    assert_eq!(node.logins().pop().unwrap().1, "{5}");
    site.end(&[]).await;
}

#[tokio::test]
async fn r_imap_07_nul_cr_and_lf_in_credentials_never_reach_a_node() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for octet in ["\0", "\r", "\n"] {
        let mut client = site.greeted(Door::ImapTls).await;
        let password = format!("in{octet}side-Pa55");
        client.send(format!("a LOGIN alice {{{}+}}\r\n{password}\r\n", password.len())).await;
        let line = client.line().await;
        assert!(line.starts_with("a NO [AUTHENTICATIONFAILED] ") || line.starts_with("a BAD "), "{octet:?}: {line}");
    }
    assert_eq!(node.connections(), 0);
    site.end(&["side-Pa55"]).await;
}

#[tokio::test]
async fn r_imap_08_only_synchronising_literals_are_asked_for() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for (user, password) in [(Form::Sync, Form::Sync), (Form::Sync, Form::NonSync), (Form::NonSync, Form::NonSync)] {
        let mut client = site.greeted(Door::ImapTls).await;
        let (answer, asked) = login(&mut client, [("alice", user), ("ask-Pa55", password)]).await;
        let expected = [user, password].iter().filter(|form| **form == Form::Sync).count();
        assert_eq!((answer.starts_with("a OK "), asked), (true, expected));
    }
    site.end(&["ask-Pa55"]).await;
}

#[tokio::test]
async fn r_imap_09_huge_literals_are_refused_before_anything_is_asked_for() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let sizes =
        ["4097", "4294967296", "4294967301", "18446744073709551616", "18446744073709551624", "99999999999999999999"];
    let mut client = site.greeted(Door::ImapTls).await;
    for size in sizes {
        client.send(format!("a LOGIN {{{size}}}\r\n")).await;
        let line = client.line().await;
        assert!(line.starts_with("a BAD "), "{size}: {line}");
    }
    assert!(client.command("n", "NOOP").await.starts_with("n OK "));
    site.end(&[]).await;
}

#[tokio::test]
async fn r_imap_10_and_11_what_is_too_long_is_dropped_and_never_run() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let bait = "b LOGIN alice bait-Pa55\r\n".repeat(200);
    let mut client = site.greeted(Door::ImapTls).await;
    client.send(format!("a LOGIN alice {{{}+}}\r\n{bait}\r\n", bait.len())).await;
    assert!(client.line().await.starts_with("a BAD "));
    client.send(format!("c LOGIN alice {}\r\n", "x".repeat(9000))).await;
    assert!(client.line().await.starts_with("c BAD "));
    assert!(client.command("d", "NOOP").await.starts_with("d OK "));
    for endless in ["a LOGIN alice {4294967296+}\r\n".to_owned(), "x".repeat(70_000)] {
        let mut client = site.greeted(Door::ImapTls).await;
        client.send(endless).await;
        assert!(client.line().await.starts_with("* BYE "));
        client.closed().await;
    }
    assert_eq!(node.connections(), 0);
    site.end(&["bait-Pa55"]).await;
}

#[tokio::test]
async fn r_imap_12_one_octet_a_segment_is_the_same_as_one_segment() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let script = format!(
        "a CAPABILITY\r\nb ID (\"name\" \"x\")\r\nc LOGIN alice {WRONG}\r\nd LOGIN {{5+}}\r\nalice \"slow-Pa55\"\r\ne LOGOUT\r\n"
    );
    let mut transcripts = Vec::new();
    for trickle in [false, true] {
        let mut client = site.greeted(Door::ImapClear).await;
        if trickle {
            client.trickle(script.as_bytes()).await;
        } else {
            client.send(&script).await;
        }
        transcripts.push(String::from_utf8(client.rest().await).unwrap());
    }
    assert_eq!(transcripts[0], transcripts[1]);
    assert!(transcripts[0].ends_with("* BYE see you\r\ne OK done\r\n"), "{}", transcripts[0]);
    site.end(&["slow-Pa55", WRONG]).await;
}

#[tokio::test]
async fn r_imap_13_empty_lines_and_extra_spaces_are_bad_and_nothing_hangs() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    for (line, answer) in
        [("", "* BAD "), (" ", "* BAD "), ("a", "a BAD "), ("a  NOOP", "a BAD "), ("a LOGIN  x y", "a BAD ")]
    {
        let got = client.ask(line).await;
        assert!(got.starts_with(answer), "{line:?}: {got}");
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_imap_14_the_greeting_and_capability_say_the_same() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for door in [Door::ImapTls, Door::ImapStartTls, Door::ImapClear] {
        let mut client = site.connect(door).await;
        let greeting = client.line().await;
        let in_greeting = greeting.strip_prefix("* OK [CAPABILITY ").and_then(|rest| rest.split_once(']')).unwrap().0;
        client.send("a CAPABILITY\r\n").await;
        let asked = client.answer("a").await;
        assert_eq!(asked[0], format!("* CAPABILITY {in_greeting}"));
        let words: Vec<&str> = in_greeting.split(' ').collect();
        assert_eq!(words[0], "IMAP4rev1");
        let clear_with_starttls = door == Door::ImapStartTls;
        assert_eq!(words.contains(&"STARTTLS"), clear_with_starttls, "{door:?}");
        assert_eq!(words.contains(&"LOGINDISABLED"), clear_with_starttls, "{door:?}");
        assert_eq!(words.contains(&"AUTH=PLAIN"), !clear_with_starttls, "{door:?}");
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_imap_14_what_all_nodes_can_do_is_announced_and_what_is_ours_is_not_taken_from_them() {
    let node = FakeNode::start(|mut conn| async move {
        let words = "IMAP4rev1 SASL-IR LITERAL+ ID AUTH=PLAIN AUTH=XOAUTH2 AUTH=CRAM-MD5 IDLE MOVE UNAUTHENTICATE";
        conn.send(format!("* OK [CAPABILITY {words}] ready\r\n")).await;
        let line = conn.line().await.expect("a login");
        let (tag, response) = line.split_once(" AUTHENTICATE PLAIN ").unwrap();
        assert!(conn.plain(response));
        conn.send(format!("{tag} OK [CAPABILITY {words} NAMESPACE] in\r\n")).await;
        node::imap_mailbox(conn).await;
    })
    .await;
    let words = ["IDLE", "MOVE", "AUTH=XOAUTH2"];
    let session = session::Settings {
        imap_capabilities: Some(Arc::new(words.map(str::as_bytes).into_iter().collect())),
        ..testkit::settings::session()
    };
    let site = Site::start(Spec { session, ..Spec::new(&[node.port]) }).await;
    let mut client = site.connect(Door::ImapTls).await;
    let expected = "* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL- ID IDLE MOVE AUTH=PLAIN AUTH=LOGIN AUTH=XOAUTH2] ";
    assert!(client.line().await.starts_with(expected));
    assert!(client.command("a", "LOGIN alice words-Pa55").await.starts_with("a OK [CAPABILITY IMAP4rev1 SASL-IR "));
    site.end(&["words-Pa55"]).await;
}

#[tokio::test]
async fn r_imap_15_where_login_is_disabled_no_password_is_used() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapStartTls).await;
    assert!(client.command("a", "LOGIN alice early-Pa55").await.starts_with("a NO [PRIVACYREQUIRED] "));
    assert!(client.command("b", "AUTHENTICATE PLAIN AGFsaWNlAGVhcmx5").await.starts_with("b NO [PRIVACYREQUIRED] "));
    assert_eq!(node.connections(), 0);
    site.end(&["early-Pa55"]).await;
}

#[tokio::test]
async fn r_imap_17_the_capabilities_after_the_login_are_the_nodes_and_come_unasked() {
    // In the tagged OK (Dovecot), as an untagged line (Dovecot, asked before), or not at all (then mailferry asks): the
    // client gets them once, as a code unless it has shown that it does not look at codes.
    let kinds: [(&str, &str); 4] = [
        ("* 1 EXISTS\r\nTAG OK [CAPABILITY IMAP4rev1 XA] in\r\n", "IMAP4rev1 XA"),
        ("* 1 EXISTS\r\n* CAPABILITY IMAP4rev1 XB UNAUTHENTICATE\r\nTAG OK in\r\n", "IMAP4rev1 XB"),
        ("* 1 EXISTS\r\n* OK [CAPABILITY IMAP4rev1 XC]\r\nTAG OK in\r\n", "IMAP4rev1 XC"),
        ("* 1 EXISTS\r\nTAG OK in\r\n", "IMAP4rev1 XD"),
    ];
    for (answer, list) in kinds {
        let node = FakeNode::start(move |mut conn| async move {
            conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n").await;
            let line = conn.line().await.unwrap();
            let (tag, response) = line.split_once(" AUTHENTICATE PLAIN ").unwrap();
            assert!(conn.plain(response));
            conn.send(answer.replace("TAG", tag)).await;
            while let Some(line) = conn.line().await {
                let (tag, command) = line.split_once(' ').unwrap();
                if command == "CAPABILITY" {
                    conn.send(format!("* CAPABILITY IMAP4rev1 XD\r\n{tag} OK done\r\n")).await;
                } else {
                    conn.send(format!("{tag} OK done\r\n")).await;
                }
            }
        })
        .await;
        let site = Site::with(&[node.port]).await;
        let code = ["* 1 EXISTS".to_owned(), format!("a OK [CAPABILITY {list}] in")].to_vec();
        let line = ["* 1 EXISTS".to_owned(), format!("* CAPABILITY {list}"), "a OK in".to_owned()].to_vec();
        for (asks, expected) in [(false, code), (true, line)] {
            let mut client = site.greeted(Door::ImapTls).await;
            if asks {
                client.command("c", "CAPABILITY").await;
            }
            client.send("a LOGIN alice capa-Pa55\r\n").await;
            assert_eq!(client.answer("a").await, expected);
            assert!(client.command("b", "NOOP").await.starts_with("b OK done"));
        }
        site.end(&["capa-Pa55"]).await;
    }
}

#[tokio::test]
async fn r_imap_18_id_is_answered_before_the_login_and_its_size_limited() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    let pairs = |count: usize, size: usize| {
        let pair = format!("\"k\" \"{}\"", "v".repeat(size));
        format!("ID ({})", vec![pair; count].join(" "))
    };
    let lawful = ["ID NIL".to_owned(), "ID (\"name\" \"x\" \"x-originating-ip\" NIL)".to_owned(), pairs(30, 1024)];
    for command in lawful {
        client.send(format!("a {command}\r\n")).await;
        let answer = client.answer("a").await;
        assert!(answer[0].starts_with("* ID ") && answer[1].starts_with("a OK "), "{answer:?}");
    }
    for command in [pairs(31, 10), pairs(1, 1025), "ID (\"odd\")".to_owned(), "ID".to_owned(), "ID ((NIL))".to_owned()]
    {
        let answer = client.command("b", &command).await;
        assert!(answer.starts_with("b BAD "), "{answer}");
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_imap_18_only_a_trusted_proxy_says_where_its_client_comes_from() {
    let node = FakeNode::imap().await;
    for (is_trusted, address) in [(true, "192.0.2.181"), (false, "192.0.2.182")] {
        let listen = if is_trusted { trusting } else { |_: &mut ListenerSettings| {} };
        let site = Site::start(Spec { listen, ..Spec::new(&[node.port]) }).await;
        let mut client = site.greeted(Door::ImapTls).await;
        let fields = format!("\"x-originating-ip\" \"{address}\" \"x-originating-port\" \"4711\"");
        assert!(client.command("i", &format!("ID ({fields})")).await.starts_with("i OK "));
        assert!(client.command("a", "LOGIN alice whence-Pa55").await.starts_with("a OK "));
        if is_trusted {
            logged(&["\"message\":\"login\"", &format!("\"client\":\"{address}:4711\"")], 1).await;
        } else {
            client.from.line("login").await;
            assert_eq!(log_lines(&[&format!("\"client\":\"{address}")]), [""; 0]);
        }
        site.end(&["whence-Pa55"]).await;
    }
}

#[tokio::test]
async fn r_tls_03_what_a_proxy_said_of_its_client_in_clear_text_is_forgotten_under_tls() {
    let node = FakeNode::imap().await;
    let site = Site::start(Spec { listen: trusting, ..Spec::new(&[node.port]) }).await;
    let mut client = site.greeted(Door::ImapStartTls).await;
    assert!(client.command("i", "ID (\"x-originating-ip\" \"192.0.2.183\")").await.starts_with("i OK "));
    assert!(client.command("s", "STARTTLS").await.starts_with("s OK "));
    let mut client = client.handshake(site.client_tls()).await;
    assert!(client.command("a", "LOGIN alice whence-Pa55").await.starts_with("a OK "));
    client.from.line("login").await;
    assert_eq!(log_lines(&["\"client\":\"192.0.2.183"]), [""; 0]);
    site.end(&["whence-Pa55"]).await;
}

fn trusting(listener: &mut ListenerSettings) {
    listener.trusted_networks = vec!["127.0.0.0/8".parse().unwrap()];
}

#[tokio::test]
async fn r_imap_19_logout_says_bye_and_closes_and_nothing_behind_it_runs() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for door in [Door::ImapTls, Door::ImapClear] {
        let mut client = site.greeted(door).await;
        client.send("a LOGOUT\r\nb NOOP\r\n").await;
        assert!(client.line().await.starts_with("* BYE "));
        assert!(client.line().await.starts_with("a OK "));
        client.closed().await;
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_imap_20_too_many_bad_commands_end_the_connection() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    client.send("a FOO\r\n".repeat(10_000)).await;
    let all = String::from_utf8(client.rest().await).unwrap();
    assert_eq!(all.matches("a BAD ").count(), BAD_COMMANDS_MAX as usize + 1, "{all}");
    assert!(all.lines().last().unwrap().starts_with("* BYE "), "{all}");
    site.end(&[]).await;
}

/// The steps of a dialogue that gets all this in one read, and the octets that it takes and says, until it is over.
fn work(said: &[u8]) -> [usize; 3] {
    let mut dialogue = ClientDialogue::new(Protocol::Imap, dialogues::offer(Channel::Tls));
    let mut input = Input::new();
    input.push(said);
    let (mut steps, mut answered) = (0, 0);
    loop {
        steps += 1;
        match dialogue.step(&mut input) {
            Step::Reply(text) | Step::Decline(text, _) => answered += text.len(),
            Step::Close(text, _) => return [steps, said.len() - input.as_bytes().len(), answered + text.len()],
            _ => panic!("that was not bad"),
        }
    }
}

#[tokio::test]
async fn r_imap_20_work_for_bad_commands_does_not_grow_with_their_number() {
    let long = format!("a NOOP {}\r\n", "x".repeat(8200));
    let bad = ["a FOO\r\n", "\r\n", "a LOGIN x\r\n", "a AUTHENTICATE PLAIN\r\n?\r\n", "a STARTTLS\r\n", &long];
    for bad in bad {
        let few = work(bad.repeat(20).as_bytes());
        assert!(few[0] <= 40 && few[1] <= 12 * bad.len() && few[2] <= 1000, "{few:?} for {bad:.20}");
        assert_eq!(work(bad.repeat(2_000).as_bytes()), few, "steps, octets taken, octets said for {bad:.20}");
    }
    // The same of a whole mailferry: what it answers and what it logs.
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut found = Vec::new();
    for count in [20, 10_000] {
        let mut client = site.greeted(Door::ImapClear).await;
        client.send("a FOO\r\n".repeat(count)).await;
        let answered = client.rest().await.len();
        client.from.line("session ended").await;
        let lines = client.from.lines("session ended").len() + client.from.lines("login").len();
        found.push((answered, lines));
    }
    assert_eq!(found[0], found[1], "octets answered and lines logged");
    assert_eq!(found[0].1, 1, "{found:?}");
    site.end(&[]).await;
}

#[tokio::test]
async fn r_imap_21_the_number_of_arguments_counts_and_empty_ones_are_refused() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    for arguments in ["LOGIN", "LOGIN alice", "LOGIN alice x y", "NOOP x", "LOGOUT x", "CAPABILITY x"] {
        assert!(client.command("a", arguments).await.starts_with("a BAD "), "{arguments}");
    }
    for arguments in [r#"LOGIN "" secret"#, r#"LOGIN alice """#] {
        assert!(client.command("a", arguments).await.starts_with("a NO "), "{arguments}");
    }
    assert_eq!(node.connections(), 0);
    site.end(&[]).await;
}

#[tokio::test]
async fn a_refused_password_leaves_the_connection_open_with_the_nodes_own_words() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert_eq!(client.command("a1", &format!("LOGIN alice {WRONG}")).await, format!("a1 NO {REFUSAL}"));
    assert!(client.command("a2", "LOGIN alice right-Pa55").await.starts_with("a2 OK "));
    assert_eq!(client.command("a3", "NOOP").await, "a3 OK done");
    site.end(&[WRONG, "right-Pa55"]).await;
}

#[tokio::test]
async fn a_node_without_auth_plain_gets_login_with_correct_quoting() {
    let node = FakeNode::start(|mut conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 ID] ready\r\n").await;
        let line = conn.line().await.unwrap();
        conn.seen.commands.with(|commands| commands.push(line.clone()));
        let tag = line.split(' ').next().unwrap();
        conn.send(format!("{tag} OK [CAPABILITY IMAP4rev1] in\r\n")).await;
        node::imap_mailbox(conn).await;
    })
    .await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", r#"LOGIN alice "a\"b\\c d-Pa55""#).await.starts_with("a OK "));
    let said = node.commands();
    assert!(said[0].ends_with(r#" LOGIN "alice" "a\"b\\c d-Pa55""#), "{said:?}");
    site.end(&["d-Pa55"]).await;
}
