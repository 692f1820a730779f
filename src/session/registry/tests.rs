//! Who is in the registry, under churn and from all sides, and what it counts.

use std::collections::HashSet;
use std::task::Wake;

use super::*;
use crate::names::{IslandName, Protocol};
use crate::routing::Islands;
use crate::testkit::settings;

fn port() -> NodePort {
    let islands = Islands::new(vec![settings::island(1)], None, Instant::now().into_std());
    islands.find(&IslandName::new("a")).unwrap().ports(Protocol::Imap).next().unwrap()
}

fn enter(registry: &Registry, port: &NodePort, number: u64) -> Entry {
    registry.enter(Beginning {
        id: SessionId { run: 7, number },
        client: "[2001:db8::1]:993".parse().unwrap(),
        began: Instant::now(),
        tls: Some("TLSv1_3"),
        user: UserName::new(format!("user{number}").as_bytes()),
        seat: port.seat(),
    })
}

async fn seen(registry: &Registry) -> HashSet<u64> {
    let mut numbers = Vec::new();
    registry.look(|session| numbers.push(session.id().number)).await;
    let set: HashSet<u64> = numbers.iter().copied().collect();
    assert_eq!(set.len(), numbers.len(), "each is seen once");
    set
}

#[tokio::test]
async fn those_are_seen_who_are_there() {
    let (registry, port) = (Registry::default(), port());
    let mut entries: Vec<(u64, Entry)> = (1..=1000).map(|number| (number, enter(&registry, &port, number))).collect();
    assert_eq!((registry.len(), port.sessions()), (1000, 1000));
    entries.retain(|(number, _)| number % 3 == 0);
    entries.extend((1001..=1100).map(|number| (number, enter(&registry, &port, number))));
    assert_eq!(seen(&registry).await, entries.iter().map(|(number, _)| *number).collect());
    assert_eq!((registry.len() as u64, port.sessions()), (433, 433));
    assert!(registry.find(SessionId { run: 7, number: 3 }).is_some());
    for unknown in [SessionId { run: 7, number: 4 }, SessionId { run: 8, number: 3 }] {
        assert!(registry.find(unknown).is_none());
    }
    let places: usize = registry.0.shards.iter().map(|shard| lock(shard).places.len()).sum();
    assert_eq!(places, 1000, "places are used again");
    entries.clear();
    assert!(registry.is_empty() && seen(&registry).await.is_empty());
}

#[tokio::test]
async fn whoever_looks_at_all_keeps_nobody_waiting() {
    let (registry, port) = (Registry::default(), port());
    let _entries: Vec<Entry> = (1..=1000).map(|number| enter(&registry, &port, number)).collect();
    let mut looked = 0;
    let is_free = |shard: &Mutex<Shard>| shard.try_lock().is_ok();
    registry
        .look(|_| {
            assert!(registry.0.shards.iter().all(is_free), "behind no lock");
            looked += 1;
        })
        .await;
    assert_eq!(looked, 1000);
}

#[test]
fn many_threads_at_once_lose_nobody() {
    let (registry, port) = (Registry::default(), port());
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (registry, port) = (&registry, &port);
            scope.spawn(move || {
                let mut entries = Vec::new();
                for number in 0..2000 {
                    entries.push(enter(registry, port, thread * 10_000 + number));
                    if number % 2 == 0 {
                        entries.swap_remove(entries.len() / 2);
                    }
                }
                assert!(registry.len() >= entries.len());
            });
        }
    });
    assert_eq!((registry.len(), port.sessions()), (0, 0));
}

struct Woken(std::sync::atomic::AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn who_waits_is_woken_once_and_its_waker_is_not_kept() {
    let (registry, port) = (Registry::default(), port());
    let entry = enter(&registry, &port, 1);
    let woken = Arc::new(Woken(0.into()));
    let waker = Waker::from(Arc::clone(&woken));
    let cx = Context::from_waker(&waker);
    assert!(entry.session().poll_word(&cx).is_pending() && entry.session().poll_word(&cx).is_pending());
    assert_eq!(Arc::strong_count(&woken), 3, "one of them waits");
    let session = registry.find(entry.session().id()).unwrap().upgrade().unwrap();
    assert!(session.kick() && !session.kick());
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(Arc::strong_count(&woken), 2);
    assert!(entry.session().poll_word(&cx).is_ready());
}

#[tokio::test]
async fn who_cannot_leave_stays_and_hears_the_next_word() {
    let (registry, port) = (Registry::default(), port());
    let entry = enter(&registry, &port, 1);
    let woken = Arc::new(Woken(0.into()));
    let waker = Waker::from(Arc::clone(&woken));
    let cx = Context::from_waker(&waker);
    let session = entry.session();
    session.leave();
    assert_eq!(session.poll_word(&cx), Poll::Ready(Word::Leave), "said before it was asked for");
    for times in 1..=3 {
        session.stay();
        assert!(session.poll_word(&cx).is_pending() && !session.is_leaving());
        session.leave();
        assert_eq!((session.poll_word(&cx), woken.0.load(Ordering::Relaxed)), (Poll::Ready(Word::Leave), times));
        assert!(session.is_leaving());
    }
    assert!(session.kick(), "the operator's word is another one");
    session.stay();
    session.leave();
    assert_eq!(session.poll_word(&cx), Poll::Ready(Word::End), "and stays");
}

#[tokio::test(start_paused = true)]
async fn rest_is_the_time_since_something_moved_and_nothing_is_under_way() {
    let (registry, port) = (Registry::default(), port());
    tokio::time::advance(Duration::from_millis(1234)).await;
    let entry = enter(&registry, &port, 1);
    let session = entry.session();
    let (second, tick) = (Duration::from_secs(1), Duration::from_millis(100));
    let is_after =
        |time: Duration| session.at_rest(Instant::now()).is_some_and(|rest| rest <= time && rest + tick >= time);
    assert_eq!(session.at_rest(Instant::now()), None, "its login's answer is not delivered");
    session.moved(0, 10, true);
    tokio::time::advance(second).await;
    assert!(is_after(second), "{:?}", session.at_rest(Instant::now()));
    session.moved(0, 10, true);
    assert!(is_after(second), "nothing has moved");
    session.moved(5, 10, false);
    tokio::time::advance(second).await;
    assert_eq!(session.at_rest(Instant::now()), None);
    session.moved(5, 15, true);
    tokio::time::advance(100 * second).await;
    assert!(is_after(100 * second), "{:?}", session.at_rest(Instant::now()));
    assert_eq!((session.to_node(), session.to_client()), (5, 15));
}
