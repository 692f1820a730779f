//! One LDAP server: its connections and its health.
//!
//! In service, searches go round its connections, which are made when first needed. It goes out of service when it
//! cannot be connected to, closes every connection, stops answering, or says that it can serve nobody. Out of
//! service, it is of no use *at once*, without waiting, until a back-off has passed; then one single search tries it
//! while everybody else still goes elsewhere. Only an answer to a search brings it back: a frozen server accepts
//! connections. Both changes are logged, and nothing else is.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::answer::{Refusal, Reply, judge};
use super::connection::{Connection, Trouble};
use super::{Settings, Url};
use crate::directory::{LookupError, Route};

/// The first back-off. Later ones double it.
const FIRST_BACK_OFF: Duration = Duration::from_millis(250);
/// The longest back-off: how long a server that returned may stay unnoticed.
const MAX_BACK_OFF: Duration = Duration::from_secs(10);
/// So many searches in a row without an answer, on whatever connections, take the server out of service.
const MAX_TIMEOUTS: u32 = 2;

/// One URL.
pub(super) struct Server {
    url: Url,
    name: Arc<str>,
    settings: Arc<Settings>,
    tls: Option<Arc<ClientConfig>>,
    /// The connections. A slot is locked while its connection is being made.
    slots: Vec<tokio::sync::Mutex<Option<Arc<Connection>>>>,
    /// Where the next search begins to look.
    next: AtomicUsize,
    health: Mutex<Health>,
}

enum Health {
    /// `timeouts`: searches in a row without an answer.
    InService { timeouts: u32 },
    /// `failures`: attempts in a row, which decide the back-off that ends at `until`.
    Out { failures: u32, until: Instant, reason: Arc<str> },
}

/// How a search was let in, and so what its outcome says about the server.
#[derive(Clone, Copy, PartialEq)]
enum Admission {
    Regular,
    /// The one search that finds out whether the server is back.
    Trial,
}

/// Why a search brought no reply.
enum Miss {
    /// No connection could be made; the server's health knows already.
    NoConnection(Arc<str>),
    /// There was a connection.
    Search(Trouble),
}

impl Server {
    pub(super) fn new(url: Url, settings: Arc<Settings>, tls: Option<Arc<ClientConfig>>) -> Self {
        Self {
            name: Arc::from(url.to_string()),
            slots: (0..settings.pool.max(1)).map(|_| tokio::sync::Mutex::new(None)).collect(),
            next: AtomicUsize::new(0),
            health: Mutex::new(Health::InService { timeouts: 0 }),
            url,
            settings,
            tls,
        }
    }

    /// The URL, for messages.
    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The directory's answer, or why this server has none. Within `connect_timeout` + `timeout`.
    pub(super) async fn ask(&self, filter: &str) -> Result<Result<Route, LookupError>, Arc<str>> {
        let admission = self.admit()?;
        let attempt = timeout(self.longest(), self.search(filter, admission)).await;
        let reply = match attempt.unwrap_or(Err(Miss::Search(Trouble::TimedOut))) {
            Ok(reply) => reply,
            Err(Miss::NoConnection(reason)) => return Err(reason),
            Err(Miss::Search(Trouble::TimedOut)) => return Err(self.timed_out(admission)),
            Err(Miss::Search(Trouble::Closed)) => return Err(self.failed(admission, "it closes its connections")),
            // Perhaps the fault of one entry, so no verdict on the server.
            Err(Miss::Search(Trouble::Unusable(reason))) => return Err(Arc::from(reason)),
        };
        match judge(&reply, &self.settings) {
            Ok(answer) => {
                self.answered(admission);
                Ok(answer)
            }
            Err(Refusal::ThisSearch(reason)) => {
                self.answered(admission);
                Err(Arc::from(reason))
            }
            Err(Refusal::Everybody(reason)) => Err(self.failed(admission, &reason)),
        }
    }

    fn longest(&self) -> Duration {
        self.settings.connect_timeout + self.settings.timeout
    }

    /// Searches on a live connection. One that ended just now is no verdict on the server, which may have restarted
    /// or may close idle connections: each slot gets its chance.
    async fn search(&self, filter: &str, admission: Admission) -> Result<Reply, Miss> {
        for _ in 0..=self.slots.len() {
            let connection = self.connection(admission).await.map_err(Miss::NoConnection)?;
            match connection.search(filter, &self.settings).await {
                Err(Trouble::Closed) => {}
                reply => return reply.map_err(Miss::Search),
            }
        }
        Err(Miss::Search(Trouble::Closed))
    }

    /// A live connection: the next one in turn whose slot is not busy connecting, made anew where need be.
    async fn connection(&self, admission: Admission) -> Result<Arc<Connection>, Arc<str>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let (before, after) = self.slots.split_at(turn);
        let mut in_turn = after.iter().chain(before);
        let mut slot = match in_turn.clone().find_map(|slot| slot.try_lock().ok()) {
            Some(slot) => slot,
            None => match in_turn.next() {
                Some(slot) => slot.lock().await,
                None => return Err(Arc::from("no connections allowed")),
            },
        };
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(Arc::clone(connection));
        }
        // Whoever waited for the slot need not repeat what just failed.
        if let (Admission::Regular, Health::Out { reason, .. }) = (admission, &*self.health()) {
            return Err(Arc::clone(reason));
        }
        *slot = None;
        let opened = Connection::open(self.url.clone(), Arc::clone(&self.settings), self.tls.clone()).await;
        let connection = match opened {
            Ok(connection) => Arc::new(connection),
            // Said before the slot is let go, so that those who wait for it hear it.
            Err(reason) => return Err(self.failed(admission, &reason)),
        };
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn admit(&self) -> Result<Admission, Arc<str>> {
        let now = Instant::now();
        match &mut *self.health() {
            Health::InService { .. } => Ok(Admission::Regular),
            Health::Out { until, reason, .. } if now < *until => Err(Arc::clone(reason)),
            Health::Out { until, .. } => {
                // A lease, not a flag: should the trial be lost, the next one follows.
                *until = now + self.longest();
                Ok(Admission::Trial)
            }
        }
    }

    fn answered(&self, admission: Admission) {
        let mut health = self.health();
        match (&*health, admission) {
            (Health::InService { .. }, _) => *health = Health::InService { timeouts: 0 },
            // A late answer to an old question says nothing of now.
            (Health::Out { .. }, Admission::Regular) => {}
            (Health::Out { .. }, Admission::Trial) => {
                *health = Health::InService { timeouts: 0 };
                drop(health);
                info!(url = &*self.name, "LDAP server is available again");
            }
        }
    }

    fn timed_out(&self, admission: Admission) -> Arc<str> {
        let reason = format!("no answer within {:?}", self.settings.timeout);
        if let Health::InService { timeouts } = &mut *self.health() {
            *timeouts += 1;
            if *timeouts < MAX_TIMEOUTS {
                return Arc::from(reason);
            }
        }
        self.failed(admission, &reason)
    }

    /// Takes the server out of service, or keeps it there for longer.
    fn failed(&self, admission: Admission, reason: &str) -> Arc<str> {
        let reason: Arc<str> = Arc::from(reason);
        let mut health = self.health();
        let (failures, newly) = match (&*health, admission) {
            (Health::InService { .. }, _) => (1, true),
            (Health::Out { failures, .. }, Admission::Trial) => (failures.saturating_add(1), false),
            // One that was let in before the server went out adds nothing.
            (Health::Out { .. }, Admission::Regular) => return reason,
        };
        let until = Instant::now() + back_off(failures, jitter());
        *health = Health::Out { failures, until, reason: Arc::clone(&reason) };
        drop(health);
        // What is still searching keeps its connection; nobody gets it any more.
        for slot in &self.slots {
            if let Ok(mut slot) = slot.try_lock() {
                *slot = None;
            }
        }
        if newly {
            warn!(url = &*self.name, reason = &*reason, "LDAP server is unavailable");
        }
        reason
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between half and the whole of the doubled time, so that several mailferries do not come back in step.
fn back_off(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST_BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(MAX_BACK_OFF).mul_f64(0.5 + jitter / 2.0)
}

/// From 0 to 1. The standard library seeds its hashers at random, which is random enough.
fn jitter() -> f64 {
    let random = std::hash::RandomState::new().build_hasher().finish();
    (random >> 32) as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
