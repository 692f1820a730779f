//! What nodes hear, and what their answers become.

use super::assert_transcript;
use crate::names::UserName;
use crate::proto::{
    Credentials, HelloStep, Input, NodeAnswer, NodeFault, NodeHello, NodeLogin, Protocol, Replay, ReplayStep,
    TokenMechanism,
};
use crate::secret::Secret;
use crate::testkit::dialogues::{self, Reads, Talk, introduction};

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
        &[STLS, "starttls", CAPA, "ready", USER, PASS, "untagged: ", "capabilities: ", "accepted: in", "0 octets"],
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
fn r_pop_07_what_stands_behind_the_answer_belongs_to_the_session() {
    node(
        false,
        format!("+OK\r\n{WITH_PLAIN}+OK  in\r\n+OK 0 0\r\n"),
        &[CAPA, "ready", AUTH, "untagged: ", "capabilities: ", "accepted:  in", "9 octets unused"],
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

/// How a transcript shows a fault.
fn fault_step(fault: NodeFault) -> String {
    format!("fault: {}", fault.to_string().as_bytes().escape_ascii())
}

/// The steps of a talk, the same at once and one octet at a time.
fn talked(talk: &Talk, sent: &str) -> Vec<String> {
    let run = |reads| dialogues::talk_transcript(talk, sent.as_bytes(), reads);
    let whole = run(Reads::Whole);
    assert_eq!(whole, run(Reads::Octets), "{sent:?}");
    whole
}

const XCLIENT: &str = concat!(
    "say: XCLIENT ADDR=192.0.2.7 DESTADDR=198.51.100.1 SESSION=0123456789abcdef-1 TTL=6 CLIENT-TRANSPORT=TLS ",
    "PORT=54321 DESTPORT=993 DESTNAME=mail.example.net\\r\\n",
);

#[test]
fn a_node_that_wants_to_hear_of_the_client_does_so_under_the_protection_that_is_demanded() {
    let talk = Talk { introduction: Some(introduction()), ..Talk::new(Protocol::Pop3) };
    let secured = Talk { starttls: true, ..talk.clone() };
    let steps = talked(&talk, &format!("+OK [XCLIENT] hi\r\n+OK Updated\r\n{WITH_USER}"));
    assert_transcript(&steps, &[XCLIENT, CAPA, "ready", USER]);
    let steps = talked(&secured, &format!("+OK [XCLIENT] hi\r\n+OK begin\r\n+OK Updated\r\n{WITH_USER}"));
    assert_transcript(&steps, &[STLS, "starttls", XCLIENT, CAPA, "ready", USER]);
    for (answer, fault) in [
        ("-ERR no\r\n", NodeFault::IntroductionRefused),
        ("+ \r\n", NodeFault::Garbage),
        ("* OK\r\n", NodeFault::Garbage),
    ] {
        let steps = talked(&talk, &format!("+OK [XCLIENT]\r\n{answer}"));
        assert_eq!(steps[..2], [XCLIENT.to_owned(), fault_step(fault)], "{answer:?}");
    }
    assert_transcript(&talked(&talk, "+OK hi\r\n"), &[CAPA]);
    assert_transcript(&talked(&Talk::new(Protocol::Pop3), "+OK [XCLIENT] hi\r\n"), &[CAPA]);
}

#[test]
fn what_a_node_would_choke_on_is_left_out_of_the_introduction() {
    let mut client = introduction();
    client.client.set_port(0);
    client.connected = "[2001:db8::1]:0".parse().unwrap();
    client.tls = None;
    let talk = Talk { introduction: Some(client), ..Talk::new(Protocol::Pop3) };
    let expected = "say: XCLIENT ADDR=192.0.2.7 DESTADDR=2001:db8::1 SESSION=0123456789abcdef-1 TTL=6 \
                    CLIENT-TRANSPORT=insecure\\r\\n";
    assert_eq!(talked(&talk, "+OK [XCLIENT]\r\n"), [expected]);
}

#[test]
fn what_a_node_can_do_is_what_it_listed() {
    let extensions = |capa: &str| {
        let mut input = Input::new();
        input.push(format!("+OK\r\n{capa}").as_bytes());
        let mut hello = NodeHello::new(Protocol::Pop3, false, None);
        assert!(matches!(hello.step(&mut input), Ok(HelloStep::Send(_))));
        assert_eq!(hello.extensions().iter().count(), 0, "not ready yet");
        assert!(matches!(hello.step(&mut input), Ok(HelloStep::Ready)));
        hello.extensions().iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let list = "+OK\r\nTOP\r\nexpire 60\r\nSASL plain XOAUTH2\r\nUSER\r\n\r\nX\u{fc}\r\n.\r\n";
    assert_eq!(extensions(list), ["AUTH=PLAIN", "AUTH=XOAUTH2", "EXPIRE 60", "TOP", "USER"]);
    assert!(extensions("-ERR what?\r\n").is_empty(), "a node that is older than CAPA says nothing of what it has");
}

#[test]
fn r_be_08_a_master_users_login_goes_by_plain_or_not_at_all() {
    let talk = Talk { master: Some(b"root"), ..Talk::new(Protocol::Pop3) };
    let said = "say: AUTH PLAIN Ym9iQGV4YW1wbGUubmV0AHJvb3QAY29ycmVjdCBob3JzZQ==\\r\\n";
    assert_transcript(&talked(&talk, &format!("+OK\r\n{WITH_PLAIN}")), &[CAPA, "ready", said]);
    for without in [WITH_USER, "-ERR what?\r\n"] {
        assert_eq!(talked(&talk, &format!("+OK\r\n{without}"))[2], fault_step(NodeFault::Inexpressible));
    }
}

const XOAUTH2: &str = "dXNlcj1ib2JAZXhhbXBsZS5uZXQBYXV0aD1CZWFyZXIgY29ycmVjdCBob3JzZQEB\\r\\n";
const BEARER: &str = "bixhPWJvYkBleGFtcGxlLm5ldCwBYXV0aD1CZWFyZXIgY29ycmVjdCBob3JzZQEB\\r\\n";

#[test]
fn r_sasl_06_a_token_is_said_in_its_own_mechanism_and_its_challenge_kept() {
    for (mechanism, message, dummy) in
        [(TokenMechanism::XOAuth2, XOAUTH2, "say: \\r\\n"), (TokenMechanism::OAuthBearer, BEARER, "say: AQ==\\r\\n")]
    {
        let talk = Talk { token: Some(mechanism), ..Talk::new(Protocol::Pop3) };
        let name = mechanism.name();
        let auth = format!("say: AUTH {name} {message}");
        let said = |answer: &str| {
            let steps = talked(&talk, &format!("+OK\r\n+OK\r\nSASL PLAIN {name}\r\n.\r\n{answer}"));
            assert_eq!(steps[..3], [CAPA, "ready: ", &auth]);
            steps[3..].to_vec()
        };
        let refused = "refused (WrongPassword): [AUTH] no";
        assert_eq!(said("+ eyJ4IjoxfQ==\r\n-ERR no\r\n")[..3], [dummy, "challenge: eyJ4IjoxfQ==", refused]);
        assert_eq!(said("-ERR no\r\n")[..1], [refused]);
        for bad in ["+\r\n", "+ {}\r\n", &format!("+ {}\r\n", "AAAA".repeat(513))] {
            assert_eq!(said(&format!("{bad}-ERR no\r\n"))[..2], [dummy, refused], "{bad:.40}");
        }
        assert_eq!(said("+ \r\n+ \r\n")[1], fault_step(NodeFault::Garbage));
        assert_eq!(said(&format!("+ {}\r\n", "A".repeat(9000)))[0], fault_step(NodeFault::TooLong));
        assert!(said("+ \r\n+OK in\r\n")[3].starts_with("accepted"), "it is the node's decision");
        for without in [WITH_PLAIN, WITH_USER, "-ERR what?\r\n"] {
            assert_eq!(talked(&talk, &format!("+OK\r\n{without}"))[2], fault_step(NodeFault::TokenUnwanted));
        }
    }
}

#[test]
fn a_long_token_waits_for_the_nodes_challenge_and_no_stranger_harms_the_node_with_it() {
    let capa = "+OK\r\nSASL XOAUTH2\r\n.\r\n";
    let begin = |answers: &str| {
        let mut input = Input::new();
        input.push(format!("+OK\r\n{capa}").as_bytes());
        let mut hello = NodeHello::new(Protocol::Pop3, false, None);
        while !matches!(hello.step(&mut input), Ok(HelloStep::Ready)) {}
        let token = Secret::new([b"Bearer ".as_slice(), &[b'x'; 8000]].concat());
        let user = UserName::new(b"bob").unwrap();
        let credentials = Credentials::Token(TokenMechanism::XOAuth2, token);
        let replay = hello.replay(NodeLogin { user, master: None, credentials }).ok().unwrap();
        let mut input = Input::new();
        input.push(answers.as_bytes());
        (replay, input)
    };
    let (replay, _) = begin("");
    let sent = sent(replay, "+ \r\n+ eyJ4IjoxfQ==\r\n");
    assert_eq!((sent[0].as_str(), sent[2].as_str(), sent.len()), ("AUTH XOAUTH2\\r\\n", "\\r\\n", 3));
    assert!(sent[1].starts_with("dXNlcj1ib2I"), "{}", sent[1]);
    let (mut replay, mut input) = begin("-ERR not that\r\n");
    assert!(matches!(replay.step(&mut input), Ok(ReplayStep::Send(_))));
    assert!(matches!(replay.step(&mut input), Err(NodeFault::TokenUnwanted)));
}
