//! R-SASL: AUTHENTICATE on the wire. The messages themselves have their tests in `proto::sasl`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::client::Client;
use crate::node::FakeNode;
use crate::site::{Door, Site};

fn plain(authzid: &str, user: &str, password: &str) -> String {
    STANDARD.encode(format!("{authzid}\0{user}\0{password}"))
}

async fn authenticate(client: &mut Client, mechanism: &str, responses: &[&str]) -> String {
    client.send(format!("a AUTHENTICATE {mechanism}\r\n")).await;
    for response in responses {
        assert!(client.line().await.starts_with("+ "));
        client.send(format!("{response}\r\n")).await;
    }
    client.answer("a").await.pop().unwrap()
}

#[tokio::test]
async fn r_sasl_01_a_foreign_authzid_is_refused_and_ones_own_is_not() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for authzid in ["", "alice"] {
        let mut client = site.greeted(Door::ImapTls).await;
        let message = plain(authzid, "alice", "own-Pa55");
        assert!(authenticate(&mut client, "PLAIN", &[&message]).await.starts_with("a OK "));
    }
    let mut client = site.greeted(Door::ImapTls).await;
    let answer = authenticate(&mut client, "PLAIN", &[&plain("bob", "alice", "own-Pa55")]).await;
    assert!(answer.starts_with("a NO [AUTHORIZATIONFAILED] "), "{answer}");
    assert_eq!(node.logins().len(), 2);
    let mut client = site.greeted(Door::Pop3Tls).await;
    let answer = client.ask(&format!("AUTH PLAIN {}", plain("bob", "alice", "own-Pa55"))).await;
    assert!(answer.starts_with("-ERR [AUTH] "), "{answer}");
    site.end(&["own-Pa55"]).await;
}

#[tokio::test]
async fn r_sasl_02_malformed_messages_never_reach_a_node() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for message in ["alice", "alice\0mal-Pa55", "\0alice\0mal-Pa55\0", "\0\0mal-Pa55", "\0alice\0", "\0alice\0a\r\nb"] {
        let mut client = site.greeted(Door::ImapTls).await;
        let answer = authenticate(&mut client, "PLAIN", &[&STANDARD.encode(message)]).await;
        assert!(answer.starts_with("a NO [AUTHENTICATIONFAILED] "), "{message:?}: {answer}");
    }
    assert_eq!(node.connections(), 0);
    site.end(&["mal-Pa55"]).await;
}

#[tokio::test]
async fn r_sasl_03_bad_base64_is_bad_and_the_session_goes_on() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    for bad in ["AGFsaWNl\tAHg=", "AGFsaWNlAHh", "x LOGOUT", "AGFsaWNlAHh9"] {
        let answer = authenticate(&mut client, "PLAIN", &[bad]).await;
        let expected = if bad == "AGFsaWNlAHh9" { "a OK " } else { "a BAD " };
        assert!(answer.starts_with(expected), "{bad:?}: {answer}");
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_sasl_04_a_star_cancels_and_the_next_command_works() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(authenticate(&mut client, "PLAIN", &["*"]).await.starts_with("a BAD "));
    assert!(authenticate(&mut client, "LOGIN", &["YWxpY2U=", "*"]).await.starts_with("a BAD "));
    assert!(client.command("b", "NOOP").await.starts_with("b OK "));
    assert!(client.command("c", "AUTHENTICATE CRAM-MD5").await.starts_with("c NO "));
    site.end(&[]).await;
}

#[tokio::test]
async fn r_sasl_05_initial_responses() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let message = plain("", "alice", "ir-Pa55");
    let name = STANDARD.encode("alice");
    let password = STANDARD.encode("ir-Pa55");
    let exchanges: [(String, Vec<&str>, &str); 5] = [
        (format!("PLAIN {message}"), vec![], "a OK "),
        ("PLAIN =".to_owned(), vec![], "a NO "),
        ("LOGIN".to_owned(), vec![&name, &password], "a OK "),
        (format!("LOGIN {name}"), vec![&password], "a OK "),
        ("plain".to_owned(), vec![&message], "a OK "),
    ];
    for (mechanism, responses, expected) in exchanges {
        let mut client = site.greeted(Door::ImapTls).await;
        let answer = authenticate(&mut client, &mechanism, &responses).await;
        assert!(answer.starts_with(expected), "{mechanism}: {answer}");
    }
    assert_eq!(node.logins(), vec![("alice".to_owned(), "ir-Pa55".to_owned()); 4]);
    // As long as a token of OAuth may be: read whole, and refused for what it is.
    let long = STANDARD.encode("x".repeat(11_000));
    for (command, expected) in [(format!("PLAIN {long}"), "a NO "), (format!("OAUTHBEARER {long}"), "a NO ")] {
        let mut client = site.greeted(Door::ImapTls).await;
        let answer = authenticate(&mut client, &command, &[]).await;
        assert!(answer.starts_with(expected), "{answer}");
    }
    site.end(&["ir-Pa55"]).await;
}
