//! What all sessions share: that which lives as long as the process, and the site, which a reload replaces.
//!
//! A connection takes the site when it is accepted, and each login takes it once more and keeps it to its end: no login
//! sees two configurations. The relay holds neither, so that an old site goes with its last login.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::ClientConfig;

use super::{Challenges, Holds, Registry, Settings, Standing};
use crate::directory::Directory;
use crate::limits::Limits;
use crate::metrics::Upkeep;
use crate::names::{IslandName, SessionId};
use crate::net::Dialer;
use crate::routing::Islands;

/// Everything that sessions need, built once at start.
pub struct Context {
    /// How much is too much.
    pub limits: Limits,
    /// What nodes say of tokens that they refuse.
    pub challenges: Challenges,
    /// All sessions in the relay.
    pub registry: Registry,
    /// Whether new clients are wanted.
    pub standing: Standing,
    /// What came of reloads.
    pub upkeep: Upkeep,
    /// Users whose logins wait.
    pub holds: Holds,
    /// Whether the operator was told that refusals come too late for `auth_failure_delay`.
    pub late_refusal_told: AtomicBool,
    site: ArcSwap<Site>,
    /// Which run of mailferry this is: its start, in seconds since 1970.
    run: u32,
    /// Sessions begun so far.
    begun: AtomicU64,
}

/// What the configuration says of sessions, and what was made of it. Never changed: a reload builds another one, which
/// takes over from the old one what has not changed.
pub struct Site {
    /// What all sessions have in common.
    pub settings: Settings,
    /// User → route.
    pub directory: Directory,
    /// Route → nodes.
    pub islands: Islands,
    /// Node → connection.
    pub dialer: Dialer,
    /// TLS towards the nodes of each island that uses it.
    pub node_tls: HashMap<IslandName, Arc<ClientConfig>>,
}

impl Context {
    /// Before the first session. `run`: which run of mailferry this is, its start in seconds since 1970.
    pub fn new(site: Site, limits: Limits, run: u32) -> Self {
        Self {
            limits,
            challenges: Challenges::default(),
            registry: Registry::default(),
            standing: Standing::default(),
            upkeep: Upkeep::default(),
            holds: Holds::default(),
            late_refusal_told: AtomicBool::new(false),
            site: ArcSwap::from_pointee(site),
            run,
            begun: AtomicU64::new(0),
        }
    }

    /// The site as it is now. To be asked once for everything that belongs together.
    pub fn site(&self) -> Arc<Site> {
        self.site.load_full()
    }

    /// Logins that come from now on see this one.
    pub fn replace_site(&self, site: Arc<Site>) {
        self.site.store(site);
    }

    /// Which run of mailferry this is: its start, in seconds since 1970.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Connections that found a place so far.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// The next session's.
    pub(super) fn next_id(&self) -> SessionId {
        SessionId { run: self.run, number: self.begun.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}
