//! Commands that change something: what clients and nodes feel of it, and what survives a restart.

use super::site::{Folder, site};
use crate::client::DEADLINE;
use crate::node::{FakeNode, friendly_imap};

#[tokio::test]
async fn kick_ends_the_sessions_of_a_user_a_node_or_one_in_order() {
    let (left, _right, folder) = site().await;
    let running = folder.run().await;
    let (mut first, mut second) = (running.log_in("alice").await, running.log_in("alice").await);
    let (mut alina, mut bob) = (running.log_in("alina").await, running.log_in("bob").await);
    assert_eq!(running.command(&["kick", "alice"]).await.said(), "2 sessions end\n");
    first.kicked().await;
    second.kicked().await;
    running.log.line(&["\"who\":\"operator\"", "\"stage\":\"relay\"", "\"why\":\"kicked\"", "alice"]).await;
    let json = running.command(&["sessions", "--user", "alina", "--json"]).await.json();
    let id = json["sessions"][0]["session"].as_str().unwrap();
    assert_eq!(running.command(&["kick", id]).await.said(), "1 sessions end\n");
    alina.kicked().await;
    assert!(bob.command("b", "NOOP").await.starts_with("b OK"), "nobody else is cut");
    let json = running.command(&["kick", "b/only", "--json"]).await.json();
    assert_eq!(json["kicked"], 1);
    bob.kicked().await;
    left.all_closed(DEADLINE).await;
    assert_eq!(running.command(&["kick", "b/only"]).await.said(), "0 sessions end\n");
    let gone = running.command(&["kick", id]).await;
    assert_eq!((gone.code, gone.err), (4, format!("no such session: {id}\n")));
    let told = running.log.many(&["\"message\":\"operator: kick\"", "\"uid\":"], 4).await;
    assert_eq!(told.len(), 4, "{told:?}");
}

#[tokio::test]
async fn many_sessions_of_a_node_end_one_after_the_other() {
    let (left, _right, folder) = site().await;
    let running = folder.run().await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(running.log_in("alice").await);
    }
    assert_eq!(running.command(&["kick", "a/left"]).await.said(), "12 sessions end within 1s\n");
    for mut client in clients {
        client.kicked().await;
    }
    left.all_closed(DEADLINE).await;
    assert_eq!(running.log.many(&["\"why\":\"kicked\""], 12).await.len(), 12);
}

#[tokio::test]
async fn what_a_name_is_can_be_said() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let done = running.command(&["kick", "a/left", "--as", "user"]).await;
    assert_eq!((done.code, done.err.as_str()), (4, "no session of user a/left\n"));
}

#[tokio::test]
async fn a_drained_node_keeps_its_sessions_and_gets_no_new_ones_until_it_is_undrained() {
    let (left, right, folder) = site().await;
    let running = folder.run().await;
    let mut before = running.log_in("alice").await;
    let said = running.command(&["drain", "a/left"]).await.said();
    assert_eq!(said, "a/left is draining (was in-service); sessions: 1\n");
    let _after = running.log_in("alice").await;
    assert_eq!((left.logins().len(), right.logins().len()), (1, 1));
    assert!(before.command("b", "NOOP").await.starts_with("b OK"));
    let islands = running.command(&["islands"]).await.said();
    assert!(islands.contains("draining (configured: in-service)"), "{islands}");
    let last = running.command(&["maintenance", "a/right"]).await;
    assert_eq!((last.code, last.out.as_str()), (0, "a/right is maintenance (was in-service); sessions: 1\n"));
    assert!(last.err.starts_with("warning: the island has no node in service"), "{}", last.err);
    let said = running.command(&["undrain", "a/left"]).await.said();
    assert_eq!(said, "a/left is in-service (was draining); sessions: 1\n");
    let _again = running.log_in("alice").await;
    assert_eq!((left.logins().len(), right.logins().len()), (2, 1));
}

#[tokio::test]
async fn states_of_nodes_survive_a_restart_and_also_a_crash() {
    let (_left, right, folder) = site().await;
    let running = folder.run().await;
    running.command(&["drain", "a/left"]).await.said();
    assert!(running.stop().await.success());
    let running = folder.run().await;
    running.log.line(&["node state as before the restart", "a/left", "draining"]).await;
    running.log_in("alice").await;
    assert_eq!(right.logins().len(), 1);
    running.command(&["maintenance", "b/only"]).await;
    running.kill().await;
    let running = folder.run().await;
    let json = running.command(&["islands", "--json"]).await.json();
    assert_eq!(json["islands"][0]["nodes"][0]["operator"], "draining");
    assert_eq!(json["islands"][1]["nodes"][0]["operator"], "maintenance");
    running.stop().await;
    std::fs::write(folder.path("operator.json"), "{\"version\": 1, \"nodes\"").unwrap();
    let running = folder.run().await;
    running.log.line(&["\"level\":\"WARN\"", "damaged and set aside", "operator.json.damaged"]).await;
    let json = running.command(&["islands", "--json"]).await.json();
    assert_eq!(json["islands"][0]["nodes"][0]["operator"], "in-service");
}

#[tokio::test]
async fn a_state_that_cannot_be_kept_holds_and_is_told() {
    let (_left, right, folder) = site().await;
    folder.replace("operator.json", "missing/operator.json");
    let running = folder.run().await;
    let done = running.command(&["drain", "a/left"]).await;
    assert_eq!((done.code, done.out.as_str()), (0, "a/left is draining (was in-service); sessions: 0\n"));
    assert!(done.err.contains("warning: the state will be forgotten at a restart: "), "{}", done.err);
    assert!(done.err.contains("missing/operator.json cannot be written: No such file"), "{}", done.err);
    running.log_in("alice").await;
    assert_eq!(right.logins().len(), 1);
}

#[tokio::test]
async fn flush_makes_the_next_login_ask_again() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    for _ in 0..2 {
        running.log_in("alice").await;
    }
    assert_eq!(running.command(&["flush", "alice"]).await.said(), "alice: forgotten\n");
    assert_eq!(running.command(&["flush", "alice"]).await.said(), "alice: nothing was there\n");
    running.log_in("ALICE").await;
    assert_eq!(running.command(&["flush", "Alice"]).await.said(), "Alice: forgotten\n", "by the site's rules");
    running.log_in("alice").await;
    running.command(&["flush"]).await.said();
    running.log_in("alice").await;
    let logins = running.log.many(&["\"message\":\"login\"", "\"outcome\":\"accepted\""], 5).await;
    let routes: Vec<bool> = logins.iter().map(|line| line.contains("\"route\":\"asked\"")).collect();
    assert_eq!(routes, [true, false, true, true, true], "{logins:?}");
}

#[tokio::test]
async fn levels_change_while_it_runs_and_no_library_is_ever_heard() {
    let (_left, _right, folder) = site().await;
    folder.replace("level = \"trace\"\n", "");
    let running = folder.run().await;
    assert_eq!(running.command(&["logs-level"]).await.said(), "all  info\n");
    running.log_in("alice").await;
    assert!(running.log.lines(&["\"level\":\"TRACE\""]).is_empty());
    let said = running.command(&["logs-level", "session=trace"]).await.said();
    assert_eq!(said, "all      info\nsession  trace\n");
    running.log_in("alice").await;
    running.log.line(&["\"level\":\"TRACE\"", "\"message\":\"stage\""]).await;
    running.command(&["logs-level", "warn"]).await.said();
    assert_eq!(running.command(&["logs-level"]).await.said(), "all  warn\n");
    let before = running.log.lines(&[]).len();
    running.log_in("bob").await;
    let since = running.log.lines(&[]).split_off(before);
    assert!(since.iter().all(|line| line.contains("WARN")), "{since:?}");
    for library in ["hyper=trace", "rustls=debug"] {
        assert_eq!(running.command(&["logs-level", library]).await.code, 4, "{library}");
    }
}

#[tokio::test]
async fn nodes_that_are_held_back_get_their_users_when_the_operator_says_so() {
    let (port, right) = (FakeNode::dead().await, FakeNode::imap().await);
    let folder = Folder::new([port, right.port]);
    let running = folder.run().await;
    assert_eq!(running.command(&["fail-back", "a"]).await.said(), "a: no node was held back\n");
    for _ in 0..3 {
        running.log_in("alice").await;
    }
    running.log.line(&["\"state\":\"down\"", "\"island\":\"a\""]).await;
    let left = FakeNode::start_at(port, friendly_imap).await;
    running.log.line(&["\"state\":\"in service\"", "\"island\":\"a\"", "\"node\":\"left\""]).await;
    running.log_in("alice").await;
    assert!(left.logins().is_empty(), "its users are held back");
    assert!(running.command(&["islands"]).await.said().contains(", held back"));
    assert_eq!(running.command(&["fail-back", "a"]).await.said(), "a: left gets its users again\n");
    running.log_in("alice").await;
    assert_eq!(left.logins().len(), 1);
}
