//! What malicious nodes say instead of a greeting, a list or an answer.

use mailferry::proto::Protocol;

use super::Act::{Forever, HangUp, Hear};
use super::{Act, MARK, OUR_BUG, PASSWORD, Stage, UNAVAILABLE, forever, say};

/// The greeting behind which the login follows at once.
fn greeted() -> Act {
    say(format!("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] {MARK}\r\n"))
}

/// The greeting behind which the capabilities are asked for.
fn terse() -> Act {
    say(format!("* OK {MARK}\r\n"))
}

/// A POP3 node up to the login.
fn capa() -> Vec<Act> {
    vec![say(format!("+OK {MARK}\r\n")), Hear, say("+OK\r\nSASL PLAIN\r\n.\r\n"), Hear]
}

fn then(mut acts: Vec<Act>, last: Vec<Act>) -> Vec<Act> {
    acts.extend(last);
    acts
}

/// Every octet that is no line end, NUL among them.
fn garbage() -> Vec<u8> {
    let octets = (0..=255).filter(|octet| !matches!(octet, b'\r' | b'\n'));
    octets.chain(MARK.bytes()).chain(*b"\r\n").collect()
}

/// Sizes of literals that nobody has: 2^32, 2^63, 2^64, 2^64 + 8, and more digits than anything.
const SIZES: [&str; 5] =
    ["4294967296", "9223372036854775808", "18446744073709551616", "18446744073709551624", "99999999999999999999999"];

#[tokio::test]
async fn r_be_04_whatever_an_imap_node_says_for_a_greeting_the_client_hears_unavailable() {
    let stage = Stage::new(Protocol::Imap).await;
    for line in [
        "* PREAUTH [CAPABILITY IMAP4rev1 AUTH=PLAIN] MARK",
        "* BYE [UNAVAILABLE] MARK",
        "* NO MARK",
        "* BAD MARK",
        "* MARK",
        "* ",
        "*",
        "",
        "+ MARK",
        "+OK MARK",
        "220 MARK ESMTP",
        "HTTP/1.1 200 MARK",
        "a OK MARK",
        "f1 OK MARK",
        "f2 OK MARK",
        "f3 OK [CAPABILITY IMAP4rev1] MARK",
        "* OK MARK\0",
        "* OK MARK\r* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] x",
        "* CAPABILITY IMAP4rev1 AUTH=PLAIN MARK",
    ] {
        let line = format!("{}\r\n", line.replace("MARK", MARK));
        stage.hears(vec![say(&line)], UNAVAILABLE[0], &line).await;
    }
    stage.hears(vec![say(garbage())], UNAVAILABLE[0], "garbage").await;
    stage.hears(vec![say(format!("* OK {MARK}")), forever("x")], UNAVAILABLE[0], "an endless line").await;
    stage.hears(vec![forever("\0")], UNAVAILABLE[0], "endless zeros").await;
    stage.hears(vec![Forever(vec![b'*'])], UNAVAILABLE[0], "an endless line in small pieces").await;
    assert!(!super::text(&stage.node).contains("AUTHENTICATE"), "a node that has not greeted got the password");
    stage.end().await;
}

#[tokio::test]
async fn r_be_04_whatever_an_imap_node_says_of_its_capabilities_is_bounded() {
    let stage = Stage::new(Protocol::Imap).await;
    for line in [
        "f2 BAD MARK",
        "f2 NO MARK",
        "f2 OK MARK",
        "f2 OK [CAPABILITY",
        "f2 BYE MARK",
        "f3 OK MARK",
        "f9 OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] MARK",
        "+ MARK",
        "* BYE MARK",
        "* PREAUTH MARK",
        "* CAPABILITY IMAP4rev1 LOGINDISABLED MARK\r\nf2 OK MARK",
        "* LIST (\rMARK",
        "MARK",
    ] {
        let line = format!("{}\r\n", line.replace("MARK", MARK));
        stage.hears(vec![terse(), Hear, say(&line)], UNAVAILABLE[0], &line).await;
    }
    for size in SIZES {
        let literal = format!("* LIST {{{size}}}\r\n{MARK}");
        stage.hears(vec![terse(), Hear, say(&literal), forever("x")], UNAVAILABLE[0], size).await;
        let literal = format!("* LIST {{{size}+}}\r\n{MARK}");
        stage.hears(vec![terse(), Hear, say(&literal), forever("x")], UNAVAILABLE[0], size).await;
    }
    for flood in
        ["* OK MARK\r\n", "* 1 EXISTS\r\n", "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", "* LIST {9}\r\n012345678\r\n"]
    {
        let flood = flood.replace("MARK", MARK);
        stage.hears(vec![terse(), Hear, forever(&flood)], UNAVAILABLE[0], &flood).await;
    }
    let megabyte = format!("* CAPABILITY IMAP4rev1 {}\r\nf2 OK\r\n", MARK.repeat(120_000));
    stage.hears(vec![terse(), Hear, say(megabyte)], UNAVAILABLE[0], "a list of a megabyte").await;
    let words = format!("* CAPABILITY IMAP4rev1 {}\r\nf2 OK\r\n", "A=b ".repeat(260_000));
    stage.hears(vec![terse(), Hear, say(words)], UNAVAILABLE[0], "a megabyte of words").await;
    assert!(!super::text(&stage.node).contains("AUTHENTICATE"), "a node that has said nothing got the password");
    stage.end().await;
}

#[tokio::test]
async fn r_be_04_whatever_an_imap_node_answers_the_login_it_is_one_of_three_answers() {
    let stage = Stage::new(Protocol::Imap).await;
    for line in [
        "* BYE MARK",
        "* PREAUTH MARK",
        "f3 NO [REFERRAL imap://MARK/] MARK",
        "f3 NO [CAPABILITY X] [REFERRAL imap://MARK/] MARK",
        "f3 BYE MARK",
        "f3 PREAUTH MARK",
        "f3 OKAY MARK",
        "f3",
        "f4 OK MARK",
        "f33 OK MARK",
        "F3 OK MARK",
        "a OK MARK",
        "+ MARK",
        "+OK MARK",
        "MARK",
        "",
        "* OK MARK\0",
        "* OK MARK\r* 1 EXISTS",
        "* MARK\r(",
        "f3 OK MARK\r\nf3 OK MARK",
        "f3 OK MARK\r\n* BYE MARK",
        "f3 OK MARK\r\n+ MARK",
    ] {
        let line = format!("{}\r\n", line.replace("MARK", MARK));
        stage.hears(vec![greeted(), Hear, say(&line)], UNAVAILABLE[0], &line).await;
    }
    stage.hears(vec![greeted(), Hear, say(garbage())], UNAVAILABLE[0], "garbage").await;
    stage.hears(vec![greeted(), Hear, say(format!("f3 BAD {MARK}\r\n"))], OUR_BUG[0], "BAD").await;
    for (start, flood) in [
        (format!("f3 OK {MARK}"), "x"),
        (format!("* OK {MARK}"), "x"),
        ("* CAPABILITY".into(), " X"),
        (String::new(), "* 1 EXISTS\r\n"),
        (String::new(), "* OK [ALERT] x\r\n"),
        (format!("f3 OK {MARK}\r\n"), "* CAPABILITY X\r\n"),
        (format!("f3 OK {MARK}\r\n"), "* LIST {3}\r\nabc\r\n"),
    ] {
        stage.hears(vec![greeted(), Hear, say(&start), forever(flood)], UNAVAILABLE[0], &start).await;
    }
    for size in SIZES {
        let literal = format!("* LIST {{{size}}}\r\n{MARK}");
        stage.hears(vec![greeted(), Hear, say(&literal), forever("x")], UNAVAILABLE[0], size).await;
    }
    stage.end().await;
}

#[tokio::test]
async fn r_be_04_an_answer_that_comes_before_its_question_is_no_judgement() {
    let stage = Stage::new(Protocol::Imap).await;
    // The node asks for the password, and has "accepted" it before.
    let early = format!("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] {MARK}\r\nf3 OK [CAPABILITY IMAP4rev1] {MARK}\r\n");
    stage.hears(vec![say(early)], UNAVAILABLE[0], "accepted unseen").await;
    let early = format!("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] {MARK}\r\nf3 NO {MARK}\r\n");
    stage.hears(vec![say(early)], UNAVAILABLE[0], "refused unseen").await;
    let seen = super::text(&stage.node);
    assert!(seen.contains("f3 AUTHENTICATE PLAIN\r\n") && !seen.contains(&super::plain("alice", PASSWORD)), "{seen}");
    stage.end().await;
}

#[tokio::test]
async fn r_be_04_what_a_node_may_say_reaches_the_client_octet_for_octet() {
    let stage = Stage::new(Protocol::Imap).await;
    let accepted = [
        // The second answer is the session's: mailferry does not look at it any more.
        (
            "f3 OK [CAPABILITY X] in MARK\r\nf3 OK twice MARK\r\n".as_bytes(),
            &["a OK [CAPABILITY X] in MARK", "f3 OK twice MARK"][..],
        ),
        (
            b"* OK [ALERT] \xc3\xbc MARK\r\nf3 OK [CAPABILITY X] \xe2\x82\xac\r\n",
            &["* OK [ALERT] ü MARK", "a OK [CAPABILITY X] €"],
        ),
        // A code of another kind leaves no room for the list, and none is sent to another host.
        (b"f3 OK [REFERRAL imap://MARK/] in\r\n* CAPABILITY X\r\nf4 OK\r\n", &["a OK [CAPABILITY X] in"]),
        // Not even where the code in front of it is taken away, or in a line of its own.
        (
            b"* NO [REFERRAL imap://MARK/] go\r\nf3 OK [CAPABILITY X] [REFERRAL imap://MARK/] in\r\n",
            &["a OK [CAPABILITY X] in"],
        ),
        (
            b"* LIST () \"/\" {7}\r\nf3 NO\r\n\r\nf3 OK [CAPABILITY X] in\r\n",
            &["* LIST () \"/\" {7}", "f3 NO", "", "a OK [CAPABILITY X] in"],
        ),
    ];
    for (answer, expected) in accepted {
        let answer = String::from_utf8(answer.to_vec()).unwrap().replace("MARK", MARK);
        let mut client = stage.client().await;
        let mut heard = stage.login(&mut client, vec![greeted(), Hear, say(&answer)]).await;
        while heard.len() < expected.len() {
            heard.push(client.line().await);
        }
        assert_eq!(heard, expected.iter().map(|line| line.replace("MARK", MARK)).collect::<Vec<_>>(), "{answer}");
    }
    stage.end().await;
}

#[tokio::test]
async fn r_be_03_what_the_login_caused_comes_first_and_in_order_or_not_at_all() {
    let stage = Stage::new(Protocol::Imap).await;
    let held = format!("* CAPABILITY X\r\n* OK [ALERT] {MARK}\r\n* 1 EXISTS\r\n* NO [ALERT] {MARK}\r\n");
    let no = format!("{held}f3 NO [EXPIRED] {MARK}\r\n");
    stage.hears(vec![greeted(), Hear, say(no)], &format!("a NO [EXPIRED] {MARK}"), "refused").await;
    let bye = format!("{held}* BYE {MARK}\r\n");
    stage.hears(vec![greeted(), Hear, say(bye)], UNAVAILABLE[0], "gone").await;
    stage.hears(vec![greeted(), Hear, say(&held), HangUp], UNAVAILABLE[0], "closed").await;
    let mut client = stage.client().await;
    let ok = format!("{held}f3 OK in\r\n* 2 EXISTS\r\n");
    let mut heard = stage.login(&mut client, vec![greeted(), Hear, say(ok)]).await;
    heard.push(client.line().await);
    let alerts = [format!("* OK [ALERT] {MARK}"), "* 1 EXISTS".into(), format!("* NO [ALERT] {MARK}")];
    let rest = ["a OK [CAPABILITY X] in", "* 2 EXISTS"].map(String::from);
    assert_eq!(heard, [alerts.as_slice(), &rest].concat());
    stage.end().await;
}

#[tokio::test]
async fn r_be_04_whatever_a_pop3_node_says_it_is_one_of_three_answers() {
    let stage = Stage::new(Protocol::Pop3).await;
    let greetings = ["-ERR MARK", "* OK MARK", "+ MARK", "+OKMARK", "MARK", "", "220 MARK"];
    let lists = ["* OK MARK", "+ MARK", "MARK", "", "+OK\r\nMARK\r\n.", "+OK\r\nSASL GSSAPI MARK\r\n."];
    let answers = ["+ MARK", "* OK MARK", "+OKMARK", "+", "MARK", ""];
    let line = |line: &str| say(format!("{}\r\n", line.replace("MARK", MARK)));
    let greeted = || say(format!("+OK {MARK}\r\n"));
    let unavailable = UNAVAILABLE[1];
    for says in greetings {
        stage.hears(vec![line(says)], unavailable, says).await;
    }
    for says in lists {
        stage.hears(vec![greeted(), Hear, line(says)], unavailable, says).await;
    }
    for says in answers {
        stage.hears(then(capa(), vec![line(says)]), unavailable, says).await;
    }
    for (before, flood) in [
        (vec![say("+OK ")], "x"),
        (vec![], "\0"),
        (vec![greeted(), Hear], "+OK"),
        (vec![greeted(), Hear, say("+OK\r\n")], "TOP\r\n"),
        (vec![greeted(), Hear, say("+OK\r\n")], "\r\n"),
        (vec![greeted(), Hear, say("+OK\r\nSASL")], " PLAIN"),
        (then(capa(), vec![say(format!("+OK {MARK}"))]), "x"),
        (then(capa(), vec![say(format!("-ERR {MARK}"))]), "x"),
    ] {
        stage.hears(then(before, vec![forever(flood)]), unavailable, flood).await;
    }
    stage.hears(vec![say(garbage())], unavailable, "garbage").await;
    stage.hears(vec![greeted(), Hear, say(garbage())], unavailable, "garbage for a list").await;
    stage.hears(then(capa(), vec![say(garbage())]), unavailable, "garbage for an answer").await;
    // POP3 answers have no tags: one that comes before its question answers it, but not without the password.
    let early = say("+OK\r\n+OK\r\nSASL GSSAPI\r\nUSER\r\n.\r\n-ERR [SYS/TEMP] early\r\n");
    stage.hears(vec![early], "-ERR [SYS/TEMP] early", "refused early").await;
    // What a node says behind its answer is the session's, once.
    let mut client = stage.client().await;
    let twice = say(format!("+OK in {MARK}\r\n+OK twice {MARK}\r\n"));
    assert_eq!(stage.login(&mut client, then(capa(), vec![twice])).await, [format!("+OK in {MARK}")]);
    assert_eq!(client.line().await, format!("+OK twice {MARK}"));
    stage.end().await;
}

#[tokio::test]
async fn r_be_01_a_refusal_arrives_in_the_nodes_words_and_the_session_stays_open_until_the_limit() {
    for (protocol, words) in [
        (Protocol::Imap, ["[AUTHENTICATIONFAILED] ", "[EXPIRED] ", "[X-NEW arg] ", "[ALERT] ", "[INUSE] "]),
        (Protocol::Pop3, ["[AUTH] ", "[SYS/PERM] ", "[X-NEW/arg] ", "[LOGIN-DELAY] ", "[IN-USE] "]),
    ] {
        let stage = Stage::new(protocol).await;
        let refusing = |text: &str| match protocol {
            Protocol::Imap => vec![greeted(), Hear, say(format!("f3 NO {text}\r\n"))],
            Protocol::Pop3 => then(capa(), vec![say(format!("-ERR {text}\r\n"))]),
        };
        let told = stage.of(["a NO", "-ERR"]);
        for code in words {
            let text = format!("{code}ünd {MARK} \u{1}\u{7f}%s");
            stage.hears(refusing(&text), &format!("{told} {text}"), code).await;
        }
        // Without a code it is about the password; NUL and what is too long are left out.
        let code = stage.of(["[AUTHENTICATIONFAILED]", "[AUTH]"]);
        stage.hears(refusing(&format!("{MARK}\0\r!")), &format!("{told} {code} {MARK}!"), "no code").await;
        let mut client = stage.client().await;
        let long = stage.login(&mut client, refusing(&format!("{code} {}", "x".repeat(7000)))).await.remove(0);
        assert!(long.starts_with(&format!("{told} {code} x")) && long.len() <= 510, "{} octets", long.len());
        stage.is_open(&mut client).await;
        for _ in 0..4 {
            stage.login(&mut client, refusing(code)).await;
        }
        assert!(client.line().await.starts_with(stage.of(["* BYE ", "-ERR [SYS/TEMP] "])));
        client.closed().await;
        stage.end().await;
    }
}
