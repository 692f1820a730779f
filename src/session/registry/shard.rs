//! Some of all sessions, with a place for each that is used again when it is over.

use std::sync::Arc;

use super::Session;

#[derive(Default)]
pub(super) struct Shard {
    pub(super) places: Vec<Option<Arc<Session>>>,
    /// Places without a session.
    pub(super) free: Vec<u32>,
}

impl Shard {
    pub(super) fn put(&mut self, session: Arc<Session>) -> u32 {
        let free = self.free.pop();
        if let Some((at, place)) = free.and_then(|at| Some((at, self.places.get_mut(at as usize)?))) {
            *place = Some(session);
            return at;
        }
        self.places.push(Some(session));
        // There are fewer descriptors than that.
        (self.places.len() - 1) as u32
    }

    pub(super) fn take(&mut self, at: u32) -> Option<Arc<Session>> {
        let session = self.places.get_mut(at as usize)?.take()?;
        self.free.push(at);
        Some(session)
    }
}
