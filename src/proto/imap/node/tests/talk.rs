//! What a node is told beyond a plain login: of the client, of a master user, and tokens.

use super::*;

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
