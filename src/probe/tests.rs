//! When probes come, on a paused clock and with nodes in memory. What they say is proved on the wire in `tests/it`.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::directory::{Directory, LookupError, cache};
use crate::drain;
use crate::limits::Limits;
use crate::names::{IslandName, NodeName, Protocol};
use crate::net::{Dialer, Stream};
use crate::routing::{FailBack, Islands, Node, NodeTls, Policy, Probe};
use crate::testkit;

const INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(2);
/// Whatever the machine is busy with: timers have a grain of a millisecond.
const GRAIN: Duration = Duration::from_millis(20);

/// "Too many open files", on Linux.
const EMFILE: i32 = 24;

/// What the node does with a connection.
#[derive(Clone, Copy)]
enum Mood {
    Greets,
    /// It greets, and never hangs up.
    Clings,
    Refuses,
    /// It is not asked, because we have no descriptors left.
    Unasked,
    /// It accepts, and that is all.
    Frozen,
}

/// One node under watch.
struct Bench {
    context: Arc<Context>,
    port: NodePort,
    mood: Arc<Mutex<Mood>>,
    dialled: Arc<Mutex<Vec<Instant>>>,
    stop: drain::Signal,
    begun: Instant,
}

impl Bench {
    fn watching(mood: Mood) -> Self {
        Self::watching_every(INTERVAL, mood)
    }

    fn watching_every(interval: Duration, mood: Mood) -> Self {
        let (mood, dialled) = (Arc::new(Mutex::new(mood)), Arc::new(Mutex::new(Vec::new())));
        let (moods, dials) = (Arc::clone(&mood), Arc::clone(&dialled));
        let dialer = Dialer::memory(move |_, _| {
            locked(&dials).push(Instant::now());
            let mood = *locked(&moods);
            Box::pin(async move { connect(mood) })
        });
        let context = Arc::new(context(dialer, interval));
        let table = context.site().islands.iter().next().cloned().unwrap();
        let port = table.ports(Protocol::Imap).next().unwrap();
        let (stop, drain) = drain::channel();
        let begun = Instant::now();
        tokio::spawn(watch(Arc::clone(&context), port.clone(), drain));
        Self { context, port, mood, dialled, stop, begun }
    }

    fn becomes(&self, mood: Mood) {
        *locked(&self.mood) = mood;
    }

    /// The times between the probes of this time, the one before it counted too.
    async fn gaps(&self, time: Duration) -> Vec<Duration> {
        let before = locked(&self.dialled).len();
        sleep(time).await;
        let dialled = locked(&self.dialled);
        dialled[before.saturating_sub(1)..].windows(2).map(|two| two[1] - two[0]).collect()
    }

    /// Waits until a probe has just begun.
    async fn next_probe(&self) {
        let before = locked(&self.dialled).len();
        while locked(&self.dialled).len() == before {
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        self.port.signal(signal, Instant::now().into_std());
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap()
}

fn connect(mood: Mood) -> io::Result<Stream> {
    let (ours, mut nodes) = duplex(4096);
    match mood {
        Mood::Refuses => return Err(io::ErrorKind::ConnectionRefused.into()),
        Mood::Unasked => return Err(io::Error::from_raw_os_error(EMFILE)),
        Mood::Greets | Mood::Clings | Mood::Frozen => {}
    }
    tokio::spawn(async move {
        if matches!(mood, Mood::Greets | Mood::Clings) {
            nodes.write_all(b"* OK [CAPABILITY IMAP4rev1] here\r\n").await.unwrap();
        }
        while !matches!(nodes.read(&mut [0; 64]).await, Ok(0) | Err(_)) {}
        if matches!(mood, Mood::Clings) {
            sleep(INTERVAL * 100).await;
        }
    });
    Ok(Stream::Memory(ours))
}

fn context(dialer: Dialer, interval: Duration) -> Context {
    let node = Node {
        name: NodeName::new("left"),
        host: "left".into(),
        imap_port: 143,
        pop3_port: 110,
        tls_name: "left".into(),
        weight: NonZeroU32::MIN,
        rank: 1,
        zone: None,
        state: OperatorState::InService,
    };
    let island = Island {
        name: IslandName::new("a"),
        spellings: vec![IslandName::new("a")],
        policy: Policy::Prefer,
        fail_back: FailBack::Now,
        tls: NodeTls::Off,
        forward: crate::routing::Forward::Off,
        ca: None,
        connect_timeout: TIMEOUT * 10,
        greeting_timeout: TIMEOUT * 10,
        login_timeout: TIMEOUT * 10,
        hedge: None,
        patience: Duration::ZERO,
        disconnect_spread: Duration::ZERO,
        max_login_rate: None,
        probe: Probe { check: Check::Greeting, interval, timeout: TIMEOUT, fall: 3, rise: 2 },
        nodes: vec![Arc::new(node)],
    };
    let settings = cache::Settings {
        capacity: 1,
        ttl: Duration::ZERO,
        negative_ttl: Duration::ZERO,
        stale: Duration::ZERO,
        file: None,
    };
    Context::new(
        Site {
            settings: testkit::settings::session(),
            directory: Directory::scripted(&settings, |_| Box::pin(async { Err(LookupError::NotFound) })),
            islands: Islands::new(vec![island], None, Instant::now().into_std()),
            dialer,
            node_tls: HashMap::new(),
        },
        Limits::new(testkit::settings::limits(), u32::MAX),
        0,
    )
}

#[track_caller]
fn assert_between(gaps: &[Duration], least: Duration, most: Duration) {
    assert!(!gaps.is_empty(), "no probes");
    assert!(gaps.iter().all(|gap| (least..=most + GRAIN).contains(gap)), "{least:?} to {most:?}: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_in_service_is_probed_at_its_interval_and_any_other_every_second() {
    let bench = Bench::watching(Mood::Greets);
    let gaps = bench.gaps(INTERVAL * 60).await;
    let first = locked(&bench.dialled)[0] - bench.begun;
    assert_between(&[first], EARLY_LOOK_MAX / 10, EARLY_LOOK_MAX);
    assert_between(&gaps[..1], INTERVAL / 10, INTERVAL);
    assert_between(&gaps[1..], INTERVAL.mul_f64(0.9), INTERVAL.mul_f64(1.1));
    assert!(gaps.iter().max() > gaps.iter().min(), "all at the same interval");
    // The next probe fails, and from then on the node is not in service.
    bench.becomes(Mood::Refuses);
    bench.gaps(INTERVAL * 2).await;
    assert_eq!(bench.port.state(), State::Down);
    let gaps = bench.gaps(INTERVAL).await;
    assert_between(&gaps, Duration::from_millis(900), Duration::from_millis(1100));
    bench.becomes(Mood::Greets);
    assert_between(
        &bench.gaps(Duration::from_secs(4)).await[..2],
        Duration::from_millis(900),
        Duration::from_millis(1100),
    );
    assert_eq!(bench.port.state(), State::InService);
    assert_between(&bench.gaps(INTERVAL * 10).await, INTERVAL.mul_f64(0.9), INTERVAL.mul_f64(1.1));
}

#[tokio::test(start_paused = true)]
async fn every_node_is_heard_soon_after_the_start_unless_few_probes_are_wanted() {
    let soon = Bench::watching(Mood::Greets);
    let rare = Bench::watching_every(EARLY_LOOK_INTERVAL_MAX * 60, Mood::Greets);
    let in_time = Instant::now() + EARLY_LOOK_MAX + GRAIN;
    tokio::time::sleep_until(in_time).await;
    assert_eq!((locked(&soon.dialled).len(), locked(&rare.dialled).len()), (1, 0));
    assert!(soon.context.site().islands.extensions(Protocol::Imap, Instant::now().into_std()).has("IMAP4REV1"));
    sleep(EARLY_LOOK_INTERVAL_MAX * 5).await;
    assert!(locked(&rare.dialled).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_probe_ends_at_its_timeout_whatever_the_node_does() {
    let bench = Bench::watching(Mood::Frozen);
    bench.gaps(INTERVAL * 2).await;
    assert_eq!(bench.port.state(), State::Down, "a frozen node passes");
    let restless = [900, 1100].map(|millis| TIMEOUT + Duration::from_millis(millis));
    assert_between(&bench.gaps(INTERVAL).await, restless[0], restless[1]);
    // A goodbye that takes long neither counts nor keeps probes from coming.
    bench.becomes(Mood::Clings);
    bench.gaps(INTERVAL).await;
    assert_eq!(bench.port.state(), State::InService);
    let gaps = bench.gaps(INTERVAL * 10).await;
    assert_between(&gaps, INTERVAL.mul_f64(0.9), INTERVAL.mul_f64(1.1) + FAREWELL_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn what_we_lack_ourselves_is_no_fault_of_the_nodes() {
    let bench = Bench::watching(Mood::Unasked);
    assert!(bench.gaps(INTERVAL * 10).await.len() > 5);
    assert_eq!(bench.port.state(), State::InService);
    bench.becomes(Mood::Refuses);
    bench.gaps(INTERVAL * 2).await;
    assert_eq!(bench.port.state(), State::Down);
    bench.becomes(Mood::Unasked);
    bench.gaps(INTERVAL).await;
    assert_eq!(bench.port.state(), State::Down);
}

#[tokio::test(start_paused = true)]
async fn a_doubt_is_looked_into_at_once_and_many_are_no_flood() {
    let bench = Bench::watching(Mood::Greets);
    bench.next_probe().await;
    let before = locked(&bench.dialled).len();
    sleep(GAP_MIN + GRAIN).await;
    let doubted = Instant::now();
    bench.signal(Signal::Doubt);
    sleep(GRAIN).await;
    let dialled = locked(&bench.dialled)[before..].to_vec();
    assert!(dialled.len() == 1 && dialled[0] - doubted < GRAIN, "{dialled:?}");
    let before = locked(&bench.dialled).len();
    for _ in 0..10_000 {
        bench.signal(Signal::Doubt);
        sleep(Duration::from_millis(1)).await;
    }
    let dialled = locked(&bench.dialled)[before - 1..].to_vec();
    let gaps: Vec<Duration> = dialled.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(gaps.len() > 40, "{gaps:?}");
    assert_between(&gaps, GAP_MIN, GAP_MIN);
}

#[tokio::test(start_paused = true)]
async fn a_node_in_maintenance_is_left_alone_and_looked_at_soon_after() {
    let bench = Bench::watching(Mood::Greets);
    sleep(INTERVAL * 2).await;
    bench.port.set_operator_state(OperatorState::Maintenance);
    let before = locked(&bench.dialled).len();
    for _ in 0..60 {
        bench.signal(Signal::Doubt);
        sleep(INTERVAL).await;
    }
    assert_eq!(locked(&bench.dialled).len(), before);
    bench.port.set_operator_state(OperatorState::Draining);
    sleep(RESTLESS_INTERVAL.mul_f64(1.1) + GRAIN).await;
    assert_eq!(locked(&bench.dialled).len(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_under_way_does_not_keep_mailferry_from_stopping() {
    let bench = Bench::watching(Mood::Frozen);
    bench.next_probe().await;
    let told = Instant::now();
    bench.stop.stop().await;
    assert!(told.elapsed() < GRAIN, "{:?}", told.elapsed());
}
