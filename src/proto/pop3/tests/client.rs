//! What clients hear, requirement by requirement.

mod mechanisms;

use std::sync::Arc;

use super::assert_transcript;
use crate::proto::{
    BAD_COMMANDS_MAX, Channel, ClientDialogue, Farewell, Goodbye, Input, NodeAcceptance, NodeRefusal, Offer, Protocol,
    Refusal, RefusalKind, ReplyTo, Step, sasl,
};
use crate::testkit::dialogues::{self, Reads};

/// The steps that follow the greeting, the same at once and one octet at a time (16, where there are very many). Each is
/// known to be a lawful answer.
#[track_caller]
fn steps_of(offer: Offer, sent: impl AsRef<[u8]>) -> Vec<String> {
    let run = |reads| dialogues::client_transcript(Protocol::Pop3, offer.clone(), sent.as_ref(), reads);
    let whole = run(Reads::Whole);
    let small = if sent.as_ref().len() < 4096 { Reads::Octets } else { Reads::Sizes(&[15]) };
    assert_eq!(whole, run(small));
    let ready = if offer.is_trusted { "[XCLIENT] mail" } else { "mail" };
    assert_eq!(whole[0], format!("say: +OK {ready}.example.net ready\\r\\n"));
    for step in whole.iter().filter(|step| !step.starts_with("login")) {
        let (_, text) = step.split_once("}: ").or_else(|| step.split_once(": ")).unwrap();
        assert!(text.starts_with("+OK") || text.starts_with("-ERR ") || text.starts_with("+ "), "{text}");
        assert!(text.ends_with("\\r\\n") && text.len() <= 512, "{text}");
        assert!(text.matches("\\r\\n").count() == 1 || text.ends_with("\\r\\n.\\r\\n"), "{text}");
    }
    whole[1..].to_vec()
}

#[track_caller]
fn tls(sent: impl AsRef<[u8]>, expected: &[&str]) {
    assert_transcript(&steps_of(dialogues::offer(Channel::Tls), sent), expected);
}

#[track_caller]
fn clear(sent: impl AsRef<[u8]>, expected: &[&str]) {
    assert_transcript(&steps_of(dialogues::offer(Channel::Upgradable), sent), expected);
}

/// STLS is offered, and passwords are taken without it too.
fn lax() -> Offer {
    Offer { cleartext_login: true, ..dialogues::offer(Channel::Upgradable) }
}

fn dialogue(offer: Offer, sent: &[u8]) -> (ClientDialogue, Input) {
    let mut input = Input::new();
    input.push(sent);
    (ClientDialogue::new(Protocol::Pop3, offer), input)
}

/// The names and passwords of all logins, each of which is refused.
fn logins(sent: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut dialogue, mut input) = dialogue(dialogues::offer(Channel::Tls), sent);
    let mut logins = Vec::new();
    loop {
        match dialogue.step(&mut input) {
            Step::Wait | Step::Close(..) => return logins,
            Step::Login(request, to) => {
                logins.push((request.user.as_bytes().to_vec(), request.credentials.secret().expose().to_vec()));
                dialogue.refuse(to, Refusal::AuthenticationFailed);
            }
            Step::Reply(_) | Step::Introduced(..) | Step::Decline(..) | Step::StartTls(_) => {}
        }
    }
}

const LOGIN: &str = "login by USER, 6 octets, as: bob";
const PLAIN: &str = "login by PLAIN, 6 octets, as: bob";
const SASL_LOGIN: &str = "login by AUTH-LOGIN, 6 octets, as: bob";
const AUTH_FAILED: &str = "say: -ERR [AUTH] Authentication failed.\\r\\n";
const ERR: &str = "say: -ERR ";
const OK: &str = "say: +OK ";
const CAPA: &str = "say: +OK\\r\\nRESP-CODES";
const STLS_FIRST: &str = "say: -ERR [SYS/PERM] use STLS first\\r\\n";

#[test]
fn r_tls_01_what_stands_behind_stls_is_left_for_the_handshake() {
    let (mut dialogue, mut input) = dialogue(lax(), b"STLS\r\nUSER bob\r\nPASS secret\r\n");
    assert!(matches!(dialogue.step(&mut input), Step::StartTls(text) if text.starts_with(b"+OK")));
    assert!(matches!(dialogue.step(&mut input), Step::Wait));
    assert_eq!(input.as_bytes(), b"USER bob\r\nPASS secret\r\n");
}

#[test]
fn r_tls_03_stls_forgets_user_and_sasl_but_not_the_bad_commands() {
    assert_transcript(
        &steps_of(lax(), "USER bob\r\nSTLS\r\nPASS secret\r\nUSER bob\r\nPASS secret\r\n"),
        &[OK, "starttls: +OK", ERR, OK, LOGIN, AUTH_FAILED],
    );
    let bad = "NOOP\r\n".repeat(BAD_COMMANDS_MAX as usize);
    let steps = steps_of(lax(), format!("{bad}STLS\r\nCAPA\r\nNOOP\r\n"));
    assert_transcript(&steps[steps.len() - 3..], &["starttls", CAPA, "close (TooManyBadCommands): -ERR"]);
}

#[test]
fn r_tls_05_stls_is_refused_under_tls_and_where_it_is_not_offered() {
    tls("STLS\r\n", &[ERR]);
    assert_transcript(&steps_of(dialogues::offer(Channel::Clear), "STLS\r\n"), &[ERR]);
    clear("STLS now\r\nSTLS\r\nSTLS\r\n", &[ERR, "starttls: +OK", ERR]);
}

#[test]
fn r_pop_01_and_04_capa_tells_the_truth_before_and_after_stls() {
    const HEAD: &str = "say: +OK\\r\\nRESP-CODES\\r\\nAUTH-RESP-CODE\\r\\nPIPELINING\\r\\n";
    let list = |tail: &str| format!("{HEAD}{tail}.\\r\\n");
    let (passwords, stls) = ("USER\\r\\nSASL PLAIN LOGIN\\r\\n", "STLS\\r\\n");
    let steps = steps_of(dialogues::offer(Channel::Upgradable), "CAPA\r\nSTLS\r\ncapa\r\n");
    assert_eq!(steps, [list(stls), "starttls: +OK begin TLS now\\r\\n".to_owned(), list(passwords)]);
    assert_eq!(steps_of(dialogues::offer(Channel::Clear), "CAPA\r\n"), [list("")]);
    assert_eq!(steps_of(lax(), "CAPA\r\n"), [list(&format!("{passwords}{stls}"))]);
    tls("CAPA x\r\n", &[ERR]);
    let nodes = "EXPIRE 30\\r\\nTOP\\r\\nUIDL\\r\\n";
    let steps = steps_of(dialogues::rich_offer(Channel::Upgradable), "CAPA\r\nSTLS\r\nCAPA\r\n");
    assert_eq!(steps[0], list(&format!("{stls}{nodes}")));
    assert_eq!(steps[2], list(&format!("USER\\r\\nSASL PLAIN LOGIN XOAUTH2 OAUTHBEARER\\r\\n{nodes}")));
}

#[test]
fn r_pop_05_of_the_nodes_lines_only_the_harmless_ones_are_repeated() {
    let offer = |lines: &[&str]| Offer {
        extensions: Arc::new(lines.iter().map(|line| line.as_bytes()).collect()),
        ..dialogues::offer(Channel::Clear)
    };
    let bare = steps_of(offer(&[]), "CAPA\r\n");
    for line in [
        "IMPLEMENTATION x",
        "APOP",
        "UTF8",
        "UTF8 USER",
        "LANG",
        "XCLIENT",
        "STLS",
        "USER",
        "SASL GSSAPI",
        "AUTH=GSSAPI",
        "PIPELINING",
        "RESP-CODES",
        "X-TOP",
        "TOPPLE",
        " TOP",
        "IMAP4REV1",
    ] {
        assert_eq!(steps_of(offer(&[line]), "CAPA\r\n"), bare, "{line:?}");
    }
    let steps = steps_of(offer(&["uidl", "login-delay 900", "EXPIRE NEVER", "top"]), "CAPA\r\n");
    assert!(steps[0].ends_with("PIPELINING\\r\\nEXPIRE NEVER\\r\\nLOGIN-DELAY 900\\r\\nTOP\\r\\nUIDL\\r\\n.\\r\\n"));
}

#[test]
fn r_pop_02_pass_keeps_all_spaces() {
    let sent = b"USER bob\r\nPASS  two  spaces  \r\nuser b o b \r\npass \"%{5}\\\xff\xfe\n";
    let expected: [(&[u8], &[u8]); 2] = [(b"bob", b" two  spaces  "), (b"b o b ", b"\"%{5}\\\xff\xfe")];
    assert_eq!(logins(sent), expected.map(|(user, password)| (user.to_vec(), password.to_vec())));
}

#[test]
fn r_pop_02_pass_comes_directly_behind_an_accepted_user() {
    tls("PASS secret\r\n", &[ERR]);
    for between in ["CAPA", "NOOP", "AUTH", "STLS", "USER ", "PASS"] {
        let steps = steps_of(dialogues::offer(Channel::Tls), format!("USER bob\r\n{between}\r\nPASS secret\r\n"));
        assert_transcript(&steps, &[OK, "say: ", "say: -ERR USER comes first"]);
    }
    tls("USER alice\r\nUSER bob\r\nPASS secret\r\n", &[OK, OK, LOGIN, AUTH_FAILED]);
}

#[test]
fn r_pop_02_a_failed_pass_goes_back_to_before_user() {
    tls(
        "USER bob\r\nPASS secret\r\nPASS secret\r\nUSER bob\r\nPASS secret\r\n",
        &[OK, LOGIN, AUTH_FAILED, "say: -ERR USER comes first", OK, LOGIN, AUTH_FAILED],
    );
}

#[test]
fn r_pop_02_an_empty_or_overlong_name_or_password_reaches_no_node() {
    tls("USER \r\nUSER\r\n", &[AUTH_FAILED, ERR]);
    tls("USER bob\r\nPASS \r\nUSER bob\r\nPASS\r\n", &[OK, AUTH_FAILED, OK, ERR]);
    tls(format!("USER {}\r\nUSER {}\r\n", "x".repeat(256), "x".repeat(255)), &[AUTH_FAILED, OK]);
}

#[test]
fn r_pop_03_auth_plain_comes_with_and_without_an_initial_response() {
    tls("AUTH PLAIN AGJvYgBzZWNyZXQ=\r\n", &[PLAIN, AUTH_FAILED]);
    tls("auth plain\r\nAGJvYgBzZWNyZXQ=\r\n", &["say: + \\r\\n", PLAIN, AUTH_FAILED]);
    tls("AUTH PLAIN =\r\nCAPA\r\n", &[AUTH_FAILED, CAPA]);
    tls("AUTH CRAM-MD5\r\nAUTH XOAUTH2 YQ==\r\n", &[ERR, ERR]);
}

#[test]
fn r_pop_03_auth_alone_lists_the_mechanisms_that_are_allowed() {
    tls("AUTH\r\n", &["say: +OK\\r\\nPLAIN\\r\\nLOGIN\\r\\n.\\r\\n"]);
    clear("AUTH\r\n", &["say: +OK\\r\\n.\\r\\n"]);
    let all = "say: +OK\\r\\nPLAIN\\r\\nLOGIN\\r\\nXOAUTH2\\r\\nOAUTHBEARER\\r\\n.\\r\\n";
    assert_transcript(&steps_of(dialogues::rich_offer(Channel::Tls), "AUTH\r\n"), &[all]);
    assert_transcript(&steps_of(dialogues::rich_offer(Channel::Clear), "AUTH\r\n"), &["say: +OK\\r\\n.\\r\\n"]);
}

#[test]
fn r_pop_04_without_tls_no_password_is_read() {
    clear("USER bob\r\nPASS secret\r\n", &[STLS_FIRST, STLS_FIRST]);
    clear("AUTH PLAIN AGJvYgBzZWNyZXQ=\r\nAUTH LOGIN\r\nAUTH X\r\n", &[STLS_FIRST, STLS_FIRST, STLS_FIRST]);
    let steps = steps_of(dialogues::offer(Channel::Clear), "USER bob\r\n");
    assert_transcript(&steps, &["say: -ERR [SYS/PERM] "]);
    assert!(!steps[0].contains("STLS"), "STLS is not offered here: {}", steps[0]);
}

#[test]
fn r_pop_05_what_is_not_announced_is_refused() {
    for line in ["UTF8", "LANG *", "APOP bob c4c9334bac560ecc", "XCLIENT ADDR=1.2.3.4", "XOIP 1.2.3.4"] {
        tls(format!("{line}\r\n"), &[ERR]);
    }
    for line in ["NOOP", "STAT", "LIST", "RETR 1", "DELE 1", "RSET", "TOP 1 0", "UIDL", ""] {
        tls(format!("{line}\r\n"), &[ERR]);
    }
}

#[test]
fn r_pop_05_a_trusted_proxy_says_who_its_client_is_before_anything_else() {
    let trusted = || Offer { is_trusted: true, ..dialogues::offer(Channel::Tls) };
    let all = "XCLIENT ADDR=192.0.2.7 PORT=4711 SESSION=s DESTADDR=2001:db8::1 destport=995 TTL=3 FORWARD=eA==";
    let introduced = |claim: &str| format!("introduced as Claim {{ {claim} }}: +OK ");
    let whole = introduced("client: Some(192.0.2.7:4711), connected: Some([2001:db8::1]:995), ttl: Some(3)");
    assert_transcript(&steps_of(trusted(), format!("{all}\r\n")), &[&whole]);
    for (arguments, claim) in [
        ("ADDR=192.0.2.7 PORT=x", introduced("client: Some(192.0.2.7:0), connected: None, ttl: None")),
        ("ADDR=evil  TTL=1", introduced("client: None, connected: None, ttl: Some(1)")),
        ("ADDR=evil TTL", OK.to_owned()),
        ("", OK.to_owned()),
    ] {
        assert_transcript(&steps_of(trusted(), format!("XCLIENT {arguments}\r\n")), &[&claim]);
    }
    // Once, and before a login has begun.
    assert_transcript(&steps_of(trusted(), format!("CAPA\r\n{all}\r\n{all}\r\n")), &[CAPA, &whole, ERR]);
    assert_transcript(&steps_of(trusted(), format!("USER bob\r\n{all}\r\nPASS x\r\n")), &[OK, ERR, ERR]);
    assert_transcript(&steps_of(trusted(), format!("AUTH PLAIN\r\n*\r\n{all}\r\n")), &["say: + ", ERR, ERR]);
    // A stranger cannot tell that there is such a command.
    let unknown = &steps_of(dialogues::offer(Channel::Tls), "XNONSENSE\r\n")[0];
    let steps = steps_of(dialogues::offer(Channel::Tls), format!("{all}\r\nUSER bob\r\n{all}\r\n"));
    assert_eq!([&steps[0], &steps[2]], [unknown; 2]);
    // What was said in clear text is said anew.
    let clear = Offer { is_trusted: true, ..dialogues::offer(Channel::Upgradable) };
    assert_transcript(&steps_of(clear, format!("{all}\r\nSTLS\r\n{all}\r\n")), &[&whole, "starttls", &whole]);
}

#[test]
fn r_pop_06_quit_closes_and_nothing_behind_it_is_run() {
    tls("USER bob\r\nQUIT\r\nCAPA\r\n", &[OK, "close (Logout): +OK"]);
}

#[test]
fn r_pop_07_and_r_pipe_what_follows_a_login_is_left_untouched() {
    for login in
        ["USER bob\r\nPASS secret\r\n", "AUTH PLAIN\r\nAGJvYgBzZWNyZXQ=\r\n", "AUTH PLAIN AGJvYgBzZWNyZXQ=\r\n"]
    {
        let (mut dialogue, mut input) = dialogue(dialogues::offer(Channel::Tls), login.as_bytes());
        input.push(b"STAT\r\nPASS x\r\n\0");
        let to = loop {
            match dialogue.step(&mut input) {
                Step::Reply(_) | Step::Decline(..) => {}
                Step::Login(_, to) => break to,
                _ => panic!("no login"),
            }
        };
        assert_eq!(input.as_bytes(), b"STAT\r\nPASS x\r\n\0");
        let accepted = NodeAcceptance { text: b"Logged in.".to_vec(), ..NodeAcceptance::default() };
        assert_eq!(dialogue.accept(to, &accepted), b"+OK Logged in.\r\n");
    }
}

#[test]
fn r_pipe_03_what_follows_a_failed_login_is_read_as_commands() {
    tls("USER bob\r\nPASS secret\r\nSTAT\r\nQUIT\r\n", &[OK, LOGIN, AUTH_FAILED, ERR, "close (Logout)"]);
}

#[test]
fn r_pop_08_a_line_of_the_limit_passes_and_one_octet_more_does_not() {
    let pass = |octets: usize| format!("USER bob\r\nPASS {}\r\nCAPA\r\n", "x".repeat(octets - "PASS ".len()));
    tls(pass(1024), &[OK, "login by USER, 1019 octets, as: bob", AUTH_FAILED, CAPA]);
    tls(pass(1025), &[OK, "say: -ERR line too long", CAPA]);
    let auth = |octets: usize| format!("AUTH PLAIN {}\r\nCAPA\r\n", "A".repeat(octets - "AUTH PLAIN ".len()));
    tls(auth(sasl::RESPONSE_MAX - 1), &[AUTH_FAILED, CAPA]);
    tls(auth(sasl::RESPONSE_MAX + 1), &["say: -ERR line too long", CAPA]);
    let response = |octets: usize| format!("AUTH PLAIN\r\n{}\r\nCAPA\r\n", "A".repeat(octets));
    tls(response(sasl::RESPONSE_MAX), &["say: + ", AUTH_FAILED, CAPA]);
    tls(response(sasl::RESPONSE_MAX + 1), &["say: + ", "say: -ERR line too long", CAPA]);
}

#[test]
fn r_pop_08_a_line_beyond_64_kib_closes_with_or_without_its_end() {
    tls(format!("{}\r\nCAPA\r\n", "x".repeat(65_535)), &["say: -ERR line too long", CAPA]);
    tls(format!("{}\r\nCAPA\r\n", "x".repeat(65_536)), &["close (TooLong): -ERR"]);
    tls("x".repeat(65_537), &["close (TooLong): -ERR"]);
    tls("x".repeat(65_536), &[]);
}

#[test]
fn r_pop_08_nul_and_bare_cr_are_refused() {
    tls("USER b\0b\r\nPASS x\r\n", &[ERR, ERR]);
    tls("USER bob\r\nPASS a\rb\r\nUSER bob\r\nPASS a\0\r\n", &[OK, ERR, OK, ERR]);
    tls("CAPA\r\r\n\0\r\nAUTH PLAIN\r\nYQ=\0\r\n", &[ERR, ERR, "say: + ", ERR]);
}

#[test]
fn bad_commands_are_answered_up_to_the_limit_and_then_the_connection_closes() {
    let max = BAD_COMMANDS_MAX as usize;
    let steps = steps_of(dialogues::offer(Channel::Tls), "NOOP\r\nCAPA\r\n".repeat(10_000));
    assert_eq!(steps.len(), 2 * max + 1);
    assert_transcript(&steps[2 * max..], &["close (TooManyBadCommands): -ERR"]);
    for bad in ["AUTH PLAIN *", "AUTH X", "AUTH PLAIN AAAA", "AUTH PLAIN cm9vdABib2IAc2VjcmV0", "USER ", "PASS x", "\0"]
    {
        let steps = steps_of(dialogues::offer(Channel::Tls), format!("{bad}\r\n").repeat(max + 1));
        assert_eq!(steps.len(), max + 1, "{bad:?} was not counted");
        assert!(steps[max].starts_with("close (TooManyBadCommands)"), "{bad:?} was not counted");
    }
}

#[test]
fn r_tls_09_other_protocols_hear_one_line_and_the_connection_closes() {
    for other in [&b"GET / HTTP/1.1\r\nHost: x\r\n"[..], b"POST /", b"HELO x\r\n", b"EHLO x\r\n", b"\x16\x03\x01\x02\0"]
    {
        clear(other, &["close (OtherProtocol): -ERR"]);
    }
}

#[test]
fn nothing_that_a_client_sends_is_said_back() {
    let sent = "MARK\r\nUSER MARK\r\nPASS MARK\r\nAUTH MARK\r\nAUTH PLAIN MARK=\r\nAUTH PLAIN\r\nMARK\r\nCAPA MARK\r\n";
    for offer in [dialogues::offer(Channel::Tls), dialogues::offer(Channel::Upgradable), lax()] {
        for step in steps_of(offer, sent) {
            assert!(step.starts_with("login") || !step.contains("MARK"), "{step}");
        }
    }
}

#[test]
fn refusals_and_farewells_carry_the_codes_that_clients_act_upon() {
    let to = || ReplyTo { tag: Box::default() };
    let mut dialogue = ClientDialogue::new(Protocol::Pop3, dialogues::offer(Channel::Tls));
    let relayed = NodeRefusal { kind: RefusalKind::Other, text: b"[IN-USE] locked".to_vec(), challenge: None };
    let cases: [(Vec<u8>, &[u8]); 10] = [
        (dialogue.refuse(to(), Refusal::AuthenticationFailed), b"-ERR [AUTH] Authentication failed.\r\n"),
        (dialogue.refuse(to(), Refusal::Unavailable), b"-ERR [SYS/TEMP] "),
        (dialogue.refuse(to(), Refusal::ServerBug), b"-ERR [SYS/PERM] "),
        (dialogue.refuse(to(), Refusal::TooManySessions), b"-ERR [IN-USE] "),
        (dialogue.refuse(to(), Refusal::TooManyFailures), b"-ERR [SYS/TEMP] "),
        (dialogue.relay_refusal(to(), &relayed), b"-ERR [IN-USE] locked\r\n"),
        (dialogue.farewell(Farewell::Timeout), b"-ERR [SYS/TEMP] "),
        (dialogue.farewell(Farewell::TooManyFailures), b"-ERR [SYS/TEMP] "),
        (dialogue.farewell(Farewell::Shutdown), b"-ERR [SYS/TEMP] "),
        (dialogue.farewell(Farewell::TooManyConnections), b"-ERR [SYS/TEMP] "),
    ];
    for (line, expected) in cases {
        assert!(line.starts_with(expected) && line.ends_with(b"\r\n"), "{:?}", line.escape_ascii().to_string());
    }
    let accepted = NodeAcceptance::default();
    assert_eq!(dialogue.accept(to(), &accepted), b"+OK\r\n");
}

#[test]
fn a_closed_dialogue_takes_nothing_more() {
    let (mut dialogue, mut input) = dialogue(dialogues::offer(Channel::Tls), b"QUIT\r\nCAPA\r\n");
    assert!(matches!(dialogue.step(&mut input), Step::Close(_, Goodbye::Logout)));
    assert!(matches!(dialogue.step(&mut input), Step::Wait));
    assert_eq!(input.as_bytes(), b"CAPA\r\n");
}
