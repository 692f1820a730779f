//! Transcripts towards the node. Each is run in one piece and octet by octet, and must be the same.

mod talk;

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
    // No literal: a status is one line.
    let (untagged, ..) = accepted("* OK [BADCHARSET ({5}\r\nf3 OK [CAPABILITY X] in\r\n");
    assert_eq!(untagged, "* OK [BADCHARSET ({5}\\r\\n");
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
