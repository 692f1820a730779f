//! SIGHUP and systemd: the real program, its signals and its messages.

use std::os::unix::net::UnixDatagram;

use tempfile::TempDir;

use crate::client::{Client, DEADLINE};
use crate::node::FakeNode;
use crate::process::{Process, Way};

#[tokio::test]
async fn sighup_takes_up_a_new_file_and_a_bad_one_changes_nothing() {
    let node = FakeNode::imap().await;
    let process = Process::start(node.port, (500, 500)).await;
    let mut session = Client::clear(process.address(Way::Clear)).await;
    assert!(session.line().await.contains("mail.example.net"));
    assert!(session.command("a", "LOGIN alice hangup-Pa55").await.starts_with("a OK"));
    let text = process.configuration();
    process.configure(&text.replace("mail.example.net", "new.example.net").replace("\"json\"", "\"text\""));
    process.hang_up();
    process.logged(&["the configuration has changed", "[server] changed: hostname"]).await;
    process.logged(&["needs a restart", "[log] format", "the log is set up once"]).await;
    process.logged(&["\"message\":\"reloaded\"", "\"need_restart\":1"]).await;
    let mut next = Client::clear(process.address(Way::Clear)).await;
    assert!(next.line().await.contains("new.example.net"));
    process.configure(&text.replace("mail.example.net", "bad name"));
    process.hang_up();
    process.logged(&["problem of the configuration", "proxy.toml", "\"line\":2", "\"column\":12"]).await;
    process.logged(&["not reloaded: everything is as it was"]).await;
    let mut last = Client::clear(process.address(Way::Clear)).await;
    assert!(last.line().await.contains("new.example.net"));
    assert!(session.command("b", "NOOP").await.starts_with("b OK"), "a session from before both");
}

#[tokio::test]
async fn the_level_of_the_log_changes_at_once() {
    let process = Process::start(FakeNode::dead().await, (500, 500)).await;
    let text = process.configuration();
    let quiet = text.replace("level = \"trace\"", "level = \"error\"");
    process.configure(&quiet.replace("mail.example.net", "quiet.example.net"));
    process.hang_up();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !Client::clear(process.address(Way::Clear)).await.line().await.contains("quiet.example.net") {
        assert!(tokio::time::Instant::now() < deadline, "not reloaded");
    }
    // Whatever the first one said is there before anything of the next one is.
    process.configure("nonsense");
    process.hang_up();
    process.logged(&["not reloaded"]).await;
    assert_eq!(process.lines(&["\"message\":\"reloaded\""]), [""; 0]);
    process.configure(&text);
    process.hang_up();
    process.logged(&["\"message\":\"reloaded\""]).await;
}

/// The next message of a service, in the words of sd_notify(3).
fn heard(socket: &UnixDatagram) -> String {
    let mut octets = [0; 4096];
    let count = socket.recv(&mut octets).expect("no message in time");
    String::from_utf8(octets[..count].to_vec()).unwrap()
}

#[tokio::test]
async fn systemd_hears_of_the_start_of_each_reload_and_of_the_end() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let process = Process::start_notifying(FakeNode::dead().await, &path).await;
    let socket = tokio::task::spawn_blocking(move || {
        // The sockets of its listeners first.
        for _ in 0..3 {
            assert!(heard(&socket).starts_with("FDSTORE=1\nFDNAME=mailferry_127.0.0.1_"));
        }
        assert_eq!(heard(&socket).trim_end(), "READY=1");
        socket
    });
    let socket = socket.await.unwrap();
    let good = process.configuration();
    for text in [&good, "nonsense"] {
        process.configure(text);
        process.hang_up();
        let reloading = heard(&socket);
        let mut lines = reloading.lines();
        assert_eq!(lines.next(), Some("RELOADING=1"));
        let time = lines.next().and_then(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
        assert_eq!(heard(&socket).trim_end(), "READY=1", "also where nothing was changed");
    }
    process.terminate();
    assert_eq!(heard(&socket).trim_end(), "STOPPING=1");
}

#[tokio::test]
async fn systemd_is_asked_for_patience_while_sessions_end_and_a_reload_says_for_how_long_they_may() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut process = Process::start_notifying(FakeNode::dead().await, &path).await;
    process.configure(&process.configuration().replace("[admin]", "drain_delay = \"1h\"\n[admin]"));
    process.hang_up();
    process.logged(&["[server] changed: drain_delay"]).await;
    process.terminate();
    while heard(&socket).trim_end() != "STOPPING=1" {}
    assert_eq!(heard(&socket).trim_end(), "STATUS=stopping: 0 sessions are left\nEXTEND_TIMEOUT_USEC=30000000");
    process.terminate();
    assert_eq!(process.exit_code().await, Some(0));
}
