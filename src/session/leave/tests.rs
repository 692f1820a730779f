//! Who goes when, on a clock that stands still: sessions that hear the word and leave at once, and some that cannot.

use std::future::poll_fn;

use super::super::registry::{Beginning, Entry, How, Word};
use super::*;
use crate::names::{IslandName, Protocol, SessionId};
use crate::routing::{Islands, NodePort};
use crate::testkit::settings;

const SECOND: Duration = Duration::from_secs(1);

fn port() -> NodePort {
    let islands = Islands::new(vec![settings::island(1)], None, Instant::now().into_std());
    islands.find(&IslandName::new("a")).unwrap().ports(Protocol::Imap).next().unwrap()
}

fn enter(registry: &Registry, port: &NodePort, number: u64) -> Entry {
    registry.enter(Beginning {
        id: SessionId { run: 7, number },
        client: "192.0.2.1:993".parse().unwrap(),
        began: Instant::now(),
        tls: None,
        user: None,
        seat: port.seat(),
    })
}

/// A session that leaves when it is told to, and says when that was.
async fn leaving(entry: Entry, began: Instant) -> Duration {
    poll_fn(|cx| entry.session().poll_word(cx).map(|word| assert_eq!(word, Word::Leave))).await;
    entry.ended(How::Told);
    began.elapsed()
}

/// Quiet sessions, of which each next one has been so for a second less, the first for all of them and ten.
async fn quiet(registry: &Registry, count: u64) -> Vec<Entry> {
    let port = port();
    let mut entries = Vec::new();
    for number in 0..count {
        let entry = enter(registry, &port, number);
        entry.session().moved(1, 1, true);
        entries.push(entry);
        tokio::time::advance(SECOND).await;
    }
    tokio::time::advance(10 * SECOND).await;
    entries
}

#[tokio::test(start_paused = true)]
async fn quiet_sessions_go_evenly_and_those_first_that_were_so_for_longest() {
    let registry = Registry::default();
    let entries = quiet(&registry, 90).await;
    let (began, all) = (Instant::now(), registry.clone());
    let pace = tokio::spawn(async move { let_go(&all, 100 * SECOND).await });
    let tasks: Vec<_> = entries.into_iter().map(|entry| tokio::spawn(leaving(entry, began))).collect();
    for (number, task) in (0..).zip(tasks) {
        let (at, due) = (task.await.unwrap(), SECOND * number);
        assert!(at >= due && at <= due + 2 * LOOK, "{number} goes after {at:?}");
    }
    assert!(!pace.is_finished() && registry.is_empty());
    pace.abort();
}

#[tokio::test(start_paused = true)]
async fn sessions_that_end_by_themselves_are_not_made_up_for() {
    let registry = Registry::default();
    let mut entries = quiet(&registry, 90).await;
    let (began, all) = (Instant::now(), registry.clone());
    // Half of them at once: the others need not begin before that half of the time is over.
    entries.drain(45..).for_each(|entry| entry.ended(How::ByItself));
    let pace = tokio::spawn(async move { let_go(&all, 100 * SECOND).await });
    tokio::task::yield_now().await;
    let tasks: Vec<_> = entries.into_iter().map(|entry| tokio::spawn(leaving(entry, began))).collect();
    for (number, task) in (0..).zip(tasks) {
        let at = task.await.unwrap();
        let due = SECOND * 2 * number;
        assert!(at >= due && at <= due + 2 * LOOK, "{number} goes after {at:?}");
    }
    pace.abort();
}

#[tokio::test(start_paused = true)]
async fn busy_sessions_go_when_they_are_quiet_and_never_before() {
    let registry = Registry::default();
    let mut entries = quiet(&registry, 20).await;
    let busy = entries.split_off(10);
    busy.iter().for_each(|entry| entry.session().moved(2, 1, false));
    let (began, all) = (Instant::now(), registry.clone());
    let pace = tokio::spawn(async move { let_go(&all, 100 * SECOND).await });
    let quiet: Vec<_> = entries.into_iter().map(|entry| tokio::spawn(leaving(entry, began))).collect();
    tokio::time::sleep(95 * SECOND).await;
    assert!(quiet.iter().all(tokio::task::JoinHandle::is_finished));
    assert!(!busy.iter().any(|entry| entry.session().is_leaving()));
    // The node answers the first one, and it is as quiet as it must be five seconds later.
    busy[0].session().moved(2, 2, true);
    tokio::time::sleep(5 * SECOND - 2 * LOOK).await;
    assert!(!busy[0].session().is_leaving());
    tokio::time::sleep(4 * LOOK).await;
    assert!(busy[0].session().is_leaving() && !busy[1].session().is_leaving());
    pace.abort();
}

#[tokio::test(start_paused = true)]
async fn a_few_quiet_sessions_go_at_once() {
    let registry = Registry::default();
    let entries = quiet(&registry, 10).await;
    let (began, all) = (Instant::now(), registry.clone());
    let pace = tokio::spawn(async move { let_go(&all, 1000 * SECOND).await });
    for task in entries.into_iter().map(|entry| tokio::spawn(leaving(entry, began))).collect::<Vec<_>>() {
        assert!(task.await.unwrap() <= LOOK);
    }
    pace.abort();
}

#[test]
fn those_that_were_quiet_for_longest_are_found_without_an_order_among_them() {
    for count in 0..=6 {
        let mut quiet: Vec<_> = [3, 1, 5, 2, 4].map(|rest| (SECOND * rest, ())).to_vec();
        longest_first(&mut quiet, count);
        let first: u64 = quiet.iter().take(count).map(|(rest, ())| rest.as_secs()).sum();
        assert_eq!(first, [0, 5, 9, 12, 14, 15, 15][count], "{count}");
    }
}
