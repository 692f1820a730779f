//! What is announced before and behind the login, and that it is the truth; and what a client says of itself.

use std::sync::Arc;

use super::*;
use crate::proto::imap::tests::{CHALLENGE, all};
use crate::proto::{Extensions, TokenMechanism};

/// `user=bob ^A auth=Bearer x ^A ^A`.
const BOBS_XOAUTH2: &str = "dXNlcj1ib2IBYXV0aD1CZWFyZXIgeAEB";
/// `n,a=bob, ^A auth=Bearer x ^A ^A`.
const BOBS_OAUTHBEARER: &str = "bixhPWJvYiwBYXV0aD1CZWFyZXIgeAEB";

fn with_words(channel: Channel, words: &str) -> Offer {
    let words: Extensions = words.split(' ').map(str::as_bytes).collect();
    Offer { extensions: Arc::new(words), ..offer(channel) }
}

/// The words of the greeting's code.
fn announced(offer: &Offer) -> Vec<String> {
    let greeting = String::from_utf8(Client::new(offer.clone()).greeting()).unwrap();
    let list = greeting.strip_prefix("* OK [CAPABILITY ").and_then(|rest| rest.split_once(']')).unwrap().0;
    list.split(' ').map(str::to_owned).collect()
}

#[test]
fn r_imap_14_greeting_and_capability_say_the_same_and_the_truth() {
    const OURS: &str = "IMAP4rev1 SASL-IR LITERAL- ID";
    const PASSWORDS: &str = " AUTH=PLAIN AUTH=LOGIN";
    const TOKENS: &str = " AUTH=XOAUTH2 AUTH=OAUTHBEARER";
    for (channel, cleartext_login, rest) in [
        (TLS, false, PASSWORDS),
        (UPGRADABLE, false, " STARTTLS LOGINDISABLED"),
        (UPGRADABLE, true, " STARTTLS AUTH=PLAIN AUTH=LOGIN"),
        (Channel::Clear, false, " LOGINDISABLED"),
        (Channel::Clear, true, PASSWORDS),
    ] {
        for (extensions, words, tokens) in [
            (Arc::default(), "", ""),
            (all(channel).extensions, " IDLE IMAP4rev2 MOVE", if rest.ends_with(PASSWORDS) { TOKENS } else { "" }),
        ] {
            let offer = Offer { cleartext_login, extensions, ..offer(channel) };
            let greeting = format!("* OK [CAPABILITY {OURS}{words}{rest}{tokens}] mail.example.net ready\r\n");
            assert_eq!(String::from_utf8(Client::new(offer.clone()).greeting()).unwrap(), greeting);
            let said = format!("* CAPABILITY {OURS}{words}{rest}{tokens}\r\na OK Capabilities listed\r\n");
            assert_eq!(rendered(&offer, b"a CAPABILITY\r\n"), said);
            assert_eq!(rendered(&offer, b"a STARTTLS\r\n").ends_with("<tls>"), rest.contains("STARTTLS"));
        }
    }
}

#[test]
fn r_imap_14_what_is_ours_to_say_is_not_repeated_from_the_nodes() {
    let ours = "AUTH=PLAIN AUTH=CRAM-MD5 AUTH=SCRAM-SHA-256-PLUS AUTH=EXTERNAL STARTTLS LOGINDISABLED SASL-IR LITERAL+ \
                LITERAL- ID IMAP4 IMAP4rev1";
    let harmful = "LOGIN-REFERRALS MAILBOX-REFERRALS UNAUTHENTICATE LANGUAGE X-MULTIPLEX XCLIENT X- a]b a(b a\"b a{5}";
    let expected = ["IMAP4rev1", "SASL-IR", "LITERAL-", "ID", "AUTH=PLAIN", "AUTH=LOGIN"];
    assert_eq!(announced(&with_words(TLS, &format!("{ours} {harmful}"))), expected);
    let odd = Offer { extensions: Arc::new([&b"A B"[..]].into_iter().collect()), ..offer(TLS) };
    assert_eq!(announced(&odd), expected, "two words in one");
    let useful = "APPENDLIMIT=5 COMPRESS=DEFLATE ENABLE I18NLEVEL=1 IDLE NAMESPACE THREAD=REFS UTF8=ACCEPT XLIST";
    assert_eq!(announced(&with_words(TLS, useful))[4..13].join(" "), useful);
    assert_eq!(announced(&with_words(TLS, "imap4rev2 idle"))[4..6], ["IDLE", "IMAP4rev2"]);
}

#[test]
fn r_imap_15_where_login_is_disabled_no_password_is_asked_for() {
    const PRIVACY: &str = "NO [PRIVACYREQUIRED] Passwords are accepted under TLS only\r\n";
    for command in [
        "LOGIN bob secret\r\n",
        "LOGIN {3}\r\n",
        "LOGIN bob {6}\r\n",
        "LOGIN bob {6+}\r\nsecret\r\n",
        "LOGIN bob {30+}\r\nx NOOP\r\n1234567890123456789012\r\n",
        "AUTHENTICATE PLAIN\r\n",
        "AUTHENTICATE LOGIN Ym9i\r\n",
        &format!("AUTHENTICATE PLAIN {BOB}\r\n"),
        &format!("AUTHENTICATE XOAUTH2 {BOBS_XOAUTH2}\r\n"),
        "AUTHENTICATE OAUTHBEARER\r\n",
    ] {
        let octets = format!("a {command}b NOOP\r\n");
        for channel in [UPGRADABLE, Channel::Clear] {
            let offer = all(channel);
            let said = rendered(&offer, octets.as_bytes());
            assert_eq!(said, format!("a {PRIVACY}b OK Nothing done\r\n"), "{octets:?}");
            let words = announced(&offer);
            assert!(words.contains(&"LOGINDISABLED".to_owned()));
            assert!(!words.iter().any(|word| word.starts_with("AUTH=")), "{words:?}");
        }
    }
}

#[test]
fn r_imap_16_a_mechanism_works_where_it_is_announced_and_nowhere_else() {
    let responses = [
        ("PLAIN", vec![BOB], "<login a bob secret PLAIN>"),
        ("LOGIN", vec!["Ym9i", "c2VjcmV0"], "<login a bob secret AUTH-LOGIN>"),
        ("XOAUTH2", vec![BOBS_XOAUTH2], "<login a bob Bearer x XOAUTH2>"),
        ("OAUTHBEARER", vec![BOBS_OAUTHBEARER], "<login a bob Bearer x OAUTHBEARER>"),
    ];
    let xoauth2_only = |channel| with_words(channel, "AUTH=XOAUTH2");
    let mut worked = 0;
    for channel in [TLS, UPGRADABLE, Channel::Clear] {
        for offer in [offer(channel), xoauth2_only(channel), all(channel)] {
            for cleartext_login in [false, true] {
                let offer = Offer { cleartext_login, ..offer.clone() };
                let announced = announced(&offer);
                for (mechanism, responses, login) in &responses {
                    let octets = format!("a AUTHENTICATE {mechanism}\r\n{}\r\n", responses.join("\r\n"));
                    let said = rendered(&offer, octets.as_bytes());
                    if announced.contains(&format!("AUTH={mechanism}")) {
                        assert!(said.contains(login), "{mechanism}: {said}");
                        worked += 1;
                    } else {
                        assert!(said.starts_with("a NO ") && !said.contains('+'), "{mechanism}: {said}");
                    }
                }
            }
        }
    }
    assert_eq!(worked, 4 * (2 + 3 + 4), "four of the six offers take passwords");
    let said = rendered(&offer(TLS), format!("a AUTHENTICATE XOAUTH2 {BOBS_XOAUTH2}\r\n").as_bytes());
    assert_eq!(said, "a NO Unsupported authentication mechanism\r\n");
}

#[test]
fn r_imap_17_the_nodes_capabilities_come_once_and_where_the_client_looks() {
    const UNASKED: &str = "";
    const ASKED: &str = "c CAPABILITY\r\n";
    let accepted = |untagged: &str, text: &str, list: &str| NodeAcceptance {
        untagged: untagged.into(),
        text: text.into(),
        capabilities: list.into(),
    };
    for (said_before, node, expected) in [
        (UNASKED, accepted("", "in", "IMAP4rev1 X"), "a OK [CAPABILITY IMAP4rev1 X] in\r\n"),
        (UNASKED, accepted("", "", "IMAP4rev1 X"), "a OK [CAPABILITY IMAP4rev1 X] Logged in\r\n"),
        (ASKED, accepted("", "in", "IMAP4rev1 X"), "* CAPABILITY IMAP4rev1 X\r\na OK in\r\n"),
        (UNASKED, accepted("", "[ALERT] in", "IMAP4rev1 X"), "* CAPABILITY IMAP4rev1 X\r\na OK [ALERT] in\r\n"),
        (ASKED, accepted("", "[ALERT] in", "IMAP4rev1 X"), "* CAPABILITY IMAP4rev1 X\r\na OK [ALERT] in\r\n"),
        (UNASKED, accepted("", "in", "IMAP4rev1 A]B"), "* CAPABILITY IMAP4rev1 A]B\r\na OK in\r\n"),
        (UNASKED, accepted("", "in", ""), "a OK in\r\n"),
        (ASKED, accepted("", "in", ""), "a OK in\r\n"),
        (
            UNASKED,
            accepted("* OK [ALERT] x\r\n", "in", "IMAP4rev1"),
            "* OK [ALERT] x\r\na OK [CAPABILITY IMAP4rev1] in\r\n",
        ),
        (
            ASKED,
            accepted("* OK [ALERT] x\r\n", "in", "IMAP4rev1"),
            "* OK [ALERT] x\r\n* CAPABILITY IMAP4rev1\r\na OK in\r\n",
        ),
    ] {
        let mut client = Client::new(offer(TLS));
        let to = logs_in(&mut client, said_before);
        assert_eq!(String::from_utf8(client.accept(to, &node)).unwrap(), expected);
    }
    // What was asked in clear text is forgotten with it.
    let mut client = Client::new(offer(UPGRADABLE));
    let mut input = Input::new();
    input.push(b"c CAPABILITY\r\ns STARTTLS\r\n");
    while !matches!(client.step(&mut input), Step::StartTls(_)) {}
    let mut client = client.upgraded();
    let to = logs_in(&mut client, UNASKED);
    assert_eq!(client.accept(to, &accepted("", "in", "IMAP4rev1")), b"a OK [CAPABILITY IMAP4rev1] in\r\n");
}

/// Sends this and a login, and returns whom to answer.
fn logs_in(client: &mut Client, before: &str) -> ReplyTo {
    let mut input = Input::new();
    input.push(format!("{before}a LOGIN bob secret\r\n").as_bytes());
    loop {
        match client.step(&mut input) {
            Step::Login(_, to) => return to,
            Step::Wait => panic!("no login"),
            _ => {}
        }
    }
}

#[test]
fn r_imap_18_id_is_checked_answered_and_forgotten() {
    const DONE: &str = "* ID NIL\r\na OK ID done\r\n";
    const BAD: &str = "a BAD Syntax error\r\n";
    let pairs = |count: usize, value: &str| format!("a ID ({})\r\n", vec![format!("\"k\" {value}"); count].join(" "));
    let value = |length: usize| format!("\"{}\"", "v".repeat(length));
    let literals =
        format!("a ID ({})\r\n", vec!["{1+}\r\nk {1024+}\r\n".to_owned() + &"\n".repeat(1024); 30].join(" "));
    for (octets, said) in [
        ("a ID NIL\r\n".to_owned(), DONE),
        ("a id nil\r\n".to_owned(), DONE),
        ("a ID ()\r\n".to_owned(), DONE),
        ("a ID ( )\r\n".to_owned(), DONE),
        ("a ID ( \"name\" \"x\" )\r\n".to_owned(), DONE),
        ("a ID (  \"name\" \"x\")\r\n".to_owned(), BAD),
        ("a ID (\"name\" \"x\\\"y\" \"os\" NIL)\r\n".to_owned(), DONE),
        ("a ID (\"x-originating-ip\" \"127.0.0.1\")\r\n".to_owned(), DONE),
        (pairs(30, &value(1024)), DONE),
        (literals, DONE),
        (pairs(31, "NIL"), BAD),
        (pairs(1, &value(1025)), BAD),
        (format!("a ID (\"{}\" NIL)\r\n", "k".repeat(31)), BAD),
        ("a ID (name \"x\")\r\n".to_owned(), BAD),
        ("a ID (\"k\")\r\n".to_owned(), BAD),
        ("a ID ((\"k\" NIL))\r\n".to_owned(), BAD),
        ("a ID\r\n".to_owned(), BAD),
        ("a ID NIL NIL\r\n".to_owned(), BAD),
        ("a ID ({3+}\r\na\0b NIL)\r\n".to_owned(), BAD),
        ("a ID ({31}\r\n".to_owned(), "a BAD Literal too long\r\n"),
        (format!("a ID (\"k\" {{1025+}}\r\n{})\r\n", "v".repeat(1025)), "a BAD Literal too long\r\n"),
        ("a ID ({1}\r\nk {0}\r\n)\r\n".to_owned(), "+ Go on\r\n+ Go on\r\n* ID NIL\r\na OK ID done\r\n"),
        (format!("a ID ({}\r\n", " ".repeat(40_000)), "a BAD Line too long\r\n"),
        // One pair too many is refused before its literal is read, or thousands of empty ones would be.
        (format!("a ID ({}\"\" {{0}}\r\n", "\"\" {0+}\r\n ".repeat(30)), BAD),
    ] {
        assert_eq!(says(&octets), said, "{:.80}", octets);
    }
}

#[test]
fn r_imap_18_a_trusted_proxy_says_who_its_client_is_and_a_stranger_does_not() {
    const DONE: &str = "* ID NIL\r\na OK ID done\r\n";
    let all = "\"name\" \"x\" \"x-originating-ip\" \"192.0.2.7\" \"X-Originating-Port\" {4+}\r\n4711 \"x-session-id\" \"s\" \
               \"x-connected-ip\" \"2001:db8::1\" \"x-connected-port\" \"993\" \"x-proxy-ttl\" \"3\" \"os\" NIL";
    let (mine, port_0) = ("from 192.0.2.7:4711 to [2001:db8::1]:993 ttl 3", "from 192.0.2.7:0 to - ttl -");
    for (is_trusted, pairs, introduced) in [
        (true, all, Some(mine)),
        (false, all, Some("from - to - ttl 3")),
        (true, "\"x-originating-ip\" \"192.0.2.7\"", Some(port_0)),
        (false, "\"x-originating-ip\" \"192.0.2.7\"", None),
        (true, "\"x-originating-ip\" \"192.0.2.7\" \"x-originating-port\" \"x\" \"x-proxy-ttl\" \"999\"", Some(port_0)),
        (true, "\"x-originating-ip\" \"192.0.2.7\" \"x-originating-port\" NIL \"x-connected-ip\" \"\"", Some(port_0)),
        (true, "\"x-originating-ip\" \"evil\" \"x-originating-port\" \"1\"", None),
        (true, "\"x-proxy-ttl\" \"1\"", Some("from - to - ttl 1")),
        (false, "\"x-proxy-ttl\" \"1\"", Some("from - to - ttl 1")),
        (false, "\"x-proxy-ttl\" \"-1\"", None),
        (true, "\"name\" \"x-proxy-ttl\"", None),
    ] {
        let offer = Offer { is_trusted, ..offer(TLS) };
        let said = rendered(&offer, format!("a ID ({pairs})\r\n").as_bytes());
        let introduced = introduced.map_or(String::new(), |introduced| format!("<{introduced}>"));
        assert_eq!(said, format!("{DONE}{introduced}"), "{pairs}");
    }
    // Only the first one counts, whatever it said.
    let offer = Offer { is_trusted: true, ..offer(TLS) };
    let said = rendered(&offer, format!("a ID ({all})\r\na ID (\"x-proxy-ttl\" \"1\")\r\n").as_bytes());
    assert_eq!(said, format!("{DONE}<{mine}>{DONE}"));
    assert_eq!(rendered(&offer, format!("a ID NIL\r\na ID ({all})\r\n").as_bytes()), DONE.repeat(2));
    // A malformed one is none.
    let said = rendered(&offer, format!("b ID (\"x-proxy-ttl\")\r\na ID ({all})\r\n").as_bytes());
    assert_eq!(said, format!("b BAD Syntax error\r\n{DONE}<{mine}>"));
}

#[test]
fn r_tls_03_who_was_introduced_in_clear_text_is_introduced_anew() {
    let mut client = Client::new(Offer { is_trusted: true, ..offer(UPGRADABLE) });
    let mut input = Input::new();
    let id = b"a ID (\"x-proxy-ttl\" \"3\")\r\n";
    input.push(&[&id[..], id, b"s STARTTLS\r\n"].concat());
    assert!(matches!(client.step(&mut input), Step::Introduced(..)));
    assert!(matches!(client.step(&mut input), Step::Reply(_)));
    assert!(matches!(client.step(&mut input), Step::StartTls(_)));
    let mut client = client.upgraded();
    input.push(id);
    assert!(matches!(client.step(&mut input), Step::Introduced(..)));
}

#[test]
fn tokens_go_where_their_mechanism_says() {
    for (mechanism, response) in TokenMechanism::ALL.into_iter().zip([BOBS_XOAUTH2, BOBS_OAUTHBEARER]) {
        let mut client = Client::new(all(TLS));
        let mut input = Input::new();
        input.push(format!("a AUTHENTICATE {} {response}\r\n", mechanism.name()).as_bytes());
        let Step::Login(request, _) = client.step(&mut input) else { panic!("no login") };
        assert!(matches!(request.credentials, crate::proto::Credentials::Token(of, _) if of == mechanism));
    }
    let said = rendered(&all(TLS), format!("a AUTHENTICATE XOAUTH2 {BOBS_OAUTHBEARER}\r\n").as_bytes());
    assert_eq!(said, FAILED);
    assert!(!said.contains(CHALLENGE));
}
