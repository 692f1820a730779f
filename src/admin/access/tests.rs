//! Roles and tokens as a table, without a connection.

use std::io::Write as _;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use tempfile::NamedTempFile;

use super::*;

const OPERATOR: &str = "operator-Pa55-0123456789abcdefghijklmn";
const READ_ONLY: &str = "read-only-Pa55-0123456789abcdefghijklmn";

fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn tokens() -> Tokens {
    let (operator, read_only) = (file(&format!("{OPERATOR}\n")), file(READ_ONLY));
    Tokens::load(Some(operator.path()), Some(read_only.path())).unwrap_or_else(|error| panic!("{error}"))
}

fn gate(tokens: Tokens) -> Gate {
    Gate::new(Entrance::new(Keys { tls: None, tokens }))
}

fn remote(client: &str) -> Operator {
    Operator { uid: None, pid: None, remote: Some(client.parse().unwrap()) }
}

/// The status, and what stands in the header beside it.
fn asked(gate: &Gate, role: Role, operator: Operator, fields: &[&str]) -> (u16, String) {
    let request = fields.iter().fold(Request::builder(), |request, field| request.header("authorization", *field));
    let mut request = request.extension(operator).body(Body::empty()).unwrap();
    let admitted = gate.admit(role, &mut request);
    assert!(request.headers().is_empty(), "whoever is behind the gate sees the token");
    let Err(refusal) = admitted else {
        let has = request.extensions().get::<Pass>().unwrap().role();
        assert!(has >= role, "{has:?}");
        return (200, format!("{has:?}"));
    };
    let response = refusal.into_response();
    let field = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let said = field("www-authenticate").or_else(|| field("retry-after")).unwrap();
    (response.status().as_u16(), said)
}

/// What stands in the header, and what whoever asks for each role hears.
type Case<'a> = (&'a [&'a str], [(u16, &'a str); 3]);

#[tokio::test]
async fn a_token_gives_its_role_and_nothing_else_gives_any() {
    let gate = gate(tokens());
    let (operator, read_only) = (format!("Bearer {OPERATOR}"), format!("Bearer {READ_ONLY}"));
    let (invalid, none) = ("error=\"invalid_token\"", "Bearer realm=\"mailferry\"");
    let cases: [Case<'_>; 13] = [
        (&[], [(200, "Anybody"), (401, none), (401, none)]),
        (&[&operator], [(200, "Anybody"), (200, "Operator"), (200, "Operator")]),
        (&[&read_only], [(200, "Anybody"), (200, "ReadOnly"), (403, "insufficient_scope")]),
        (&[&format!("bEARER  {OPERATOR} ")], [(200, "Anybody"), (200, "Operator"), (200, "Operator")]),
        (&[&format!("{operator}x")], [(200, "Anybody"), (401, invalid), (401, invalid)]),
        (&[&operator[..operator.len() - 1]], [(200, "Anybody"), (401, invalid), (401, invalid)]),
        (&[&operator.to_uppercase()], [(200, "Anybody"), (401, invalid), (401, invalid)]),
        (&[OPERATOR], [(200, "Anybody"), (401, invalid), (401, invalid)]),
        (&[&format!("Basic {OPERATOR}")], [(200, "Anybody"), (401, invalid), (401, invalid)]),
        (&["Bearer "], [(200, "Anybody"), (401, invalid), (401, invalid)]),
        (&[""], [(200, "Anybody"), (401, invalid), (401, invalid)]),
        (&[&format!("Bearer {OPERATOR},{OPERATOR}")], [(200, "Anybody"), (401, invalid), (401, invalid)]),
        (&[&operator, &operator], [(200, "Anybody"), (401, invalid), (401, invalid)]),
    ];
    for (number, (fields, expected)) in cases.into_iter().enumerate() {
        let roles = [Role::Anybody, Role::ReadOnly, Role::Operator];
        for (role, (status, said)) in roles.into_iter().zip(expected) {
            // Each from a network of its own, so that none is refused for the others.
            let client = remote(&format!("192.0.2.{number}:1"));
            let (answered, says) = asked(&gate, role, client, fields);
            assert!(answered == status && says.contains(said), "{fields:?} {role:?}: {answered} {says}");
        }
    }
}

#[tokio::test]
async fn over_the_socket_everybody_is_an_operator() {
    let gate = gate(Tokens::default());
    let local = Operator { uid: None, pid: None, remote: None };
    for fields in [&[][..], &["Bearer wrong"]] {
        assert_eq!(asked(&gate, Role::Operator, local, fields), (200, "Operator".to_owned()));
    }
}

#[tokio::test]
async fn without_tokens_nobody_gets_in_and_a_question_of_nobody_is_refused() {
    let gate = gate(Tokens::default());
    assert_eq!(asked(&gate, Role::ReadOnly, remote("192.0.2.1:1"), &[&format!("Bearer {OPERATOR}")]).0, 401);
    let mut nobodys = Request::new(Body::empty());
    let refusal = gate.admit(Role::Anybody, &mut nobodys);
    assert!(refusal.is_ok());
    let refusal = gate.admit(Role::ReadOnly, &mut nobodys).err().unwrap().into_response();
    assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn too_many_wrong_tokens_make_the_wrong_of_a_network_wait_and_nobody_else() {
    let gate = gate(tokens());
    let wrong = format!("Bearer {OPERATOR}x");
    let right = format!("Bearer {OPERATOR}");
    for number in 0..10 {
        let (status, _) = asked(&gate, Role::ReadOnly, remote(&format!("[2001:db8::{number}]:1")), &[&wrong]);
        assert_eq!(status, 401, "{number}");
    }
    let same = remote("[2001:db8::ffff]:1");
    assert_eq!(asked(&gate, Role::ReadOnly, same, &[&wrong]), (429, "7".to_owned()));
    assert_eq!(asked(&gate, Role::ReadOnly, same, &["Basic x"]).0, 429);
    assert_eq!(asked(&gate, Role::ReadOnly, same, &[&right]).0, 200, "strangers lock nobody out");
    assert_eq!(asked(&gate, Role::ReadOnly, same, &[]).0, 401, "who shows none guesses nothing");
    assert_eq!(asked(&gate, Role::Anybody, same, &[&wrong]).0, 200, "a balancer's");
    assert_eq!(asked(&gate, Role::ReadOnly, remote("[2001:db8:0:1::1]:1"), &[&wrong]).0, 401, "another network");
    tokio::time::advance(std::time::Duration::from_secs(6)).await;
    assert_eq!(asked(&gate, Role::ReadOnly, same, &[&right]).0, 200, "which costs nothing");
    assert_eq!(asked(&gate, Role::ReadOnly, same, &[&wrong]).0, 401);
    assert_eq!(asked(&gate, Role::ReadOnly, same, &[&wrong]).0, 429);
}

#[test]
fn a_file_holds_a_token_that_nobody_guesses_or_is_refused() {
    let long = "x".repeat(1025);
    let error = |content: &str| check_token(file(content).path()).err().map(|error| error.to_string());
    for (content, said) in [
        (OPERATOR, None),
        ("0123456789abcdef0123456789abcdef\r\n", None),
        ("abcdefghijklmnopqrstuvwxyz+/-._~ABCDE==", None),
        ("", Some("is empty")),
        ("0123456789abcdef0123456789abcde", Some("is shorter than 32 characters")),
        (long.as_str(), Some("is longer than 1024 octets")),
        ("0123456789 abcdef 0123456789 abcdef", Some("has other characters than letters")),
        ("================================", Some("has other characters than letters")),
        ("0123456789abcdef=0123456789abcdef", Some("has other characters than letters")),
        ("0123456789abcdef0123456789abcdef\n\n", Some("has other characters than letters")),
        ("\u{e4}0123456789abcdef0123456789abcdef", Some("has other characters than letters")),
    ] {
        let told = error(content);
        assert_eq!(told.is_some(), said.is_some(), "{content}: {told:?}");
        let is_right = told.is_none_or(|told| told.contains(said.unwrap()) && !told.contains("0123"));
        assert!(is_right, "{content}");
    }
    let (one, other) = (file(OPERATOR), file(&format!("{OPERATOR}\n")));
    assert_eq!(Tokens::load(Some(one.path()), Some(other.path())).err(), Some(TokenError::Same));
    let missing = check_token(Path::new("/nowhere/token")).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/token cannot be read"), "{missing}");
}
