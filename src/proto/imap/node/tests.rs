//! Transcripts towards the node. Each is run in one piece and octet by octet, and must be the same.

use super::*;
use crate::names::UserName;
use crate::proto::imap::tests::{Outcome, consult};
use crate::proto::{Input, NodeFault, NodeHello, Protocol, TlsFacts, TokenMechanism};
use crate::secret::Secret;
use crate::testkit::dialogues::{Reads, Talk, command_transcript, introduction, talk_transcript};

const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n";
const SENT: &str = "f3 AUTHENTICATE PLAIN AGJvYgBzZWNyZXQ=\\r\\n";

fn outcome(starttls: bool, octets: &str) -> Outcome {
    let login: (&[u8], &[u8]) = (b"bob", b"secret");
    let at_once = consult(starttls, login, octets.as_bytes(), &[usize::MAX]);
    assert_eq!(consult(starttls, login, octets.as_bytes(), &[1]), at_once, "{octets:?}");
    at_once
}

fn login() -> NodeLogin {
    NodeLogin::by_password(UserName::new(b"bob").unwrap(), Secret::new(b"secret".to_vec()))
}

/// What was sent until the node's octets ran out.
fn sends(capabilities: &str, rest: &str) -> Vec<String> {
    match outcome(false, &format!("* OK [CAPABILITY {capabilities}] ready\r\n{rest}")) {
        Outcome::Waiting(sent) => sent,
        other => panic!("{other:?}"),
    }
}

/// The untagged lines, the capabilities and the text of the answer to a login that was accepted behind `said`.
fn accepted(said: &str) -> (String, String, String) {
    match outcome(false, &format!("{GREETING}{said}")) {
        Outcome::Accepted(_, untagged, [capabilities, text], _) => (untagged, capabilities, text),
        other => panic!("{said:?}: {other:?}"),
    }
}

fn fault(said: &str) -> NodeFault {
    match outcome(false, &format!("{GREETING}{said}")) {
        Outcome::Fault(fault) => fault,
        other => panic!("{said:?}: {other:?}"),
    }
}

#[test]
fn r_be_04_a_greeting_is_ok_or_the_node_is_left() {
    for (greeting, expected) in [
        ("* PREAUTH welcome\r\n", NodeFault::Preauth),
        ("* BYE [UNAVAILABLE] busy\r\n", NodeFault::Bye),
        ("* bye\r\n", NodeFault::Bye),
        ("* NO busy\r\n", NodeFault::Garbage),
        ("+OK POP3\r\n", NodeFault::Garbage),
        ("220 smtp\r\n", NodeFault::Garbage),
        ("* FLAGS ()\r\n", NodeFault::Garbage),
        ("f2 OK\r\n", NodeFault::Garbage),
        ("\r\n", NodeFault::Garbage),
        ("*\r\n", NodeFault::Garbage),
    ] {
        assert_eq!(outcome(false, greeting), Outcome::Fault(expected), "{greeting:?}");
        assert_eq!(outcome(true, greeting), Outcome::Fault(expected), "{greeting:?}");
    }
    let long = format!("* OK {}", "x".repeat(8200));
    assert_eq!(outcome(false, &long), Outcome::Fault(NodeFault::TooLong));
    assert_eq!(outcome(false, "* OK"), Outcome::Waiting(vec![]));
}

#[test]
fn capabilities_are_asked_for_unless_the_greeting_tells_them() {
    let ask = "f2 CAPABILITY\r\n".to_owned();
    assert_eq!(outcome(false, "* OK hi\r\n"), Outcome::Waiting(vec![ask.clone()]));
    let told = "* OK hi\r\n* OK [ALERT] x\r\n* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\nf2 OK done\r\n";
    assert_eq!(outcome(false, told), Outcome::Waiting(vec![ask, SENT.into()]));
    assert_eq!(outcome(false, GREETING), Outcome::Waiting(vec![SENT.into()]));
    let rev2 = "* OK hi\r\n* CAPABILITY IMAP4rev2 LOGINDISABLED\r\nf2 OK done\r\n";
    assert_eq!(outcome(false, rev2), Outcome::Fault(NodeFault::NoMechanism));
    for (answer, expected) in [
        ("f2 BAD what\r\n", NodeFault::Bad),
        ("f2 NO\r\n", NodeFault::Bad),
        ("f2 OK done\r\n", NodeFault::Garbage),
        ("f9 OK done\r\n", NodeFault::Garbage),
        ("+ go on\r\n", NodeFault::Garbage),
        ("* BYE x\r\n", NodeFault::Bye),
    ] {
        assert_eq!(outcome(false, &format!("* OK hi\r\n{answer}")), Outcome::Fault(expected), "{answer:?}");
    }
}

#[test]
fn r_be_05_starttls_is_demanded_first_and_leaves_the_input_alone() {
    let sent = vec!["f1 STARTTLS\r\n".to_owned()];
    let said = format!("{GREETING}f1 OK go\r\n");
    assert_eq!(outcome(true, &said), Outcome::StartTls(sent.clone(), said.len()));
    let used = said.len();
    // What the session then finds in the input is ClearTextInjected.
    assert_eq!(outcome(true, &format!("{said}f2 OK forged\r\n")), Outcome::StartTls(sent, used));
    for (answer, expected) in [
        ("f1 NO no\r\n", NodeFault::StartTlsRefused),
        ("f1 BAD no\r\n", NodeFault::StartTlsRefused),
        ("* BYE no\r\n", NodeFault::Bye),
        ("* PREAUTH no\r\n", NodeFault::Preauth),
        ("f2 OK no\r\n", NodeFault::Garbage),
    ] {
        assert_eq!(outcome(true, &format!("{GREETING}{answer}")), Outcome::Fault(expected), "{answer:?}");
    }
}

#[test]
fn behind_tls_the_capabilities_are_asked_for_afresh() {
    let mut input = Input::new();
    input.push(b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] hi\r\nf1 OK go\r\n");
    let mut hello = Hello::new(true, None);
    while !matches!(hello.step(&mut input), Ok(HelloStep::StartTls)) {}
    let mut hello = hello.secured();
    assert!(matches!(hello.step(&mut input), Ok(HelloStep::Send(line)) if line == b"f2 CAPABILITY\r\n"));
    assert!(matches!(hello.step(&mut input), Ok(HelloStep::Wait)));
    input.push(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\nf2 OK done\r\n");
    assert!(matches!(hello.step(&mut input), Ok(HelloStep::Ready)));
    let mut replay = hello.replay(&login()).unwrap();
    let Ok(crate::proto::ReplayStep::Send(line)) = replay.step(&mut input) else { panic!("nothing is sent") };
    assert_eq!(line.expose().escape_ascii().to_string(), SENT);
}

#[test]
fn a_replay_before_the_node_is_ready_is_refused() {
    assert!(Hello::new(false, None).replay(&login()).is_err());
    assert_eq!(Hello::new(false, None).extensions(), Extensions::default());
}

#[test]
fn the_dialect_of_the_login_is_what_the_node_announced() {
    let [command, response] = ["f3 AUTHENTICATE PLAIN\\r\\n", "AGJvYgBzZWNyZXQ=\\r\\n"].map(str::to_owned);
    for challenge in ["+\r\n", "+ \r\n", "+ DQo=\r\n", "+ go on\r\n"] {
        assert_eq!(sends("IMAP4rev1 auth=plain", challenge), [command.clone(), response.clone()], "{challenge:?}");
    }
    assert_eq!(sends("IMAP4rev1 AUTH=PLAIN", ""), [command]);
    assert_eq!(sends("IMAP4rev1 AUTH=LOGIN AUTH=CRAM-MD5", ""), ["f3 LOGIN \\\"bob\\\" \\\"secret\\\"\\r\\n"]);
    assert_eq!(sends("IMAP4rev1 AUTH=PLAIN SASL-IR LOGINDISABLED", ""), [SENT]);
    let disabled = outcome(false, "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hi\r\n");
    assert_eq!(disabled, Outcome::Fault(NodeFault::NoMechanism));
    let unasked = outcome(false, &format!("{GREETING}+ \r\n"));
    assert_eq!(unasked, Outcome::Fault(NodeFault::Garbage), "everything was said");
}

#[test]
fn r_be_08_every_octet_of_a_password_arrives_in_every_dialect() {
    for octet in (0x01..=0xff).filter(|octet| !matches!(octet, b'\r' | b'\n')) {
        let password = [b'x', octet, b'y'];
        let sent = |capabilities: &str, answers: &str| {
            let octets = format!("* OK [CAPABILITY {capabilities}] hi\r\n{answers}");
            match consult(false, (b"bob", &password), octets.as_bytes(), &[usize::MAX]) {
                Outcome::Waiting(sent) => sent.concat(),
                other => panic!("{octet:#x}: {other:?}"),
            }
        };
        let quoted = match octet {
            b'"' | b'\\' => Some(format!("\"x\\{}y\"", char::from(octet))),
            b' '..=b'~' => Some(format!("\"x{}y\"", char::from(octet))),
            _ => None,
        };
        let login = |literal: &str| match &quoted {
            Some(quoted) => format!("f3 LOGIN \"bob\" {quoted}\r\n").into_bytes(),
            None => [b"f3 LOGIN \"bob\" ", literal.as_bytes(), b"\r\n", &password, b"\r\n"].concat(),
        };
        let shown = |octets: Vec<u8>| octets.escape_ascii().to_string();
        assert_eq!(sent("IMAP4rev1", if quoted.is_some() { "" } else { "+ \r\n" }), shown(login("{3}")));
        assert_eq!(sent("IMAP4rev1 LITERAL+", ""), shown(login("{3+}")));
        assert_eq!(sent("IMAP4rev1 LITERAL-", ""), shown(login("{3+}")));
        let response = [b"\0bob\0".as_slice(), &password].concat();
        let response = crate::proto::sasl::encode(&Secret::new(response));
        let plain = [b"f3 AUTHENTICATE PLAIN ", response.expose(), b"\r\n"].concat();
        assert_eq!(sent("IMAP4rev1 SASL-IR AUTH=PLAIN", ""), shown(plain));
    }
}

#[test]
fn both_arguments_may_be_literals_that_wait() {
    let octets = b"* OK [CAPABILITY IMAP4rev1] hi\r\n+ a\r\n+\r\nf3 NO\r\n";
    let sent = ["f3 LOGIN {2}\\r\\n", "\\xc3\\xbc {1}\\r\\n", "\\xff\\r\\n"].map(str::to_owned).to_vec();
    let expected = Outcome::Refused(sent, "WrongPassword".into(), String::new());
    assert_eq!(consult(false, ("\u{fc}".as_bytes(), b"\xff"), octets, &[usize::MAX]), expected);
    let early = b"* OK [CAPABILITY IMAP4rev1] hi\r\nf3 OK in\r\n";
    let early = consult(false, ("\u{fc}".as_bytes(), b"\xff"), early, &[usize::MAX]);
    assert_eq!(early, Outcome::Fault(NodeFault::Garbage), "accepted before the password was said");
}

#[test]
fn r_be_03_untagged_lines_come_with_the_acceptance_in_order() {
    let untagged =
        "* OK [ALERT] \u{fc}\r\n* LIST () \"/\" {12}\r\nf3 NO\r\n* BYE tail\r\n* 3 EXISTS\r\n* NO [ALERT] full\r\n";
    let (held, capabilities, text) =
        accepted(&format!("{untagged}f3 OK [CAPABILITY IMAP4rev1 IDLE] Logged in\r\n* 4 EXISTS\r\n"));
    assert_eq!(held, untagged.as_bytes().escape_ascii().to_string());
    assert_eq!((capabilities.as_str(), text.as_str()), ("IMAP4rev1 IDLE", "Logged in"));
    let said = format!("{GREETING}f3 OK [CAPABILITY IMAP4rev1] in\r\n");
    let Outcome::Accepted(.., used) = outcome(false, &format!("{said}* BYE late\r\n")) else { panic!() };
    assert_eq!(used, said.len(), "what follows belongs to the session");
}

#[test]
fn r_imap_17_the_capabilities_behind_the_login_are_the_nodes() {
    for (said, untagged, capabilities, text) in [
        ("* CAPABILITY IMAP4rev1 IDLE\r\nf3 OK in\r\n", "", "IMAP4rev1 IDLE", "in"),
        ("* CAPABILITY A\r\n* CAPABILITY B\r\nf3 OK in\r\n", "", "B", "in"),
        ("* CAPABILITY A\r\nf3 OK [CAPABILITY B] in\r\n", "", "B", "in"),
        ("* OK [CAPABILITY X] y  z\r\nf3 OK in\r\n", "* OK y  z\\r\\n", "X", "in"),
        ("* OK [CAPABILITY X]\r\n* 1 EXISTS\r\nf3 OK in\r\n", "* 1 EXISTS\\r\\n", "X", "in"),
        ("* ok [capability X]\r\nf3 ok [capability Y] in\r\n", "", "Y", "in"),
        ("f3 OK in\r\n* CAPABILITY IMAP4rev1 IDLE\r\nf4 OK done\r\n", "", "IMAP4rev1 IDLE", "in"),
        ("f3 OK in\r\nf4 OK [CAPABILITY A] done\r\n", "", "A", "in"),
        ("f3 OK\r\n* CAPABILITY A\r\n* OK [ALERT] x\r\nf4 OK\r\n", "* OK [ALERT] x\\r\\n", "A", ""),
        ("f3 OK in\r\nf4 BAD what\r\n", "", "", "in"),
        ("f3 OK [CAPABILITY ] in\r\nf4 OK what\r\n", "", "", "in"),
        ("f3 OK [CAPABILITY A UNAUTHENTICATE B] x  UNAUTHENTICATE\r\n", "", "A B", "x  UNAUTHENTICATE"),
        ("f3 OK [CAPABILITY A UnAuthenticate]\r\n", "", "A", ""),
        ("* CAPABILITY A UNAUTHENTICATE\r\nf3 OK in\r\n", "", "A", "in"),
        ("* CAPABILITY  A  UNAUTHENTICATED \r\nf3 OK in\r\n", "", "A UNAUTHENTICATED", "in"),
        ("* CAPABILITY A B]C \u{fc} D\x01 E\r\nf3 OK in\r\n", "", "A E", "in"),
        ("f3 OK in\r\n* CAPABILITY A UNAUTHENTICATE B\r\nf4 OK\r\n", "", "A B", "in"),
        ("f3 OK [REFERRAL imap://evil/] in\r\n* CAPABILITY A\r\nf4 OK\r\n", "", "A", "in"),
        ("f3 OK [CAPABILITY A] [REFERRAL imap://evil/] in\r\n", "", "A", "in"),
        ("f3 OK [REFERRAL imap://evil/][CAPABILITY A]  [referral imap://evil/] in\r\n", "", "A", "in"),
        ("* OK [REFERRAL imap://evil/] go\r\nf3 OK [CAPABILITY A] in\r\n", "* OK go\\r\\n", "A", "in"),
        ("* OK [CAPABILITY B] [REFERRAL imap://evil/]\r\nf3 OK [CAPABILITY A] in\r\n", "", "A", "in"),
        (
            "* NO [REFERRAL imap://evil/] go\r\n* bad  [referral imap://x/]\r\nf3 OK [CAPABILITY A] in\r\n",
            "",
            "A",
            "in",
        ),
        (
            "* NO [ALERT] x\r\n* 1 EXISTS\r\nf3 OK [CAPABILITY A] in\r\n",
            "* NO [ALERT] x\\r\\n* 1 EXISTS\\r\\n",
            "A",
            "in",
        ),
        ("f3 OK [X-NEW thing] in\r\n* CAPABILITY A\r\nf4 OK\r\n", "", "A", "[X-NEW thing] in"),
    ] {
        assert_eq!(accepted(said), (untagged.to_owned(), capabilities.to_owned(), text.to_owned()), "{said:?}");
    }
    let said = outcome(false, &format!("{GREETING}f3 OK in\r\n"));
    assert_eq!(said, Outcome::Waiting(vec![SENT.into(), "f4 CAPABILITY\\r\\n".into()]));
}

#[test]
fn r_be_04_what_is_no_judgement_ends_the_attempt() {
    for (said, expected) in [
        ("* BYE [TRY RFC]\r\n", NodeFault::Bye),
        ("f3 BAD what\r\n", NodeFault::Bad),
        ("f3 NO [REFERRAL imap://other/] try there\r\n", NodeFault::Referral),
        ("f3 NO [referral imap://other/]\r\n", NodeFault::Referral),
        ("f3 NO [CAPABILITY A] [REFERRAL imap://other/] go\r\n", NodeFault::Referral),
        ("f3 NO  [REFERRAL imap://other/] go\r\n", NodeFault::Referral),
        ("f2 OK in\r\n", NodeFault::Garbage),
        ("f33 OK in\r\n", NodeFault::Garbage),
        ("f3 OKAY\r\n", NodeFault::Garbage),
        ("f3 BYE\r\n", NodeFault::Garbage),
        ("f3\r\n", NodeFault::Garbage),
        ("* PREAUTH x\r\n", NodeFault::Garbage),
        ("* \r\n", NodeFault::Garbage),
        ("* FLAGS\r(\r\n", NodeFault::Garbage),
        ("* OK a\rb\r\n", NodeFault::Garbage),
        ("* NO a\0b\r\n", NodeFault::Garbage),
        ("f3 OK in\r\n* BYE\r\n", NodeFault::Bye),
        ("f3 OK in\r\nf3 OK in\r\n", NodeFault::Garbage),
        ("* LIST {99999999999999999999}\r\n", NodeFault::TooLong),
        (&format!("f3 OK {}", "x".repeat(8200)), NodeFault::TooLong),
        (&"* 1 EXISTS\r\n".repeat(6000), NodeFault::TooLong),
        (
            &format!("* LIST {{65000}}\r\n{}\r\nf3 OK [CAPABILITY X]\r\n", "* OK in\r\n".repeat(7300)),
            NodeFault::TooLong,
        ),
    ] {
        assert_eq!(fault(said), expected, "{said:.60?}");
    }
}

#[test]
fn r_be_01_a_refusal_keeps_its_words() {
    for (said, kind, text) in [
        (
            "NO [AUTHENTICATIONFAILED] Authentication failed.",
            "WrongPassword",
            "[AUTHENTICATIONFAILED] Authentication failed.",
        ),
        ("no login rejected", "WrongPassword", "[AUTHENTICATIONFAILED] login rejected"),
        ("NO", "WrongPassword", ""),
        ("NO [TRY RFC] x", "WrongPassword", "[TRY RFC] x"),
        ("NO [99] x", "WrongPassword", "[AUTHENTICATIONFAILED] [99] x"),
        ("NO [ALERT] x", "WrongPassword", "[ALERT] x"),
        ("NO [UNAVAILABLE", "WrongPassword", "[AUTHENTICATIONFAILED] [UNAVAILABLE"),
        ("NO wrong [UNAVAILABLE]", "WrongPassword", "[AUTHENTICATIONFAILED] wrong [UNAVAILABLE]"),
        ("NO [unavailable] x", "Temporary", "[unavailable] x"),
        ("NO [UNAVAILABLE x] y", "Temporary", "[UNAVAILABLE x] y"),
        ("NO [SERVERBUG] x", "Temporary", "[SERVERBUG] x"),
        ("NO [INUSE]", "InUse", "[INUSE]"),
        ("NO [inuse] x", "InUse", "[inuse] x"),
        ("NO [IN-USE] x", "Other", "[IN-USE] x"),
        ("NO [EXPIRED] x", "Other", "[EXPIRED] x"),
        ("NO [CONTACTADMIN] x", "Other", "[CONTACTADMIN] x"),
        ("NO [LIMIT] x", "Other", "[LIMIT] x"),
        ("NO [AUTHORIZATIONFAILED] x", "Other", "[AUTHORIZATIONFAILED] x"),
        ("NO [X-STRANGE] x", "Other", "[X-STRANGE] x"),
        // The list is that of a connection to the node, and the client has another one.
        ("NO [CAPABILITY IMAP4rev1 STARTTLS] x", "WrongPassword", "[AUTHENTICATIONFAILED] x"),
        ("NO [CAPABILITY X] [EXPIRED] x", "Other", "[EXPIRED] x"),
        ("NO a\0b\rc", "WrongPassword", "[AUTHENTICATIONFAILED] abc"),
    ] {
        // What was held is forgotten, and a `* CAPABILITY` of a failed login is never shown.
        let said = format!("{GREETING}* CAPABILITY X\r\nf3 {said}\r\n");
        assert_eq!(outcome(false, &said), Outcome::Refused(vec![SENT.into()], kind.into(), text.into()), "{said:?}");
    }
    let Outcome::Refused(.., text) = outcome(false, &format!("{GREETING}f3 NO {}\r\n", "x".repeat(900))) else {
        panic!()
    };
    assert_eq!(text.len(), 500);
}

#[test]
fn a_node_cannot_break_the_parser() {
    for said in ["* OK [ALERT]\u{fc}\r\n", "* OK [CAPABILITY IMAP4rev1]\u{fc}\r\n", "* 1 FETCH (INTERNALDATE NIL)\r\n"]
    {
        accepted(&format!("{said}f3 OK [CAPABILITY X] in\r\n"));
    }
    let nested = format!("* 1 FETCH (BODYSTRUCTURE {}\r\n", "(".repeat(8000));
    accepted(&format!("{nested}f3 OK [CAPABILITY X] in\r\n"));
    assert_eq!(fault("* OK [BADCHARSET ({5}\r\n"), NodeFault::Garbage);
}

/// What becomes of a NOOP that is answered so.
#[track_caller]
fn noop(said: &str, expected: &[&str]) {
    let octets = format!("{GREETING}{said}");
    let run = |reads| command_transcript(Protocol::Imap, false, octets.as_bytes(), reads);
    let whole = run(Reads::Whole);
    assert_eq!(whole, run(Reads::Octets), "{said:.60?}");
    assert_eq!(whole[..2], ["ready: ".to_owned(), "say: f5 NOOP\\r\\n".to_owned()], "{said:.60?}");
    assert!(
        whole.len() <= 4 && whole[2..].iter().zip(expected).all(|(line, start)| line.starts_with(start)),
        "{whole:?}"
    );
    assert_eq!(whole.len() > 2, !expected.is_empty(), "{whole:?}");
}

#[test]
fn a_noop_must_be_answered_and_whatever_comes_before_the_answer_is_bounded() {
    for (said, unused) in [
        ("f5 OK done\r\n", "0 octets"),
        ("f5 ok\r\n", "0 octets"),
        ("* OK still here\r\n* 3 EXISTS\r\n* CAPABILITY X\r\n* NO hm\r\nf5 OK\r\n* BYE\r\n", "7 octets"),
    ] {
        noop(said, &["answered: ", unused]);
    }
    for said in ["", "f5 O", "* OK wait\r\n", "* LIST {20}\r\nf5 OK\r\n"] {
        noop(said, &[]);
    }
    for (said, expected) in [
        ("f5 BAD what\r\n", NodeFault::Bad),
        ("f5 NO not now\r\n", NodeFault::Bad),
        ("* BYE going\r\n", NodeFault::Bye),
        ("* PREAUTH x\r\n", NodeFault::Garbage),
        ("+ go on\r\n", NodeFault::Garbage),
        ("f3 OK\r\n", NodeFault::Garbage),
        ("+OK\r\n", NodeFault::Garbage),
        ("\r\n", NodeFault::Garbage),
    ] {
        noop(said, &[&format!("fault: {expected}")]);
    }
    let endless = [format!("* OK {}", "x".repeat(9000)), "* 1 EXISTS\r\n".repeat(6000)];
    for said in endless {
        let octets = format!("{GREETING}{said}");
        let steps = command_transcript(Protocol::Imap, false, octets.as_bytes(), Reads::Whole);
        assert_eq!(steps[2], format!("fault: {}", NodeFault::TooLong), "{said:.60?}");
    }
}

#[test]
fn a_command_before_the_node_is_ready_is_refused_and_the_farewell_is_one_line() {
    assert!(matches!(Hello::new(false, None).command().step(&mut Input::new()), Err(NodeFault::Garbage)));
    assert_eq!(NodeHello::farewell(Protocol::Imap), b"f6 LOGOUT\r\n");
}

/// How a transcript shows a fault.
fn fault_step(fault: NodeFault) -> String {
    format!("fault: {}", fault.to_string().as_bytes().escape_ascii())
}

/// The steps with a node that announces this, the same at once and one octet at a time, without what was announced.
fn talked(talk: &Talk, capabilities: &str, rest: &str) -> Vec<String> {
    let octets = format!("* OK [CAPABILITY IMAP4rev1 {capabilities}] hi\r\n{rest}");
    let run = |reads| talk_transcript(talk, octets.as_bytes(), reads);
    let whole = run(Reads::Whole);
    assert_eq!(whole, run(Reads::Octets), "{octets:?}");
    whole
}

const ID: &str = concat!(
    r#"say: f7 ID (\"x-session-id\" \"0123456789abcdef-1\" \"x-originating-ip\" \"192.0.2.7\" "#,
    r#"\"x-connected-ip\" \"198.51.100.1\" \"x-proxy-ttl\" \"6\" \"x-client-transport\" \"TLS\" "#,
    r#"\"x-originating-port\" \"54321\" \"x-connected-port\" \"993\" \"x-connected-name\" \"mail.example.net\")\r\n"#,
);

#[test]
fn a_node_that_knows_id_is_told_of_the_client_and_its_answer_kept_from_everybody() {
    let talk = Talk { introduction: Some(introduction()), ..Talk::new(Protocol::Imap) };
    let told = |answer: &str| talked(&talk, "ID AUTH=PLAIN SASL-IR", &format!("{answer}f3 NO\r\n"));
    for answer in [
        "* ID NIL\r\nf7 OK done\r\n",
        "* ID (\"name\" {7}\r\nDovecot)\r\n* CAPABILITY X\r\nf7 OK [CAPABILITY X] done\r\n",
        "f7 NO what?\r\n",
        "* OK hm\r\nf7 NO [UNAVAILABLE] what?\r\n",
    ] {
        let steps = told(answer);
        assert_eq!(steps[..2], [ID, "ready: "], "{answer:?}");
        assert!(steps[2].starts_with("say: f3 AUTHENTICATE PLAIN ") && steps[3].starts_with("refused"), "{steps:?}");
    }
    for (answer, expected) in [
        ("f7 NO [SERVERBUG] what?\r\n", NodeFault::IntroductionRefused),
        ("f7 BAD what?\r\n", NodeFault::IntroductionRefused),
        ("f2 OK\r\n", NodeFault::Garbage),
        ("+ \r\n", NodeFault::Garbage),
        ("* BYE\r\n", NodeFault::Bye),
    ] {
        assert_eq!(told(answer)[..2], [ID.to_owned(), fault_step(expected)], "{answer:?}");
    }
    // Who does not announce it is not told, and gets the login all the same; and so does who is told of nobody.
    assert!(talked(&talk, "AUTH=PLAIN SASL-IR IDLE", "")[1].starts_with("say: f3 AUTH"));
    assert!(talked(&Talk::new(Protocol::Imap), "ID AUTH=PLAIN SASL-IR", "")[1].starts_with("say: f3 AUTH"));
    assert!(matches!(outcome(false, "* OK hi\r\n* CAPABILITY ID\r\nf2 OK\r\n"), Outcome::Waiting(_)));
}

#[test]
fn the_client_is_introduced_under_tls_and_never_before() {
    let introduction = Some(introduction());
    let mut hello = Hello::new(true, introduction);
    let mut input = Input::new();
    input.push(b"* OK [CAPABILITY IMAP4rev1 ID STARTTLS] hi\r\nf1 OK go\r\n");
    assert!(matches!(hello.step(&mut input), Ok(HelloStep::Send(line)) if line == b"f1 STARTTLS\r\n"));
    assert!(matches!(hello.step(&mut input), Ok(HelloStep::StartTls)));
    let mut hello = hello.secured();
    assert!(matches!(hello.step(&mut input), Ok(HelloStep::Send(line)) if line == b"f2 CAPABILITY\r\n"));
    input.push(b"* CAPABILITY IMAP4rev1 ID\r\nf2 OK\r\n");
    assert!(matches!(hello.step(&mut input), Ok(HelloStep::Send(line)) if line.starts_with(b"f7 ID (")));
    assert_eq!(hello.extensions(), Extensions::default(), "not ready yet");
    input.push(b"f7 OK\r\n");
    assert!(matches!(hello.step(&mut input), Ok(HelloStep::Ready)));
    assert!(hello.extensions().has("ID") && !hello.extensions().has("STARTTLS"));
}

#[test]
fn what_a_node_would_choke_on_is_left_out_of_the_introduction() {
    let mut client = introduction();
    client.client.set_port(0);
    client.connected = "[2001:db8::1]:0".parse().unwrap();
    let facts = client.tls.take().unwrap();
    let id = String::from_utf8(introduce::id(b"f7", &client)).unwrap();
    assert!(!id.contains("-port") && id.contains(r#""x-connected-ip" "2001:db8::1""#), "{id}");
    assert!(id.contains(r#""x-client-transport" "insecure""#) && !id.contains("multiplex"), "{id}");
    for name in ["", "a..b", "a b", "a\"b", "a\r\nb", "\u{fc}", &"x".repeat(256)] {
        client.tls = Some(TlsFacts { server_name: Some(name.into()), ..facts.clone() });
        let id = String::from_utf8(introduce::id(b"f7", &client)).unwrap();
        assert!(!id.contains("x-connected-name"), "{id}");
    }
}

#[test]
fn r_be_08_a_master_users_login_goes_by_plain_or_not_at_all() {
    let talk = Talk { master: Some(b"root"), ..Talk::new(Protocol::Imap) };
    // bob@example.net NUL root NUL correct horse
    let said = "say: f3 AUTHENTICATE PLAIN Ym9iQGV4YW1wbGUubmV0AHJvb3QAY29ycmVjdCBob3JzZQ==\\r\\n";
    assert_eq!(talked(&talk, "AUTH=PLAIN SASL-IR", "")[1..], [said]);
    for without in ["AUTH=LOGIN", "LOGINDISABLED"] {
        assert_eq!(talked(&talk, without, "")[1], fault_step(NodeFault::Inexpressible));
    }
}

const XOAUTH2: &str = "dXNlcj1ib2JAZXhhbXBsZS5uZXQBYXV0aD1CZWFyZXIgY29ycmVjdCBob3JzZQEB\\r\\n";
const BEARER: &str = "bixhPWJvYkBleGFtcGxlLm5ldCwBYXV0aD1CZWFyZXIgY29ycmVjdCBob3JzZQEB\\r\\n";

fn with_token(mechanism: TokenMechanism) -> Talk {
    Talk { token: Some(mechanism), ..Talk::new(Protocol::Imap) }
}

#[test]
fn a_token_is_said_in_its_own_mechanism_or_not_at_all() {
    for (mechanism, name, message) in
        [(TokenMechanism::XOAuth2, "XOAUTH2", XOAUTH2), (TokenMechanism::OAuthBearer, "OAUTHBEARER", BEARER)]
    {
        let talk = with_token(mechanism);
        let at_once = format!("say: f3 AUTHENTICATE {name} {message}");
        assert_eq!(talked(&talk, &format!("SASL-IR AUTH={name}"), "")[1..], [at_once]);
        let (command, message) = (format!("say: f3 AUTHENTICATE {name}\\r\\n"), format!("say: {message}"));
        assert_eq!(talked(&talk, &format!("AUTH={name}"), "+ \r\n")[1..], [command.clone(), message]);
        assert_eq!(talked(&talk, &format!("AUTH={name}"), "")[1..], [command]);
        for without in ["SASL-IR AUTH=PLAIN AUTH=LOGIN", "AUTH=XOAUTH AUTH=OAUTH", "XOAUTH2 OAUTHBEARER"] {
            assert_eq!(talked(&talk, without, "")[1], fault_step(NodeFault::TokenUnwanted));
        }
        let master = Talk { master: Some(b"root"), ..talk };
        let said = talked(&master, &format!("AUTH=PLAIN AUTH={name}"), "");
        assert_eq!(said[1], fault_step(NodeFault::Inexpressible));
    }
}

#[test]
fn r_sasl_06_what_a_node_says_of_a_token_is_kept_and_answered_for_the_client() {
    for (mechanism, dummy) in
        [(TokenMechanism::XOAuth2, "say: \\r\\n"), (TokenMechanism::OAuthBearer, "say: AQ==\\r\\n")]
    {
        let talk = with_token(mechanism);
        let name = mechanism.name();
        for (capabilities, first, steps) in
            [(format!("SASL-IR AUTH={name}"), "", 2), (format!("AUTH={name}"), "+ eyJ4IjoxfQ==\r\n", 3)]
        {
            let said = |answer: &str| talked(&talk, &capabilities, &format!("{first}{answer}"))[steps..].to_vec();
            let refused = "refused (WrongPassword): [AUTHENTICATIONFAILED] no";
            let kept = said("+ eyJzdGF0dXMiOiI0MDEifQ==\r\nf3 NO no\r\n");
            assert_eq!(kept[..3], [dummy, "challenge: eyJzdGF0dXMiOiI0MDEifQ==", refused]);
            let none = said("f3 NO no\r\n");
            assert_eq!(none[..1], [refused], "no challenge");
            // What is no base64, or too much of it, is answered and kept from the client.
            for bad in ["", " ", "eyJ4", "{\"status\":401}", "eyJ4IjoxfQ=", "eyJ4IjoxfR==", &"AAAA".repeat(513)] {
                let bad_kept = said(&format!("+ {bad}\r\nf3 NO no\r\n"));
                let kept = bad == "eyJ4";
                assert_eq!(bad_kept.get(1).is_some_and(|step| step.starts_with("challenge")), kept, "{bad:.40}");
                assert_eq!((bad_kept[0].as_str(), bad_kept[1 + usize::from(kept)].as_str()), (dummy, refused));
            }
            let most = "AAAA".repeat(512);
            assert_eq!(said(&format!("+ {most}\r\nf3 NO no\r\n"))[1], format!("challenge: {most}"));
            // One word, not a conversation.
            let garbage = fault_step(NodeFault::Garbage);
            assert_eq!(said("+ eyJ4IjoxfQ==\r\n+ eyJ4IjoxfQ==\r\n")[..2], [dummy.to_owned(), garbage.clone()]);
            let too_long = fault_step(NodeFault::TooLong);
            assert_eq!(said(&format!("+ {}\r\n", "A".repeat(9000)))[0], too_long);
            assert_eq!(said("+ \r\nf3 BAD no\r\n")[1], fault_step(NodeFault::Bad));
            assert!(said("+ \r\nf3 OK [CAPABILITY X] in\r\n")[1].starts_with("untagged"), "it is the node's decision");
            if first.is_empty() {
                continue;
            }
            // A stranger may bring any token, and must not be able to harm a node with it.
            let unseen = fault_step(NodeFault::TokenUnwanted);
            assert_eq!(talked(&talk, &capabilities, "f3 NO not that\r\n")[2], unseen);
            assert_eq!(talked(&talk, &capabilities, "f3 OK in\r\n")[2], garbage);
        }
    }
    // A password has no such word.
    let unasked = talked(&Talk::new(Protocol::Imap), "SASL-IR AUTH=PLAIN", "+ eyJ4IjoxfQ==\r\n");
    assert_eq!(unasked[2], fault_step(NodeFault::Garbage));
}
