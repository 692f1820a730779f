//! What is counted while mailferry runs, and how it is written down for Prometheus.
//!
//! `words` are the closed lists that labels are made of, `tally` has the counters of each part, `families` says what each
//! number means, `page` writes them down; `lately` is for those who show the last minute. Nothing here knows the parts: each has its tally and counts in it, and
//! whoever answers `/metrics` (admin/metrics.rs) looks into all of them.
//!
//! No library. Most numbers exist anyway (sessions, states of nodes, the cache), and are read when somebody asks; the rest
//! are plain atomics that a login reaches by pointers which it holds anyway, so that nothing is hashed, locked or asked
//! of the allocator on its way. `prometheus-client` would have left us its writer, which knows one of the two formats, and
//! a registry from which a reload would have to take what is no more; here it goes with the island that it belongs to.
//!
//! A label is a word of ours or a name of the configuration: never a user, a client's address, or what a peer said.

pub mod families;
mod lately;
mod page;
mod tally;
mod words;

pub use lately::Lately;
pub use page::{Format, Page, Samples};
pub use tally::{Cache, DirectoryServer, Done, Island, Limit, Limits, Logins, NodePort, Upkeep};
pub(crate) use words::words;
pub use words::{ByWord, Lookup, Outcome, Stage, Word};

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::names::Protocol;

/// Upper ends of a histogram's buckets, in microseconds. One list for all times: the fastest look-up in a cache and the longest
/// wait for a node can be laid beside each other.
const BOUNDS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// What happened so often. Never smaller than it was.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Once more.
    pub fn count(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// So many as this, if that is more than there were. Returns how many there are now.
    pub fn reach(&self, at_least: u64) -> u64 {
        self.0.fetch_max(at_least, Ordering::Relaxed).max(at_least)
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long things took: how many within each of `BOUNDS`, and all of them together.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last one has what took longer than all bounds.
    buckets: [Counter; BOUNDS.len() + 1],
    microseconds: Counter,
}

impl Histogram {
    /// One more, which took so long.
    pub fn observe(&self, took: Duration) {
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < microseconds);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.count();
        }
        self.microseconds.add(microseconds);
    }

    /// Each bound, in seconds, with how many took no longer than that; the last one is that of all.
    fn cumulated(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        let bounds = BOUNDS.iter().map(|bound| Some(*bound as f64 / 1e6)).chain([None]);
        let mut sum = 0;
        bounds.zip(&self.buckets).map(move |(bound, bucket)| {
            sum += bucket.get();
            (bound, sum)
        })
    }

    /// All of them together, in seconds.
    fn seconds(&self) -> f64 {
        self.microseconds.get() as f64 / 1e6
    }
}

impl Word for Protocol {
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        match self {
            Self::Imap => 0,
            Self::Pop3 => 1,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
        }
    }
}

#[cfg(test)]
mod tests;
