//! R-SASL: AUTHENTICATE on the wire. The messages themselves have their tests in `proto::sasl`.

use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailferry::names::UserName;
use mailferry::{limits, session, testkit};

use crate::client::Client;
use crate::node::{self, Conn, FakeNode, WRONG};
use crate::site::{Door, Site, Spec, logged};

fn plain(authzid: &str, user: &str, password: &str) -> String {
    STANDARD.encode(format!("{authzid}\0{user}\0{password}"))
}

/// The message of XOAUTH2 or OAUTHBEARER, as clients send it.
fn token(mechanism: &str, user: &str, token: &str) -> String {
    STANDARD.encode(match mechanism {
        "XOAUTH2" => format!("user={user}\x01auth=Bearer {token}\x01\x01"),
        _ => format!("n,a={user},\x01host=mail.example.net\x01port=993\x01auth=Bearer {token}\x01\x01"),
    })
}

const CHALLENGE: &str = "eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIn0=";

/// Notes a message that a node got, and says whether it would let its user in.
fn judge(conn: &Conn, mechanism: &str, response: &str) -> bool {
    let message = String::from_utf8(STANDARD.decode(response).expect("base64 from mailferry")).unwrap();
    conn.seen.commands.with(|said| said.push(format!("{mechanism} {}", message.escape_default())));
    !message.contains(WRONG)
}

/// A node that takes tokens as well, and refuses a wrong one with a challenge.
async fn token_imap(mut conn: Conn) {
    let words = "IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER";
    conn.send(format!("* OK [CAPABILITY {words}] ready\r\n")).await;
    while let Some(line) = conn.line().await {
        if line == node::PROBES_IMAP_FAREWELL {
            return;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [tag, "AUTHENTICATE", mechanism, response] = words[..] else { panic!("{line:?}") };
        if judge(&conn, mechanism, response) {
            conn.send(format!("{tag} OK [CAPABILITY IMAP4rev1 IDLE] in\r\n")).await;
            return node::imap_mailbox(conn).await;
        }
        if mechanism != "PLAIN" {
            conn.send(format!("+ {CHALLENGE}\r\n")).await;
            conn.line().await.expect("an answer to the challenge");
        }
        conn.send(format!("{tag} NO [AUTHENTICATIONFAILED] not this one\r\n")).await;
    }
}

/// The same for POP3.
async fn token_pop3(mut conn: Conn) {
    conn.send("+OK ready\r\n").await;
    while let Some(line) = conn.line().await {
        let words: Vec<&str> = line.split(' ').collect();
        let (mechanism, response) = match words[..] {
            ["QUIT"] => return,
            ["CAPA"] => {
                conn.send("+OK\r\nTOP\r\nSASL PLAIN XOAUTH2 OAUTHBEARER\r\n.\r\n").await;
                continue;
            }
            ["AUTH", mechanism, response] => (mechanism, response.to_owned()),
            ["AUTH", mechanism] => {
                conn.send("+ \r\n").await;
                (mechanism, conn.line().await.expect("a response"))
            }
            _ => panic!("{line:?}"),
        };
        if judge(&conn, mechanism, &response) {
            conn.send("+OK in\r\n").await;
            return node::pop3_mailbox(conn).await;
        }
        if mechanism != "PLAIN" {
            conn.send(format!("+ {CHALLENGE}\r\n")).await;
            conn.line().await.expect("an answer to the challenge");
        }
        conn.send("-ERR [AUTH] not this one\r\n").await;
    }
}

/// A site that announces tokens, whatever its nodes have said so far, and where `admin` may act as anybody.
fn with_tokens(node: &FakeNode) -> Spec {
    let words = || Some(Arc::new([&b"AUTH=XOAUTH2"[..], b"AUTH=OAUTHBEARER"].into_iter().collect()));
    let masters = [UserName::new(b"admin").unwrap()].into();
    let session = testkit::settings::session();
    let session =
        session::Settings { imap_capabilities: words(), pop3_capabilities: words(), master_users: masters, ..session };
    Spec { session, ..Spec::new(&[node.port]) }
}

async fn authenticate(client: &mut Client, mechanism: &str, responses: &[&str]) -> String {
    client.send(format!("a AUTHENTICATE {mechanism}\r\n")).await;
    for response in responses {
        assert!(client.line().await.starts_with("+ "));
        client.send(format!("{response}\r\n")).await;
    }
    client.answer("a").await.pop().unwrap()
}

#[tokio::test]
async fn r_sasl_01_a_foreign_authzid_is_refused_and_ones_own_is_not() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for authzid in ["", "alice"] {
        let mut client = site.greeted(Door::ImapTls).await;
        let message = plain(authzid, "alice", "own-Pa55");
        assert!(authenticate(&mut client, "PLAIN", &[&message]).await.starts_with("a OK "));
    }
    let mut client = site.greeted(Door::ImapTls).await;
    let answer = authenticate(&mut client, "PLAIN", &[&plain("bob", "alice", "own-Pa55")]).await;
    assert!(answer.starts_with("a NO [AUTHORIZATIONFAILED] "), "{answer}");
    assert_eq!(node.logins().len(), 2);
    let mut client = site.greeted(Door::Pop3Tls).await;
    let answer = client.ask(&format!("AUTH PLAIN {}", plain("bob", "alice", "own-Pa55"))).await;
    assert!(answer.starts_with("-ERR [AUTH] "), "{answer}");
    site.end(&["own-Pa55"]).await;
}

#[tokio::test]
async fn r_sasl_01_a_master_user_opens_somebody_elses_mailbox() {
    let node = FakeNode::start(token_imap).await;
    let site = Site::start(with_tokens(&node)).await;
    let mut client = site.greeted(Door::ImapTls).await;
    let answer = authenticate(&mut client, "PLAIN", &[&plain("admin", "alice", "master-Pa55")]).await;
    assert!(answer.starts_with("a NO [AUTHORIZATIONFAILED] "), "{answer}");
    let answer = authenticate(&mut client, "PLAIN", &[&plain("alice", "admin", "master-Pa55")]).await;
    assert!(answer.starts_with("a OK "), "{answer}");
    assert_eq!(node.commands(), [r"PLAIN alice\u{0}admin\u{0}master-Pa55"]);
    logged(&["\"message\":\"login\"", "\"user\":\"alice\",\"master\":\"admin\""], 1).await;
    site.end(&["master-Pa55"]).await;
}

#[tokio::test]
async fn r_sasl_02_malformed_messages_never_reach_a_node() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for message in ["alice", "alice\0mal-Pa55", "\0alice\0mal-Pa55\0", "\0\0mal-Pa55", "\0alice\0", "\0alice\0a\r\nb"] {
        let mut client = site.greeted(Door::ImapTls).await;
        let answer = authenticate(&mut client, "PLAIN", &[&STANDARD.encode(message)]).await;
        assert!(answer.starts_with("a NO [AUTHENTICATIONFAILED] "), "{message:?}: {answer}");
    }
    assert_eq!(node.connections(), 0);
    site.end(&["mal-Pa55"]).await;
}

#[tokio::test]
async fn r_sasl_03_bad_base64_is_bad_and_the_session_goes_on() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    for bad in ["AGFsaWNl\tAHg=", "AGFsaWNlAHh", "x LOGOUT", "AGFsaWNlAHh9"] {
        let answer = authenticate(&mut client, "PLAIN", &[bad]).await;
        let expected = if bad == "AGFsaWNlAHh9" { "a OK " } else { "a BAD " };
        assert!(answer.starts_with(expected), "{bad:?}: {answer}");
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_sasl_04_a_star_cancels_and_the_next_command_works() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(authenticate(&mut client, "PLAIN", &["*"]).await.starts_with("a BAD "));
    assert!(authenticate(&mut client, "LOGIN", &["YWxpY2U=", "*"]).await.starts_with("a BAD "));
    assert!(client.command("b", "NOOP").await.starts_with("b OK "));
    assert!(client.command("c", "AUTHENTICATE CRAM-MD5").await.starts_with("c NO "));
    site.end(&[]).await;
}

#[tokio::test]
async fn r_sasl_05_initial_responses() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let message = plain("", "alice", "ir-Pa55");
    let name = STANDARD.encode("alice");
    let password = STANDARD.encode("ir-Pa55");
    let exchanges: [(String, Vec<&str>, &str); 5] = [
        (format!("PLAIN {message}"), vec![], "a OK "),
        ("PLAIN =".to_owned(), vec![], "a NO "),
        ("LOGIN".to_owned(), vec![&name, &password], "a OK "),
        (format!("LOGIN {name}"), vec![&password], "a OK "),
        ("plain".to_owned(), vec![&message], "a OK "),
    ];
    for (mechanism, responses, expected) in exchanges {
        let mut client = site.greeted(Door::ImapTls).await;
        let answer = authenticate(&mut client, &mechanism, &responses).await;
        assert!(answer.starts_with(expected), "{mechanism}: {answer}");
    }
    assert_eq!(node.logins(), vec![("alice".to_owned(), "ir-Pa55".to_owned()); 4]);
    // As long as a token of OAuth may be: read whole, and refused for what it is.
    let long = STANDARD.encode("x".repeat(11_000));
    for (command, expected) in [(format!("PLAIN {long}"), "a NO "), (format!("OAUTHBEARER {long}"), "a NO ")] {
        let mut client = site.greeted(Door::ImapTls).await;
        let answer = authenticate(&mut client, &command, &[]).await;
        assert!(answer.starts_with(expected), "{answer}");
    }
    site.end(&["ir-Pa55"]).await;
}

#[tokio::test]
async fn r_sasl_05_tokens_reach_the_node_in_their_own_mechanism() {
    let node = FakeNode::start(token_imap).await;
    let site = Site::start(with_tokens(&node)).await;
    let long = format!("long-T0ken-{}", "x".repeat(11_000));
    for value in ["short-T0ken", &long] {
        let (xoauth2, bearer) = (token("XOAUTH2", "alice", value), token("OAUTHBEARER", "alice", value));
        for (command, responses) in [
            (format!("XOAUTH2 {xoauth2}"), vec![]),
            ("XOAUTH2".to_owned(), vec![&*xoauth2]),
            (format!("OAUTHBEARER {bearer}"), vec![]),
            ("oauthbearer".to_owned(), vec![&*bearer]),
        ] {
            let mut client = site.greeted(Door::ImapTls).await;
            assert!(authenticate(&mut client, &command, &responses).await.starts_with("a OK "), "{command:.20}");
            assert!(client.command("b", "NOOP").await.starts_with("b OK done"));
            let said = node.seen.commands.with(std::mem::take);
            let expected = if command.to_uppercase().starts_with("XOAUTH2") {
                format!(r"XOAUTH2 user=alice\u{{1}}auth=Bearer {value}\u{{1}}\u{{1}}")
            } else {
                format!(r"OAUTHBEARER n,a=alice,\u{{1}}auth=Bearer {value}\u{{1}}\u{{1}}")
            };
            assert_eq!(said, [expected, "b NOOP".to_owned()]);
        }
    }
    site.end(&["short-T0ken", "long-T0ken"]).await;
}

#[tokio::test]
async fn r_sasl_06_the_challenge_of_a_refused_token_is_relayed_and_its_answer_swallowed() {
    let node = FakeNode::start(token_imap).await;
    let site = Site::start(with_tokens(&node)).await;
    let mut client = site.greeted(Door::ImapTls).await;
    for (mechanism, dummy) in [("XOAUTH2", ""), ("OAUTHBEARER", "AQ=="), ("OAUTHBEARER", "*")] {
        client.send(format!("a AUTHENTICATE {mechanism} {}\r\n", token(mechanism, "alice", WRONG))).await;
        assert_eq!(client.line().await, format!("+ {CHALLENGE}"));
        client.send(format!("{dummy}\r\nb NOOP\r\n")).await;
        assert_eq!(client.line().await, "a NO [AUTHENTICATIONFAILED] not this one");
        assert!(client.line().await.starts_with("b OK "));
    }
    let right = token("XOAUTH2", "alice", "right-T0ken");
    assert!(authenticate(&mut client, "XOAUTH2", &[&right]).await.starts_with("a OK "));

    let node = FakeNode::start(token_pop3).await;
    let pop3 = Site::start(with_tokens(&node)).await;
    let mut client = pop3.greeted(Door::Pop3Tls).await;
    for (mechanism, dummy) in [("XOAUTH2", ""), ("OAUTHBEARER", "AQ=="), ("OAUTHBEARER", "*")] {
        let wrong = token(mechanism, "alice", WRONG);
        assert_eq!(client.ask(&format!("AUTH {mechanism} {wrong}")).await, format!("+ {CHALLENGE}"));
        client.send(format!("{dummy}\r\nCAPA\r\n")).await;
        assert_eq!(client.line().await, "-ERR [AUTH] not this one");
        client.until_dot().await;
    }
    assert_eq!(client.ask("AUTH XOAUTH2").await, "+ ");
    assert_eq!(client.ask(&right).await, "+OK in");
    site.end(&[WRONG, "right-T0ken"]).await;
    pop3.end(&[]).await;
}

#[tokio::test]
async fn r_res_05_the_token_of_an_unknown_user_is_refused_like_that_of_a_known_one() {
    let imap = FakeNode::start(token_imap).await;
    let site = Site::start(with_tokens(&imap)).await;
    let mut client = site.greeted(Door::ImapTls).await;
    // Until two users have heard the same, nobody knows what the nodes always say.
    for (user, is_known) in [("nobody", false), ("alice", true), ("nobody", false), ("renamed", true), ("nobody", true)]
    {
        client.send(format!("a AUTHENTICATE XOAUTH2 {}\r\n", token("XOAUTH2", user, WRONG))).await;
        if is_known {
            assert_eq!(client.line().await, format!("+ {CHALLENGE}"), "{user}");
            client.send("\r\n").await;
        }
        assert!(client.line().await.starts_with("a NO [AUTHENTICATIONFAILED] "), "{user}");
        client = site.greeted(Door::ImapTls).await;
    }
    site.end(&[WRONG]).await;
}

#[tokio::test]
async fn r_sasl_06_a_client_that_must_go_hears_no_and_goodbye() {
    let node = FakeNode::start(token_imap).await;
    let limits = limits::Settings { failed_logins: NonZeroU32::MIN, ..testkit::settings::limits() };
    let site = Site::start(Spec { limits, ..with_tokens(&node) }).await;
    let mut client = site.greeted(Door::ImapTls).await;
    client.send(format!("a AUTHENTICATE XOAUTH2 {}\r\n", token("XOAUTH2", "alice", WRONG))).await;
    let said = String::from_utf8(client.rest().await).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "a NO [AUTHENTICATIONFAILED] not this one");
    assert!(lines[1].starts_with("* BYE ") && lines.len() == 2, "{said}");
    site.end(&[WRONG]).await;
}

#[tokio::test]
async fn r_sasl_07_commands_behind_a_response_are_held_and_forwarded_once() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    for (password, node_says) in [(WRONG, None), ("held-Pa55", Some(["b NOOP", "c LOGOUT"]))] {
        client.send("a AUTHENTICATE PLAIN\r\n").await;
        assert_eq!(client.line().await, "+ ");
        client.send(format!("{}\r\nb NOOP\r\n", plain("", "alice", password))).await;
        let answer = client.line().await;
        assert!(answer.starts_with(if node_says.is_some() { "a OK " } else { "a NO " }), "{answer}");
        assert!(client.line().await.starts_with("b OK "));
        if let Some(node_says) = node_says {
            client.send("c LOGOUT\r\n").await;
            assert_eq!(client.answer("c").await, ["* BYE see you", "c OK done"]);
            assert_eq!(node.commands(), node_says);
        } else {
            assert_eq!(node.commands(), [""; 0]);
        }
    }
    site.end(&[WRONG, "held-Pa55"]).await;
}

#[tokio::test]
async fn r_imap_16_each_announced_mechanism_works_on_each_listener_that_announces_it() {
    let node = FakeNode::start(token_imap).await;
    let site = Site::start(with_tokens(&node)).await;
    let mut worked = 0;
    for door in [Door::ImapTls, Door::ImapStartTls, Door::ImapClear] {
        let mut client = site.greeted(door).await;
        client.send("c CAPABILITY\r\n").await;
        let list = client.answer("c").await.remove(0);
        let name = STANDARD.encode("alice");
        let word = STANDARD.encode("each-Pa55");
        for (mechanism, responses) in [
            ("PLAIN", vec![plain("", "alice", "each-Pa55")]),
            ("LOGIN", vec![name, word]),
            ("XOAUTH2", vec![token("XOAUTH2", "alice", "each-T0ken")]),
            ("OAUTHBEARER", vec![token("OAUTHBEARER", "alice", "each-T0ken")]),
        ] {
            let mut client = site.greeted(door).await;
            let responses: Vec<&str> = responses.iter().map(String::as_str).collect();
            if list.split(' ').any(|word| word == format!("AUTH={mechanism}")) {
                assert!(authenticate(&mut client, mechanism, &responses).await.starts_with("a OK "), "{mechanism}");
                worked += 1;
            } else {
                assert!(authenticate(&mut client, mechanism, &[]).await.starts_with("a NO "), "{mechanism}");
            }
        }
    }
    assert_eq!(worked, 8, "two of the three listeners take passwords");
    site.end(&["each-Pa55", "each-T0ken"]).await;
}
