//! One LDAP server: its connections and its health.
//!
//! In service, searches go round its connections, which are made when first needed. It goes out of service when it
//! cannot be connected to, closes every connection, stops answering, or says that it can serve nobody; never because
//! it is busy, answering some in time and others too late. Out of service, it is of no use *at once*, to everybody. The
//! first login after a back-off starts a trial: the same search, in a task of its own that ends within
//! `connect_timeout` + twice `timeout`; the login itself goes elsewhere meanwhile, so that nobody is the one who finds
//! out that a server is still frozen. While no other server answers either, back-offs do not grow. Only an answer to a
//! search brings it back: a frozen server accepts connections.
//! Both changes are logged, and nothing else is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::answer::{Refusal, Reply, judge};
use super::connection::{Connection, Trouble};
use super::pulse::Pulse;
use super::{Settings, Url};
use crate::directory::{LookupError, Route};
use crate::metrics;

/// The first back-off. Later ones double it.
const FIRST_BACK_OFF: Duration = Duration::from_millis(250);
/// The longest back-off: how long a server that returned may stay unnoticed.
const MAX_BACK_OFF: Duration = Duration::from_secs(10);
/// So many searches in a row without an answer, to them or to anybody meanwhile, take the server out of service.
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
    /// Over all its connections.
    pulse: Arc<Pulse>,
    health: Mutex<Health>,
    tally: Arc<metrics::DirectoryServer>,
}

enum Health {
    /// `timeouts`: searches in a row without an answer.
    InService { timeouts: u32 },
    /// `failures`: attempts in a row, which decide the back-off from `failed` to `until`.
    /// The trial's end is told by dropping the sender.
    Out { failures: u32, failed: Instant, until: Instant, reason: Arc<str>, trial: Option<watch::Receiver<()>> },
}

/// What a search is for, and so what its outcome says about the server.
#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    /// A login's route.
    Login,
    /// To find out whether the server is back.
    Trial,
}

/// What a server does with a login.
enum Admission {
    InService,
    Out(Arc<str>),
    /// The same, and somebody has to begin a trial, which ends when the sender is dropped.
    TrialDue(Arc<str>, watch::Sender<()>),
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
            pulse: Arc::default(),
            health: Mutex::new(Health::InService { timeouts: 0 }),
            tally: Arc::default(),
            url,
            settings,
            tls,
        }
    }

    /// The URL, for messages.
    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The same server with other settings: what is counted goes on.
    pub(super) fn succeed(&mut self, old: &Self) {
        self.tally = Arc::clone(&old.tally);
    }

    /// What is counted of it.
    pub(super) fn tally(&self) -> Arc<metrics::DirectoryServer> {
        Arc::clone(&self.tally)
    }

    /// When it last answered anything to anybody.
    pub(super) fn last_heard(&self) -> Option<Instant> {
        self.pulse.last()
    }

    /// The directory's answer, or why this server has none. Within `connect_timeout` + twice `timeout` (the second one
    /// is for waiting until a search may be sent), and at once where the server is out of service.
    pub(super) async fn ask(self: &Arc<Self>, filter: &Arc<str>) -> Result<Result<Route, LookupError>, Arc<str>> {
        match self.admit() {
            Admission::InService => self.attempt(filter, Purpose::Login).await,
            Admission::Out(reason) => Err(reason),
            Admission::TrialDue(reason, running) => {
                self.begin_trial(running, filter);
                Err(reason)
            }
        }
    }

    /// For a login that no server in service has answered: as if the last trial had been the first, and begins one if that one's
    /// back-off is over.
    pub(super) fn try_soon(self: &Arc<Self>, filter: &Arc<str>) {
        let now = Instant::now();
        match &mut *self.health() {
            Health::Out { failures, failed, until, trial: None, .. } => {
                (*failures, *until) = (1, now.max(*failed + FIRST_BACK_OFF).min(*until));
            }
            Health::Out { .. } | Health::InService { .. } => return,
        }
        if let Admission::TrialDue(_, running) = self.admit() {
            self.begin_trial(running, filter);
        }
    }

    fn begin_trial(self: &Arc<Self>, running: watch::Sender<()>, filter: &Arc<str>) {
        let (server, filter) = (Arc::clone(self), Arc::clone(filter));
        tokio::spawn(async move {
            // The answer is nobody's: this login has gone elsewhere.
            let _ = server.attempt(&filter, Purpose::Trial).await;
            drop(running);
        });
    }

    /// Waits for the trial, if one runs, and says whether it has brought the server back. Within `connect_timeout` +
    /// twice `timeout`.
    pub(super) async fn trial_succeeds(&self) -> bool {
        let trial = match &*self.health() {
            // Since we asked.
            Health::InService { .. } => return true,
            Health::Out { trial, .. } => trial.clone(),
        };
        let Some(mut trial) = trial else { return false };
        // An error is its end.
        while trial.changed().await.is_ok() {}
        matches!(&*self.health(), Health::InService { .. })
    }

    async fn attempt(&self, filter: &str, purpose: Purpose) -> Result<Result<Route, LookupError>, Arc<str>> {
        let began = Instant::now();
        let heard = self.attempt_from(began, filter, purpose).await;
        match heard {
            Ok(_) => self.tally.answered.observe(began.elapsed()),
            Err(_) => self.tally.failed.count(),
        }
        heard
    }

    async fn attempt_from(
        &self,
        began: Instant,
        filter: &str,
        purpose: Purpose,
    ) -> Result<Result<Route, LookupError>, Arc<str>> {
        let attempt = timeout(self.longest(), self.search(filter, purpose)).await.unwrap_or_else(|_| {
            let is_alive = self.pulse.after(began);
            let late = || Trouble::Busy(format!("busy: no answer within {:?}", self.longest()));
            Err(Miss::Search(if is_alive { late() } else { Trouble::TimedOut }))
        });
        let reply = match attempt {
            Ok(reply) => reply,
            Err(Miss::NoConnection(reason)) => return Err(reason),
            Err(Miss::Search(Trouble::TimedOut)) => return Err(self.timed_out(purpose)),
            Err(Miss::Search(Trouble::Closed)) => return Err(self.failed(purpose, "it closes its connections")),
            // Of the queue, or perhaps the fault of one entry.
            Err(Miss::Search(Trouble::Busy(reason) | Trouble::Unusable(reason))) => {
                self.undecided(purpose, &reason);
                return Err(Arc::from(reason));
            }
        };
        match judge(&reply, &self.settings) {
            Ok(answer) => {
                self.answered(purpose);
                Ok(answer)
            }
            Err(Refusal::ThisSearch(reason)) => {
                self.answered(purpose);
                Err(Arc::from(reason))
            }
            Err(Refusal::Everybody(reason)) => Err(self.failed(purpose, &reason)),
        }
    }

    fn longest(&self) -> Duration {
        self.settings.connect_timeout + 2 * self.settings.timeout
    }

    /// Searches on a live connection. One that ended just now is no verdict on the server, which may have restarted
    /// or may close idle connections: each slot gets its chance.
    async fn search(&self, filter: &str, purpose: Purpose) -> Result<Reply, Miss> {
        for _ in 0..=self.slots.len() {
            let connection = self.connection(purpose).await.map_err(Miss::NoConnection)?;
            match connection.search(filter, &self.settings).await {
                Err(Trouble::Closed) => {}
                reply => return reply.map_err(Miss::Search),
            }
        }
        Err(Miss::Search(Trouble::Closed))
    }

    /// A live connection: the next one in turn whose slot is not busy connecting, made anew where need be.
    async fn connection(&self, purpose: Purpose) -> Result<Arc<Connection>, Arc<str>> {
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
        if let (Purpose::Login, Health::Out { reason, .. }) = (purpose, &*self.health()) {
            return Err(Arc::clone(reason));
        }
        *slot = None;
        let (settings, pulse) = (Arc::clone(&self.settings), Arc::clone(&self.pulse));
        let connection = match Connection::open(self.url.clone(), settings, self.tls.clone(), pulse).await {
            Ok(connection) => Arc::new(connection),
            // Said before the slot is let go, so that those who wait for it hear it.
            Err(reason) => return Err(self.failed(purpose, &reason)),
        };
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Why it is out of service, if it is.
    pub(super) fn is_out(&self) -> Option<Arc<str>> {
        match &*self.health() {
            Health::InService { .. } => None,
            Health::Out { reason, .. } => Some(Arc::clone(reason)),
        }
    }

    fn admit(&self) -> Admission {
        let now = Instant::now();
        match &mut *self.health() {
            Health::InService { .. } => Admission::InService,
            Health::Out { until, reason, .. } if now < *until => Admission::Out(Arc::clone(reason)),
            Health::Out { until, reason, trial, .. } => {
                // A lease, not a flag: should the trial be lost, the next one follows.
                *until = now + self.longest();
                let (running, ended) = watch::channel(());
                *trial = Some(ended);
                Admission::TrialDue(Arc::clone(reason), running)
            }
        }
    }

    fn answered(&self, purpose: Purpose) {
        let mut health = self.health();
        match (&*health, purpose) {
            (Health::InService { .. }, _) => *health = Health::InService { timeouts: 0 },
            // A late answer to an old question says nothing of now.
            (Health::Out { .. }, Purpose::Login) => {}
            (Health::Out { .. }, Purpose::Trial) => {
                *health = Health::InService { timeouts: 0 };
                drop(health);
                info!(url = &*self.name, "LDAP server is available again");
            }
        }
    }

    /// Something was heard, but no reply to this search that could be read. In service, that is no verdict: another
    /// user's entry may be in order. Out of service, it brings nothing back, because a server may speak nonsense to
    /// everybody; but the next trial, perhaps with another user, comes soon.
    fn undecided(&self, purpose: Purpose, reason: &str) {
        if purpose == Purpose::Login {
            return;
        }
        if let Health::Out { failures, failed, until, reason: old, trial } = &mut *self.health() {
            let now = Instant::now();
            (*failures, *failed, *until) = (1, now, now + back_off(1, fastrand::f64()));
            (*old, *trial) = (Arc::from(reason), None);
        }
    }

    fn timed_out(&self, purpose: Purpose) -> Arc<str> {
        let reason = format!("no answer within {:?}", self.settings.timeout);
        if let Health::InService { timeouts } = &mut *self.health() {
            *timeouts += 1;
            if *timeouts < MAX_TIMEOUTS {
                return Arc::from(reason);
            }
        }
        // A frozen server answers none of them: they go elsewhere now, and not each after a timeout of its own.
        self.out(purpose, &reason, Connection::cut)
    }

    fn failed(&self, purpose: Purpose, reason: &str) -> Arc<str> {
        // What is still searching keeps its connection; nobody gets it any more.
        self.out(purpose, reason, |_| {})
    }

    /// Takes the server out of service, or keeps it there for longer, and its connections out of the slots.
    fn out(&self, purpose: Purpose, reason: &str, last_act: impl Fn(&Connection)) -> Arc<str> {
        let reason: Arc<str> = Arc::from(reason);
        let mut health = self.health();
        let (failures, newly) = match (&*health, purpose) {
            (Health::InService { .. }, _) => (1, true),
            (Health::Out { failures, .. }, Purpose::Trial) => (failures.saturating_add(1), false),
            // One that was let in before the server went out adds nothing.
            (Health::Out { .. }, Purpose::Login) => return reason,
        };
        let failed = Instant::now();
        let until = failed + back_off(failures, fastrand::f64());
        *health = Health::Out { failures, failed, until, reason: Arc::clone(&reason), trial: None };
        drop(health);
        for slot in &self.slots {
            if let Ok(mut slot) = slot.try_lock()
                && let Some(connection) = slot.take()
            {
                last_act(&connection);
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

/// The doubled time, cut at random by up to a half, so that several mailferries do not come back in step. `random` is
/// from 0 to 1.
fn back_off(failures: u32, random: f64) -> Duration {
    let doubled = FIRST_BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(MAX_BACK_OFF).mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests;
