//! What the status page lives on: events and failures, told in time, to a bounded number, and not beyond the end.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::description::wrong_as;
use super::site::{Running, site};
use super::socket::ask;
use crate::client::{Client, DEADLINE};

/// Streams at once, as src/admin/serve.rs has it.
const STREAMS_MAX: usize = 16;

/// Somebody who listens.
struct Listener(BufReader<UnixStream>);

impl Listener {
    /// And the status with which he was answered.
    async fn new(running: &Running<'_>) -> (Self, String) {
        let mut stream = UnixStream::connect(running.socket()).await.unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut listener = Self(BufReader::new(stream));
        let status = listener.line().await;
        (listener, status)
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(DEADLINE, self.0.read_line(&mut line)).await.expect("nothing comes").unwrap();
        line
    }

    async fn event(&mut self) -> Value {
        loop {
            let line = self.line().await;
            assert!(!line.is_empty(), "the stream ends");
            if let Some(json) = line.strip_prefix("data: ") {
                return serde_json::from_str(json).unwrap();
            }
        }
    }

    /// The first event that is so.
    async fn until(&mut self, is_so: impl Fn(&Value) -> bool) -> Value {
        let heard = async {
            loop {
                let event = self.event().await;
                if is_so(&event) {
                    return event;
                }
            }
        };
        timeout(DEADLINE, heard).await.expect("never")
    }

    async fn ended(mut self) {
        let _ = timeout(DEADLINE, self.0.read_to_end(&mut Vec::new())).await.expect("it goes on");
    }
}

#[tokio::test]
async fn events_tell_what_changes_in_the_words_that_are_described() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let (mut listener, status) = Listener::new(&running).await;
    assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
    let first = listener.event().await;
    assert_eq!(wrong_as("Event", &first), Vec::<String>::new());
    assert_eq!((&first["may_order"], &first["ready"]["ok"]), (&json!(true), &json!(true)));
    assert_eq!((&first["failures"], &first["curves"]["nodes"]), (&json!([]), &json!([])));
    let second = listener.event().await;
    assert_eq!(second["failures"], Value::Null, "what has not changed is not told again");
    let _alice = running.log_in("alice").await;
    listener.until(|event| event["islands"][0]["nodes"][0]["sessions"] == 1).await;
    let event = listener.until(|event| event["curves"]["nodes"][0]["node"] == "a/left").await;
    let steps = event["curves"]["nodes"][0]["logins"].as_array().unwrap();
    assert_eq!((steps.len(), steps.iter().filter_map(Value::as_u64).sum()), (60, 1));
    let mut stranger = Client::clear(running.address).await;
    stranger.line().await;
    stranger.command("a", "LOGIN nobody right-Pa55").await;
    let event = listener.until(|event| event["failures"].is_array()).await;
    assert_eq!(wrong_as("Event", &event), Vec::<String>::new());
    assert_eq!(event["failures"][0]["user"], "nobody");
}

#[tokio::test]
async fn listeners_are_bounded_leave_the_questions_their_places_and_end_with_mailferry() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let mut listeners = Vec::new();
    for _ in 0..STREAMS_MAX {
        let (mut listener, status) = Listener::new(&running).await;
        assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
        listener.event().await;
        listeners.push(listener);
    }
    let (status, said) = ask(&running.socket(), "GET", "/v1/events", None).await;
    assert_eq!((status, said), (503, json!({ "error": "too many listen already", "meant": [] })));
    // As many questions as there are places for.
    for _ in 0..20 {
        assert_eq!(ask(&running.socket(), "GET", "/v1/status", None).await.0, 200);
    }
    for listener in &mut listeners {
        listener.event().await;
    }
    drop(listeners.pop());
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let (mut listener, status) = Listener::new(&running).await;
        if status.starts_with("HTTP/1.1 200 ") {
            listener.event().await;
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the place of one who has gone stays taken");
    }
    assert!(running.stop().await.success());
    for listener in listeners {
        listener.ended().await;
    }
}

#[tokio::test]
async fn failures_are_kept_with_who_where_and_why_and_never_a_password() {
    let (left, right, folder) = site().await;
    let running = folder.run().await;
    let mut client = Client::clear(running.address).await;
    client.line().await;
    client.command("a", "LOGIN \"eve <b>\" secret-Pa55").await;
    client.command("b", &format!("LOGIN alice {}", crate::node::WRONG)).await;
    client.command("c", &format!("LOGIN alice {}", crate::node::WRONG)).await;
    folder.replace(&format!("imap_port = {}", left.port), "imap_port = 1");
    folder.replace(&format!("imap_port = {}", right.port), "imap_port = 1");
    folder.replace("fail_back = \"manual\"", "fail_back = \"manual\"\npatience = \"0s\"");
    running.command(&["reload"]).await.said();
    client.command("d", "LOGIN alice right-Pa55").await;
    let (_, said) = ask(&running.socket(), "GET", "/v1/failures", None).await;
    let told: Vec<_> = said["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| ["user", "whose", "stage", "why", "island", "node"].map(|name| it[name].as_str().unwrap_or("-")))
        .collect();
    assert!(told.contains(&["alice", "client", "replay", "wrong-password", "a", "left"]), "{told:?}");
    assert!(
        told.iter().any(|it| it[0] == "alice" && it[1] == "site" && it[3] == "node-failed" && it[4] == "a"),
        "{told:?}"
    );
    assert!(told.iter().any(|it| it[0].starts_with("eve <b>") && it[1] == "client"), "{told:?}");
    let text = said.to_string();
    assert!(!text.contains("Pa55"), "{text}");
    let twice = said["failures"].as_array().unwrap().iter().find(|it| it["why"] == "wrong-password").unwrap();
    assert_eq!((&twice["times"], &twice["client"]), (&json!(2), &json!("127.0.0.1")));
}
