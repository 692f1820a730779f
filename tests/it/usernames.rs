//! From what a client types to what is looked up, what a node gets and what the log says: `[usernames]` on the wire.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailferry::proto::Protocol;
use mailferry::session;
use mailferry::testkit::settings;
use mailferry::usernames::{Characters, DomainRule, NodeName, Rules};

use crate::client::Client;
use crate::node::FakeNode;
use crate::site::{Door, Site, Spec};

const PASSWORD: &str = "named-Pa55";

fn with(usernames: Rules) -> session::Settings {
    session::Settings { usernames, ..settings::session() }
}

/// Two nodes of island a: one for each protocol.
async fn nodes() -> (FakeNode, FakeNode) {
    (FakeNode::imap().await, FakeNode::pop3().await)
}

fn spec(nodes: &(FakeNode, FakeNode), usernames: Rules) -> Spec {
    Spec { pop3_port: Some(nodes.1.port), session: with(usernames), ..Spec::new(&[nodes.0.port]) }
}

fn is_imap(door: Door) -> bool {
    matches!(door, Door::ImapTls | Door::ImapStartTls | Door::ImapClear)
}

/// The answer to a login in the protocol's own command, which takes octets as they are.
async fn log_in(client: &mut Client, door: Door, user: &[u8]) -> String {
    let end: &[u8] = b"\r\n";
    if is_imap(door) {
        let literal = format!("a LOGIN {{{}+}}\r\n", user.len());
        client.send([literal.as_bytes(), user, b" ", PASSWORD.as_bytes(), end].concat()).await;
        return client.answer("a").await.pop().unwrap();
    }
    client.send([b"USER ", user, end].concat()).await;
    assert!(client.line().await.starts_with("+OK"));
    client.ask(&format!("PASS {PASSWORD}")).await
}

/// The answer to SASL PLAIN.
async fn log_in_by_sasl(client: &mut Client, door: Door, user: &[u8]) -> String {
    let message = STANDARD.encode([b"\0", user, b"\0", PASSWORD.as_bytes()].concat());
    if is_imap(door) {
        return client.command("a", &format!("AUTHENTICATE PLAIN {message}")).await;
    }
    client.ask(&format!("AUTH PLAIN {message}")).await
}

fn is_in(answer: &str) -> bool {
    answer.starts_with("a OK ") || answer.starts_with("+OK")
}

/// The users that a node has seen, as octets.
fn users(node: &FakeNode) -> Vec<Vec<u8>> {
    node.seen.logins.get().into_iter().map(|(user, _)| user).collect()
}

#[tokio::test]
async fn odd_names_reach_the_directory_and_the_node_as_they_are() {
    const ODD: [&[u8]; 9] =
        [b"a*b", b"a)(uid=*", b"a%d", b"%u", b"{4}", b"a\\b", b"\"a\"", "j\u{fc}rgen".as_bytes(), b"j\xfcrgen"];
    let nodes = nodes().await;
    let site = Site::start(Spec {
        // Whoever took a name for a pattern would find the users of island b, where nobody is at home.
        users: "aXb b\na b\nb b\na*b a\na)(uid=* a\na%d a\n%u a\n{4} a\na\\b a\n\"a\" a\nj\u{fc}rgen a\n",
        more_users: b"j\xfcrgen a\n",
        ..spec(&nodes, settings::usernames())
    })
    .await;
    for door in [Door::ImapTls, Door::ImapClear, Door::Pop3Tls, Door::Pop3Clear] {
        let node = if is_imap(door) { &nodes.0 } else { &nodes.1 };
        for odd in ODD {
            for sasl in [false, true] {
                let mut client = site.greeted(door).await;
                let answer = if sasl {
                    log_in_by_sasl(&mut client, door, odd).await
                } else {
                    log_in(&mut client, door, odd).await
                };
                assert!(is_in(&answer), "{door:?} {:?}, SASL: {sasl}: {answer}", String::from_utf8_lossy(odd));
                assert_eq!(users(node).last().map(Vec::as_slice), Some(odd), "{door:?}, SASL: {sasl}");
                let line = client.from.line("login").await;
                assert!(line.contains("\"outcome\":\"accepted\"") && !line.contains("\"typed\""), "{line}");
            }
        }
    }
    site.end(&[PASSWORD]).await;
}

#[tokio::test]
async fn listeners_and_server_names_add_their_domains() {
    let nodes = nodes().await;
    let rules = Rules {
        domain: DomainRule::Add,
        default_domain: Some("site.example".into()),
        // The name that this test's clients ask for.
        domains_by_sni: vec![("localhost".into(), "sni.example".into())],
        on_node: NodeName::LookedUp,
        ..settings::usernames()
    };
    let site = Site::start(Spec {
        users: "bob@sni.example a\nbob@pop.example a\nbob@site.example a\nbob@own.example a\nbob b\n",
        listen: |listener| {
            listener.default_domain = (listener.protocol == Protocol::Pop3).then(|| "pop.example".into());
        },
        ..spec(&nodes, rules)
    })
    .await;
    for (door, expected) in [
        (Door::ImapTls, "bob@sni.example"),
        (Door::ImapClear, "bob@site.example"),
        (Door::Pop3Tls, "bob@sni.example"),
        (Door::Pop3Clear, "bob@pop.example"),
    ] {
        let node = if is_imap(door) { &nodes.0 } else { &nodes.1 };
        for (typed, expected) in [("bob", expected), ("bob@own.example", "bob@own.example")] {
            let mut client = site.greeted(door).await;
            let answer = log_in(&mut client, door, typed.as_bytes()).await;
            assert!(is_in(&answer), "{door:?} {typed}: {answer}");
            assert_eq!(users(node).last().unwrap(), expected.as_bytes(), "{door:?}");
        }
    }
    // After STARTTLS the server name counts, although the connection began without one.
    let mut client = site.greeted(Door::ImapStartTls).await;
    assert!(client.command("s", "STARTTLS").await.starts_with("s OK"));
    let mut client = client.handshake(site.client_tls()).await;
    assert!(is_in(&log_in(&mut client, Door::ImapStartTls, b"bob").await));
    assert_eq!(users(&nodes.0).last().unwrap(), b"bob@sni.example");
    site.end(&[PASSWORD]).await;
}

#[tokio::test]
async fn all_spellings_of_a_user_are_one_in_the_directory_and_the_log_and_the_node_gets_the_typed_one() {
    let nodes = nodes().await;
    let rules = Rules { lower_case: true, delimiter: Some("%".into()), ..settings::usernames() };
    let site = Site::start(Spec { users: "j\u{fc}rgen@example.net a\n", ..spec(&nodes, rules) }).await;
    for door in [Door::ImapClear, Door::Pop3Clear] {
        let node = if is_imap(door) { &nodes.0 } else { &nodes.1 };
        for (typed, differs) in
            [("j\u{fc}rgen@example.net", false), ("J\u{dc}RGEN@EXAMPLE.NET", true), ("J\u{fc}rgen%Example.net", true)]
        {
            let mut client = site.greeted(door).await;
            assert!(is_in(&log_in(&mut client, door, typed.as_bytes()).await), "{typed}");
            assert_eq!(users(node).last().unwrap(), typed.as_bytes());
            let line = client.from.line("login").await;
            assert!(line.contains("\"user\":\"j\u{fc}rgen@example.net\""), "{line}");
            assert_eq!(line.contains(&format!("\"typed\":\"{typed}\"")), differs, "{line}");
            assert_eq!(line.contains("\"typed\""), differs, "{line}");
            let from = client.from;
            drop(client);
            let end = from.line("session ended").await;
            assert!(end.contains("\"user\":\"j\u{fc}rgen@example.net\""), "{end}");
        }
    }
    site.end(&[PASSWORD]).await;
}

#[tokio::test]
async fn a_name_that_the_site_has_not_hears_what_a_wrong_password_hears_and_nobody_is_asked() {
    let nodes = nodes().await;
    let rules = Rules { characters: Characters::Ascii, length_max: 8, ..settings::usernames() };
    let site = Site::start(Spec { users: "alice a\nj\u{fc}rgen a\naaaaaaaaa a\n", ..spec(&nodes, rules) }).await;
    for door in [Door::ImapClear, Door::Pop3Clear] {
        let mut client = site.greeted(door).await;
        let unknown = log_in(&mut client, door, b"nobody").await;
        for name in ["j\u{fc}rgen", "aaaaaaaaa"] {
            let mut client = site.greeted(door).await;
            assert_eq!(log_in(&mut client, door, name.as_bytes()).await, unknown);
            let line = client.from.line("login").await;
            assert!(line.contains("\"outcome\":\"forbidden-name\""), "{line}");
            assert!(line.contains(&format!("\"user\":\"{name}\"")) && !line.contains("\"directory_ms\""), "{line}");
        }
        assert!(is_in(&log_in(&mut client, door, b"alice").await), "the session goes on");
    }
    assert_eq!((nodes.0.connections(), nodes.1.connections()), (1, 1));
    site.end(&[PASSWORD]).await;
}

#[tokio::test]
async fn a_login_name_of_the_directory_goes_before_either_name() {
    for on_node in [NodeName::Typed, NodeName::LookedUp] {
        let nodes = nodes().await;
        let rules = Rules { lower_case: true, on_node, ..settings::usernames() };
        let site = Site::start(spec(&nodes, rules)).await;
        let mut client = site.greeted(Door::ImapClear).await;
        assert!(is_in(&log_in(&mut client, Door::ImapClear, b"ReNamed").await));
        assert_eq!(users(&nodes.0), [b"real-name"]);
        site.end(&[PASSWORD]).await;
    }
}
