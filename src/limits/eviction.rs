//! The word to one connection that its place is wanted: given once, heard by everybody who waits for it or asks later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whether a connection's place is wanted. Clones are one and the same.
#[derive(Clone, Default)]
pub struct Eviction(Arc<Word>);

#[derive(Default)]
struct Word {
    given: AtomicBool,
    told: Notify,
}

impl Eviction {
    pub(super) fn give(&self) {
        self.0.given.store(true, Ordering::Release);
        self.0.told.notify_waiters();
    }

    /// Returns when the place is wanted, or was.
    pub async fn given(&self) {
        let told = self.0.told.notified();
        tokio::pin!(told);
        // Before the look, so that a word given in between is not missed.
        told.as_mut().enable();
        if !self.0.given.load(Ordering::Acquire) {
            told.await;
        }
    }
}

#[cfg(test)]
impl Eviction {
    /// Whether it is the same one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_word_is_heard_by_all_who_wait_and_all_who_ask_later() {
        let word = Eviction::default();
        assert!(word.given().now_or_never().is_none());
        let waiting = [word.clone(), word.clone()].map(|word| tokio::spawn(async move { word.given().await }));
        tokio::task::yield_now().await;
        word.give();
        for waiting in waiting {
            waiting.await.unwrap();
        }
        word.given().await;
    }
}
