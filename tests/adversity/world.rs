//! A mailferry with its islands, the servers behind it and the clients before it, all in memory.
//!
//! It judges nothing but one thing, when it ends: that nothing logged by then, at TRACE and by any library, has the
//! password in it. What else must be true is in the tests.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailferry::directory::{Directory, LookupError, Route, cache};
use mailferry::drain::{self, Drain};
use mailferry::limits::Limits;
use mailferry::names::{IslandName, NodeName, Protocol};
use mailferry::net::{Dialer, Stream};
use mailferry::probe;
use mailferry::routing::{
    Check, FailBack, Island, Islands, Node, NodePort, NodeTls, OperatorState, Policy, Probe, State,
};
use mailferry::session::{self, Accepted, Context, Settings, Site};
use mailferry::testkit;
use mailferry::testkit::leaks::MARKER;
use mailferry::testkit::log::Search;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::server::{Manner, Server, serve};

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub const HEDGE: Duration = ms(250);
pub const PATIENCE: Duration = ms(5000);
pub const GREETING_TIMEOUT: Duration = ms(10_000);
/// `server.login_timeout`.
pub const LOGIN_PHASE: Duration = ms(60_000);

/// An island of so many of the world's servers, beginning with this one. The first one is preferred.
pub fn island(name: &str, servers: Range<u32>) -> Island {
    let node = |place: u32| {
        Arc::new(Node {
            name: NodeName::new(&format!("node{place}")),
            host: place.to_string(),
            imap_port: 143,
            pop3_port: 110,
            tls_name: "x".to_owned(),
            weight: NonZeroU32::MIN,
            rank: place,
            zone: None,
            state: OperatorState::InService,
        })
    };
    Island {
        name: IslandName::new(name),
        spellings: vec![IslandName::new(name)],
        policy: Policy::Prefer,
        fail_back: FailBack::Now,
        tls: NodeTls::Off,
        forward: mailferry::routing::Forward::Off,
        ca: None,
        connect_timeout: ms(5000),
        greeting_timeout: GREETING_TIMEOUT,
        login_timeout: ms(20_000),
        hedge: Some(HEDGE),
        patience: PATIENCE,
        disconnect_spread: ms(5000),
        max_login_rate: None,
        probe: Probe { check: Check::Greeting, interval: ms(5000), timeout: ms(2000), fall: 3, rise: 2 },
        nodes: servers.map(node).collect(),
    }
}

/// What a client heard, and how long after its login.
pub struct Heard {
    pub answer: String,
    pub after: Duration,
}

impl Heard {
    pub fn is_served(&self) -> bool {
        self.answer.starts_with("a OK")
    }

    /// The one answer that makes no mail program ask its user for a password.
    pub fn is_temporary_failure(&self) -> bool {
        self.answer.starts_with("a NO [UNAVAILABLE] ")
    }
}

/// A login on its way.
pub type Login = JoinHandle<Heard>;

pub struct World {
    pub context: Arc<Context>,
    pub servers: Vec<Arc<Server>>,
    drain: Drain,
    _stop: drain::Signal,
    search: &'static Search,
    /// How much had been logged when it began.
    logged: u64,
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.search.assert_nothing_found(self.logged + 1);
        }
    }
}

impl World {
    /// One island of servers with these manners, and probes.
    pub fn new(manners: &[Manner]) -> Self {
        let count = u32::try_from(manners.len()).unwrap();
        Self::of(island("a", 0..count), manners)
    }

    /// This island, and probes.
    pub fn of(island: Island, manners: &[Manner]) -> Self {
        let world = Self::without_probes(vec![island], manners, || "a");
        for port in world.ports() {
            tokio::spawn(probe::watch(Arc::clone(&world.context), port, world.drain.clone()));
        }
        world
    }

    /// `home` is the island that the directory says for everybody.
    pub fn without_probes(
        islands: Vec<Island>,
        manners: &[Manner],
        home: impl Fn() -> &'static str + Send + Sync + 'static,
    ) -> Self {
        let search = Search::everywhere(&[MARKER]);
        let logged = search.lines();
        let servers: Vec<_> = manners.iter().map(|manner| Server::new(*manner)).collect();
        let hosts = servers.clone();
        let dialer = Dialer::memory(move |host, _| {
            let server = Arc::clone(&hosts[host.parse::<usize>().unwrap()]);
            Box::pin(async move {
                server.dialled.lock().unwrap().push(Instant::now());
                if server.now().refuses {
                    return Err(std::io::ErrorKind::ConnectionRefused.into());
                }
                let (ours, theirs) = duplex(64 * 1024);
                tokio::spawn(serve(server, theirs));
                Ok(Stream::Memory(ours))
            })
        });
        let cache = cache::Settings {
            capacity: 10_000,
            ttl: ms(300_000),
            negative_ttl: ms(30_000),
            stale: ms(3_600_000),
            file: None,
        };
        let directory = Directory::scripted(&cache, move |_| {
            let island = IslandName::new(home());
            Box::pin(async { Ok::<_, LookupError>(Route { island, login: None }) })
        });
        let context = Arc::new(Context::new(
            Site {
                settings: Settings {
                    login_timeout: LOGIN_PHASE,
                    auth_failure_delay: ms(0),
                    ..testkit::settings::session()
                },
                directory,
                islands: Islands::new(islands, None, Instant::now().into_std()),
                dialer,
                node_tls: HashMap::new(),
            },
            Limits::new(testkit::settings::limits(), u32::MAX),
            1,
        ));
        let (stop, drain) = drain::channel();
        Self { context, servers, drain, _stop: stop, search, logged }
    }

    /// The nodes of the first island.
    pub fn ports(&self) -> Vec<NodePort> {
        let table = self.context.site().islands.iter().next().cloned().unwrap();
        table.ports(Protocol::Imap).collect()
    }

    pub fn states(&self) -> Vec<State> {
        self.ports().iter().map(NodePort::state).collect()
    }

    /// What the state of a node becomes, from now on. It begins with what it is.
    pub fn history(&self, place: usize) -> Arc<Mutex<Vec<State>>> {
        let port = self.ports().remove(place);
        let seen = Arc::new(Mutex::new(vec![port.state()]));
        let page = Arc::clone(&seen);
        let mut changes = port.table().changes();
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let mut page = page.lock().unwrap();
                if *page.last().unwrap() != port.state() {
                    page.push(port.state());
                }
            }
        });
        seen
    }

    /// Connects from an address and logs in as a user of this number.
    pub fn login(&self, who: u32) -> Login {
        self.login_after(ms(0), who)
    }

    /// Connects, keeps the connection awake for so long, and logs in.
    pub fn login_after(&self, thinks: Duration, who: u32) -> Login {
        let (ours, theirs) = duplex(64 * 1024);
        let door = Arc::new(testkit::settings::clear_door(Protocol::Imap));
        let from = SocketAddr::new(IpAddr::from((0x0a00_0000 + who).to_be_bytes()), 1000);
        let slot = self.context.limits.enter().unwrap();
        let accepted = Accepted { socket: Stream::Memory(theirs), client: from, connected: from, slot };
        tokio::spawn(session::run(Arc::clone(&self.context), door, accepted, self.drain.clone()));
        tokio::spawn(talk(ours, thinks, who))
    }

    /// Logs in as everybody of these numbers, one every so often. What they hear comes in their order.
    pub async fn crowd(&self, who: Range<u32>, every: Duration) -> Vec<Heard> {
        let mut logins = Vec::new();
        for who in who {
            logins.push(self.login(who));
            sleep(every).await;
        }
        all(logins).await
    }
}

async fn talk(stream: DuplexStream, thinks: Duration, who: u32) -> Heard {
    let (read, mut write) = tokio::io::split(stream);
    let mut lines = BufReader::new(read).lines();
    lines.next_line().await.unwrap();
    let speaks_at = Instant::now() + thinks;
    while speaks_at.saturating_duration_since(Instant::now()) > ms(20_000) {
        sleep(ms(20_000)).await;
        write.write_all(b"n NOOP\r\n").await.unwrap();
        lines.next_line().await.unwrap();
    }
    sleep_until(speaks_at).await;
    let began = Instant::now();
    write.write_all(format!("a LOGIN user{who} {MARKER}\r\n").as_bytes()).await.unwrap();
    loop {
        let line = lines.next_line().await.ok().flatten().unwrap_or_else(|| "closed".to_owned());
        if !line.starts_with('*') {
            return Heard { answer: line, after: began.elapsed() };
        }
    }
}

/// Waits for all of them.
pub async fn all(logins: Vec<Login>) -> Vec<Heard> {
    let mut heard = Vec::new();
    for login in logins {
        heard.push(login.await.unwrap());
    }
    heard
}

/// Every one was served, within this time.
#[track_caller]
pub fn assert_served(heard: &[Heard], within: Duration) {
    assert_all(heard, Heard::is_served, within);
}

/// Every one heard the temporary failure, within this time.
#[track_caller]
pub fn assert_put_off(heard: &[Heard], within: Duration) {
    assert_all(heard, Heard::is_temporary_failure, within);
}

#[track_caller]
fn assert_all(heard: &[Heard], is_right: impl Fn(&Heard) -> bool, within: Duration) {
    assert!(!heard.is_empty(), "nobody has logged in");
    let wrong = heard.iter().enumerate().filter(|(_, heard)| !is_right(heard) || heard.after > within);
    let wrong: Vec<String> =
        wrong.map(|(place, heard)| format!("{place}: {} after {:?}", heard.answer, heard.after)).collect();
    assert!(
        wrong.is_empty(),
        "{} of {}, the first:\n{}",
        wrong.len(),
        heard.len(),
        wrong[..wrong.len().min(9)].join("\n")
    );
}
