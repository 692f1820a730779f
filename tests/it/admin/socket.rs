//! The socket itself: whose it is, who may open it, and clients of it that mean no good.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::site::{Folder, Running, site};
use crate::client::DEADLINE;
use crate::stuck::Stuck;

impl Running<'_> {
    pub fn socket(&self) -> std::path::PathBuf {
        self.path("admin.sock")
    }
}

/// One question over the socket: the status, and the answer.
pub async fn ask(socket: &Path, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let body = body.map(|body| body.to_string());
    let head = body.as_ref().map_or_else(String::new, |body| {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    });
    let question = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n{}", body.unwrap_or_default());
    let answer = talk(socket, question.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if head.contains("transfer-encoding: chunked") { whole(body) } else { body.to_owned() };
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

/// What came in chunks (RFC 9112 §7.1), which must be complete.
fn whole(mut chunks: &str) -> String {
    let mut whole = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n").expect("a chunk");
        let (chunk, rest) = rest.split_at(usize::from_str_radix(length, 16).unwrap());
        chunks = rest.strip_prefix("\r\n").expect("the end of a chunk");
        if chunk.is_empty() {
            return whole;
        }
        whole += chunk;
    }
}

/// Says this, and hears everything until the close.
async fn talk(socket: &Path, octets: &[u8]) -> String {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let mut stream = loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => break stream,
            // The queue is full of others, who are served one after the other.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(tokio::time::Instant::now() < deadline, "no place in the queue in time");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    // A server that has heard enough may close before it has heard all.
    let _ = stream.write_all(octets).await;
    let mut answer = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("no close in time");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn the_socket_is_for_root_the_user_and_the_group_alone_and_goes_with_the_process() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let metadata = fs::metadata(running.socket()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
    assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw());
    assert!(running.stop().await.success());
    assert!(!folder.path("admin.sock").exists());
}

#[tokio::test]
async fn a_second_process_says_who_holds_the_socket_and_does_not_start() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let (code, said) = folder.fail().await;
    assert_eq!(code, Some(71), "{said}");
    let held = format!("admin.sock is held by process {}, another mailferry: stop it", running.pid());
    assert!(said.contains(&held), "{said}");
    running.command(&["status"]).await.said();
}

#[tokio::test]
async fn the_socket_of_a_dead_process_is_replaced() {
    let (_left, _right, folder) = site().await;
    folder.run().await.kill().await;
    assert!(folder.path("admin.sock").exists());
    let running = folder.run().await;
    running.command(&["status"]).await.said();
}

#[tokio::test]
async fn what_is_no_socket_is_not_touched_and_a_folder_that_is_missing_is_told() {
    let (_left, _right, folder) = site().await;
    fs::write(folder.path("admin.sock"), "mine").unwrap();
    let (code, said) = folder.fail().await;
    assert_eq!(code, Some(71));
    assert!(said.contains("admin.sock is there and is no socket: remove it, or name another"), "{said}");
    assert_eq!(fs::read_to_string(folder.path("admin.sock")).unwrap(), "mine");
    let folder = Folder::with([1, 1], "socket = \"missing/admin.sock\"\n");
    let (code, said) = folder.fail().await;
    assert_eq!(code, Some(71));
    assert!(said.contains("missing/admin.sock cannot be made: No such file"), "{said}");
    assert!(said.contains("make its folder, writable for mailferry (RuntimeDirectory=mailferry"), "{said}");
}

#[tokio::test]
async fn a_socket_that_is_off_is_not_made() {
    let folder = Folder::with([1, 1], "socket = \"off\"\n");
    let running = folder.run().await;
    assert!(!running.socket().exists());
    let done = running.command(&["status"]).await;
    assert_eq!(done.code, 69);
    assert!(done.err.contains("`socket` in [admin] is \"off\""), "{}", done.err);
}

#[tokio::test]
async fn hostile_questions_are_refused_and_cost_nothing() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let socket = running.socket();
    let many_fields = "X: y\r\n".repeat(100);
    let huge_field = "x".repeat(1024 * 1024);
    let cases: [(String, &str); 11] = [
        (format!("GET /v1/status HTTP/1.1\r\nHost: x\r\nX: {huge_field}\r\n\r\n"), "HTTP/1.1 431 "),
        (format!("GET /v1/status HTTP/1.1\r\nHost: x\r\n{many_fields}\r\n"), "HTTP/1.1 431 "),
        (format!("GET /{huge_field} HTTP/1.1\r\n\r\n"), "HTTP/1.1 4"),
        ("\u{1}\u{0}\u{2}\r\n\r\n".to_owned(), "HTTP/1.1 400 "),
        // So a process begins that wants to take over.
        ("\u{0}\u{1}\u{2}\r\n\r\n".to_owned(), "{\"say\":\"no\""),
        (format!("\u{0}{huge_field}"), "{\"say\":\"no\""),
        ("GET /v1/status HTTP/9.9\r\n\r\n".to_owned(), "HTTP/1.1 400 "),
        ("POST /v1/kick HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{}".to_owned(), "HTTP/1.1 413 "),
        ("POST /v1/kick HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n{}".to_owned(), "HTTP/1.1 400 "),
        (format!("POST /v1/kick HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n\r\n{}", "[".repeat(10_000)), "HTTP/1.1 4"),
        ("GET /v1/sessions?user=%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 40"),
    ];
    for (question, expected) in cases {
        let answer = talk(&socket, question.as_bytes()).await;
        assert!(
            answer.starts_with(expected)
                || ((expected.ends_with("431 ") || question.starts_with("\u{0}x")) && answer.is_empty()),
            "{question:.60}: {answer:.300}"
        );
    }
    running.command(&["status"]).await.said();
    assert!(running.log.lines(&["panic"]).is_empty());
}

#[tokio::test]
async fn those_who_keep_their_places_and_say_nothing_are_cut_and_the_operator_gets_in() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let mut silent = Vec::new();
    for number in 0..40 {
        let mut stream = UnixStream::connect(running.socket()).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost:").await.unwrap();
        }
        silent.push(stream);
    }
    // The oldest make place.
    running.command(&["status"]).await.said();
    let mut first = silent.remove(0);
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, first.read_to_end(&mut rest)).await.expect("not cut");
}

/// Beyond the places and the queue, the kernel refuses whoever does not wait.
#[tokio::test]
async fn whoever_fills_the_queue_too_does_not_keep_the_operator_out() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let mut silent = Vec::new();
    let refused = loop {
        match UnixStream::connect(running.socket()).await {
            Ok(stream) => silent.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
    assert!(silent.len() > 64, "{}", silent.len());
    running.command(&["status"]).await.said();
}

/// Orders a state of a node, and does not wait for the answer.
async fn order(running: &Running<'_>, state: &str) -> UnixStream {
    let body = format!("{{\"node\":\"b/only\",\"state\":\"{state}\"}}");
    let head = "POST /v1/node HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let mut stream = UnixStream::connect(running.socket()).await.unwrap();
    let order = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(order.as_bytes()).await.unwrap();
    stream
}

/// Waits until mailferry has let go of all connections at its socket, of which the kernel knows.
async fn nobody_is_connected(socket: &Path) {
    let name = socket.to_str().unwrap();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    // The socket itself stays.
    while fs::read_to_string("/proc/net/unix").unwrap().lines().filter(|line| line.ends_with(name)).count() > 1 {
        assert!(tokio::time::Instant::now() < deadline, "it does not see that they are gone");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// An order that has begun comes to its end, in the file, in service and in the log; one that has not leaves nothing.
#[tokio::test]
async fn an_order_whose_asker_has_gone_is_carried_out_and_told_in_the_log_all_the_same() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    // Whoever writes the file hangs there: the order has begun, and is not at its end.
    let mut stuck = Stuck::replace(&folder.path("operator.json.new"), "").await;
    let mut askers = vec![order(&running, "draining").await];
    stuck.is_asked_for().await;
    // Others behind it, each of which has begun or not when its asker goes.
    for state in ["in-service", "draining", "in-service", "draining", "in-service", "draining"] {
        askers.push(order(&running, state).await);
    }
    drop(askers);
    nobody_is_connected(&running.socket()).await;
    let begun = "\"message\":\"operator: node state\"";
    assert!(running.log.lines(&[begun]).is_empty(), "it did not wait for the file");
    drop(stuck);
    running.log.line(&[begun, "\"state\":\"draining\""]).await;
    // What is still under way comes to its end in the meantime.
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let told = running.log.lines(&[begun]).pop().unwrap();
        let kept = fs::read_to_string(folder.path("operator.json")).unwrap();
        let shown = ask(&running.socket(), "GET", "/v1/islands", None).await.1.to_string();
        // The line tells of the state before, too.
        let is_told = told.contains("\"state\":\"draining\"");
        let is_draining = [is_told, kept.contains("\"draining\""), shown.contains("\"draining\"")];
        if is_draining.iter().all(|it| *it == is_draining[0]) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "log, file and service differ: {is_draining:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
