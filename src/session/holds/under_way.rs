//! Logins between the user's name and the relay: whom a hold came too late for. Whoever moves a user waits for their end.
//!
//! Each costs the lock of one shard when it comes and when it goes, in which nothing is made or given back. Looking at all
//! of them is for operators.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::names::SessionId;

/// So many that the logins of one moment seldom meet.
const SHARDS: usize = 64;

/// The names of one, as they are compared.
pub(super) type Keys = Arc<[Vec<u8>]>;

type Shard = Mutex<HashMap<u64, Keys>>;

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
    pub(super) fn enter(&self, session: SessionId, keys: Keys) -> Place<'_> {
        let shard = &self.0[(session.number % SHARDS as u64) as usize];
        lock(shard).insert(session.number, keys);
        Place { shard, number: session.number }
    }

    /// Shows the names of each.
    pub(super) fn look(&self, mut see: impl FnMut(&[Vec<u8>])) {
        for shard in &self.0 {
            lock(shard).values().for_each(|keys| see(keys));
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let _keys = lock(self.shard).remove(&self.number);
    }
}

fn lock(shard: &Shard) -> MutexGuard<'_, HashMap<u64, Keys>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
