//! No login is lost to a node: races, patience, queues, and what health remembers.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use mailferry::routing::{Island, Node, OperatorState};
use tokio::sync::watch;

use crate::client::DEADLINE;
use crate::node::{Conn, FakeNode, PROMPTLY, friendly_imap};
use crate::site::{Door, Site, Spec, log_len, log_lines_within};

const LOGIN: &str = "LOGIN alice over-Pa55";

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

async fn silent() -> FakeNode {
    FakeNode::start(|mut conn: Conn| async move { conn.closed().await }).await
}

fn hedged(nodes: &[u16]) -> Spec {
    let tune = |island: &mut Island| {
        island.hedge = Some(Duration::from_millis(20));
        island.login_timeout = FOR_EVER;
    };
    Spec { greeting_timeout: FOR_EVER, patience: DEADLINE, tune, ..Spec::new(nodes) }
}

#[tokio::test]
async fn a_frozen_node_is_raced_and_closed_before_it_sees_anything() {
    let (left, right) = (silent().await, FakeNode::imap().await);
    let site = Site::start(hedged(&[left.port, right.port])).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a OK "));
    // A probe may have looked as well, here and below: how often a node was dialled is not for these tests to say.
    assert!(left.connections() >= 1);
    assert_eq!(right.logins().len(), 1);
    assert!(left.seen.octets.get().is_empty());
    left.all_closed(PROMPTLY).await;
    site.end(&["over-Pa55"]).await;
}

#[tokio::test]
async fn the_first_to_greet_wins_and_a_loser_that_greets_late_gets_its_turn_if_the_winner_fails() {
    // Right greets at once and closes over the login; left greets only the second time it is dialled.
    let left = FakeNode::start(|mut conn: Conn| async move {
        let is_first = conn.seen.connections.load(std::sync::atomic::Ordering::SeqCst) == 1;
        if is_first { conn.closed().await } else { friendly_imap(conn).await }
    })
    .await;
    let right = FakeNode::start(|mut conn: Conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n").await;
        conn.line().await;
    })
    .await;
    let site = Site::start(hedged(&[left.port, right.port])).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a OK "));
    assert_eq!(left.logins().len(), 1);
    let line = client.from.line("login").await;
    assert!(line.contains("\"node\":\"left\"") && line.contains("\"attempts\":3"), "{line}");
    assert!(line.contains("right: closed without an answer to the login"), "{line}");
    site.end(&["over-Pa55"]).await;
}

#[tokio::test]
async fn without_hedge_two_nodes_are_never_tried_together() {
    let left = silent().await;
    let seen = Arc::clone(&left.seen);
    let right = FakeNode::start(move |conn: Conn| {
        let seen = Arc::clone(&seen);
        async move {
            if seen.open() == 0 {
                friendly_imap(conn).await;
            }
        }
    })
    .await;
    // Patient, because a probe of left may be in the way.
    let greeting_timeout = Duration::from_millis(50);
    let spec = Spec { greeting_timeout, patience: DEADLINE, ..Spec::new(&[left.port, right.port]) };
    let site = Site::start(spec).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a OK "));
    assert!(left.connections() >= 1);
    assert_eq!(right.logins().len(), 1);
    site.end(&["over-Pa55"]).await;
}

/// A node that hangs up on everybody until it is told to serve.
async fn gone_until(serves: &watch::Sender<bool>) -> FakeNode {
    let serves = serves.subscribe();
    FakeNode::start(move |conn: Conn| {
        let serves = *serves.borrow();
        async move {
            if serves {
                friendly_imap(conn).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn when_both_nodes_are_gone_a_login_waits_for_one_to_return() {
    let back = watch::Sender::new(false);
    let (left, right) = (gone_until(&watch::Sender::new(false)).await, gone_until(&back).await);
    let site = Site::start(Spec { patience: DEADLINE, ..Spec::new(&[left.port, right.port]) }).await;
    let mut client = site.greeted(Door::ImapTls).await;
    client.send(format!("a {LOGIN}\r\n")).await;
    eventually("both nodes hung up on it", || left.connections() > 0 && right.connections() > 0).await;
    back.send_replace(true);
    assert!(client.answer("a").await.pop().unwrap().starts_with("a OK "));
    assert_eq!(right.logins().len(), 1);
    site.end(&["over-Pa55"]).await;
}

#[tokio::test]
async fn when_both_nodes_are_silent_the_clients_patience_ends_and_no_timeout_of_theirs_counts() {
    let (left, right) = (silent().await, silent().await);
    let spec = Spec { patience: Duration::from_millis(100), ..hedged(&[left.port, right.port]) };
    let site = Site::start(spec).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a NO [UNAVAILABLE] "));
    assert!(left.connections() >= 1 && right.connections() >= 1);
    let mut client = site.greeted(Door::Pop3Tls).await;
    client.ask("USER alice").await;
    assert!(client.ask("PASS over-Pa55").await.starts_with("-ERR [SYS/TEMP] "));
    site.end(&["over-Pa55"]).await;
}

#[tokio::test]
async fn a_login_is_not_given_up_while_its_island_says_temporary_and_then_recovers() {
    let left = FakeNode::start(|mut conn: Conn| async move {
        if conn.seen.connections.load(std::sync::atomic::Ordering::SeqCst) > 2 {
            return friendly_imap(conn).await;
        }
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n").await;
        let Some(line) = conn.line().await else { return };
        conn.send(format!("{} NO [UNAVAILABLE] database moves\r\n", line.split(' ').next().unwrap())).await;
    })
    .await;
    let site = Site::start(Spec { patience: DEADLINE, ..Spec::new(&[left.port]) }).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a OK "));
    assert_eq!(left.logins().len(), 1);
    site.end(&["over-Pa55"]).await;
}

#[tokio::test]
async fn a_mailbox_in_use_is_tried_elsewhere_and_not_waited_for() {
    let in_use = || async {
        FakeNode::start(|mut conn: Conn| async move {
            conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n").await;
            let Some(line) = conn.line().await else { return };
            conn.send(format!("{} NO [INUSE] another device\r\n", line.split(' ').next().unwrap())).await;
        })
        .await
    };
    let (left, right) = (in_use().await, in_use().await);
    let site = Site::start(Spec { patience: FOR_EVER, ..Spec::new(&[left.port, right.port]) }).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert_eq!(client.command("a", LOGIN).await, "a NO [INUSE] another device");
    assert_eq!((left.connections(), right.connections()), (1, 1));
    site.end(&["over-Pa55"]).await;
}

#[tokio::test]
async fn a_node_that_refuses_the_connection_is_asked_last_from_then_on() {
    let right = FakeNode::imap().await;
    let site = Site::with(&[FakeNode::dead().await, right.port]).await;
    let mut attempts = Vec::new();
    for _ in 0..6 {
        let mut client = site.greeted(Door::ImapTls).await;
        assert!(client.command("a", LOGIN).await.starts_with("a OK "));
        let line = client.from.line("login").await;
        attempts.push(line.contains("\"attempts\":2"));
    }
    assert_eq!(attempts, [true, false, false, false, false, false]);
    site.end(&["over-Pa55"]).await;
}

#[tokio::test]
async fn with_all_nodes_down_each_login_tries_one_best_guess_and_a_served_one_ends_the_outage() {
    let port = FakeNode::dead().await;
    let site = Site::with(&[port]).await;
    for _ in 0..4 {
        let mut client = site.greeted(Door::ImapTls).await;
        assert!(client.command("a", LOGIN).await.starts_with("a NO [UNAVAILABLE] "));
        let line = client.from.line("login").await;
        assert!(line.contains("\"attempts\":1"), "{line}");
    }
    let node = FakeNode::start_at(port, friendly_imap).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a OK "));
    assert_eq!(node.logins().len(), 1);
    site.end(&["over-Pa55"]).await;
}

#[tokio::test]
async fn nodes_that_the_operator_took_out_get_nothing() {
    let (left, right) = (FakeNode::imap().await, FakeNode::imap().await);
    let tune = |island: &mut Island| {
        let left = Node { state: OperatorState::Draining, ..Node::clone(&island.nodes[0]) };
        island.nodes[0] = Arc::new(left);
    };
    let site = Site::start(Spec { tune, ..Spec::new(&[left.port, right.port]) }).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a OK "));
    assert_eq!((left.connections(), right.logins().len()), (0, 1));
    site.end(&["over-Pa55"]).await;
}

#[tokio::test]
async fn logins_beyond_the_rate_go_to_the_next_node_and_then_hear_a_temporary_failure() {
    let (left, right) = (FakeNode::imap().await, FakeNode::imap().await);
    let tune = |island: &mut Island| island.max_login_rate = NonZeroU32::new(1);
    let site = Site::start(Spec { tune, ..Spec::new(&[left.port, right.port]) }).await;
    let mut heard = Vec::new();
    for _ in 0..3 {
        let mut client = site.greeted(Door::ImapTls).await;
        heard.push(client.command("a", LOGIN).await.starts_with("a OK "));
    }
    assert_eq!((left.logins().len(), right.logins().len()), (1, 1));
    assert_eq!(heard, [true, true, false]);
    site.end(&["over-Pa55"]).await;
}

#[tokio::test]
async fn sessions_that_die_with_their_node_are_let_go_one_after_the_other() {
    let (kill, mut killed) = (watch::Sender::new(false), Vec::new());
    let dies = kill.subscribe();
    let node = FakeNode::start(move |mut conn: Conn| {
        let mut dies = dies.clone();
        async move {
            tokio::select! {
                () = async {
                    conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n").await;
                    let line = conn.line().await.unwrap();
                    conn.send(format!("{} OK [CAPABILITY IMAP4rev1] in\r\n", line.split(' ').next().unwrap())).await;
                    conn.closed().await;
                } => {}
                _ = dies.wait_for(|dies| *dies) => {}
            }
        }
    })
    .await;
    let tune = |island: &mut Island| island.disconnect_spread = FOR_EVER;
    let site = Site::start(Spec { tune, ..Spec::new(&[node.port]) }).await;
    let before = log_len();
    for _ in 0..30 {
        let mut client = site.greeted(Door::ImapTls).await;
        assert!(client.command("a", LOGIN).await.starts_with("a OK "));
        killed.push(client);
    }
    let from: Vec<_> = killed.iter().map(|client| client.from).collect();
    let ended = || {
        let lines = log_lines_within(before..log_len(), &["\"message\":\"session ended\""]);
        from.iter().map(|from| lines.iter().filter(|line| from.is_in(line)).count()).sum::<usize>()
    };
    let idle: Vec<_> = killed.into_iter().map(|client| tokio::spawn(client.until_closed())).collect();
    kill.send_replace(true);
    // Ten may end together; the others would take an hour.
    eventually("ten sessions end", || ended() == 10).await;
    drop(site.greeted(Door::ImapTls).await);
    assert_eq!(ended(), 10);
    // A client that goes away itself is gone at once.
    idle.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("all sessions end", || ended() == 30).await;
    assert!(from[29].line("session ended").await.contains("\"who\":\"node\""));
    site.end(&["over-Pa55"]).await;
}

async fn eventually(what: &str, is_true: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE * 3;
    while !is_true() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
