//! R-TLS: STARTTLS, STLS and implicit TLS on the wire.

use std::time::Duration;

use mailferry::net::tls::{ServerSettings, Version, server_config};
use mailferry::routing::NodeTls;
use rustls::ClientConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::client::{Client, DEADLINE, text};
use crate::node::FakeNode;
use crate::site::{Door, Site, Spec, certificate};

/// The commands that begin TLS, and what agrees to it.
const UPGRADES: [(Door, &str, &str); 2] =
    [(Door::ImapStartTls, "a STARTTLS\r\n", "a OK "), (Door::Pop3StartTls, "STLS\r\n", "+OK ")];

#[tokio::test]
async fn r_tls_01_a_command_in_the_same_segment_behind_starttls_is_never_executed() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for (door, upgrade, agreed) in UPGRADES {
        for injected in
            ["b LOGIN alice injected-Pa55\r\n", "b NOOP\r\n", "USER alice\r\nPASS injected-Pa55\r\n", "CAPA\r\n"]
        {
            let mut client = site.greeted(door).await;
            client.send(format!("{upgrade}{injected}")).await;
            assert!(client.line().await.starts_with(agreed));
            // What follows is at most a TLS alert (RFC 8446 §6), then the close.
            let rest = client.rest().await;
            assert!(rest.is_empty() || rest[0] == 0x15, "{door:?}: {:?}", text(&rest));
        }
    }
    assert_eq!(node.connections(), 0, "an injected login reached a node");
    site.end(&["injected-Pa55"]).await;
}

#[tokio::test]
async fn r_tls_02_starttls_and_the_client_hello_may_share_a_segment() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for (door, upgrade, agreed) in UPGRADES {
        let mut tls = ClientConnection::new(site.client_tls(), "localhost".try_into().unwrap()).unwrap();
        let mut socket = TcpStream::connect(site.address(door)).await.unwrap();
        let mut first = upgrade.as_bytes().to_vec();
        tls.write_tls(&mut first).unwrap();
        socket.write_all(&first).await.unwrap();
        // Greeting and agreement come in clear text, octet by octet so that nothing of the handshake is taken.
        for expected in ["", agreed] {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(timeout(DEADLINE, socket.read_u8()).await.unwrap().unwrap());
            }
            assert!(text(&line).contains(expected), "{}", text(&line));
        }
        while tls.is_handshaking() {
            let mut wire = vec![0; 16 * 1024];
            let count = timeout(DEADLINE, socket.read(&mut wire)).await.unwrap().unwrap();
            assert!(count > 0, "{door:?}: closed during the handshake");
            let mut wire = &wire[..count];
            while !wire.is_empty() {
                tls.read_tls(&mut wire).unwrap();
                tls.process_new_packets().unwrap();
            }
            let mut out = Vec::new();
            tls.write_tls(&mut out).unwrap();
            socket.write_all(&out).await.unwrap();
        }
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_tls_03_nothing_said_in_clear_text_counts_under_tls() {
    let node = FakeNode::pop3().await;
    let site = Site::start(Spec { cleartext_login: true, ..Spec::new(&[node.port]) }).await;
    let mut client = site.greeted(Door::Pop3StartTls).await;
    assert!(client.ask("USER alice").await.starts_with("+OK"), "a password in clear text is allowed on this site");
    client.send("STLS\r\n").await;
    assert!(client.line().await.starts_with("+OK "));
    let mut client = client.handshake(site.client_tls()).await;
    assert!(client.ask("PASS before-Pa55").await.starts_with("-ERR "));
    // A SASL exchange that was begun in clear text is no more either.
    assert!(client.ask("AGFsaWNlAHNlY3JldA==").await.starts_with("-ERR "));
    assert_eq!(node.connections(), 0);
    assert!(client.ask("USER alice").await.starts_with("+OK"));
    assert!(client.ask("PASS under-Pa55").await.starts_with("+OK"));
    assert_eq!(node.logins(), [("alice".into(), "under-Pa55".into())]);
    site.end(&["before-Pa55", "under-Pa55"]).await;
}

#[tokio::test]
async fn r_tls_04_a_failed_handshake_closes_without_a_word_in_clear_text() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for (door, upgrade, agreed) in UPGRADES {
        // No record, a record of no handshake, a handshake that begins with no ClientHello.
        for garbage in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0x17, 3, 3, 0, 1, 0], &[0x16, 3, 1, 0, 4, 0xff, 0, 0, 0]] {
            let mut client = site.greeted(door).await;
            client.send(upgrade).await;
            assert!(client.line().await.starts_with(agreed));
            client.send(garbage).await;
            let rest = client.rest().await;
            assert!(rest.is_empty() || rest[0] == 0x15, "{door:?}: {:?}", text(&rest));
        }
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_tls_05_under_tls_there_is_no_second_upgrade() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let (imap_upgraded, pop3_upgraded) = (upgraded(&site, UPGRADES[0]).await, upgraded(&site, UPGRADES[1]).await);
    for mut client in [imap_upgraded, site.greeted(Door::ImapTls).await] {
        client.send("c CAPABILITY\r\n").await;
        let capabilities = client.answer("c").await;
        assert!(
            !capabilities[0].contains("STARTTLS") && !capabilities[0].contains("LOGINDISABLED"),
            "{capabilities:?}"
        );
        assert!(client.command("s", "STARTTLS").await.starts_with("s BAD "));
        assert!(client.command("n", "NOOP").await.starts_with("n OK "));
    }
    for mut client in [pop3_upgraded, site.greeted(Door::Pop3Tls).await] {
        assert!(client.ask("CAPA").await.starts_with("+OK"));
        assert!(!client.until_dot().await.contains(&"STLS".to_owned()));
        assert!(client.ask("STLS").await.starts_with("-ERR "));
    }
    site.end(&[]).await;
}

async fn upgraded(site: &Site, (door, upgrade, agreed): (Door, &str, &str)) -> Client {
    let mut client = site.greeted(door).await;
    client.send(upgrade).await;
    assert!(client.line().await.starts_with(agreed));
    client.handshake(site.client_tls()).await
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_handshake_does_not_keep_others_waiting() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut stalled = Vec::new();
    for _ in 0..50 {
        stalled.push(TcpStream::connect(site.address(Door::ImapTls)).await.unwrap());
    }
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", "LOGIN alice secret-Pa55").await.starts_with("a OK "));
    drop(stalled);
    site.end(&["secret-Pa55"]).await;
}

#[tokio::test]
async fn tls_1_1_is_refused() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut socket = TcpStream::connect(site.address(Door::ImapTls)).await.unwrap();
    // A ClientHello of TLS 1.1 with one cipher suite and no extensions.
    let hello = [&[0x01, 0, 0, 41, 0x03, 0x02][..], &[7; 32], &[0, 0, 2, 0x00, 0x2f, 1, 0]].concat();
    let record = [&[0x16, 0x03, 0x01, 0, hello.len() as u8][..], &hello].concat();
    socket.write_all(&record).await.unwrap();
    let mut alert = Vec::new();
    timeout(DEADLINE, socket.read_to_end(&mut alert)).await.unwrap().unwrap();
    assert_eq!(alert.first(), Some(&0x15), "an alert: {alert:?}");
    site.end(&[]).await;
}

#[tokio::test]
async fn tls_to_the_node_is_what_the_configuration_demands_or_nothing() {
    // A node that offers no TLS although the configuration demands it never sees a password.
    for demanded in [NodeTls::StartTls, NodeTls::Implicit] {
        let node = FakeNode::start(|mut conn| async move {
            conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] no TLS here\r\n").await;
            while let Some(line) = conn.line().await {
                let tag = line.split(' ').next().unwrap_or_default().to_owned();
                conn.send(format!("{tag} BAD what?\r\n")).await;
            }
        })
        .await;
        let site = Site::start(Spec { node_tls: demanded, ..Spec::new(&[node.port]) }).await;
        let mut client = site.greeted(Door::ImapTls).await;
        let answer = client.command("a", "LOGIN alice guarded-Pa55").await;
        assert!(answer.starts_with("a NO [UNAVAILABLE] "), "{demanded:?}: {answer}");
        let seen = text(&node.seen.octets.get());
        assert!(!seen.contains("guarded") && !seen.contains("LOGIN") && !seen.contains("AUTH"), "{seen}");
        site.end(&["guarded-Pa55"]).await;
    }
}

#[tokio::test]
async fn a_node_is_believed_only_with_a_certificate_of_its_name_from_the_configured_authority() {
    // The certificate's name; whether the island trusts it; whether the login arrives.
    for (name, trusted, arrives) in
        [("localhost", true, true), ("localhost", false, false), ("elsewhere.net", true, false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let files = certificate(&dir, name);
        let settings = ServerSettings { certificates: vec![files.clone()], min_version: Version::Tls12 };
        let acceptor = TlsAcceptor::from(server_config(&settings, b"imap", None).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let node = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            if let Ok(mut stream) = acceptor.accept(socket).await {
                let _ = stream.write_all(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n").await;
                let mut octets = [0; 1024];
                let count = stream.read(&mut octets).await.unwrap_or(0);
                seen.extend_from_slice(&octets[..count]);
                let _ = stream.write_all(b"f3 OK [CAPABILITY IMAP4rev1] in\r\n").await;
            }
            seen
        });
        let node_ca = trusted.then(|| files.chain.clone());
        let spec = Spec { node_tls: NodeTls::Implicit, node_ca, ..Spec::new(&[port]) };
        let site = Site::start(spec).await;
        let mut client = site.greeted(Door::ImapTls).await;
        let answer = client.command("a", "LOGIN alice guarded-Pa55").await;
        let seen = timeout(DEADLINE, node).await.unwrap().unwrap();
        assert_eq!(answer.starts_with("a OK "), arrives, "{name}, trusted: {trusted}: {answer}");
        assert_eq!(!seen.is_empty(), arrives, "{name}, trusted: {trusted}: {:?}", text(&seen));
        site.end(&["guarded-Pa55"]).await;
    }
}

#[tokio::test]
async fn clear_text_injected_behind_the_nodes_starttls_fails_the_login() {
    let node = FakeNode::start(|mut conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 STARTTLS] hello\r\n").await;
        let line = conn.line().await.unwrap_or_default();
        let tag = line.split(' ').next().unwrap_or_default();
        conn.send(format!("{tag} OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n")).await;
        conn.closed().await;
    })
    .await;
    let site = Site::start(Spec { node_tls: NodeTls::StartTls, ..Spec::new(&[node.port]) }).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", "LOGIN alice guarded-Pa55").await.starts_with("a NO [UNAVAILABLE] "));
    node.all_closed(Duration::from_secs(2)).await;
    site.end(&["guarded-Pa55"]).await;
}
