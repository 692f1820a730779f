//! SASL: who may be meant, what a message may look like, and tokens.

use super::*;

#[test]
fn r_sasl_01_only_oneself_can_be_authorized() {
    // bob NUL bob NUL secret, then root NUL bob NUL secret.
    tls("AUTH PLAIN Ym9iAGJvYgBzZWNyZXQ=\r\n", &[PLAIN, AUTH_FAILED]);
    tls("AUTH PLAIN cm9vdABib2IAc2VjcmV0\r\n", &["say: -ERR [AUTH] nobody"]);
    // A master may: bob NUL admin NUL secret, and not the other way round.
    let steps = steps_of(
        dialogues::rich_offer(Channel::Tls),
        "AUTH PLAIN Ym9iAGFkbWluAHNlY3JldA==\r\nAUTH PLAIN YWRtaW4AYm9iAHNlY3JldA==\r\n",
    );
    assert_transcript(&steps, &[PLAIN, AUTH_FAILED, "say: -ERR [AUTH] nobody"]);
}

#[test]
fn r_sasl_02_malformed_messages_reach_no_node() {
    // "", "bob", NUL x 3, NUL bob NUL, NUL NUL secret.
    for message in ["", "Ym9i", "AAAA", "AGJvYgA=", "AABzZWNyZXQ="] {
        tls(format!("AUTH PLAIN\r\n{message}\r\n"), &["say: + ", AUTH_FAILED]);
    }
    // LOGIN: an empty name, a name with NUL, an empty password, a password with LF.
    for name in ["", "YQBi"] {
        let (ask_name, ask_password) = ("say: + VXNlcm5hbWU6\\r\\n", "say: + UGFzc3dvcmQ6\\r\\n");
        tls(format!("AUTH LOGIN\r\n{name}\r\nc2VjcmV0\r\n"), &[ask_name, ask_password, AUTH_FAILED]);
    }
    for password in ["", "eAo="] {
        tls(format!("AUTH LOGIN Ym9i\r\n{password}\r\n"), &["say: + UGFzc3dvcmQ6\\r\\n", AUTH_FAILED]);
    }
}

#[test]
fn r_sasl_03_bad_base64_ends_the_exchange_and_nothing_else() {
    for bad in ["YQ", "YQ= =", "YR==", "x LOGOUT", "QUIT\t", "=", "AGJvYgBzZWNyZXQ= "] {
        tls(format!("AUTH PLAIN\r\n{bad}\r\nCAPA\r\n"), &["say: + ", ERR, CAPA]);
    }
    tls("AUTH PLAIN YQ\r\nAUTH PLAIN a b\r\nCAPA\r\n", &[ERR, ERR, CAPA]);
}

#[test]
fn r_sasl_04_a_star_cancels() {
    tls("AUTH PLAIN\r\n*\r\nCAPA\r\n", &["say: + ", "say: -ERR cancelled", CAPA]);
    tls("AUTH LOGIN\r\nYm9i\r\n*\r\nCAPA\r\n", &["say: + ", "say: + ", "say: -ERR cancelled", CAPA]);
}

#[test]
fn r_sasl_05_login_asks_for_the_name_unless_it_came_at_once() {
    let (name, password) = ("say: + VXNlcm5hbWU6\\r\\n", "say: + UGFzc3dvcmQ6\\r\\n");
    tls("AUTH LOGIN\r\nYm9i\r\nc2VjcmV0\r\n", &[name, password, SASL_LOGIN, AUTH_FAILED]);
    tls("AUTH LOGIN Ym9i\r\nc2VjcmV0\r\n", &[password, SASL_LOGIN, AUTH_FAILED]);
    tls("AUTH LOGIN =\r\nc2VjcmV0\r\n", &[password, AUTH_FAILED]);
}

/// `user=bob ^A auth=Bearer x ^A ^A`.
const BOBS_XOAUTH2: &str = "dXNlcj1ib2IBYXV0aD1CZWFyZXIgeAEB";
/// `n,a=bob, ^A auth=Bearer x ^A ^A`.
const BOBS_OAUTHBEARER: &str = "bixhPWJvYiwBYXV0aD1CZWFyZXIgeAEB";
const CHALLENGE: &str = "say: + eyJzdGF0dXMiOiI0MDEifQ==\\r\\n";
const BAD_TOKEN: &str = "say: -ERR [AUTH] bad token\\r\\n";

#[test]
fn r_sasl_05_a_token_comes_with_and_without_an_initial_response_where_its_mechanism_is_announced() {
    for (mechanism, message) in [("XOAUTH2", BOBS_XOAUTH2), ("OAUTHBEARER", BOBS_OAUTHBEARER)] {
        let login = format!("login by {mechanism}, 8 octets, as: bob");
        let steps = |octets: String| steps_of(dialogues::rich_offer(Channel::Tls), octets);
        assert_transcript(&steps(format!("AUTH {mechanism} {message}\r\n")), &[&login, CHALLENGE]);
        assert_transcript(&steps(format!("AUTH {mechanism}\r\n{message}\r\n")), &["say: + \\r\\n", &login, CHALLENGE]);
        assert_transcript(&steps(format!("AUTH {mechanism} =\r\nAUTH {mechanism} AQ==\r\n")), &[AUTH_FAILED; 2]);
        let room = sasl::RESPONSE_MAX - format!("AUTH {mechanism} ").len();
        let longest = "A".repeat(room / 4 * 4);
        assert_transcript(&steps(format!("AUTH {mechanism} {longest}\r\n")), &[AUTH_FAILED]);
        tls(format!("AUTH {mechanism} {message}\r\n"), &["say: -ERR unknown mechanism"]);
        let clear = steps_of(dialogues::rich_offer(Channel::Upgradable), format!("AUTH {mechanism}\r\n"));
        assert_transcript(&clear, &[STLS_FIRST]);
    }
}

#[test]
fn r_sasl_06_a_refused_token_gets_the_nodes_challenge_then_no_answer_counts_and_then_err() {
    let login = format!("AUTH XOAUTH2 {BOBS_XOAUTH2}\r\n");
    let by = "login by XOAUTH2, 8 octets, as: bob";
    let steps = |octets: String| steps_of(dialogues::rich_offer(Channel::Tls), octets);
    let longest = "x".repeat(sasl::RESPONSE_MAX);
    for dummy in ["", "AQ==", "*", "=", "QUIT", "USER eve", "GET / HTTP/1.1", "\0\u{fc}", &longest] {
        let steps = steps(format!("{login}{dummy}\r\nCAPA\r\n"));
        assert_transcript(&steps, &[by, CHALLENGE, BAD_TOKEN, CAPA]);
    }
    assert_transcript(&steps(format!("{login}{longest}x\r\nCAPA\r\n")), &[by, CHALLENGE, BAD_TOKEN, CAPA]);
    // What is dropped counts for nothing.
    let many = steps(format!("{login}*\r\n").repeat(20));
    assert_transcript(&many, &[by, CHALLENGE, BAD_TOKEN].repeat(20));
    // Nobody waits for the dummy of a client that must go.
    let (mut dialogue, mut input) = dialogue(dialogues::rich_offer(Channel::Tls), login.as_bytes());
    let Step::Login(_, to) = dialogue.step(&mut input) else { panic!("no login") };
    let text = b"[AUTH] bad token".to_vec();
    let refusal = NodeRefusal { kind: RefusalKind::WrongPassword, text, challenge: Some(b"e30=".to_vec()) };
    assert_eq!(dialogue.relay_refusal(to, &refusal), b"+ e30=\r\n");
    assert!(dialogue.farewell(Farewell::Timeout).starts_with(b"-ERR [AUTH] bad token\r\n-ERR [SYS/TEMP] "));
    input.push(b"\r\n");
    assert!(matches!(dialogue.step(&mut input), Step::Reply(_)));
    assert!(dialogue.farewell(Farewell::Timeout).starts_with(b"-ERR [SYS/TEMP] "));
}
