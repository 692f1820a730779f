//! The stop signal that every task holds, and the way to wait until all have heard it.
//!
//! A task keeps its [`Drain`] for as long as it runs: dropping it *is* the book-keeping. Tasks of which there are many
//! wait by an [`Ear`], which costs each of them a few words; a lock is held for one look-up and never across an await.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

/// Gives the signal; kept by whoever runs mailferry.
#[derive(Debug)]
pub struct Signal(watch::Sender<State>);

/// Receives the signal; cloned into every task.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<State>);

/// A [`Drain`] that waits in few octets.
#[derive(Debug)]
pub struct Ear {
    drain: Drain,
    /// Where its task's waker stands, from the first look on.
    place: Option<u32>,
}

/// Whether the signal is given, and who waits for it by ear.
#[derive(Debug, Default)]
struct State {
    is_given: bool,
    waiting: Mutex<Waiting>,
}

/// Wakers, and which places are free, each of which names the next.
#[derive(Debug, Default)]
struct Waiting {
    places: Vec<Place>,
    free: Option<u32>,
}

#[derive(Debug)]
enum Place {
    Taken(Waker),
    Free { next: Option<u32> },
}

/// A signal and its first receiver.
pub fn channel() -> (Signal, Drain) {
    let (sender, receiver) = watch::channel(State::default());
    (Signal(sender), Drain(receiver))
}

impl Signal {
    /// Tells every task to come to its end, and waits until all have.
    pub async fn stop(self) {
        self.give();
        self.0.closed().await;
    }

    fn give(&self) {
        self.0.send_modify(|state| state.is_given = true);
        // Nobody begins to wait any more.
        self.0.borrow().waiting().wake_all();
    }
}

/// When the signal's owner is gone, that is the end as well.
impl Drop for Signal {
    fn drop(&mut self) {
        self.give();
    }
}

impl Drain {
    /// Returns when the signal is given, or was.
    pub async fn signalled(&self) {
        // An error means that the signal's owner is gone, who gives it last.
        let _ = self.0.clone().wait_for(|state| state.is_given).await;
    }

    /// The same for one of many tasks.
    pub fn ear(self) -> Ear {
        Ear { drain: self, place: None }
    }
}

impl Ear {
    /// Ready when the signal is given, or was. Until then the first task that asked is woken by it, which must be the
    /// only one that asks.
    pub fn poll_signalled(&mut self, cx: &Context<'_>) -> Poll<()> {
        // The signal cannot be given while this is held.
        let state = self.drain.0.borrow();
        if state.is_given {
            return Poll::Ready(());
        }
        if self.place.is_none() {
            self.place = state.waiting().take(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // Wakers may do anything when they are dropped, so not under the lock.
            let _waker = self.drain.0.borrow().waiting().leave(place);
        }
    }
}

impl State {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// A place for this waker. Nothing, if there are more than can be counted.
    fn take(&mut self, waker: Waker) -> Option<u32> {
        let free = self.free.and_then(|at| Some((at, self.places.get_mut(usize::try_from(at).ok()?)?)));
        if let Some((at, place)) = free {
            if let Place::Free { next } = std::mem::replace(place, Place::Taken(waker)) {
                self.free = next;
            }
            return Some(at);
        }
        let at = u32::try_from(self.places.len()).ok()?;
        self.places.push(Place::Taken(waker));
        Some(at)
    }

    fn leave(&mut self, at: u32) -> Option<Place> {
        let place = self.places.get_mut(usize::try_from(at).ok()?)?;
        let left = std::mem::replace(place, Place::Free { next: self.free });
        self.free = Some(at);
        Some(left)
    }

    fn wake_all(&self) {
        for place in &self.places {
            if let Place::Taken(waker) = place {
                waker.wake_by_ref();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn stopping_waits_for_the_last_task() {
        let (signal, drain) = channel();
        let other = drain.clone();
        let task = tokio::spawn(async move { drain.signalled().await });
        let mut stop = Box::pin(signal.stop());
        assert!(futures_pending(&mut stop).await, "a receiver is still held");
        task.await.unwrap();
        assert!(futures_pending(&mut stop).await, "another receiver is still held");
        drop(other);
        stop.await;
    }

    async fn futures_pending(future: &mut std::pin::Pin<Box<impl Future<Output = ()>>>) -> bool {
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    /// A task that waits by ear.
    fn listener(drain: &Drain) -> tokio::task::JoinHandle<()> {
        let mut ear = drain.clone().ear();
        tokio::spawn(poll_fn(move |cx| ear.poll_signalled(cx)))
    }

    #[tokio::test]
    async fn every_ear_hears_the_signal_and_is_waited_for() {
        let (signal, drain) = channel();
        let tasks: Vec<_> = (0..100).map(|_| listener(&drain)).collect();
        tokio::task::yield_now().await;
        // Some are gone before; others take their places.
        for task in tasks.iter().step_by(3) {
            task.abort();
        }
        tokio::task::yield_now().await;
        let late: Vec<_> = (0..50).map(|_| listener(&drain)).collect();
        tokio::task::yield_now().await;
        assert!(tasks.iter().step_by(3).all(tokio::task::JoinHandle::is_finished));
        assert!(!late.iter().any(tokio::task::JoinHandle::is_finished));
        let places = drain.0.borrow().waiting().places.len();
        assert_eq!(places, 100 + 50 - 34, "places are used again");
        drop(drain);
        tokio::time::timeout(std::time::Duration::from_secs(10), signal.stop()).await.expect("not heard");
        for task in late {
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_ear_that_comes_late_hears_at_once_and_one_that_goes_leaves_nothing() {
        let (signal, drain) = channel();
        let mut ear = drain.clone().ear();
        for _ in 0..2 {
            assert!(poll_fn(|cx| Poll::Ready(ear.poll_signalled(cx).is_pending())).await);
        }
        assert_eq!(drain.0.borrow().waiting().places.len(), 1);
        drop(ear);
        let is_free = matches!(drain.0.borrow().waiting().places[..], [Place::Free { next: None }]);
        assert!(is_free);
        drop(signal);
        let mut late = drain.ear();
        poll_fn(|cx| late.poll_signalled(cx)).await;
    }
}
