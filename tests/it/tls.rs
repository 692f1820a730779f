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
use crate::node::{FakeNode, PROMPTLY, WRONG};
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
    // IMAP's only state is that of a SASL exchange. The upgrade inside of one is a bad response to it.
    let mut client = site.greeted(Door::ImapStartTls).await;
    client.send("a AUTHENTICATE LOGIN\r\n").await;
    assert!(client.line().await.starts_with("+ "));
    client.send("YWxpY2U=\r\n").await;
    assert!(client.line().await.starts_with("+ "));
    client.send("b STARTTLS\r\n").await;
    assert!(client.line().await.starts_with("a BAD "));
    assert!(client.command("c", "STARTTLS").await.starts_with("c OK "));
    let mut client = client.handshake(site.client_tls()).await;
    client.send("YmVmb3JlLVBhNTU=\r\n").await;
    // Not a response any more, but a tag without a command.
    assert!(client.line().await.starts_with("YmVmb3JlLVBhNTU= BAD "));
    assert_eq!(node.connections(), 1);
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
        assert!(client.ask("USER alice").await.starts_with("+OK"), "and the session goes on");
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
async fn r_tls_09_clear_text_on_a_tls_port_gets_no_clear_text() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for door in [Door::ImapTls, Door::Pop3Tls] {
        for clear in
            ["a LOGIN alice clear-Pa55\r\n", "USER alice\r\nPASS clear-Pa55\r\n", "GET / HTTP/1.1\r\n\r\n", "\r\n"]
        {
            let mut client = Client::clear(site.address(door)).await;
            client.send(clear).await;
            client.half_close().await;
            let rest = client.rest().await;
            assert!(rest.is_empty() || (rest[0] == 0x15 && rest.len() == 7), "{door:?} {clear:?}: {:?}", text(&rest));
        }
    }
    assert_eq!(node.connections(), 0);
    site.end(&["clear-Pa55"]).await;
}

#[tokio::test]
async fn r_tls_09_tls_on_a_clear_text_port_gets_two_error_lines_at_most() {
    let site = Site::start(Spec { cleartext_login: true, ..Spec::new(&[FakeNode::dead().await]) }).await;
    for door in [Door::ImapStartTls, Door::ImapClear, Door::Pop3StartTls, Door::Pop3Clear] {
        // Hellos are random, and so are the line ends in them.
        for _ in 0..20 {
            let mut tls = ClientConnection::new(site.client_tls(), "localhost".try_into().unwrap()).unwrap();
            let mut hello = Vec::new();
            tls.write_tls(&mut hello).unwrap();
            let mut client = site.greeted(door).await;
            client.send([&hello[..], b"\n\n\n\n"].concat()).await;
            let rest = text(&client.rest().await);
            let lines: Vec<&str> = rest.split_inclusive("\r\n").collect();
            assert!(lines.len() <= 2 && !lines.is_empty(), "{door:?}: {lines:?}");
            let is_error = |line: &&str| ["* BAD ", "* BYE ", "-ERR "].iter().any(|error| line.starts_with(error));
            assert!(lines.iter().all(|line| is_error(line) && line.ends_with("\r\n")), "{door:?}: {lines:?}");
        }
    }
    site.end(&[]).await;
}

/// Under TLS from the start, and under TLS after the command.
async fn protected(site: &Site) -> Vec<(bool, Client)> {
    vec![
        (true, site.greeted(Door::ImapTls).await),
        (true, upgraded(site, UPGRADES[0]).await),
        (false, site.greeted(Door::Pop3Tls).await),
        (false, upgraded(site, UPGRADES[1]).await),
    ]
}

#[tokio::test]
async fn r_tls_10_every_orderly_close_says_close_notify() {
    let (imap, pop3) = (FakeNode::imap().await, FakeNode::pop3().await);
    let spec = || Spec { pop3_port: Some(pop3.port), ..Spec::new(&[imap.port]) };
    let site = Site::start(spec()).await;
    // What the client sends, in IMAP and in POP3, before all is over. `rest` fails where a close is not told.
    let endings: [(&str, String, String); 6] = [
        ("goodbye", "a LOGOUT\r\n".to_owned(), "QUIT\r\n".to_owned()),
        ("bad commands", "a what\r\n".repeat(20), "WHAT\r\n".repeat(20)),
        ("another protocol", "GET / HTTP/1.1\r\n\r\n".to_owned(), "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("a line without end", "x".repeat(100_000), "x".repeat(100_000)),
        (
            "wrong passwords",
            format!("a LOGIN alice {WRONG}\r\n").repeat(5),
            format!("USER alice\r\nPASS {WRONG}\r\n").repeat(5),
        ),
        (
            "the node's goodbye",
            "a LOGIN alice notify-Pa55\r\nb LOGOUT\r\n".to_owned(),
            "USER alice\r\nPASS notify-Pa55\r\nQUIT\r\n".to_owned(),
        ),
    ];
    for (what, in_imap, in_pop3) in &endings {
        for (is_imap, mut client) in protected(&site).await {
            client.send(if is_imap { in_imap } else { in_pop3 }).await;
            let rest = text(&client.rest().await);
            assert!(rest.ends_with("\r\n"), "{what}, IMAP: {is_imap}: {rest}");
        }
    }
    // A client that says goodbye to TLS hears the same, before its login and behind it.
    for (is_imap, mut client) in protected(&site).await {
        client.half_close().await;
        client.closed().await;
        drop((is_imap, client));
    }
    // The operator's goodbye.
    let waiting = protected(&site).await;
    let stopped = tokio::spawn(site.end(&[WRONG, "notify-Pa55"]));
    for (is_imap, mut client) in waiting {
        let rest = text(&client.rest().await);
        assert!(rest.starts_with("* BYE ") || rest.starts_with("-ERR "), "IMAP: {is_imap}: {rest}");
    }
    timeout(DEADLINE, stopped).await.unwrap().unwrap();
    // The end of patience with a client that says nothing.
    let site = Site::start(Spec { login_timeout: Duration::from_secs(3), ..spec() }).await;
    for (is_imap, mut client) in protected(&site).await {
        let rest = text(&client.rest().await);
        assert!(rest.starts_with("* BYE ") || rest.starts_with("-ERR "), "IMAP: {is_imap}: {rest}");
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_tls_10_a_fin_inside_a_line_executes_nothing() {
    let (imap, pop3) = (FakeNode::imap().await, FakeNode::pop3().await);
    let site = Site::start(Spec { cleartext_login: true, pop3_port: Some(pop3.port), ..Spec::new(&[imap.port]) }).await;
    let cut_short = |is_imap: bool| match is_imap {
        true => ["a LOGIN alice cut-Pa55", "a LOGIN alice cut-Pa55\r", "a LOGIN alice {7}", "a LOGOUT", "a NOOP"],
        false => ["PASS cut-Pa55", "PASS cut-Pa55\r", "AUTH PLAIN AGFsaWNlAGN1dC1QYTU1", "QUIT", "CAPA"],
    };
    for nth in 0..5 {
        let clear = [(true, site.greeted(Door::ImapClear).await), (false, site.greeted(Door::Pop3Clear).await)];
        for (is_imap, mut client) in protected(&site).await.into_iter().chain(clear) {
            if !is_imap {
                assert!(client.ask("USER alice").await.starts_with("+OK"));
            }
            client.send(cut_short(is_imap)[nth]).await;
            client.half_close().await;
            client.closed().await;
        }
    }
    assert_eq!((imap.connections(), pop3.connections()), (0, 0));
    site.end(&["cut-Pa55"]).await;
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
    node.all_closed(PROMPTLY).await;
    site.end(&["guarded-Pa55"]).await;
}
