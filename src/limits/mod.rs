//! How much one client, one network and one user may have: connections, sessions, wrong passwords.
//!
//! A client network is an IPv4 address or an IPv6 /64. Everything here is counted in memory of this process, bounded
//! however many networks there are. Time is an argument. It knows neither sockets nor protocols. There are three tables,
//! each behind one lock that is held for one look-up and never across an await: `connections`, `guesses`, `sessions`.

mod connections;
mod crowds;
mod eviction;
mod guesses;
mod network;
mod sessions;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::futures::OwnedNotified;
use tracing::{info, warn};

pub use eviction::Eviction;

use crate::metrics::{self, Limit};
use crate::names::{IslandName, UserName};
use crate::pace::Alarm;
use connections::{Changed, Connections, Entered};
use crowds::Whose;
use guesses::{Guesses, News};
pub use network::Network;
use sessions::{Sessions, User};

/// One connection may be leaving for so many that stay: there must be a descriptor for each of them.
pub const PER_LEAVING: u32 = 10;

/// How often a line about many clients may stand in the log.
const ALARM_PERIOD: Duration = Duration::from_secs(60);

/// How often a line of one kind may stand in the log as a warning.
const KIND_PERIOD: Duration = Duration::from_secs(10);

/// Networks that are named in one such period, when they are blocked or free again.
const NETWORKS_TOLD: u32 = 10;

/// The limits. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Client connections in all; `None`: as many as there are descriptors for.
    pub connections: Option<NonZeroU32>,
    /// Client connections of one network.
    pub connections_per_network: Option<NonZeroU32>,
    /// Connections before their login, in all.
    pub unauthenticated: NonZeroU32,
    /// Connections before their login, of one network.
    pub unauthenticated_per_network: NonZeroU32,
    /// Refused logins on one connection; the last one ends it.
    pub failed_logins: NonZeroU32,
    /// Refused logins of one network within [`Self::failed_login_memory`], beyond which no login of it is tried.
    pub failed_logins_per_network: Option<NonZeroU32>,
    /// How long a refused login is remembered.
    pub failed_login_memory: Duration,
    /// The longest extra time that a network waits for a refusal; zero: none.
    pub failed_login_delay_max: Duration,
    /// Sessions of one user.
    pub sessions_per_user: Option<NonZeroU32>,
    /// Sessions of one user from one network.
    pub sessions_per_user_and_network: Option<NonZeroU32>,
    /// Networks that no limit per network holds for: webmail, other proxies.
    pub exempt_networks: Vec<IpNet>,
}

/// What is counted. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Limits(Arc<Shared>);

struct Shared {
    settings: ArcSwap<Settings>,
    connections: Mutex<Connections>,
    guesses: Mutex<Guesses>,
    sessions: Mutex<Sessions>,
    full: Mutex<Alarm>,
    network_full: Mutex<Alarm>,
    kinds: Mutex<BTreeMap<Cow<'static, str>, Alarm>>,
    blocked: Mutex<Alarm>,
    tally: Arc<metrics::Limits>,
}

/// One client connection, from accept to its end. Dropping it frees its place.
pub struct Slot {
    limits: Limits,
    id: connections::Id,
    whose: Whose,
    /// None after the login.
    eviction: Option<Eviction>,
}

/// One login of a client, from its admission until it is judged. Dropping it counts it as refused.
pub struct Guess {
    limits: Limits,
    /// None: an exempt one.
    network: Option<Network>,
    admitted: Option<Instant>,
}

/// Whether a login may be tried.
pub enum Admission {
    /// Yes.
    Granted,
    /// No, too many of the client's network were refused.
    Denied,
    /// Others of the network are being judged, and too many would have been refused if they are.
    Later(Turn),
}

/// A place in the queue of those who may ask for admission again.
pub struct Turn(OwnedNotified);

/// One session of a user. Dropping it frees its place.
pub struct UserSeat(Option<(Limits, Arc<User>, Option<Network>)>);

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// mailferry has as many connections as it may.
    Connections,
    /// The client's network has.
    Network,
    /// The user has as many sessions as one may.
    User,
    /// The user has as many from this network.
    UserAndNetwork,
}

impl Limits {
    /// `descriptors` is how many client connections there are descriptors for, while for each [`PER_LEAVING`] of them
    /// there is room for one that is leaving.
    pub fn new(settings: Settings, descriptors: u32) -> Self {
        let guesses = Guesses::new(
            settings.failed_logins_per_network.map(NonZeroU32::get),
            settings.failed_login_memory,
            settings.failed_login_delay_max,
        );
        let connections = Connections::new(&settings, descriptors);
        Self(Arc::new(Shared {
            tally: connections.tally(),
            connections: Mutex::new(connections),
            guesses: Mutex::new(guesses),
            sessions: Mutex::new(Sessions::new(settings.sessions_per_user, settings.sessions_per_user_and_network)),
            full: Mutex::new(Alarm::new(1, ALARM_PERIOD)),
            network_full: Mutex::new(Alarm::new(1, ALARM_PERIOD)),
            kinds: Mutex::default(),
            blocked: Mutex::new(Alarm::new(NETWORKS_TOLD, ALARM_PERIOD)),
            settings: ArcSwap::from_pointee(settings),
        }))
    }

    /// Other limits from now on, for what comes from now on: nobody who is there must go because there are fewer places.
    /// What was not counted, because there was no limit to hold, stays uncounted; where `failed_login_memory` changes,
    /// refused logins are forgotten.
    pub fn reconfigure(&self, settings: Settings, descriptors: u32) {
        lock(&self.0.connections).reconfigure(&settings, descriptors);
        lock(&self.0.guesses).reconfigure(
            settings.failed_logins_per_network.map(NonZeroU32::get),
            settings.failed_login_memory,
            settings.failed_login_delay_max,
        );
        lock(&self.0.sessions).reconfigure(settings.sessions_per_user, settings.sessions_per_user_and_network);
        self.0.settings.store(Arc::new(settings));
    }

    /// A place for a connection that was accepted now and whose client is not known yet. May send one away that has not
    /// logged in.
    ///
    /// # Errors
    /// [`Full::Connections`] where everybody has logged in, or those who were sent away are not gone yet.
    pub fn enter(&self) -> Result<Slot, Full> {
        self.enter_as(Whose::Unknown)
    }

    /// The same for a client that is known at once. It counts for its network.
    ///
    /// # Errors
    /// As [`Self::enter`], and [`Full::Network`] where all of the network's have logged in; nobody was sent away then.
    pub fn enter_from(&self, client: IpAddr) -> Result<Slot, Full> {
        self.enter_as(self.whose(client))
    }

    fn enter_as(&self, whose: Whose) -> Result<Slot, Full> {
        let Entered { id, eviction, evicted } = lock(&self.0.connections).enter(whose)?;
        evicted.iter().for_each(Eviction::give);
        Ok(Slot { limits: self.clone(), id, whose, eviction: Some(eviction) })
    }

    /// Whether a line of the log may be written that many clients could cause, of which this kind is written once in ten
    /// seconds. `Some`: yes, and it was not so often before. Kinds are words of the code and of the configuration: whoever
    /// calls this sees to it that nobody else chooses how many there are.
    pub fn alarm(&self, kind: impl Into<Cow<'static, str>>, now: Instant) -> Option<u64> {
        let new = || Alarm::new(1, KIND_PERIOD);
        let rung = lock(&self.0.kinds).entry(kind.into()).or_insert_with(new).ring(now);
        self.told(rung)
    }

    fn told(&self, rung: Option<u64>) -> Option<u64> {
        if rung.is_none() {
            self.0.tally.untold.count();
        }
        rung
    }

    /// What is counted of limits.
    pub fn tally(&self) -> &metrics::Limits {
        &self.0.tally
    }

    /// Connections before their login, and all of them.
    pub fn connections(&self) -> (u32, u32) {
        lock(&self.0.connections).counts()
    }

    /// Somebody was turned away, and why. `Some`: the operator should be told, and that so many were before for such a
    /// reason without a word.
    pub fn turned_away(&self, why: Full, now: Instant) -> Option<u64> {
        self.hit(why);
        let rung = match why {
            Full::Connections => lock(&self.0.full).ring(now),
            Full::Network | Full::User | Full::UserAndNetwork => lock(&self.0.network_full).ring(now),
        };
        self.told(rung)
    }

    fn hit(&self, why: Full) {
        let limit = match why {
            Full::Connections => Limit::Connections,
            Full::Network => Limit::ConnectionsPerNetwork,
            Full::User => Limit::SessionsPerUser,
            Full::UserAndNetwork => Limit::SessionsPerUserAndNetwork,
        };
        self.0.tally.hits.of(limit).count();
    }

    /// A login of this client's, which is not counted before [`Guess::admit`].
    pub fn guess(&self, client: IpAddr) -> Guess {
        Guess { limits: self.clone(), network: self.network(client), admitted: None }
    }

    /// Refused logins that a connection may have.
    pub fn failed_logins_max(&self) -> u32 {
        self.0.settings.load().failed_logins.get()
    }

    /// A place for a session of this user on this island, whom a node has let in.
    ///
    /// # Errors
    /// [`Full::User`] or [`Full::UserAndNetwork`].
    pub fn seat(&self, island: &IslandName, user: &UserName, client: IpAddr) -> Result<UserSeat, Full> {
        let network = self.network(client);
        let mut sessions = lock(&self.0.sessions);
        if !sessions.counts(network.is_none()) {
            return Ok(UserSeat(None));
        }
        let user = Arc::new(User::new(island, user));
        sessions.sit(&user, network).inspect_err(|why| self.hit(*why))?;
        Ok(UserSeat(Some((self.clone(), user, network))))
    }

    /// The client's network, unless limits per network do not hold for it.
    fn network(&self, client: IpAddr) -> Option<Network> {
        let client = client.to_canonical();
        let is_exempt = self.0.settings.load().exempt_networks.iter().any(|exempt| exempt.contains(&client));
        (!is_exempt).then(|| Network::of(client))
    }

    fn whose(&self, client: IpAddr) -> Whose {
        self.network(client).map_or(Whose::Exempt, Whose::Of)
    }

    fn tell(&self, news: &[News], now: Instant) {
        for news in news {
            let rung = lock(&self.0.blocked).ring(now);
            let Some(untold) = self.told(rung) else { continue };
            match news {
                News::Blocked(network) => {
                    warn!(%network, untold, "too many failed logins: no login of the network is tried");
                }
                News::Free(network) => info!(%network, untold, "logins of the network are tried again"),
            }
        }
    }
}

impl Guess {
    /// Whether the login may be tried without being asked for: it was admitted, or its network is exempt.
    pub fn is_admitted(&self) -> bool {
        self.network.is_none() || self.admitted.is_some()
    }

    /// Whether the login may be tried. From then on it counts as refused, unless it is taken back.
    pub fn admit(&mut self, now: Instant) -> Admission {
        let Some(network) = self.network.filter(|_| self.admitted.is_none()) else { return Admission::Granted };
        let (admission, news) = lock(&self.limits.0.guesses).admit(network, now);
        self.limits.tell(&news, now);
        match admission {
            guesses::Admission::Granted => {
                self.admitted = Some(now);
                Admission::Granted
            }
            guesses::Admission::Denied => {
                self.limits.0.tally.hits.of(Limit::FailedLoginsPerNetwork).count();
                Admission::Denied
            }
            guesses::Admission::Later(turn) => Admission::Later(Turn(turn)),
        }
    }

    /// It was refused. Returns how much longer than others the client's network waits for the answer: nothing for the
    /// first five within the memory, this one included, then 1 s, and twice as much for each further one.
    pub fn refused(mut self, now: Instant) -> Duration {
        self.settle(true, now);
        let Some(network) = self.network else { return Duration::ZERO };
        lock(&self.limits.0.guesses).delay(network, now)
    }

    /// It was right, or nobody has said that it was wrong.
    pub fn take_back(mut self, now: Instant) {
        self.settle(false, now);
    }

    /// It waits for what no password decides, and those behind it do not wait for it. Before it is tried it is to be
    /// admitted again.
    pub fn rest(&mut self, now: Instant) {
        self.settle(false, now);
    }

    fn settle(&mut self, refused: bool, now: Instant) {
        if let (Some(network), Some(_)) = (self.network, self.admitted.take()) {
            let news = lock(&self.limits.0.guesses).settle(network, refused, now);
            self.limits.tell(&news, now);
        }
    }
}

/// Whoever goes away while he is being judged has most likely heard what he wanted to know.
impl Drop for Guess {
    fn drop(&mut self) {
        if let Some(admitted) = self.admitted {
            self.settle(true, admitted);
        }
    }
}

impl Turn {
    /// Returns when it is worth asking again.
    pub async fn comes(self) {
        self.0.await;
    }
}

impl Slot {
    /// The client is known now, or known better than before: it counts for its network. May send one of the network's
    /// away that has not logged in.
    ///
    /// # Errors
    /// [`Full::Network`] where all of the network's have logged in. The connection must go.
    pub fn identify(&mut self, client: IpAddr) -> Result<(), Full> {
        let whose = self.limits.whose(client);
        if whose == self.whose {
            return Ok(());
        }
        let from = std::mem::replace(&mut self.whose, Whose::Unknown);
        let changed = lock(&self.limits.0.connections).change(self.id, from, whose);
        let changed = changed.inspect_err(|why| self.limits.hit(*why))?;
        if let Changed::Member(evicted) = changed {
            self.whose = whose;
            evicted.iter().for_each(Eviction::give);
        }
        Ok(())
    }

    /// Returns when the connection has to make room for another one. Never after [`Self::authenticated`].
    pub async fn evicted(&self) {
        match &self.eviction {
            Some(eviction) => eviction.given().await,
            None => std::future::pending().await,
        }
    }

    /// The word that [`Self::evicted`] waits for, for somebody who does not hold the slot.
    pub fn eviction(&self) -> Option<Eviction> {
        self.eviction.clone()
    }

    /// A node has let the client in.
    pub fn authenticated(&mut self) {
        if self.eviction.take().is_some() {
            lock(&self.limits.0.connections).authenticated(self.id, self.whose);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.limits.0.connections).leave(self.id, self.whose, self.eviction.is_none());
    }
}

impl Drop for UserSeat {
    fn drop(&mut self) {
        if let Some((limits, user, network)) = self.0.take() {
            lock(&limits.0.sessions).rise(&user, network);
        }
    }
}

/// No method can panic between two changes that belong together.
fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
