//! Transcripts towards the client: SASL, STARTTLS, other protocols, and the answers to a login.

use super::*;
use crate::proto::RefusalKind;
use crate::proto::imap::tests::{CHALLENGE, Said, all, transcript};
use crate::proto::{TokenMechanism, sasl};

#[test]
fn r_sasl_05_plain_and_login_in_every_form() {
    check(&[
        (&format!("a AUTHENTICATE PLAIN\r\n{BOB}\r\n"), "+ \r\n<login a bob secret PLAIN>"),
        (&format!("a authenticate plain {BOB}\r\n"), "<login a bob secret PLAIN>"),
        // authzid = authcid
        ("a AUTHENTICATE PLAIN Ym9iAGJvYgBzZWNyZXQ=\r\n", "<login a bob secret PLAIN>"),
        (
            "a AUTHENTICATE LOGIN\r\nYm9i\r\nc2VjcmV0\r\n",
            "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n<login a bob secret AUTH-LOGIN>",
        ),
        ("a AUTHENTICATE LOGIN Ym9i\r\nc2VjcmV0\r\n", "+ UGFzc3dvcmQ6\r\n<login a bob secret AUTH-LOGIN>"),
        ("a AUTHENTICATE CRAM-MD5\r\n", "a NO Unsupported authentication mechanism\r\n"),
        ("a AUTHENTICATE\r\n", "a BAD Syntax error\r\n"),
        ("a AUTHENTICATE \"PLAIN\"\r\n", "a BAD Syntax error\r\n"),
        ("a AUTHENTICATE {5}\r\n", "a BAD Syntax error\r\n"),
        ("a AUTHENTICATE PLAIN = =\r\n", "a BAD Syntax error\r\n"),
    ]);
}

#[test]
fn r_sasl_01_a_foreign_authzid_is_refused() {
    let said = "a NO [AUTHORIZATIONFAILED] Nobody may log in as somebody else\r\n";
    check(&[("a AUTHENTICATE PLAIN cm9vdABib2IAc2VjcmV0\r\n", said)]);
    // bob is a master: he may act as root, and nobody but him.
    let masters = [crate::names::UserName::new(b"bob").unwrap()];
    let offer = Offer { master_users: masters.into(), ..offer(TLS) };
    let as_root = rendered(&offer, b"a AUTHENTICATE PLAIN cm9vdABib2IAc2VjcmV0\r\n");
    assert_eq!(as_root, "<login a root*bob secret PLAIN>");
    assert_eq!(rendered(&offer, b"a AUTHENTICATE PLAIN Ym9iAHJvb3QAc2VjcmV0\r\n"), said);
    assert_eq!(rendered(&offer, b"a LOGIN bob secret\r\n"), "<login a bob secret LOGIN>");
}

#[test]
fn r_sasl_02_malformed_messages_fail_like_wrong_passwords() {
    // Nothing, "bob", "bob\0secret", "\0bob\0sec\0ret", "\0\0secret", "\0bob\0", "\0bob\0x\r\ny"
    let messages = ["=", "Ym9i", "Ym9iAHNlY3JldA==", "AGJvYgBzZWMAcmV0", "AABzZWNyZXQ=", "AGJvYgA=", "AGJvYgB4DQp5"];
    for message in messages {
        assert_eq!(says(format!("a AUTHENTICATE PLAIN {message}\r\n")), FAILED, "{message}");
    }
    check(&[
        ("a AUTHENTICATE PLAIN\r\n\r\n", &format!("+ \r\n{FAILED}")),
        ("a AUTHENTICATE LOGIN =\r\nc2VjcmV0\r\n", &format!("+ UGFzc3dvcmQ6\r\n{FAILED}")),
        ("a AUTHENTICATE LOGIN Ym9i\r\n\r\n", &format!("+ UGFzc3dvcmQ6\r\n{FAILED}")),
    ]);
}

#[test]
fn r_sasl_03_bad_base64_ends_the_exchange_and_not_the_session() {
    for bad in ["x LOGOUT", "=", "AGJvYgBzZWNyZXQ", "AGJvYgBzZWNyZXR=", "AGJv YgBz", "*x", "\0", "AGJvYg==AGJv"] {
        let said = says(format!("a AUTHENTICATE PLAIN\r\n{bad}\r\nb NOOP\r\n"));
        assert_eq!(said, "+ \r\na BAD Invalid base64\r\nb OK Nothing done\r\n", "{bad:?}");
    }
    check(&[
        ("a AUTHENTICATE PLAIN AGJ\r\nb NOOP\r\n", "a BAD Invalid base64\r\nb OK Nothing done\r\n"),
        ("a AUTHENTICATE LOGIN\r\n%%%\r\n", "+ VXNlcm5hbWU6\r\na BAD Invalid base64\r\n"),
        ("a AUTHENTICATE PLAIN\r\nx {5+}\r\nb NOOP\r\n", "+ \r\na BAD Invalid base64\r\nb OK Nothing done\r\n"),
    ]);
    let longest = says(format!("a AUTHENTICATE PLAIN\r\n{}\r\nb NOOP\r\n", "AAAA".repeat(4096)));
    assert_eq!(longest, format!("+ \r\n{FAILED}b OK Nothing done\r\n"));
    let longer = says(format!("a AUTHENTICATE PLAIN\r\n{}A", "AAAA".repeat(4096)));
    assert_eq!(longer, "+ \r\n* BYE Command too long\r\n<close TooLong>");
}

#[test]
fn r_sasl_04_an_asterisk_cancels() {
    check(&[
        ("a AUTHENTICATE PLAIN\r\n*\r\nb NOOP\r\n", "+ \r\na BAD Authentication cancelled\r\nb OK Nothing done\r\n"),
        (
            "a AUTHENTICATE LOGIN Ym9i\r\n*\r\nb NOOP\r\n",
            "+ UGFzc3dvcmQ6\r\na BAD Authentication cancelled\r\nb OK Nothing done\r\n",
        ),
    ]);
}

/// A message with a token for bob, in base64.
fn bobs_token(mechanism: TokenMechanism, token: &str) -> String {
    let (bob, token) = (crate::names::UserName::new(b"bob").unwrap(), Secret::new(token.into()));
    let message = sasl::encode(&sasl::token_message(mechanism, &bob, &token).unwrap());
    String::from_utf8(message.expose().to_vec()).unwrap()
}

#[test]
fn r_sasl_05_initial_responses_are_optional_and_may_be_empty() {
    check(&[
        ("a AUTHENTICATE PLAIN =\r\n", FAILED),
        ("a AUTHENTICATE LOGIN Ym9i\r\nc2VjcmV0\r\n", "+ UGFzc3dvcmQ6\r\n<login a bob secret AUTH-LOGIN>"),
    ]);
    for mechanism in TokenMechanism::ALL {
        let (name, message) = (mechanism.name(), bobs_token(mechanism, "Bearer x"));
        let login = format!("<login a bob Bearer x {name}>+ {CHALLENGE}\r\n");
        let said = |octets: String| rendered(&all(TLS), octets.as_bytes());
        assert_eq!(said(format!("a AUTHENTICATE {name}\r\n{message}\r\n")), format!("+ \r\n{login}"));
        assert_eq!(said(format!("a authenticate {} {message}\r\n", name.to_lowercase())), login);
        assert_eq!(said(format!("a AUTHENTICATE {name} =\r\n")), FAILED);
        assert_eq!(said(format!("a AUTHENTICATE {name}\r\n\r\n")), format!("+ \r\n{FAILED}"));
        // As long as the line may be, which is much more than 12 KiB.
        let token = format!("Bearer {}", "x".repeat(sasl::RESPONSE_MAX / 4 * 3 - 40));
        let message = bobs_token(mechanism, &token);
        assert!((16_000..=sasl::RESPONSE_MAX).contains(&message.len()));
        let login = format!("<login a bob {token} {name}>+ {CHALLENGE}\r\n");
        assert_eq!(said(format!("a AUTHENTICATE {name} {message}\r\n")), login);
        assert_eq!(said(format!("a AUTHENTICATE {name}\r\n{message}\r\n")), format!("+ \r\n{login}"));
        let longer = "A".repeat(sasl::RESPONSE_MAX + 100);
        let said = said(format!("a AUTHENTICATE {name} {longer}\r\nb NOOP\r\n"));
        assert_eq!(said, "a BAD Line too long\r\nb OK Nothing done\r\n");
    }
}

#[test]
fn r_sasl_06_a_refused_token_gets_the_nodes_challenge_then_no_answer_counts_and_then_no() {
    const NO: &str = "a NO [AUTHENTICATIONFAILED] bad token\r\n";
    let login = format!("a AUTHENTICATE XOAUTH2 {}\r\n", bobs_token(TokenMechanism::XOAuth2, "Bearer x"));
    let refused = format!("<login a bob Bearer x XOAUTH2>+ {CHALLENGE}\r\n");
    let longest = "x".repeat(sasl::RESPONSE_MAX);
    for dummy in ["", "AQ==", "*", "=", "b NOOP", "b LOGIN bob {6+}", "\0\u{fc}", &longest] {
        let said = rendered(&all(TLS), format!("{login}{dummy}\r\nb NOOP\r\n").as_bytes());
        assert_eq!(said, format!("{refused}{NO}b OK Nothing done\r\n"), "{dummy:.20}");
    }
    let said = rendered(&all(TLS), format!("{login}{longest}x\r\n").as_bytes());
    assert_eq!(said, format!("{refused}{NO}* BYE Command too long\r\n<close TooLong>"));
    // What is dropped counts for nothing.
    let said = rendered(&all(TLS), format!("{login}*\r\n").repeat(20).as_bytes());
    assert_eq!(said, format!("{refused}{NO}").repeat(20));
    // Nobody waits for the dummy of a client that must go.
    let mut client = Client::new(all(TLS));
    let mut input = Input::new();
    input.push(login.as_bytes());
    let Step::Login(_, to) = client.step(&mut input) else { panic!("no login") };
    let text = b"[AUTHENTICATIONFAILED] bad token".to_vec();
    let refusal = NodeRefusal { kind: RefusalKind::WrongPassword, text, challenge: Some(b"e30=".to_vec()) };
    assert_eq!(client.relay_refusal(to, &refusal), b"+ e30=\r\n");
    assert_eq!(client.farewell(Farewell::Timeout), format!("{NO}* BYE The login took too long\r\n").as_bytes());
    input.push(b"\r\n");
    assert!(matches!(client.step(&mut input), Step::Reply(_)));
    assert_eq!(client.farewell(Farewell::Timeout), b"* BYE The login took too long\r\n");
    // Without a challenge, it is refused like a password.
    let refusal = NodeRefusal { challenge: None, ..refusal };
    input.push(login.as_bytes());
    let Step::Login(_, to) = client.step(&mut input) else { panic!("no login") };
    assert_eq!(client.relay_refusal(to, &refusal), NO.as_bytes());
    input.push(b"b NOOP\r\n");
    assert!(matches!(client.step(&mut input), Step::Reply(line) if line == b"b OK Nothing done\r\n"));
}

#[test]
fn r_sasl_07_what_follows_a_response_is_left_in_the_input() {
    let tokens = TokenMechanism::ALL.map(|mechanism| (mechanism.name(), vec![bobs_token(mechanism, "Bearer x")]));
    let passwords = [("PLAIN", vec![BOB.to_owned()]), ("LOGIN", vec!["Ym9i".to_owned(), "c2VjcmV0".to_owned()])];
    for (mechanism, responses) in tokens.into_iter().chain(passwords) {
        let login = format!("a AUTHENTICATE {mechanism}\r\n{}\r\n", responses.join("\r\n"));
        let said = transcript(&all(TLS), format!("{login}b SELECT inbox\r\n").as_bytes());
        let used = said.iter().find_map(|said| if let Said::Login(_, used) = said { Some(*used) } else { None });
        assert_eq!(used, Some(login.len()), "{mechanism}");
    }
}

#[test]
fn r_tls_01_what_follows_starttls_is_left_for_the_handshake() {
    let said = transcript(&offer(UPGRADABLE), b"a STARTTLS\r\nb NOOP\r\n");
    assert_eq!(said, [Said::StartTls("a OK Begin TLS now\r\n".into(), 12)]);
    assert_eq!(rendered(&offer(UPGRADABLE), b"a STARTTLS x\r\n"), "a BAD Syntax error\r\n");
}

#[test]
fn r_tls_03_only_the_number_of_bad_commands_survives_the_handshake() {
    let mut client = Client::new(offer(UPGRADABLE));
    let mut input = Input::new();
    input.push(&b"a FROB\r\n".repeat(10));
    input.push(b"b STARTTLS\r\n");
    while !matches!(client.step(&mut input), Step::StartTls(_)) {}
    let mut client = client.upgraded();
    assert!(client.greeting().ends_with(b"ID AUTH=PLAIN AUTH=LOGIN] mail.example.net ready\r\n"));
    input.push(b"c NOOP\r\nd STARTTLS\r\n");
    assert!(matches!(client.step(&mut input), Step::Reply(line) if line == b"c OK Nothing done\r\n"));
    assert!(matches!(client.step(&mut input), Step::Close(line, Goodbye::TooManyBadCommands)
        if line == b"d BAD STARTTLS is not available\r\n* BYE Too many bad commands\r\n"));
}

#[test]
fn r_tls_05_starttls_under_tls_is_bad() {
    check(&[("a STARTTLS\r\nb NOOP\r\n", "a BAD STARTTLS is not available\r\nb OK Nothing done\r\n")]);
    assert_eq!(rendered(&offer(Channel::Clear), b"a STARTTLS\r\n"), "a BAD STARTTLS is not available\r\n");
}

#[test]
fn r_tls_09_other_protocols_get_one_line() {
    for octets in
        [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"POST /x", b"EHLO me\r\n", b"HELO\r\n", b"\x16\x03\x01\x02\x00\n"]
    {
        assert_eq!(says(octets), "* BYE This is an IMAP server\r\n<close OtherProtocol>");
    }
    check(&[
        ("GE NOOP\r\n", "GE OK Nothing done\r\n"),
        ("a NOOP\r\nGET NOOP\r\n", "a OK Nothing done\r\nGET OK Nothing done\r\n"),
        ("G", ""),
    ]);
}

#[test]
fn r_pipe_03_what_follows_a_login_is_left_until_it_has_failed() {
    for login in ["a LOGIN bob secret\r\n".to_owned(), format!("a AUTHENTICATE PLAIN {BOB}\r\n")] {
        let said = transcript(&offer(TLS), format!("{login}b SELECT inbox\r\nc NOOP\r\n").as_bytes());
        let (first, rest) = said.split_first().unwrap();
        assert!(matches!(first, Said::Login(_, used) if *used == login.len()), "{first:?}");
        let rest: Vec<_> = rest.iter().map(|said| matches!(said, Said::Reply(_))).collect();
        assert_eq!(rest, [true, true], "each is answered by mailferry once the login has failed");
    }
}

#[test]
fn answers_to_a_login_carry_its_tag_and_one_atom_as_code() {
    let mut client = Client::new(offer(TLS));
    let to = || ReplyTo { tag: b"A7".as_slice().into() };
    for (refusal, answer) in [
        (Refusal::AuthenticationFailed, "A7 NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"),
        (Refusal::Unavailable, "A7 NO [UNAVAILABLE] Temporary failure, please try again later\r\n"),
        (Refusal::ServerBug, "A7 NO [SERVERBUG] Internal error, the login was not completed\r\n"),
        (Refusal::TooManySessions, "A7 NO [LIMIT] Too many sessions of this user\r\n"),
        (Refusal::TooManyFailures, "A7 NO [LIMIT] Too many failed logins, please try again later\r\n"),
    ] {
        assert_eq!(client.refuse(to(), refusal), answer.as_bytes());
    }
    let refused = |text: &[u8]| NodeRefusal { kind: RefusalKind::Other, text: text.to_vec(), challenge: None };
    assert_eq!(client.relay_refusal(to(), &refused(b"[EXPIRED] \xfc")), b"A7 NO [EXPIRED] \xfc\r\n");
    let wordless = client.relay_refusal(to(), &refused(b""));
    assert_eq!(wordless, client.refuse(to(), Refusal::AuthenticationFailed));
    for (farewell, line) in [
        (Farewell::Timeout, "* BYE The login took too long\r\n"),
        (Farewell::TooManyFailures, "* BYE Too many failed logins\r\n"),
        (Farewell::Shutdown, "* BYE [UNAVAILABLE] Shutting down, please reconnect\r\n"),
        (Farewell::TooManyConnections, "* BYE [UNAVAILABLE] Too many connections, please try again later\r\n"),
    ] {
        assert_eq!(client.farewell(farewell), line.as_bytes());
    }
    let accepted = NodeAcceptance {
        untagged: b"* OK [ALERT] x\r\n".to_vec(),
        text: b"[CAPABILITY X] hi".to_vec(),
        capabilities: Vec::new(),
    };
    assert_eq!(client.accept(to(), &accepted), b"* OK [ALERT] x\r\nA7 OK [CAPABILITY X] hi\r\n");
}
