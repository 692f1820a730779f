//! The word to one connection that its place is wanted: given once, heard by its task in whatever place that waits for
//! it, or asks later.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;

/// Whether a connection's place is wanted. Clones are one and the same.
#[derive(Clone, Default)]
pub struct Eviction(Arc<Word>);

#[derive(Default)]
struct Word {
    given: AtomicBool,
    task: AtomicWaker,
}

impl Eviction {
    pub(super) fn give(&self) {
        self.0.given.store(true, Ordering::Release);
        self.0.task.wake();
    }

    /// Returns when the place is wanted, or was. The task that asked last is woken by it, so that only one may ask; it
    /// may do so in many places, and each of these futures stays in it.
    pub async fn given(&self) {
        let mut is_registered = false;
        poll_fn(|cx| {
            // Before the look, so that a word given in between is not missed.
            if !std::mem::replace(&mut is_registered, true) {
                self.0.task.register(cx.waker());
            }
            if self.0.given.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
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
    async fn a_word_is_heard_wherever_the_task_waits_and_whenever_it_asks() {
        let word = Eviction::default();
        assert!(word.given().now_or_never().is_none());
        let (one, other) = (word.clone(), word.clone());
        let waiting = tokio::spawn(async move { tokio::join!(one.given(), other.given()) });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        word.give();
        tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await.expect("not heard").unwrap();
        word.given().await;
    }
}
