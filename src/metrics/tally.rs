//! The counters of each part. A part makes its own, holds it as long as it lives, and counts in it by its fields.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::words::{ByWord, Outcome, Stage, words};
use super::{Counter, Histogram, Lately};
use crate::names::Protocol;

words! {
    /// A limit, by its key in the configuration.
    pub Limit {
        /// `limits.connections`, or what there are descriptors for.
        Connections => "connections",
        /// `limits.connections_per_network`
        ConnectionsPerNetwork => "connections_per_network",
        /// `limits.unauthenticated`
        Unauthenticated => "unauthenticated",
        /// `limits.unauthenticated_per_network`
        UnauthenticatedPerNetwork => "unauthenticated_per_network",
        /// `limits.failed_logins`
        FailedLogins => "failed_logins",
        /// `limits.failed_logins_per_network`
        FailedLoginsPerNetwork => "failed_logins_per_network",
        /// `limits.sessions_per_user`
        SessionsPerUser => "sessions_per_user",
        /// `limits.sessions_per_user_and_network`
        SessionsPerUserAndNetwork => "sessions_per_user_and_network",
        /// `island.max_login_rate`
        MaxLoginRate => "max_login_rate",
    }
}

words! {
    /// Whether something could be done.
    pub Done {
        /// It was.
        Success => "success",
        /// It was not, and all is as it was.
        Failure => "failure",
    }
}

/// Logins by protocol, by what came of them, and by the stage that they had come to.
#[derive(Debug, Default)]
pub struct Logins(ByWord<Protocol, ByWord<Outcome, ByWord<Stage, Counter>>>);

impl Logins {
    /// One more.
    pub fn count(&self, protocol: Protocol, outcome: Outcome, stage: Stage) {
        self.0.of(protocol).of(outcome).of(stage).count();
    }

    /// All that there were. Accepted ones always have a line, also where there were none, so that a rate begins at its
    /// beginning; others have one from the first.
    pub fn iter(&self) -> impl Iterator<Item = (Protocol, Outcome, Stage, u64)> {
        self.0.iter().flat_map(|(protocol, outcomes)| {
            outcomes.iter().flat_map(move |(outcome, stages)| {
                let each = stages.iter().map(move |(stage, count)| (protocol, outcome, stage, count.get()));
                each.filter(|(_, outcome, stage, count)| {
                    *count > 0 || (*outcome == Outcome::Accepted && *stage == Stage::Replay)
                })
            })
        })
    }
}

/// Of an island's logins.
#[derive(Debug, Default)]
pub struct Island {
    /// What came of them.
    pub logins: Logins,
    /// Accepted ones, from the whole login to the node's word.
    pub took: Histogram,
    /// From the first dial of a round to the greeting of the node that won, or to the last one's failure.
    pub connect: Histogram,
    /// From a greeting to the node's word, or its failure.
    pub replay: Histogram,
    /// Waits for a node to return.
    pub waits: Histogram,
    /// Nodes dialled beside another one.
    pub hedges: Counter,
    /// Nodes dialled after another one, or the same, had failed the login.
    pub retries: Counter,
}

impl Island {
    /// A login has a node dialled; beside another one, or as its first.
    pub fn dialled(&self, is_hedge: bool, is_first: bool) {
        match (is_hedge, is_first) {
            (true, _) => self.hedges.count(),
            (false, false) => self.retries.count(),
            (false, true) => {}
        }
    }
}

/// Of a node and a protocol.
#[derive(Debug, Default)]
pub struct NodePort {
    /// Logins that it took.
    pub accepted: Counter,
    /// Logins that it judged, and refused.
    pub refused: Counter,
    /// Logins that it failed.
    pub failed: Counter,
    /// Probes that it passed.
    pub probes_passed: Counter,
    /// Probes that it failed.
    pub probes_failed: Counter,
    /// Octets that it got, from sessions that have ended.
    pub to_node: Counter,
    /// Octets that clients got of it, in sessions that have ended.
    pub to_client: Counter,
    /// Most octets that were ever told of: (to the node, to clients), those of living sessions included.
    pub told: (Counter, Counter),
}

/// Of the cache in front of the directory.
#[derive(Debug, Default)]
pub struct Cache {
    /// A route that is believed.
    pub hits: Counter,
    /// "No such user", which is believed.
    pub negative: Counter,
    /// An old route, because the directory is unavailable.
    pub stale: Counter,
    /// Nothing: the directory said something, or nothing, and there was no old route.
    pub misses: Counter,
    /// The directory was asked although there was a route: has the user been moved?
    pub doubts: Counter,
    /// All of these but doubts, for the status page.
    pub lookups: Lately,
    /// Of these, those for which the directory was not asked.
    pub served: Lately,
}

/// Of a server of the directory.
#[derive(Debug, Default)]
pub struct DirectoryServer {
    /// Searches that it answered, whatever it said.
    pub answered: Histogram,
    /// Searches that it did not answer, or not so that it could be read.
    pub failed: Counter,
}

/// Of the limits.
#[derive(Debug, Default)]
pub struct Limits {
    /// How often somebody had to wait, go, or stay away.
    pub hits: ByWord<Limit, Counter>,
    /// Warnings that were not written because another one of their kind was.
    pub untold: Counter,
}

/// What keeps mailferry up to date: the configuration and the certificates.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// Of the configuration, by order or signal.
    pub reloads: ByWord<Done, Counter>,
    /// Of changed files with certificates.
    pub certificates_read: ByWord<Done, Counter>,
    last_failed: AtomicBool,
    last_success: AtomicU64,
    expiries: Mutex<Vec<(PathBuf, i64)>>,
}

impl Upkeep {
    /// A reload of the configuration is over, or the start is. `now` in seconds since 1970.
    pub fn reloaded(&self, done: Done, now: u64) {
        self.reloads.of(done).count();
        self.configured(done, now);
    }

    /// The same, uncounted.
    pub fn configured(&self, done: Done, now: u64) {
        self.last_failed.store(done == Done::Failure, Ordering::Relaxed);
        if done == Done::Success {
            self.last_success.store(now, Ordering::Relaxed);
        }
    }

    /// Whether the configuration is that of the last reload, and when one was taken up: seconds since 1970.
    pub fn last_reload(&self) -> (bool, u64) {
        (!self.last_failed.load(Ordering::Relaxed), self.last_success.load(Ordering::Relaxed))
    }

    /// These are the certificates now: the chain's file, and when the first of its certificates expires, in seconds since
    /// 1970.
    pub fn certified(&self, expiries: Vec<(PathBuf, i64)>) {
        *self.expiries.lock().unwrap_or_else(PoisonError::into_inner) = expiries;
    }

    /// See [`Self::certified`].
    pub fn expiries(&self) -> Vec<(PathBuf, i64)> {
        self.expiries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
