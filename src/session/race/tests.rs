//! Races between nodes in memory, on a clock that stands still: who is dialled when, what is told of whom, and who is left.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt as _, duplex};
use tokio::time::advance;

use super::*;
use crate::directory::{Directory, LookupError, cache};
use crate::net::{Dialer, Stream};
use crate::proto::Protocol;
use crate::routing::{Island, Islands, OperatorState, Signal};
use crate::testkit::settings;

const MS: Duration = Duration::from_millis(1);

/// What a node does so many milliseconds after it was dialled.
#[derive(Clone, Copy)]
enum Node {
    Greets(u32),
    Refuses(u32),
    Silent,
}

use Node::{Greets, Refuses, Silent};

struct World {
    site: Site,
    table: Arc<Table>,
    began: Instant,
}

/// What came of a race: each piece of news behind the milliseconds at which it came, the winner, whether it was put to the
/// test, and the places of those that are left.
#[derive(Debug, PartialEq)]
struct Raced {
    news: Vec<String>,
    winner: Option<(usize, bool)>,
    left: Vec<usize>,
}

impl World {
    fn new<const N: usize>(nodes: [Node; N], change: impl FnOnce(&mut Island)) -> Self {
        let mut island = settings::island(N as u32);
        island.connect_timeout = 100_000 * MS;
        change(&mut island);
        let dialer = Dialer::memory(move |host, _| {
            let node = nodes[host.trim_start_matches("node").parse::<usize>().unwrap()];
            Box::pin(async move {
                match node {
                    Silent => std::future::pending().await,
                    Refuses(0) => Err(std::io::ErrorKind::ConnectionRefused.into()),
                    Refuses(after) => {
                        tokio::time::sleep(MS * after).await;
                        Err(std::io::ErrorKind::ConnectionRefused.into())
                    }
                    Greets(after) => {
                        tokio::time::sleep(MS * after).await;
                        let (ours, mut theirs) = duplex(1000);
                        theirs.write_all(b"* OK [CAPABILITY IMAP4rev1] here\r\n").await.unwrap();
                        // It stays there as long as we do.
                        tokio::spawn(async move {
                            let _ = tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await;
                        });
                        Ok(Stream::Memory(ours))
                    }
                }
            })
        });
        let forever = Duration::from_secs(86_400);
        let kept = cache::Settings { capacity: 1, ttl: forever, negative_ttl: forever, stale: forever, file: None };
        let began = Instant::now();
        let site = Site {
            settings: settings::session(),
            directory: Directory::scripted(&kept, |_| Box::pin(async { Err(LookupError::NotFound) })),
            islands: Islands::new(vec![island], None, began.into_std()),
            dialer,
            node_tls: HashMap::new(),
        };
        let table = Arc::clone(site.islands.iter().next().unwrap());
        Self { site, table, began }
    }

    fn port(&self, place: usize) -> NodePort {
        self.table.ports(Protocol::Imap).nth(place).unwrap()
    }

    fn tell(&self, place: usize, signal: Signal) {
        self.port(place).signal(signal, Instant::now().into_std());
    }

    /// As many failed probes as it takes.
    fn goes_down(&self, place: usize) {
        (0..3).for_each(|_| self.tell(place, Signal::ProbeFailed));
        assert_eq!(self.port(place).state(), State::Down);
    }

    fn returns(&self, place: usize) {
        (0..2).for_each(|_| self.tell(place, Signal::ProbePassed { logged_in: true }));
        assert_eq!(self.port(place).state(), State::InService);
    }

    fn place(&self, port: &NodePort) -> usize {
        self.table.ports(Protocol::Imap).position(|other| other.is_node_of(port)).unwrap()
    }

    async fn race<const N: usize>(&self, plan: [(usize, Reason); N]) -> Raced {
        self.race_with(plan, async {}).await
    }

    /// While something else happens.
    async fn race_with<const N: usize>(
        &self,
        plan: [(usize, Reason); N],
        meanwhile: impl Future<Output = ()>,
    ) -> Raced {
        let mut candidates: VecDeque<_> =
            plan.into_iter().map(|(place, reason)| Candidate { port: self.port(place), reason }).collect();
        let (mut patience, mut news) = (Patience::new(&self.table), Vec::new());
        let ready = {
            let race = race(&self.site, &self.table, None, &mut candidates, &mut patience, |it| {
                let words = match it {
                    News::Dialled { is_hedge: false } => "dialled".to_owned(),
                    News::Dialled { is_hedge: true } => "dialled beside".to_owned(),
                    News::Slow(port) => format!("{} slow", self.place(&port)),
                    News::Failed(port, failure) => format!("{} {failure}", self.place(&port)),
                };
                news.push(format!("{} {words}", self.began.elapsed().as_millis()));
            });
            tokio::join!(race, meanwhile).0
        };
        news.push(format!("{} over", self.began.elapsed().as_millis()));
        let left = candidates.iter().map(|candidate| self.place(&candidate.port)).collect();
        Raced { news, winner: ready.map(|ready| (self.place(&ready.port), ready.is_test)), left }
    }
}

fn raced<const N: usize>(news: [&str; N], winner: Option<(usize, bool)>, left: &[usize]) -> Raced {
    Raced { news: news.map(str::to_owned).to_vec(), winner, left: left.to_vec() }
}

fn hedged(island: &mut Island) {
    island.hedge = Some(100 * MS);
}

const FIRST: Reason = Reason::Preferred;
const NEXT: Reason = Reason::Fallback;

#[tokio::test(start_paused = true)]
async fn the_next_one_is_dialled_beside_a_slow_one_and_the_losers_are_left_in_order() {
    let world = World::new([Silent, Greets(10), Greets(0)], hedged);
    let expected = ["0 dialled", "100 0 slow", "100 dialled beside", "110 over"];
    assert_eq!(world.race([(0, FIRST), (1, NEXT), (2, NEXT)]).await, raced(expected, Some((1, false)), &[0, 2]));
    // The slow one may win still.
    let world = World::new([Greets(150), Silent], hedged);
    let expected = ["0 dialled", "100 0 slow", "100 dialled beside", "150 over"];
    assert_eq!(world.race([(0, FIRST), (1, NEXT)]).await, raced(expected, Some((0, false)), &[1]));
}

#[tokio::test(start_paused = true)]
async fn the_next_one_is_dialled_when_the_one_before_has_failed_and_it_is_out() {
    let refused = "0 cannot connect: connection refused";
    for change in [hedged as fn(&mut Island), |_| {}] {
        let world = World::new([Refuses(20), Greets(5)], change);
        let expected = ["0 dialled", &format!("20 {refused}"), "20 dialled", "25 over"];
        assert_eq!(world.race([(0, FIRST), (1, NEXT)]).await, raced(expected, Some((1, false)), &[]));
    }
    let world = World::new([Silent, Refuses(10), Greets(5)], hedged);
    let expected = [
        "0 dialled",
        "100 0 slow",
        "100 dialled beside",
        "110 1 cannot connect: connection refused",
        "110 dialled beside",
        "115 over",
    ];
    assert_eq!(world.race([(0, FIRST), (1, NEXT), (2, NEXT)]).await, raced(expected, Some((2, false)), &[0]));
    let world = World::new([Refuses(10), Refuses(10)], hedged);
    let (one, other) = (format!("10 {refused}"), "20 1 cannot connect: connection refused");
    let expected = ["0 dialled", &one, "10 dialled", other, "20 over"];
    assert_eq!(world.race([(0, FIRST), (1, NEXT)]).await, raced(expected, None, &[]));
    assert_eq!(world.race([]).await, raced(["20 over"], None, &[]));
}

#[tokio::test(start_paused = true)]
async fn without_a_hedge_nobody_is_dialled_beside_another_one_and_slow_is_told_all_the_same() {
    let world = World::new([Refuses(1000), Greets(5)], |_| {});
    let expected =
        ["0 dialled", "250 0 slow", "1000 0 cannot connect: connection refused", "1000 dialled", "1005 over"];
    assert_eq!(world.race([(0, FIRST), (1, NEXT)]).await, raced(expected, Some((1, false)), &[]));
    // While one is left the patience does not run, however long that is.
    let world = World::new([Greets(60_000), Greets(0)], |_| {});
    let expected = ["0 dialled", "250 0 slow", "60000 over"];
    assert_eq!(world.race([(0, FIRST), (1, NEXT)]).await, raced(expected, Some((0, false)), &[1]));
}

#[tokio::test(start_paused = true)]
async fn the_patience_runs_from_when_all_are_slow_and_its_end_is_that_of_all() {
    let silent = |at: u32, place: u32| format!("{at} {place} {}", Failure::Silent);
    let world = World::new([Silent, Silent], hedged);
    let (one, other) = (silent(5200, 0), silent(5200, 1));
    let expected = ["0 dialled", "100 0 slow", "100 dialled beside", "200 1 slow", &one, &other, "5200 over"];
    assert_eq!(world.race([(0, FIRST), (1, NEXT)]).await, raced(expected, None, &[]));
    // Whoever fails later is out, and changes nothing for the others.
    let world = World::new([Silent, Refuses(150)], hedged);
    let failed = "250 1 cannot connect: connection refused";
    let one = silent(5200, 0);
    let expected = ["0 dialled", "100 0 slow", "100 dialled beside", "200 1 slow", failed, &one, "5200 over"];
    assert_eq!(world.race([(0, FIRST), (1, NEXT)]).await, raced(expected, None, &[]));
    // The last one has its time, also where it fails within it.
    let world = World::new([Silent, Refuses(50)], hedged);
    let (failed, one) = ("150 1 cannot connect: connection refused", silent(5200, 0));
    let expected = ["0 dialled", "100 0 slow", "100 dialled beside", failed, "200 0 slow", &one, "5200 over"];
    assert_eq!(world.race([(0, FIRST), (1, NEXT)]).await, raced(expected, None, &[]));
    // Where there is none, the nodes' own time limits end it.
    let world = World::new([Silent], |island| (island.patience, island.connect_timeout) = (Duration::ZERO, 9000 * MS));
    let late = format!("9000 0 {}", Failure::ConnectTimeout);
    let expected = ["0 dialled", "250 0 slow", &late, "9000 over"];
    assert_eq!(world.race([(0, FIRST)]).await, raced(expected, None, &[]));
}

#[tokio::test(start_paused = true)]
async fn silent_nodes_are_left_for_another_one_that_returns_and_for_no_other_news() {
    let world = World::new([Silent, Silent, Silent], |_| {});
    world.goes_down(1);
    let meanwhile = async {
        advance(1000 * MS).await;
        // The one that is silent passes its probes again: that is better, and it is being dialled.
        world.tell(0, Signal::ProbeFailed);
        world.returns(0);
        tokio::task::yield_now().await;
        advance(1000 * MS).await;
        // And so does one that gets no logins.
        world.port(2).set_operator_state(OperatorState::Draining);
        world.tell(2, Signal::ProbeFailed);
        world.returns(2);
        tokio::task::yield_now().await;
        advance(1000 * MS).await;
        world.returns(1);
    };
    // Time goes by in steps, so that what is due at 250 is seen at the first one's end.
    let raced = world.race_with([(0, FIRST)], meanwhile).await;
    assert_eq!(raced, self::raced(["0 dialled", "1000 0 slow", "3000 over"], None, &[]));
}

#[tokio::test(start_paused = true)]
async fn who_went_down_is_not_dialled_nor_waited_for_unless_nothing_better_is_left() {
    let world = World::new([Greets(0), Greets(0)], |_| {});
    world.goes_down(0);
    let expected = ["0 dialled", "0 over"];
    assert_eq!(world.race([(0, FIRST), (1, NEXT)]).await, raced(expected, Some((1, false)), &[]));
    assert_eq!(world.race([(0, FIRST)]).await, raced(["0 over"], None, &[]));
    assert_eq!(world.race([(0, Reason::BestGuess)]).await, raced(expected, Some((0, true)), &[]));
    let world = World::new([Greets(10)], |_| {});
    world.goes_down(0);
    assert_eq!(world.race([(0, Reason::BestGuess)]).await, raced(["0 dialled", "10 over"], Some((0, true)), &[]));

    let world = World::new([Greets(1000), Greets(0)], |_| {});
    let falls = async {
        advance(10 * MS).await;
        world.goes_down(0);
    };
    let went = format!("10 0 {}", Failure::WentDown);
    let expected = ["0 dialled", &went, "10 dialled", "10 over"];
    assert_eq!(world.race_with([(0, FIRST), (1, NEXT)], falls).await, raced(expected, Some((1, false)), &[]));
}

#[tokio::test(start_paused = true)]
async fn one_login_at_a_time_puts_a_node_to_the_test() {
    let world = World::new([Greets(0), Greets(0)], |_| {});
    world.goes_down(0);
    world.tell(0, Signal::ProbePassed { logged_in: false });
    let plan = [(0, Reason::Trial), (1, FIRST)];
    let tried = world.race(plan).await;
    assert_eq!(tried, raced(["0 dialled", "0 over"], Some((0, true)), &[1]));
    let other = world.port(0).begin_trial().unwrap();
    assert_eq!(world.race(plan).await, raced(["0 dialled", "0 over"], Some((1, false)), &[]));
    drop(other);
    // For as long as the login is with the node.
    let (mut candidates, mut patience) = (VecDeque::new(), Patience::new(&world.table));
    candidates.push_back(Candidate { port: world.port(0), reason: Reason::Trial });
    let ready = race(&world.site, &world.table, None, &mut candidates, &mut patience, |_| {}).await.unwrap();
    assert!(world.port(0).begin_trial().is_none());
    drop(ready);
    assert!(world.port(0).begin_trial().is_some());
}

#[tokio::test(start_paused = true)]
async fn time_in_a_nodes_queue_makes_nobody_slow_and_ends_with_the_patience() {
    let limited = |island: &mut Island| {
        hedged(island);
        island.max_login_rate = NonZeroU32::new(1);
    };
    let enters = |world: &World, place: usize| {
        let port = world.port(place);
        async move { admit(&port, Instant::now() + 100_000 * MS).await.is_ok() }
    };
    let world = World::new([Silent, Greets(0)], limited);
    assert!(enters(&world, 0).await);
    let expected = ["0 dialled", "1100 0 slow", "1100 dialled beside", "1100 over"];
    assert_eq!(world.race([(0, FIRST), (1, NEXT)]).await, raced(expected, Some((1, false)), &[0]));

    // Neither the time that the one before had, nor that it was let in, is that of one that waits.
    for after in [0, 50] {
        let world = World::new([Refuses(after), Greets(200)], limited);
        assert!(enters(&world, 1).await);
        let refused = format!("{after} 0 cannot connect: connection refused");
        let dialled = format!("{after} dialled");
        let expected = ["0 dialled", &refused, &dialled, "1100 1 slow", "1200 over"];
        assert_eq!(world.race([(0, FIRST), (1, NEXT)]).await, raced(expected, Some((1, false)), &[]));
    }

    // Nobody gets into the second one while the patience lasts. Then all that are left are slow.
    let world = World::new([Silent, Greets(0)], limited);
    let other = world.port(1);
    let _queue = other.gate().0.lock().await;
    let (full, silent) = (format!("5100 1 {}", Failure::NotAdmitted), format!("10100 0 {}", Failure::Silent));
    let expected = ["0 dialled", "100 0 slow", "100 dialled beside", &full, &silent, "10100 over"];
    assert_eq!(world.race([(0, FIRST), (1, NEXT)]).await, raced(expected, None, &[]));
}
