//! One history: the site in memory, mailferry in front of it as it is in production, and the clients.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use mailferry::directory::{Directory, LookupError, Route, cache};
use mailferry::drain;
use mailferry::limits::Limits;
use mailferry::names::{IslandName, NodeName, ZoneName};
use mailferry::net::{Dialer, Stream};
use mailferry::probe;
use mailferry::proto::Protocol;
use mailferry::routing::{self, Check, Island, Islands, NodeTls, OperatorState, Probe};
use mailferry::session::{self, Accepted, Context, Settings, Site};
use mailferry::testkit;
use tokio::io::duplex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::client::{Client, Relay};
use crate::ledger::{Ledger, Silence};
use crate::node::Node;
use crate::script::{IslandScript, LENGTH, Script, UNKNOWN};

/// For connecting to a node.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For a node's greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(3);
/// For a node's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// Between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// For a connection's whole login phase.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// When a node that is well again has been found so: probes look every second at a node that is not in service. A login
/// that began before and fails late may still take it down; whoever has some patience does not notice.
pub const DETECTION: Duration = Duration::from_secs(5);

/// The same for those who have none: until all who suffered from it have failed.
pub const LATE_DETECTION: Duration = Duration::from_secs(16);

/// Over how long the clients of a dead node are let go.
const DISCONNECT_SPREAD: Duration = Duration::from_secs(5);

pub struct World {
    pub script: Script,
    pub ledger: Ledger,
    pub nodes: Vec<Vec<Arc<Node>>>,
    current: Mutex<Option<Running>>,
    sessions: Mutex<Vec<JoinHandle<()>>>,
    connections: AtomicU64,
}

/// A mailferry.
struct Running {
    context: Arc<Context>,
    stop: drain::Signal,
    drain: drain::Drain,
}

/// Lives through a history. What came of it is in the ledger; returns also how each accepted client's relay went, with
/// the time at which it ended.
pub async fn live(script: Script) -> (Arc<World>, Vec<Option<(Relay, Duration)>>) {
    let ledger = Ledger::new();
    let nodes = script.islands.iter().enumerate().map(|(island, it)| nodes(island, it, &script, &ledger)).collect();
    let world = Arc::new(World {
        script,
        ledger,
        nodes,
        current: Mutex::default(),
        sessions: Mutex::default(),
        connections: AtomicU64::new(0),
    });
    *world.current.lock().unwrap() = Some(world.start());
    let clients: Vec<_> =
        (0..world.script.clients.len()).map(|it| tokio::spawn(Arc::clone(&world).client(it))).collect();
    for at in world.script.restarts.clone() {
        sleep_until(world.ledger.at(at)).await;
        world.ledger.tell("mailferry restarts");
        let next = world.start();
        let old = world.current.lock().unwrap().replace(next);
        tokio::spawn(Arc::clone(&world).end(old.unwrap()));
    }
    let mut relays = Vec::new();
    for client in clients {
        relays.push(client.await.unwrap());
    }
    sleep_until(world.ledger.at(LENGTH)).await;
    sleep(DISCONNECT_SPREAD + Duration::from_secs(16)).await;
    let last = world.current.lock().unwrap().take().unwrap();
    world.check_counters(&last.context);
    Arc::clone(&world).end(last).await;
    let sessions = std::mem::take(&mut *world.sessions.lock().unwrap());
    for session in sessions {
        match timeout(Duration::from_secs(1), session).await {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => world.ledger.violation(format_args!("a session died: {panic}")),
            Err(_) => world.ledger.violation("a session does not end"),
        }
    }
    (world, relays)
}

/// Where a user lives at a time.
pub fn home(homes: &[usize], moves: &[(Duration, usize, usize)], user: usize, at: Duration) -> Option<usize> {
    let moved = moves.iter().rev().find(|(when, who, _)| *who == user && *when <= at);
    moved.map(|(_, _, to)| *to).or_else(|| homes.get(user).copied())
}

fn nodes(island: usize, it: &IslandScript, script: &Script, ledger: &Ledger) -> Vec<Arc<Node>> {
    let node = |(place, node): (usize, &crate::script::NodeScript)| {
        let (homes, moves) = (script.homes.clone(), script.moves.clone());
        let home = Arc::new(move |user: usize, at: Duration| home(&homes, &moves, user, at));
        Arc::new(Node { island, place, script: node.clone(), ledger: ledger.clone(), home })
    };
    it.nodes.iter().enumerate().map(node).collect()
}

impl World {
    /// Starts a mailferry.
    fn start(self: &Arc<Self>) -> Running {
        let (stop, drain) = drain::channel();
        let zone = self.script.zone.map(ZoneName::new);
        let islands: Vec<Island> = self.script.islands.iter().enumerate().map(|(at, it)| island(at, it)).collect();
        let context = Arc::new(Context::new(
            Site {
                settings: Settings {
                    login_timeout: LOGIN_TIMEOUT,
                    auth_failure_delay: self.script.auth_failure_delay,
                    ..testkit::settings::session()
                },
                directory: self.directory(),
                islands: Islands::new(islands, zone.as_ref(), Instant::now().into_std()),
                dialer: self.dialer(),
                node_tls: HashMap::new(),
            },
            Limits::new(testkit::settings::limits(), u32::MAX),
            1,
        ));
        for table in context.site().islands.iter() {
            for port in Protocol::ALL.into_iter().flat_map(|protocol| table.ports(protocol)) {
                tokio::spawn(probe::watch(Arc::clone(&context), port, drain.clone()));
            }
        }
        Running { context, stop, drain }
    }

    fn dialer(self: &Arc<Self>) -> Dialer {
        let (nodes, seed, count) = (self.nodes.clone(), self.script.seed, AtomicU64::new(0));
        Dialer::memory(move |host, port| {
            let (island, place) = host.split_once('.').unwrap();
            let node = Arc::clone(&nodes[island.parse::<usize>().unwrap()][place.parse::<usize>().unwrap()]);
            let protocol = if port == 143 { Protocol::Imap } else { Protocol::Pop3 };
            let rng = Rng::with_seed(seed ^ (1 << 40) ^ count.fetch_add(1, Ordering::Relaxed));
            Box::pin(node.connect(protocol, rng))
        })
    }

    fn directory(self: &Arc<Self>) -> Directory {
        let settings = cache::Settings {
            capacity: 1000,
            ttl: self.script.ttl,
            negative_ttl: Duration::from_secs(2),
            stale: Duration::from_secs(86_400),
            file: None,
        };
        let (script, ledger) = (self.script.clone(), self.ledger.clone());
        Directory::scripted(&settings, move |user| {
            let (script, ledger) = (script.clone(), ledger.clone());
            Box::pin(async move {
                let user: usize = String::from_utf8_lossy(user.as_bytes()).trim_start_matches('u').parse().unwrap();
                sleep(Duration::from_millis(3)).await;
                let now = ledger.now();
                let loss = script.losses.iter().find(|(from, to, _)| *from <= now && now < *to);
                if let Some((_, _, hangs)) = loss {
                    sleep(Duration::from_secs(2 * u64::from(*hangs))).await;
                    ledger.said(user, Err(Silence::Unavailable));
                    return Err(LookupError::Unavailable("away".into()));
                }
                let Some(island) = home(&script.homes, &script.moves, user, now) else {
                    ledger.said(user, Err(Silence::NotFound));
                    return Err(LookupError::NotFound);
                };
                ledger.said(user, Ok(island));
                Ok(Route { island: IslandName::new(&island.to_string()), login: None })
            })
        })
    }

    /// A client from its coming to its going.
    async fn client(self: Arc<Self>, number: usize) -> Option<(Relay, Duration)> {
        let script = self.script.clients[number].clone();
        sleep_until(self.ledger.at(script.at)).await;
        let (ours, theirs) = duplex(script.window);
        let door = testkit::settings::clear_door(script.protocol);
        let address = SocketAddr::from(([192, 0, 2, script.host], 40_000));
        {
            let current = self.current.lock().unwrap();
            let Running { context, drain, .. } = current.as_ref().unwrap();
            let slot = context.limits.enter().unwrap();
            let accepted = Accepted { socket: Stream::Memory(theirs), client: address, connected: address, slot };
            let session = session::run(Arc::clone(context), Arc::new(door), accepted, drain.clone());
            self.sessions.lock().unwrap().push(tokio::spawn(session));
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
        let rng = Rng::with_seed(self.script.seed ^ (1 << 41) ^ number as u64);
        let ledger = self.ledger.clone();
        let relay = Client { number, script, ledger, stream: ours, rng, unread: Vec::new() }.live().await;
        relay.map(|relay| (relay, self.ledger.now()))
    }

    /// Stops a mailferry: all must hear it.
    async fn end(self: Arc<Self>, running: Running) {
        let Running { context, stop, drain } = running;
        drop(drain);
        if timeout(Duration::from_secs(10), stop.stop()).await.is_err() {
            self.ledger.violation("something does not hear the stop signal");
        }
        self.check_counters(&context);
    }

    /// Nobody is there any more.
    fn check_counters(&self, context: &Context) {
        for port in context.site().islands.iter().flat_map(|table| table.ports(Protocol::Imap)) {
            let (name, waiting) = (&port.node().host, port.gate().1.load(Ordering::Relaxed));
            if port.sessions() != 0 || waiting != 0 {
                let sessions = port.sessions();
                self.ledger.violation(format_args!("node {name} still has {sessions} sessions, {waiting} waiting"));
            }
        }
    }
}

fn island(at: usize, it: &IslandScript) -> Island {
    let node = |(place, node): (usize, &crate::script::NodeScript)| {
        Arc::new(routing::Node {
            name: NodeName::new(&format!("n{place}")),
            host: format!("{at}.{place}"),
            imap_port: 143,
            pop3_port: 110,
            tls_name: String::new(),
            weight: NonZeroU32::new(node.weight).unwrap(),
            rank: node.rank,
            zone: node.zone.map(ZoneName::new),
            state: OperatorState::InService,
        })
    };
    let name = IslandName::new(&at.to_string());
    Island {
        spellings: vec![name.clone()],
        name,
        policy: it.policy,
        fail_back: it.fail_back,
        tls: NodeTls::Off,
        forward: mailferry::routing::Forward::Off,
        ca: None,
        connect_timeout: CONNECT_TIMEOUT,
        greeting_timeout: GREETING_TIMEOUT,
        login_timeout: ANSWER_TIMEOUT,
        hedge: it.hedge,
        patience: it.patience,
        disconnect_spread: DISCONNECT_SPREAD,
        max_login_rate: it.rate.map(|rate| NonZeroU32::new(rate).unwrap()),
        probe: Probe {
            check: Check::Greeting,
            interval: PROBE_INTERVAL,
            timeout: Duration::from_secs(2),
            fall: it.fall,
            rise: it.rise,
        },
        nodes: it.nodes.iter().enumerate().map(node).collect(),
    }
}

/// Whether nobody can ever be this user.
pub fn is_unknown(user: usize) -> bool {
    user == UNKNOWN
}
