//! What nodes hear, and what their answers become.

use super::assert_transcript;
use crate::names::UserName;
use crate::proto::{HelloStep, Input, NodeAnswer, NodeFault, NodeHello, NodeLogin, Protocol, Replay, ReplayStep};
use crate::secret::Secret;
use crate::testkit::dialogues::{self, Reads};

/// The steps, the same at once and one octet at a time.
#[track_caller]
fn node(starttls: bool, sent: impl AsRef<[u8]>, expected: &[&str]) {
    let run = |reads| dialogues::node_transcript(Protocol::Pop3, starttls, sent.as_ref(), reads);
    let whole = run(Reads::Whole);
    assert_eq!(whole, run(Reads::Octets));
    assert_transcript(&whole, expected);
}

/// What is begun with a node that answers CAPA so.
fn replay(capa: &str, user: &[u8], password: &[u8]) -> Result<Replay, NodeFault> {
    let mut input = Input::new();
    input.push(format!("+OK\r\n{capa}").as_bytes());
    let mut hello = NodeHello::new(Protocol::Pop3, false, None);
    assert!(matches!(hello.step(&mut input), Ok(HelloStep::Send(_))));
    assert!(matches!(hello.step(&mut input), Ok(HelloStep::Ready)));
    hello.replay(NodeLogin::by_password(UserName::new(user).unwrap(), Secret::new(password.to_vec())))
}

/// What is sent when the node answers so, in order.
fn sent(mut replay: Replay, answers: &str) -> Vec<String> {
    let mut input = Input::new();
    input.push(answers.as_bytes());
    let mut sent = Vec::new();
    while let Ok(ReplayStep::Send(secret)) = replay.step(&mut input) {
        sent.push(secret.expose().escape_ascii().to_string());
    }
    sent
}

const CAPA: &str = "say: CAPA\\r\\n";
const STLS: &str = "say: STLS\\r\\n";
const AUTH: &str = "say: AUTH PLAIN AGJvYkBleGFtcGxlLm5ldABjb3JyZWN0IGhvcnNl\\r\\n";
const USER: &str = "say: USER bob@example.net\\r\\n";
const PASS: &str = "say: PASS correct horse\\r\\n";

const WITH_PLAIN: &str = "+OK\r\nSASL LOGIN PLAIN\r\nUSER\r\n.\r\n";
const WITH_USER: &str = "+OK here:\r\nTOP\r\nUSER\r\n.\r\n";

#[test]
fn a_greeting_is_ok_or_the_node_is_out() {
    node(false, "+OK <1.2@x> ready\r\n", &[CAPA]);
    node(false, "-ERR [SYS/TEMP] full\r\n", &["fault: the node said goodbye", "0 octets"]);
    for garbage in ["* OK IMAP\r\n", "220 smtp\r\n", "\r\n", "+ \r\n", "HTTP/1.1 400 Bad Request\r\n"] {
        node(false, garbage, &["fault: the node answered something that is not this protocol", "0 octets"]);
    }
    node(false, "", &[]);
}

#[test]
fn stls_is_demanded_before_anything_else_is_said() {
    let rest = format!("{WITH_USER}+OK\r\n+OK in\r\n");
    node(
        true,
        format!("+OK\r\n+OK begin\r\n{rest}"),
        &[STLS, "starttls", CAPA, "ready", USER, PASS, "untagged: ", "accepted: in", "0 octets"],
    );
    node(true, "+OK\r\n-ERR no\r\n", &[STLS, "fault: the node refused STARTTLS", "0 octets"]);
}

#[test]
fn r_be_05_what_stands_behind_the_agreement_to_tls_is_left_for_the_session_to_see() {
    let mut input = Input::new();
    input.push(b"+OK\r\n+OK begin\r\n+OK\r\nUSER\r\n.\r\n");
    let mut hello = NodeHello::new(Protocol::Pop3, true, None);
    assert!(matches!(hello.step(&mut input), Ok(HelloStep::Send(_))));
    assert!(matches!(hello.step(&mut input), Ok(HelloStep::StartTls)));
    for _ in 0..2 {
        assert!(matches!(hello.step(&mut input), Ok(HelloStep::Wait)));
    }
    assert_eq!(input.as_bytes(), b"+OK\r\nUSER\r\n.\r\n");
    let (user, password) = (UserName::new(b"bob").unwrap(), Secret::new(b"secret".to_vec()));
    assert!(hello.replay(NodeLogin::by_password(user, password)).is_err(), "credentials before the handshake");
}

#[test]
fn plain_is_preferred_and_user_is_the_rest() {
    node(false, format!("+OK\r\n{WITH_PLAIN}"), &[CAPA, "ready", AUTH]);
    node(false, format!("+OK\r\n{WITH_USER}"), &[CAPA, "ready", USER]);
    node(false, "+OK\r\n-ERR what?\r\n", &[CAPA, "ready", USER]);
    let none = "fault: the node offers no way to log in with a password";
    node(false, "+OK\r\n+OK\r\nTOP\r\nSASL GSSAPI\r\n.\r\n", &[CAPA, "ready", none, "0 octets"]);
}

#[test]
fn an_initial_response_is_sent_only_if_the_command_fits_in_255_octets() {
    let begin = |octets: usize| sent(replay(WITH_PLAIN, b"bob", &vec![b'x'; octets]).ok().unwrap(), "");
    let fits = begin(175);
    assert_eq!(fits[0].trim_end_matches("\\r\\n").len() + 2, 253);
    assert!(fits[0].starts_with("AUTH PLAIN AGJvYg"));
    assert_eq!(begin(176), ["AUTH PLAIN\\r\\n"]);
}

#[test]
fn any_continuation_gets_the_response() {
    for continuation in ["+\r\n", "+ \r\n", "+ DQo=\r\n"] {
        let sent = sent(replay(WITH_PLAIN, b"bob", &[b'x'; 1024]).ok().unwrap(), continuation);
        assert_eq!(sent[0], "AUTH PLAIN\\r\\n");
        assert!(sent[1].starts_with("AGJvYgB4eHh4"), "{continuation:?}: {sent:?}");
        assert_eq!(sent.len(), 2);
    }
}

#[test]
fn a_node_that_dislikes_the_mechanism_says_nothing_about_the_password() {
    let answer = |answer: &[u8]| {
        let mut replay = replay(WITH_PLAIN, b"bob", &[b'x'; 1024]).ok().unwrap();
        let mut input = Input::new();
        assert!(matches!(replay.step(&mut input), Ok(ReplayStep::Send(_))));
        input.push(answer);
        replay.step(&mut input)
    };
    assert!(matches!(answer(b"-ERR unknown command\r\n"), Err(NodeFault::RefusedUnseen)));
    assert!(matches!(answer(b"-ERR [SYS/TEMP] later\r\n"), Ok(ReplayStep::Answer(NodeAnswer::Refused(_)))));
    assert!(matches!(answer(b"+OK in without a password\r\n"), Err(NodeFault::Garbage)));
}

#[test]
fn a_password_with_spaces_passes_and_a_name_with_one_cannot() {
    assert_eq!(
        sent(replay(WITH_USER, b"bob", b" \xff x ").ok().unwrap(), "+OK\r\n"),
        ["USER bob\\r\\n", "PASS  \\xff x \\r\\n"]
    );
    assert!(matches!(replay(WITH_USER, b"b b", b"secret"), Err(NodeFault::Inexpressible)));
    assert!(matches!(replay(WITH_USER, b"bob", b"x\r\nDELE 1"), Err(NodeFault::Inexpressible)));
    assert!(replay(WITH_PLAIN, b"b b", b"secret").is_ok());
}

#[test]
fn a_refusal_keeps_its_words_wherever_it_comes() {
    let head = format!("+OK\r\n{WITH_USER}");
    let no = ["refused (WrongPassword): [AUTH] no such user", "0 octets"];
    node(false, format!("{head}-ERR [AUTH] no such user\r\n"), &[CAPA, "ready", USER, no[0], no[1]]);
    node(false, format!("{head}+OK\r\n-ERR [AUTH] no such user\r\n"), &[CAPA, "ready", USER, PASS, no[0], no[1]]);
    let head = format!("+OK\r\n{WITH_PLAIN}");
    for (answer, expected) in [
        ("-ERR", "refused (WrongPassword): "),
        ("-ERR [99] no", "refused (WrongPassword): [AUTH] [99] no"),
        ("-ERR [SYS/TEMP] later", "refused (Temporary): [SYS/TEMP] later"),
        ("-ERR [IN-USE] locked", "refused (Other): [IN-USE] locked"),
    ] {
        node(false, format!("{head}{answer}\r\n"), &[CAPA, "ready", AUTH, expected, "0 octets"]);
    }
}

#[test]
fn r_pipe_what_stands_behind_the_answer_belongs_to_the_session() {
    node(
        false,
        format!("+OK\r\n{WITH_PLAIN}+OK  in\r\n+OK 0 0\r\n"),
        &[CAPA, "ready", AUTH, "untagged: ", "accepted:  in", "9 octets unused"],
    );
}

#[test]
fn r_be_04_garbage_and_more_than_the_limits_are_faults() {
    let too_long = "fault: the node answered more than the limits allow";
    let garbage = "fault: the node answered something that is not this protocol";
    let unused = |steps: Vec<String>| steps[..steps.len() - 1].to_vec();
    let run = |sent: String| unused(dialogues::node_transcript(Protocol::Pop3, false, sent.as_bytes(), Reads::Whole));
    let capa = format!("+OK\r\n{WITH_PLAIN}");
    assert_transcript(&run(format!("+OK {}\r\n", "x".repeat(8189))), &[too_long]);
    assert_transcript(&run(format!("+OK {}\r\n+", "x".repeat(8188))), &[]);
    assert_transcript(&run(format!("+OK\r\n+OK\r\n{}", "TOP\r\n".repeat(13_108))), &[CAPA, too_long]);
    assert_transcript(&run(format!("+OK\r\n+OK\r\n{}", "\r\n".repeat(32_769))), &[CAPA, too_long]);
    assert_transcript(&run(format!("{capa}+OK {}\r\n", "x".repeat(9000))), &[CAPA, "ready", AUTH, too_long]);
    assert_transcript(&run(format!("{capa}* BYE\r\n")), &[CAPA, "ready", AUTH, garbage]);
    assert_transcript(&run(format!("{capa}+ more\r\n")), &[CAPA, "ready", AUTH, garbage]);
}

#[test]
fn any_whole_answer_to_a_probes_capa_will_do_and_it_is_bounded() {
    let run = |sent: &str, reads| {
        let octets = format!("+OK\r\n{WITH_PLAIN}{sent}");
        dialogues::command_transcript(Protocol::Pop3, false, octets.as_bytes(), reads)
    };
    let garbage = "fault: the node answered something that is not this protocol";
    for (sent, expected) in [
        ("+OK\r\nTOP\r\n.\r\n+OK", &["answered: ", "3 octets"][..]),
        ("-ERR what?\r\n", &["answered: ", "0 octets"]),
        ("+OK\r\nTOP\r\n", &[]),
        ("", &[]),
        ("+ \r\n", &[garbage, "0 octets"]),
        ("* BYE\r\n", &[garbage, "0 octets"]),
    ] {
        let whole = run(sent, Reads::Whole);
        assert_eq!(whole, run(sent, Reads::Octets), "{sent:?}");
        assert_transcript(&whole, &[&[CAPA, "ready", CAPA], expected].concat());
    }
    let endless = [format!("+OK {}", "x".repeat(9000)), format!("+OK\r\n{}", "TOP\r\n".repeat(13_108))];
    for sent in endless {
        assert_eq!(run(&sent, Reads::Whole)[3], "fault: the node answered more than the limits allow", "{sent:.60?}");
    }
}

#[test]
fn a_command_before_the_node_is_ready_is_refused_and_the_farewell_is_one_line() {
    let mut command = NodeHello::new(Protocol::Pop3, false, None).command();
    assert!(matches!(command.step(&mut Input::new()), Err(NodeFault::Garbage)));
    assert_eq!(NodeHello::farewell(Protocol::Pop3), b"QUIT\r\n");
}
