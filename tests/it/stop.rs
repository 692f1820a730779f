//! The end of the real program: what its clients hear, what comes to its end before, and what it says of itself.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::client::Client;
use crate::node::{Conn, FakeNode, PROMPTLY, imap_mailbox};
use crate::process::{Process, Way};

const LIMITS: (u32, u32) = (500, 500);

/// Nothing was broken off, and something was.
const IN_ORDER: Option<i32> = Some(0);
const CUT: Option<i32> = Some(75);

/// Enough for all that comes to its end by itself, and then a session is quiet after a second.
const SOON: &str = "drain_timeout = \"4s\"\n";
const NEVER: &str = "drain_timeout = \"1h\"\n";

async fn logged_in(process: &Process) -> Client {
    let mut client = Client::clear(process.address(Way::Clear)).await;
    client.line().await;
    assert!(client.command("a", "LOGIN alice stop-Pa55").await.starts_with("a OK"));
    client
}

/// What the last line says, as far as it is in order.
async fn assert_last_line(process: &Process, level: &str, counts: [u64; 4]) {
    let [ended, told, cut, logins] = counts;
    let counts = format!("\"ended\":{ended},\"told\":{told},\"cut\":{cut},\"logins_unfinished\":{logins},\"took_ms\":");
    let line = process.logged(&["\"message\":\"stopped\""]).await;
    assert!(line.contains(&counts) && line.contains(level), "{line}");
    assert_eq!(process.lines(&[]).last(), Some(&line), "nothing comes behind it");
}

/// A node on which the login is accepted, and then this is all that it answers to anything.
async fn half_answering(answer: &'static str) -> FakeNode {
    FakeNode::start(move |mut conn: Conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] node ready\r\n").await;
        while let Some(line) = conn.line().await {
            match line.split_once(" AUTHENTICATE PLAIN ") {
                Some((tag, _)) => conn.send(format!("{tag} OK [CAPABILITY IMAP4rev1] Logged in\r\n")).await,
                None => conn.send(answer).await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_quiet_client_is_told_so_and_the_end_is_in_order() {
    let node = FakeNode::imap().await;
    let mut process = Process::start_with(node.port, LIMITS, SOON).await;
    let mut quiet = logged_in(&process).await;
    let mut under_tls = Client::tls(process.address(Way::Tls), process.client_tls()).await;
    under_tls.line().await;
    assert!(under_tls.command("a", "LOGIN alice stop-Pa55").await.starts_with("a OK"));
    let mut leaving = logged_in(&process).await;
    process.terminate();
    process.logged(&["\"message\":\"stopping\"", "SIGTERM", "\"sessions\":3"]).await;
    assert!(leaving.command("b", "LOGOUT").await.starts_with("b OK"));
    leaving.until_closed().await;
    for client in [&mut quiet, &mut under_tls] {
        assert_eq!(client.line().await, "* BYE [UNAVAILABLE] Shutting down, please reconnect");
        client.closed().await;
    }
    drop((quiet, under_tls));
    assert_eq!(process.exit_code().await, IN_ORDER);
    assert_last_line(&process, "INFO", [1, 2, 0, 0]).await;
    let drained = process.lines(&["\"session ended\"", "\"who\":\"operator\"", "\"why\":\"drained\""]);
    assert_eq!(drained.len(), 2, "{drained:?}");
    node.all_closed(PROMPTLY).await;
}

#[tokio::test]
async fn a_client_in_the_middle_of_a_literal_is_cut_without_a_word() {
    const HALF: &str = "* 1 FETCH (BODY[] {1000}\r\nhalf of it\r\nand";
    let node = half_answering(HALF).await;
    let mut process = Process::start_with(node.port, LIMITS, SOON).await;
    let mut client = logged_in(&process).await;
    client.send("b FETCH 1 BODY[]\r\n").await;
    assert_eq!(client.exactly(HALF.len()).await, HALF.as_bytes());
    process.terminate();
    assert_eq!(client.rest().await, b"", "octets of ours are in the message");
    drop(client);
    assert_eq!(process.exit_code().await, CUT);
    assert_last_line(&process, "WARN", [0, 0, 1, 0]).await;
    process.logged(&["\"session ended\"", "\"who\":\"operator\"", "\"why\":\"shutdown\""]).await;
}

#[tokio::test]
async fn a_quiet_pop3_client_is_closed_between_two_commands() {
    let node = FakeNode::pop3().await;
    let server = format!(
        "{SOON}[[listener]]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\ntls = \"off\"\ncleartext_login = true\n"
    );
    let mut process = Process::start_prepared(node.port, LIMITS, &server, |folder| {
        let file = folder.join("proxy.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("imap_port", &format!("pop3_port = {}, imap_port", node.port))).unwrap();
    })
    .await;
    let line = process.logged(&["\"message\":\"listening\"", "\"protocol\":\"pop3\""]).await;
    let address: SocketAddr = line.split("\"address\":\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
    let mut client = Client::clear(address).await;
    client.line().await;
    assert!(client.ask("USER alice").await.starts_with("+OK"));
    assert!(client.ask("PASS stop-Pa55").await.starts_with("+OK"));
    assert!(client.ask("STAT").await.starts_with("+OK 2"));
    process.terminate();
    assert_eq!(client.rest().await, b"");
    drop(client);
    assert_eq!(process.exit_code().await, IN_ORDER);
    assert_last_line(&process, "INFO", [0, 1, 0, 0]).await;
    assert_eq!(node.commands(), ["STAT"], "QUIT would delete what the client wanted deleted, and it has not said so");
}

#[tokio::test]
async fn a_second_signal_ends_all_at_once() {
    let node = half_answering("* still at it\r\n").await;
    for is_interrupt in [false, true] {
        let mut process = Process::start_with(node.port, LIMITS, NEVER).await;
        let mut busy = logged_in(&process).await;
        busy.send("b FETCH 1:* BODY[]").await;
        process.terminate();
        process.logged(&["\"message\":\"no listener is open any more\"", "\"sessions\":1"]).await;
        if is_interrupt {
            process.interrupt();
        } else {
            process.terminate();
        }
        process.logged(&["\"message\":\"stopping at once\"", if is_interrupt { "SIGINT" } else { "SIGTERM" }]).await;
        assert_eq!(busy.rest().await, b"");
        drop(busy);
        assert_eq!(process.exit_code().await, CUT);
        assert_last_line(&process, "WARN", [0, 0, 1, 0]).await;
    }
}

#[tokio::test]
async fn the_second_signal_ends_the_wait_for_balancers_too() {
    let node = FakeNode::imap().await;
    let mut process = Process::start_with(node.port, LIMITS, "drain_delay = \"1h\"\n").await;
    process.interrupt();
    process.logged(&["\"message\":\"stopping\"", "SIGINT", "\"delay\":\"3600s\""]).await;
    let client = logged_in(&process).await;
    client.until_logged_out().await;
    process.terminate();
    assert_eq!(process.exit_code().await, IN_ORDER);
}

#[tokio::test]
async fn a_login_that_is_under_way_comes_to_its_end() {
    let go_on = Arc::new(Notify::new());
    let gate = Arc::clone(&go_on);
    let node = FakeNode::start(move |mut conn: Conn| {
        let gate = Arc::clone(&gate);
        async move {
            conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] node ready\r\n").await;
            let Some(line) = conn.line().await else { return };
            let Some((tag, _)) = line.split_once(" AUTHENTICATE PLAIN ") else { return };
            conn.seen.commands.with(|commands| commands.push("judging".to_owned()));
            gate.notified().await;
            conn.send(format!("{tag} OK [CAPABILITY IMAP4rev1 IDLE] Logged in\r\n")).await;
            imap_mailbox(conn).await;
        }
    })
    .await;
    for finishes in [true, false] {
        let mut process = Process::start_with(node.port, LIMITS, NEVER).await;
        let mut client = Client::clear(process.address(Way::Clear)).await;
        client.line().await;
        let before = node.commands().len();
        client.send("a LOGIN alice stop-Pa55\r\n").await;
        let deadline = tokio::time::Instant::now() + crate::client::DEADLINE;
        while node.commands().len() == before {
            assert!(tokio::time::Instant::now() < deadline, "the node is not asked");
            tokio::task::yield_now().await;
        }
        process.terminate();
        process.logged(&["\"message\":\"no listener is open any more\"", "\"before_login\":1"]).await;
        if finishes {
            go_on.notify_one();
            assert!(client.line().await.starts_with("a OK "));
            assert!(client.command("b", "NOOP").await.starts_with("b OK "));
            client.until_logged_out().await;
            assert_eq!(process.exit_code().await, IN_ORDER);
            assert_last_line(&process, "INFO", [1, 0, 0, 0]).await;
        } else {
            process.terminate();
            assert!(client.line().await.starts_with("* BYE [UNAVAILABLE] "));
            drop(client);
            assert_eq!(process.exit_code().await, CUT);
            assert_last_line(&process, "WARN", [0, 0, 0, 1]).await;
        }
    }
}
