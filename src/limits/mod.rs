//! How much one client, one network and one user may have: connections, sessions, wrong passwords.
//!
//! A client network is an IPv4 address or an IPv6 /64. Everything here is counted in memory of this process, bounded
//! however many networks there are. Time is an argument. It knows neither sockets nor protocols. There are three tables,
//! each behind one lock that is held for one look-up and never across an await: `connections`, `guesses`, `sessions`.

mod connections;
mod eviction;
mod guesses;
mod network;
mod sessions;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tracing::{info, warn};

pub use eviction::Eviction;

use crate::names::{IslandName, UserName};
use crate::pace::Alarm;
use connections::{Connections, Joined};
use guesses::{Guesses, News};
use network::Network;
use sessions::{Sessions, User};

/// One connection may be leaving for so many that stay: there must be a descriptor for each of them.
pub const PER_LEAVING: u32 = 4;

/// How often a line about many clients may stand in the log.
const ALARM_PERIOD: Duration = Duration::from_secs(60);

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
    settings: Settings,
    connections: Mutex<Connections>,
    guesses: Mutex<Guesses>,
    sessions: Mutex<Sessions>,
    full: Mutex<Alarm>,
    blocked: Mutex<Alarm>,
}

/// One client connection, from accept to its end. Dropping it frees its place.
pub struct Slot {
    limits: Limits,
    id: connections::Id,
    network: Option<Network>,
    /// None after the login.
    eviction: Option<Eviction>,
}

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
        Self(Arc::new(Shared {
            connections: Mutex::new(Connections::new(&settings, descriptors)),
            guesses: Mutex::new(guesses),
            sessions: Mutex::new(Sessions::new(settings.sessions_per_user, settings.sessions_per_user_and_network)),
            full: Mutex::new(Alarm::new(1, ALARM_PERIOD)),
            blocked: Mutex::new(Alarm::new(NETWORKS_TOLD, ALARM_PERIOD)),
            settings,
        }))
    }

    /// A place for a connection that was accepted now. May send the oldest connection before its login away.
    ///
    /// # Errors
    /// [`Full::Connections`] where everybody has logged in, or those who were sent away are not gone yet.
    pub fn enter(&self) -> Result<Slot, Full> {
        let (id, eviction, evicted) = lock(&self.0.connections).enter()?;
        if let Some(evicted) = evicted {
            evicted.give();
        }
        Ok(Slot { limits: self.clone(), id, network: None, eviction: Some(eviction) })
    }

    /// Somebody was turned away. `Some`: the operator should be told, and that so many were before without a word.
    pub fn turned_away(&self, now: Instant) -> Option<u64> {
        lock(&self.0.full).ring(now)
    }

    /// A refused login. Counts against the client's network.
    pub fn failed_login(&self, client: IpAddr, now: Instant) {
        let Some(network) = self.network(client) else { return };
        let news = lock(&self.0.guesses).refused(network, now);
        self.tell(network, news, now);
    }

    /// How much longer than others the client's network waits for a refusal, which was counted already: nothing for the
    /// first five within the memory, then 1 s, and twice as much for each further one.
    pub fn refusal_delay(&self, client: IpAddr, now: Instant) -> Duration {
        self.network(client).map_or(Duration::ZERO, |network| lock(&self.0.guesses).delay(network, now))
    }

    /// Whether logins of the client's network may be tried.
    pub fn may_try(&self, client: IpAddr, now: Instant) -> bool {
        let Some(network) = self.network(client) else { return true };
        let (may, news) = lock(&self.0.guesses).may_try(network, now);
        self.tell(network, news, now);
        may
    }

    /// Refused logins that a connection may have.
    pub fn failed_logins_max(&self) -> u32 {
        self.0.settings.failed_logins.get()
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
        sessions.sit(&user, network)?;
        Ok(UserSeat(Some((self.clone(), user, network))))
    }

    /// The client's network, unless limits per network do not hold for it.
    fn network(&self, client: IpAddr) -> Option<Network> {
        let client = client.to_canonical();
        let is_exempt = self.0.settings.exempt_networks.iter().any(|exempt| exempt.contains(&client));
        (!is_exempt).then(|| Network::of(client))
    }

    fn tell(&self, network: Network, news: Option<News>, now: Instant) {
        let Some(news) = news else { return };
        let Some(untold) = lock(&self.0.blocked).ring(now) else { return };
        match news {
            News::Blocked => warn!(%network, untold, "too many failed logins: no login of the network is tried"),
            News::Free => info!(%network, untold, "logins of the network are tried again"),
        }
    }
}

impl Slot {
    /// The client is known now, or known better than before: it counts for its network. May send the network's oldest
    /// connection before its login away.
    ///
    /// # Errors
    /// [`Full::Network`] where all of the network's have logged in. The connection must go.
    pub fn identify(&mut self, client: IpAddr) -> Result<(), Full> {
        let network = self.limits.network(client);
        if network == self.network {
            return Ok(());
        }
        let mut connections = lock(&self.limits.0.connections);
        if let Some(old) = self.network.take() {
            connections.part(self.id, old);
        }
        let Some(network) = network else { return Ok(()) };
        let joined = connections.join(self.id, network)?;
        drop(connections);
        if let Joined::Member(evicted) = joined {
            self.network = Some(network);
            if let Some(evicted) = evicted {
                evicted.give();
            }
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
            lock(&self.limits.0.connections).authenticated(self.id, self.network);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.limits.0.connections).leave(self.id, self.network, self.eviction.is_none());
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
