//! Logins between the user's name and the relay: whom a hold came too late for. Whoever moves a user waits for their end.
//!
//! Each costs the lock of one shard when it comes and when it goes. Looking at all of them is for operators.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::names::{SessionId, UserName};

/// So many that the logins of one moment seldom meet.
const SHARDS: usize = 64;

type Shard = Mutex<HashMap<u64, Vec<UserName>>>;

/// All of them, by the session's number.
pub(super) struct UnderWay([Shard; SHARDS]);

/// One of them. Dropping it ends it.
pub(super) struct Place<'a> {
    shard: &'a Shard,
    number: u64,
}

impl Default for UnderWay {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl UnderWay {
    /// A session has one login at a time: an older entry of it must be dropped before.
    #[expect(clippy::indexing_slicing, reason = "a remainder is smaller than what it was divided by")]
    pub(super) fn enter(&self, session: SessionId, names: &[&UserName]) -> Place<'_> {
        let shard = &self.0[(session.number % SHARDS as u64) as usize];
        lock(shard).insert(session.number, names.iter().copied().cloned().collect());
        Place { shard, number: session.number }
    }

    /// How many have such a name.
    pub(super) fn count(&self, is_such: impl Fn(&UserName) -> bool) -> usize {
        self.0.iter().map(|shard| lock(shard).values().filter(|names| names.iter().any(&is_such)).count()).sum()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(self.shard).remove(&self.number);
    }
}

fn lock(shard: &Shard) -> MutexGuard<'_, HashMap<u64, Vec<UserName>>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
