//! Transcripts towards the client: SASL, STARTTLS, other protocols, and the answers to a login.

use super::*;
use crate::proto::RefusalKind;
use crate::proto::imap::tests::{Said, transcript};

#[test]
fn r_sasl_plain_and_login_in_every_form() {
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
    assert!(client.greeting().ends_with(b"IDLE AUTH=PLAIN AUTH=LOGIN] mail.example.net ready\r\n"));
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
fn r_pipe_what_follows_a_login_is_left_until_it_has_failed() {
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
