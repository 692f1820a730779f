//! R-PIPE: what a client sends ahead, and what passes after the login.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Client, Origin};
use crate::node::{self, FakeNode, PROMPTLY, WRONG};
use crate::site::{Door, Site, log_so_far};

#[tokio::test]
async fn r_pipe_01_commands_behind_the_login_are_answered_in_order() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for door in [Door::ImapTls, Door::ImapClear] {
        let mut client = site.greeted(door).await;
        client.send("a LOGIN alice ahead-Pa55\r\nb SELECT INBOX\r\nc FETCH 1 ALL\r\n").await;
        assert!(client.line().await.starts_with("a OK "));
        assert_eq!(client.line().await, "b OK done");
        assert_eq!(client.line().await, "c OK done");
    }
    site.end(&["ahead-Pa55"]).await;
}

#[tokio::test]
async fn r_pipe_02_a_pipelined_command_runs_exactly_once() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    client.send("a LOGIN alice once-Pa55\r\nb CREATE x\r\nc APPEND x {5}\r\n").await;
    assert!(client.answer("b").await.pop().unwrap().starts_with("b OK"));
    assert!(client.line().await.starts_with("+ "));
    client.send("12345\r\nd DELETE x\r\n").await;
    client.answer("d").await;
    assert_eq!(node.commands(), ["b CREATE x", "c APPEND x {5}", "d DELETE x"]);
    site.end(&["once-Pa55"]).await;
}

#[tokio::test]
async fn r_pipe_03_commands_behind_a_failed_login_are_answered_by_mailferry() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    client.send(format!("a LOGIN alice {WRONG}\r\nb NOOP\r\nc SELECT INBOX\r\nd LOGOUT\r\n")).await;
    for start in ["a NO ", "b OK ", "c BAD ", "* BYE ", "d OK "] {
        let line = client.line().await;
        assert!(line.starts_with(start), "{line}");
    }
    assert!(node.commands().is_empty());
    site.end(&[WRONG]).await;
}

#[tokio::test]
async fn r_pipe_04_all_octets_pass_in_both_directions_inside_literals() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let octets: Vec<u8> = (0..=255u8).cycle().take(300_000).collect();
    for door in [Door::ImapTls, Door::ImapClear] {
        let mut client = site.greeted(door).await;
        assert!(client.command("a", "LOGIN alice bytes-Pa55").await.starts_with("a OK "));
        client.send(format!("b APPEND x {{{}}}\r\n", octets.len())).await;
        client.line().await;
        client.send(&octets).await;
        client.send("\r\n").await;
        assert_eq!(client.line().await, format!("* ECHO {{{}}}", octets.len()));
        assert!(client.exactly(octets.len()).await == octets, "{door:?}");
        assert_eq!(client.line().await, "");
        assert_eq!(client.line().await, "b OK done");
    }
    site.end(&["bytes-Pa55"]).await;
}

#[tokio::test]
async fn octets_of_one_session_reach_no_other() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let session = async |number: u8| {
        let mut client = site.greeted([Door::ImapTls, Door::ImapClear][usize::from(number % 2)]).await;
        client.send(format!("a{number} LOGIN alice own{number}-Pa55\r\n")).await;
        assert!(client.line().await.starts_with(&format!("a{number} OK ")));
        for round in 1..10 {
            // More than one read, and no two sessions the same.
            let octets = vec![number; usize::from(number) * 500 + round * 10_000];
            client
                .send([format!("{number} APPEND x {{{}}}\r\n", octets.len()).as_bytes(), &octets, b"\r\n"].concat())
                .await;
            assert!(client.line().await.starts_with("+ "));
            assert_eq!(client.line().await, format!("* ECHO {{{}}}", octets.len()));
            assert!(client.exactly(octets.len()).await == octets, "octets of another session");
            assert_eq!((client.line().await.as_str(), client.line().await), ("", format!("{number} OK done")));
        }
    };
    futures_util::future::join_all((14..40).map(session)).await;
    assert_eq!(node.connections(), 26);
    site.end(&["-Pa55"]).await;
}

#[tokio::test]
async fn r_pipe_05_a_node_that_closes_mid_literal_is_passed_on_to_the_last_octet() {
    let node = FakeNode::start(|mut conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n").await;
        let line = conn.line().await.unwrap();
        let tag = line.split(' ').next().unwrap();
        // An eager node: the literal begins in the same segment as the answer, and never ends.
        conn.send(format!("{tag} OK [CAPABILITY IMAP4rev1] in\r\n* 1 FETCH (BODY[] {{500000}}\r\n")).await;
        conn.send(vec![b'x'; 100_000]).await;
    })
    .await;
    let site = Site::with(&[node.port]).await;
    for door in [Door::ImapTls, Door::ImapClear] {
        let mut client = site.greeted(door).await;
        client.send("a LOGIN alice cut-Pa55\r\n").await;
        assert!(client.line().await.starts_with("a OK "));
        assert_eq!(client.line().await, "* 1 FETCH (BODY[] {500000}");
        assert_eq!(client.rest().await.len(), 100_000, "{door:?}");
    }
    site.end(&["cut-Pa55"]).await;
}

#[tokio::test]
async fn r_pipe_06_a_half_closed_client_still_gets_its_answers() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for door in [Door::ImapTls, Door::ImapClear] {
        // Before the login: mailferry's own answers.
        let mut client = site.greeted(door).await;
        client.send("a LOGOUT\r\n").await;
        client.half_close().await;
        assert!(client.answer("a").await[0].starts_with("* BYE "));
        client.closed().await;
        // Login, LOGOUT and the close of the sending side at once: the node's answers.
        let mut client = site.greeted(door).await;
        client.send("a LOGIN alice half-Pa55\r\nb LOGOUT\r\n").await;
        client.half_close().await;
        assert!(client.line().await.starts_with("a OK "));
        assert_eq!(client.line().await, "* BYE see you");
        assert_eq!(client.line().await, "b OK done");
        client.closed().await;
        // After the login the node hears of it.
        let mut client = site.greeted(door).await;
        assert!(client.command("a", "LOGIN alice half-Pa55").await.starts_with("a OK "));
        client.half_close().await;
        node.all_closed(PROMPTLY).await;
        client.closed().await;
    }
    site.end(&["half-Pa55"]).await;
}

#[tokio::test]
async fn r_pipe_07_a_client_that_vanishes_frees_the_node_within_a_second_at_each_stage() {
    // Nodes that stop at each stage of a login; "relay" goes through.
    let stages = [("greeting", ""), ("answer", "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")];
    for (stage, says) in stages {
        let node = FakeNode::start(move |mut conn| async move {
            conn.send(says).await;
            conn.closed().await;
        })
        .await;
        let site = Site::with(&[node.port]).await;
        for reset in [false, true] {
            let mut socket = TcpStream::connect(site.address(Door::ImapClear)).await.unwrap();
            socket.write_all(b"a LOGIN alice gone-Pa55\r\n").await.unwrap();
            node.connected().await;
            vanish(socket, reset);
            node.all_closed(PROMPTLY).await;
            eprintln!("{stage}: closed after {}", if reset { "a reset" } else { "a close" });
        }
        site.end(&["gone-Pa55"]).await;
        assert!(log_so_far().contains(r#""outcome":"abandoned""#), "nobody is told that clients went away");
    }
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    for reset in [false, true] {
        let socket = TcpStream::connect(site.address(Door::ImapClear)).await.unwrap();
        let (mut client, socket) = log_in(socket).await;
        client.clear();
        vanish(socket, reset);
        node.all_closed(PROMPTLY).await;
    }
    site.end(&["gone-Pa55"]).await;
}

/// Logs in over a bare socket, so that the test has it in hand for a reset.
async fn log_in(mut socket: TcpStream) -> (Vec<u8>, TcpStream) {
    use tokio::io::AsyncReadExt;
    socket.write_all(b"a LOGIN alice gone-Pa55\r\n").await.unwrap();
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("a OK ") {
        said.push(tokio::time::timeout(crate::client::DEADLINE, socket.read_u8()).await.unwrap().unwrap());
    }
    (said, socket)
}

/// Closes in order, or with a reset.
fn vanish(socket: TcpStream, reset: bool) {
    if reset {
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(socket);
}

#[tokio::test]
async fn a_client_that_sends_a_lot_ahead_loses_nothing() {
    let node = FakeNode::start(|mut conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n").await;
        let line = conn.line().await.unwrap();
        let tag = line.split(' ').next().unwrap().to_owned();
        conn.send(format!("{tag} OK [CAPABILITY IMAP4rev1] in\r\n")).await;
        node::imap_mailbox(conn).await;
    })
    .await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapClear).await;
    let commands: String = (0..20_000).map(|number| format!("n{number} NOOP\r\n")).collect();
    client.send("a LOGIN alice flood-Pa55\r\n").await;
    client.send(commands).await;
    client.answer("a").await;
    for number in 0..20_000 {
        assert_eq!(client.line().await, format!("n{number} OK done"));
    }
    site.end(&["flood-Pa55"]).await;
}

#[tokio::test]
async fn idle_sessions_pass_data_in_both_directions_whoever_speaks_first() {
    let node = FakeNode::start(|mut conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n").await;
        let line = conn.line().await.unwrap();
        let tag = line.split(' ').next().unwrap();
        conn.send(format!("{tag} OK [CAPABILITY IMAP4rev1 IDLE] in\r\n")).await;
        assert_eq!(conn.line().await.as_deref(), Some("i IDLE"));
        conn.send("+ idling\r\n").await;
        conn.send("* 7 EXISTS\r\n").await;
        assert_eq!(conn.line().await.as_deref(), Some("DONE"));
        conn.send("i OK done\r\n").await;
    })
    .await;
    let site = Site::with(&[node.port]).await;
    let mut client: Client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", "LOGIN alice idle-Pa55").await.starts_with("a OK "));
    client.send("i IDLE\r\n").await;
    assert_eq!(client.line().await, "+ idling");
    assert_eq!(client.line().await, "* 7 EXISTS");
    assert_eq!(client.ask("DONE").await, "i OK done");
    client.closed().await;
    site.end(&["idle-Pa55"]).await;
}

#[tokio::test]
async fn r_pipe_05_a_slow_and_talking_client_gets_all_that_its_node_said_before_it_closed() {
    let node = FakeNode::start(|mut conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n").await;
        let line = conn.line().await.unwrap();
        let tag = line.split(' ').next().unwrap();
        conn.send(format!("{tag} OK [CAPABILITY IMAP4rev1] in\r\n")).await;
        conn.send(vec![b'x'; 4_000_000]).await;
        conn.half_close().await;
        conn.closed().await;
    })
    .await;
    let site = Site::with(&[node.port]).await;
    for door in [Door::ImapTls, Door::ImapClear] {
        let mut client = site.greeted(door).await;
        assert!(client.command("a", "LOGIN alice slow-Pa55").await.starts_with("a OK "));
        let mut got = client.exactly(10_000).await.len();
        // The node has closed, most of what it said is still under way, and the client talks.
        for number in 0..20 {
            client.send(format!("n{number} NOOP\r\n")).await;
            got += client.exactly(50_000).await.len();
        }
        assert_eq!(got + client.rest().await.len(), 4_000_000, "{door:?}");
    }
    site.end(&["slow-Pa55"]).await;
}

#[tokio::test]
async fn r_pipe_07_a_client_that_breaks_while_its_node_is_frozen_frees_it() {
    let node = FakeNode::start(|mut conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n").await;
        let line = conn.line().await.unwrap();
        let tag = line.split(' ').next().unwrap();
        conn.send(format!("{tag} OK [CAPABILITY IMAP4rev1] in\r\n")).await;
        // Takes nothing more.
        std::future::pending::<()>().await;
    })
    .await;
    let site = Site::with(&[node.port]).await;
    let socket = TcpStream::connect(site.address(Door::ImapClear)).await.unwrap();
    let from = Origin::of(&socket);
    let (_, socket) = log_in(socket).await;
    // Fills every buffer on the way.
    let octets = vec![b'x'; 64 * 1024];
    while tokio::time::timeout(Duration::from_millis(300), socket.writable()).await.is_ok() {
        // What is not taken is no matter: there is more than any buffer holds.
        let _ = socket.try_write(&octets);
    }
    vanish(socket, true);
    let end = from.line("session ended").await;
    assert!(end.contains(r#""who":"client""#) && end.contains(r#""why":"broken""#), "{end}");
    site.end(&["gone-Pa55"]).await;
}

#[tokio::test]
async fn r_pipe_07_a_client_that_sent_too_much_ahead_and_breaks_frees_the_node() {
    let node = FakeNode::start(|mut conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n").await;
        conn.closed().await;
    })
    .await;
    let site = Site::with(&[node.port]).await;
    let mut socket = TcpStream::connect(site.address(Door::ImapClear)).await.unwrap();
    let ahead = "n NOOP\r\n".repeat(20_000);
    let sent = socket.write_all(b"a LOGIN alice gone-Pa55\r\n").await.and(socket.try_write(ahead.as_bytes()));
    assert!(sent.unwrap() > 64 * 1024, "more than is held");
    node.connected().await;
    vanish(socket, true);
    node.all_closed(PROMPTLY).await;
    site.end(&["gone-Pa55"]).await;
}
