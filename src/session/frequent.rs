//! Who has logged in how often, and moved how much, in the last minute: users, client networks and nodes.
//!
//! A client that logs in every five seconds and leaves at once is never seen among living sessions, so logins and octets
//! are counted when they happen. Memory is bounded: nobody chooses how many there are to count. Each kind has shards behind
//! one lock each, held for one look-up (or, once in many, one pass over a thousand counters); the clock is an argument.

mod sketch;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::sketch::Sketch;
use super::registry::Session;
pub use crate::limits::Network;
use crate::names::{IslandName, NodeName, UserName};

/// Shards of each kind. With [`COUNTERS`] it is how many users of one minute are told apart without an error: 8 192.
const SHARDS: usize = 8;

/// Counters of one shard.
const COUNTERS: usize = 1024;

/// What is counted falls into windows of this length.
const MINUTE: Duration = Duration::from_secs(60);

/// Octets of a session are counted when so many have come together, and at its end.
const STEP: u64 = 64 * 1024;

/// What one of them has done in the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Logins that a node has accepted.
    pub logins: u64,
    /// Octets moved, both ways together; up to 64 KiB of each living session are still to come.
    pub octets: u64,
}

/// All of one kind.
#[derive(Clone, Debug)]
pub struct LastMinute<K> {
    /// Never more than is true, and those with the most are among them.
    pub each: HashMap<K, Rate>,
    /// How much more each may have, whether it is among them or not. Zero up to 8 192 in a minute; beyond, a four-thousandth
    /// of all logins and octets, if they fall on the shards alike.
    pub missed: Rate,
}

/// Whom an operator may want on faster hardware.
#[derive(Clone, Debug)]
pub struct Busiest {
    /// By the name that was looked up.
    pub users: LastMinute<UserName>,
    /// IPv4 addresses and IPv6 /64s.
    pub networks: LastMinute<Network>,
    /// On which island, and which node there.
    pub nodes: LastMinute<(IslandName, NodeName)>,
}

/// The counters of all kinds.
#[derive(Default)]
pub(super) struct Frequent {
    users: Both<UserName>,
    networks: Both<Network>,
    nodes: Both<(IslandName, NodeName)>,
}

/// What both are counted for.
struct Both<K> {
    logins: Counters<K>,
    octets: Counters<K>,
}

struct Counters<K> {
    shards: [Mutex<Windows<K>>; SHARDS],
    hasher: RandomState,
}

/// The minute that runs, and the one before.
struct Windows<K> {
    /// Which one runs, counted from the first moment.
    minute: u64,
    running: Sketch<K>,
    before: Sketch<K>,
}

impl Frequent {
    /// A session has begun, so long after the first moment.
    pub(super) fn logged_in(&self, session: &Session, now: Duration) {
        self.add(session, 1, 0, now);
    }

    /// A session has moved so many octets, of which so many were known before. The clock is asked where it matters.
    pub(super) fn moved(&self, session: &Session, before: u64, after: u64, now: impl FnOnce() -> Duration) {
        let steps = (after / STEP).saturating_sub(before / STEP);
        if steps > 0 {
            self.add(session, 0, steps.saturating_mul(STEP), now());
        }
    }

    /// A session is over that has moved so many octets.
    pub(super) fn ended(&self, session: &Session, moved: u64, now: Duration) {
        self.add(session, 0, moved % STEP, now);
    }

    pub(super) fn last_minute(&self, now: Duration) -> Busiest {
        Busiest {
            users: self.users.last_minute(now),
            networks: self.networks.last_minute(now),
            nodes: self.nodes.last_minute(now),
        }
    }

    fn add(&self, session: &Session, logins: u64, octets: u64, now: Duration) {
        let amounts = (logins, octets, now);
        if let Some(user) = session.user() {
            self.users.add(user, |known| known == user, || user.clone(), amounts);
        }
        let network = Network::of(session.client().ip());
        self.networks.add(&network, |known| *known == network, || network, amounts);
        let (island, node) = (&session.port().table().island().name, &session.port().node().name);
        let is_it = |known: &(IslandName, NodeName)| known.0 == *island && known.1 == *node;
        self.nodes.add(&(island, node), is_it, || (island.clone(), node.clone()), amounts);
    }
}

impl<K: Clone + Eq + Hash> Both<K> {
    /// `hashed` is the same for the same one, `it` makes one of it where there is none.
    fn add(
        &self,
        hashed: &impl Hash,
        is_it: impl Fn(&K) -> bool,
        it: impl Fn() -> K,
        (logins, octets, now): (u64, u64, Duration),
    ) {
        for (counters, amount) in [(&self.logins, logins), (&self.octets, octets)] {
            if amount > 0 {
                counters.add(hashed, &is_it, &it, amount, now);
            }
        }
    }

    fn last_minute(&self, now: Duration) -> LastMinute<K> {
        let mut each: HashMap<K, Rate> = HashMap::new();
        let missed = Rate {
            logins: self.logins.last_minute(now, |key, count| each.entry(key).or_default().logins = count),
            octets: self.octets.last_minute(now, |key, count| each.entry(key).or_default().octets = count),
        };
        LastMinute { each, missed }
    }
}

impl<K> Default for Both<K> {
    fn default() -> Self {
        Self { logins: Counters::default(), octets: Counters::default() }
    }
}

impl<K> Default for Counters<K> {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl<K> Default for Windows<K> {
    fn default() -> Self {
        Self { minute: 0, running: Sketch::new(COUNTERS), before: Sketch::new(COUNTERS) }
    }
}

impl<K: Clone + Eq + Hash> Counters<K> {
    #[expect(clippy::indexing_slicing, reason = "a remainder is smaller than what it was divided by")]
    fn add(&self, hashed: &impl Hash, is_it: impl Fn(&K) -> bool, it: impl FnOnce() -> K, amount: u64, now: Duration) {
        // One hash for both. The shard is chosen by bits that the table in it does not look at.
        let hash = self.hasher.hash_one(hashed);
        let shard = &self.shards[((hash >> 32) % SHARDS as u64) as usize];
        let mut windows = lock(shard);
        windows.turn(now);
        windows.running.add(hash, is_it, it, amount);
    }

    /// Shows each with its count, and says how much more it may be at most.
    fn last_minute(&self, now: Duration, mut see: impl FnMut(K, u64)) -> u64 {
        let mut missed = 0;
        for shard in &self.shards {
            let (each, of_shard) = {
                let mut windows = lock(shard);
                windows.turn(now);
                windows.last_minute(now)
            };
            each.into_iter().for_each(|(key, count)| see(key, count));
            missed = of_shard.max(missed);
        }
        missed
    }
}

impl<K: Clone + Eq + Hash> Windows<K> {
    fn turn(&mut self, now: Duration) {
        let minute = now.as_secs() / MINUTE.as_secs();
        // Whoever asked for the time first may come second.
        if minute > self.minute {
            let last = std::mem::replace(&mut self.running, Sketch::new(COUNTERS));
            self.before = if minute == self.minute + 1 { last } else { Sketch::new(COUNTERS) };
            self.minute = minute;
        }
    }

    /// The running minute, and of the one before the part that is not longer ago than a minute, as if it had been even.
    fn last_minute(&self, now: Duration) -> (HashMap<K, u64>, u64) {
        let gone = now.as_millis() % MINUTE.as_millis();
        let part = |count: u64| {
            let rest = u128::from(count) * (MINUTE.as_millis() - gone);
            u64::try_from((rest + MINUTE.as_millis() / 2) / MINUTE.as_millis()).unwrap_or(u64::MAX)
        };
        let mut each: HashMap<K, u64> = self.running.iter().map(|(key, count)| (key.clone(), count)).collect();
        for (key, count) in self.before.iter() {
            let sum = each.entry(key.clone()).or_default();
            *sum = sum.saturating_add(part(count));
        }
        each.retain(|_, count| *count > 0);
        (each, self.running.missed().saturating_add(part(self.before.missed())))
    }
}

/// No method can panic between two changes that belong together.
fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
