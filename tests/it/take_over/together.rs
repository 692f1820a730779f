//! Sessions of processes that were taken over are the operator's as before: seen, held, moved, ended, or told of.

use std::sync::Arc;

use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep};

use super::place::{Mover, Place, Program};
use super::spoilt::{asking, heard};
use crate::admin::description::wrong_as;
use crate::client::{Client, DEADLINE};
use crate::node::{Conn, FakeNode, imap_mailbox};

/// Nobody ends before he is told to.
const LONG: &str = "drain_timeout = \"1h\"\n";

/// A place with an island `b` besides.
fn place(a: u16, b: u16) -> Place {
    let place = Place::new(a, LONG);
    let island = format!(
        "[[island]]\nname = \"b\"\ntls = \"off\"\n\
         nodes = [{{ name = \"only\", host = \"127.0.0.1\", imap_port = {b} }}]\n[island.probe]\ninterval = \"1h\"\n"
    );
    place.write(&(place.configuration() + &island));
    place
}

/// A session that is never quiet: half a command is under way.
async fn busy(place: &Place) -> Client {
    let mut client = place.log_in().await;
    client.send("c NO").await;
    client
}

async fn json(place: &Place, arguments: &[&str]) -> Value {
    let all: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&place.said(&all).await).unwrap()
}

/// What a command says to JSON, as soon as it is so.
async fn until(place: &Place, arguments: &[&str], is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + DEADLINE;
    loop {
        // Whatever its exit code is: an order that is being carried out has not reached everybody yet.
        let all: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let (_, said) = place.command(&all).await;
        let said: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        if is_so(&said) {
            return said;
        }
        assert!(Instant::now() < deadline, "{said}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Which processes have sessions, by the list of them; 0 is the one that answers.
fn processes(sessions: &Value) -> Vec<u64> {
    let rows = sessions["sessions"].as_array().unwrap();
    let mut all: Vec<u64> = rows.iter().map(|row| row["predecessor"].as_u64().unwrap_or(0)).collect();
    all.sort_unstable();
    all
}

fn described(schema: &str, value: &Value) {
    assert_eq!(wrong_as(schema, value), [""; 0]);
}

#[tokio::test]
async fn sessions_of_three_processes_are_seen_and_ended_as_one() {
    let (a, b) = (FakeNode::imap().await, FakeNode::imap().await);
    let place = place(a.port, b.port);
    let first = place.start(&[]).await;
    let of_first = busy(&place).await;
    let second = place.start(&["--take-over"]).await;
    let of_second = busy(&place).await;
    let third = place.start(&["--take-over"]).await;
    let of_third = busy(&place).await;
    let (one, two) = (u64::from(first.pid()), u64::from(second.pid()));
    let mut all = vec![0, one, two];
    all.sort_unstable();
    let sessions = json(&place, &["sessions", "--user", "alice", "--island", "a"]).await;
    described("Sessions", &sessions);
    assert_eq!((&sessions["matching"], processes(&sessions)), (&3.into(), all), "{sessions}");
    let said = place.said(&["sessions"]).await;
    let rows = said.lines().filter(|row| row.contains(&format!(" (process {one}) ")) && row.contains("  alice  "));
    assert_eq!(rows.count(), 1, "{said}");
    let few = json(&place, &["sessions", "--limit", "1"]).await;
    assert_eq!((&few["matching"], processes(&few)), (&3.into(), vec![0]));
    assert_eq!(place.command(&["sessions", "--user", "nobody"]).await.0, Some(4));
    let status = json(&place, &["status"]).await;
    described("Status", &status);
    let predecessors = status["predecessors"].as_array().unwrap();
    assert_eq!(predecessors.iter().map(|it| it["process"].as_u64().unwrap()).collect::<Vec<_>>(), [one, two]);
    for predecessor in predecessors {
        let left = predecessor["ends_in_s"].as_u64().unwrap();
        assert!(predecessor["sessions"] == 1 && (3000..=3600).contains(&left), "{status}");
    }
    let said = place.said(&["status"]).await;
    let line =
        format!("predecessor  process {two} (version {}) drains: 1 sessions, cut in 5", env!("CARGO_PKG_VERSION"));
    assert!(said.contains(&line), "{said}");
    // Who is not there has nobody else ended.
    let (code, said) = place.command(&["kick", "alise"]).await;
    assert!(code == Some(4) && said.contains("did you mean alice?"), "{said}");
    assert_eq!(place.command(&["kick", "a/middle"]).await.0, Some(4));
    // One session, by its name, which no other one has.
    let row = |process: u64| {
        let rows = sessions["sessions"].as_array().unwrap();
        let row = rows.iter().find(|row| row["predecessor"].as_u64().unwrap_or(0) == process).unwrap();
        row["session"].as_str().unwrap().to_owned()
    };
    assert_eq!(place.said(&["kick", &row(one)]).await, "1 sessions end\n");
    of_first.until_closed().await;
    let (status, said) = first.ended().await;
    assert!(status.success(), "{said}");
    assert!(said.contains("operator: kick") && said.contains(&format!("\"pid\":{},", third.pid())), "{said}");
    // What is gone is not missed.
    let sessions = json(&place, &["sessions"]).await;
    assert_eq!((&sessions["matching"], &sessions["unreached"]), (&2.into(), &Value::Array(Vec::new())));
    assert_eq!(place.said(&["kick", "a/left"]).await, "2 sessions end\n");
    of_second.until_closed().await;
    of_third.until_closed().await;
    let (status, said) = second.ended().await;
    assert!(status.success(), "{said}");
    let status = until(&place, &["status"], |status| status["sessions"] == 0).await;
    assert_eq!(status["predecessors"], Value::Array(Vec::new()));
    assert_eq!(place.command(&["kick", "alice"]).await.0, Some(4), "there is nobody");
}

/// Each is asked once, beside the others: who waits for an answer that does not come waits once.
async fn commands(place: &Place, all: &[&[&str]]) -> Vec<(Option<i32>, String)> {
    futures_util::future::join_all(all.iter().map(|arguments| place.command(arguments))).await
}

#[tokio::test]
async fn an_order_that_does_not_reach_an_older_process_says_so() {
    let (a, b) = (FakeNode::imap().await, FakeNode::imap().await);
    let place = place(a.port, b.port);
    let old = place.start(&[]).await;
    let mut of_old = busy(&place).await;
    let _new = place.start(&["--take-over"]).await;
    let of_new = busy(&place).await;
    old.signal(Signal::STOP);
    let missing = format!(
        "process {}, which was taken over and drains, has no part in this: it does not answer within 5s",
        old.pid()
    );
    let said = commands(&place, &[&["status"], &["sessions"], &["hold", "alice"]]).await;
    for ((code, said), expected) in said.iter().zip(["sessions  ", "  a/left  ", "alice is held, for 10m; sessions: 1"])
    {
        assert!(*code == Some(69) && said.contains(&missing) && said.contains(expected), "{said}");
    }
    let said = commands(&place, &[&["holds"], &["kick", "alice"], &["move", "alice", "b"]]).await;
    let [(holds, listed), (kick, kicked), (moved, not_moved)] = &said[..] else { unreachable!("three") };
    assert!(*holds == Some(69) && listed.contains(&missing), "{listed}");
    assert!(*kick == Some(69) && kicked.contains(&missing), "{kicked}");
    assert!(kicked.contains("1 sessions end, and perhaps not all: process "), "{kicked}");
    assert!(*moved == Some(70) && not_moved.contains("alice is held already"), "{not_moved}");
    of_new.until_closed().await;
    let (code, said) = place.command(&["release", "alice"]).await;
    assert!(code == Some(69) && said.contains(&missing) && said.contains("alice is released after"), "{said}");
    // Nobody is moved who may write elsewhere, and whoever waits goes on.
    let (code, said) = place.command(&["move", "alice", "b"]).await;
    assert!(code == Some(75) && said.contains("alice is not moved: ") && said.contains(&missing), "{said}");
    assert_eq!(json(&place, &["holds"]).await["holds"], Value::Array(Vec::new()));
    // It answers again, and may have done by now what it was told then.
    old.signal(Signal::CONT);
    let (code, said) = place.command(&["kick", "alice"]).await;
    assert!(code == Some(0) || code == Some(4), "{said}");
    of_old.rest().await;
    old.ended().await;
    assert_eq!(place.command(&["kick", "alice"]).await.0, Some(4));
}

#[tokio::test]
async fn who_dies_has_nothing_more() {
    let (a, b) = (FakeNode::imap().await, FakeNode::imap().await);
    let place = place(a.port, b.port);
    let old = place.start(&[]).await;
    let _of_old = busy(&place).await;
    let _new = place.start(&["--take-over"]).await;
    assert_eq!(json(&place, &["sessions"]).await["matching"], 1);
    old.signal(Signal::KILL);
    old.ended().await;
    assert_eq!(json(&place, &["sessions"]).await["matching"], 0);
    assert_eq!(place.command(&["kick", "alice"]).await.0, Some(4), "no session of alice's is left");
}

/// A node on which the second login is not answered before the word.
async fn slow(word: &Arc<Notify>) -> FakeNode {
    let word = Arc::clone(word);
    let logins = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    FakeNode::start(move |mut conn: Conn| {
        let (word, logins) = (Arc::clone(&word), Arc::clone(&logins));
        async move {
            conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] node ready\r\n").await;
            let Some(line) = conn.line().await else { return };
            let Some((tag, response)) = line.split_once(" AUTHENTICATE PLAIN ") else { return };
            assert!(conn.plain(response));
            if logins.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1 {
                word.notified().await;
            }
            conn.send(format!("{tag} OK [CAPABILITY IMAP4rev1] Logged in\r\n")).await;
            imap_mailbox(conn).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_move_waits_for_logins_of_the_older_process_and_ends_its_sessions() {
    let word = Arc::new(Notify::new());
    let (a, b) = (slow(&word).await, FakeNode::imap().await);
    let place = place(a.port, b.port);
    let old = place.start(&[]).await;
    let in_relay = busy(&place).await;
    let mut under_way = Client::clear(place.address).await;
    under_way.line().await;
    under_way.send("a LOGIN alice right-Pa55\r\n").await;
    let deadline = Instant::now() + DEADLINE;
    while a.logins().len() < 2 {
        assert!(Instant::now() < deadline, "the login does not come to the node");
        sleep(Duration::from_millis(10)).await;
    }
    let new = place.start(&["--take-over"]).await;
    let held = place.said(&["hold", "alice"]).await;
    assert!(held.ends_with("; sessions: 1, logins under way: 1\n"), "{held}");
    old.logged(&["operator: hold", "\"user\":\"alice\"", &format!("\"pid\":{},", new.pid())]).await;
    let holds = json(&place, &["holds"]).await;
    described("Holds", &holds);
    assert_eq!((&holds["holds"][0]["under_way"], &holds["holds"][0]["unreached"]), (&1.into(), &Value::Array(vec![])));
    let released = place.said(&["release", "alice"]).await;
    assert!(released.starts_with("alice is released after "), "{released}");
    old.logged(&["operator: release", "\"user\":\"alice\""]).await;
    assert!(!old.lines(&["WARN"]).iter().any(|line| line.contains("forgotten at a restart")));
    // The move waits for the login, and the mail is moved when the old process has no session of the user's.
    let users = place.path("users").display().to_string();
    let seen = place.path("seen").display().to_string();
    let socket = place.path("admin.sock").display().to_string();
    let command = format!(
        "{} sessions --socket {socket} >{seen}; sed 's/ a$/ b/' {users} >{users}.new && mv {users}.new {users}",
        crate::program::PATH
    );
    let arguments = ["move", "alice", "b", "--kick-first", "--json", "--command", &command];
    let (moved, ()) = tokio::join!(place.command(&arguments), async {
        until(&place, &["holds"], |holds| holds["holds"][0]["under_way"] == 1).await;
        word.notify_one();
    });
    let (code, said) = moved;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("{\"step\":\"kicked\",\"kicked\":2}"), "{said}");
    assert!(said.contains("{\"step\":\"moved\",\"user\":\"alice\",\"island\":\"b\",\"verified\":true}"), "{said}");
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(!seen.contains("alice"), "nobody writes while the mail is moved: {seen}");
    in_relay.until_closed().await;
    assert!(under_way.line().await.starts_with("a OK"));
    under_way.closed().await;
    let (status, said) = old.ended().await;
    assert!(status.success(), "{said}");
    place.log_in().await;
    assert_eq!((a.logins().len(), b.logins().len()), (2, 1));
}

async fn end_move(place: &Place, moving: Mover) {
    std::fs::write(place.path("users"), "alice b\n").unwrap();
    place.said(&["release", "alice"]).await;
    let (code, said) = moving.ends().await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn a_take_over_in_the_middle_of_a_move_is_refused() {
    let (a, b) = (FakeNode::imap().await, FakeNode::imap().await);
    let place = place(a.port, b.port);
    let old = place.start(&[]).await;
    let moving = Mover::waits(&place, &["alice", "b"]).await;
    let (status, said) = place.try_start(&["--take-over"]).ended().await;
    assert_eq!(status.code(), Some(71), "{said}");
    assert!(said.contains("the other process does not go on: a user is being moved: try again when"), "{said}");
    old.logged(&["not handed over: everything goes on as before", "a user is being moved"]).await;
    end_move(&place, moving).await;
    place.log_in().await;
    assert_eq!(b.logins().len(), 1);
    let new = place.start(&["--take-over"]).await;
    assert_eq!(place.operators_pid().await, new.pid(), "behind the move");
}

#[tokio::test]
async fn a_move_that_begins_while_the_new_process_makes_itself_ready_keeps_it_out() {
    let (a, b) = (FakeNode::imap().await, FakeNode::imap().await);
    let place = place(a.port, b.port);
    let old: Program = place.start(&[]).await;
    let mut talk = asking(&place, 1).await;
    assert!(heard(&mut talk).await.contains("\"offer\""));
    let moving = Mover::waits(&place, &["alice", "b"]).await;
    talk.send(b"{\"say\":\"ready\"}", &[]).await.unwrap();
    let said = heard(&mut talk).await;
    assert!(said.contains("\"no\"") && said.contains("a user is being moved"), "{said}");
    end_move(&place, moving).await;
    assert_eq!(place.operators_pid().await, old.pid());
}
