//! The stop signal that every task holds, and the way to wait until all have heard it.
//!
//! A task keeps its [`Drain`] for as long as it runs: dropping it *is* the book-keeping. Tasks of which there are many
//! wait by an [`Ear`], which costs each of them a few words, and one look at them each time they are woken; a lock is held
//! for one look-up and never across an await.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

/// Gives the signal, and before it a word to those who wait for nothing; kept by whoever runs mailferry.
#[derive(Debug)]
pub struct Signal(Arc<State>);

/// Receives the signal; cloned into every task.
#[derive(Debug)]
pub struct Drain(Arc<State>);

/// A [`Drain`] that waits in few octets.
#[derive(Debug)]
pub struct Ear {
    drain: Drain,
    /// Where its task's waker stands, from the first look on; [`NOWHERE`] before.
    place: AtomicU32,
}

/// No place.
const NOWHERE: u32 = u32::MAX;

/// Whether the signal is given, who holds a drain, and who waits.
#[derive(Debug, Default)]
struct State {
    /// Whether those who wait for nothing may go.
    is_asked: AtomicBool,
    is_given: AtomicBool,
    told: Notify,
    held: AtomicUsize,
    none_held: Notify,
    /// Who waits by ear.
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
    let state = Arc::new(State::default());
    (Signal(Arc::clone(&state)), Drain::of(&state))
}

impl Signal {
    /// Tells every task to come to its end, and waits until all have.
    pub async fn stop(self) {
        self.0.give();
        self.left().await;
    }

    /// Tells those who listen by ear that they may come to their end if nobody waits for them.
    pub fn ask(&self) {
        self.0.is_asked.store(true, Ordering::Release);
        self.0.waiting().wake_all();
    }

    /// Waits until nobody holds a receiver any more. Only one may wait.
    pub async fn left(&self) {
        while self.0.held.load(Ordering::Acquire) > 0 {
            // Whoever drops the last one leaves word here, also between that look and this wait.
            self.0.none_held.notified().await;
        }
    }

    /// How many receivers are held.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Acquire)
    }
}

/// When the signal's owner is gone, that is the end as well.
impl Drop for Signal {
    fn drop(&mut self) {
        self.0.give();
    }
}

impl Drain {
    fn of(state: &Arc<State>) -> Self {
        state.held.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }

    /// Returns when the signal is given, or was.
    pub async fn signalled(&self) {
        let told = self.0.told.notified();
        tokio::pin!(told);
        // Before the look, so that a signal given in between is not missed.
        told.as_mut().enable();
        if !self.0.is_given() {
            told.await;
        }
    }

    /// The same for one of many tasks.
    pub fn ear(self) -> Ear {
        Ear { drain: self, place: AtomicU32::new(NOWHERE) }
    }
}

impl Clone for Drain {
    fn clone(&self) -> Self {
        Self::of(&self.0)
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        // What the task did before is done for whoever waits for it.
        if self.0.held.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_held.notify_one();
        }
    }
}

impl Ear {
    /// Ready when the signal is given, or was. Until then the first task that asked is woken by it, which must be the
    /// only one that asks; it may do so in many places.
    pub fn poll_signalled(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_heard(cx, State::is_given)
    }

    /// Ready when whoever waits for nothing may go, or the signal is given. Woken as [`Self::poll_signalled`] is.
    pub fn poll_asked(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_heard(cx, State::is_asked)
    }

    fn poll_heard(&self, cx: &Context<'_>, is_said: impl Fn(&State) -> bool) -> Poll<()> {
        let state = &self.drain.0;
        if is_said(state) {
            return Poll::Ready(());
        }
        if self.place.load(Ordering::Relaxed) == NOWHERE {
            let mut waiting = state.waiting();
            // Those who wait are woken under this lock, when it is said already.
            if is_said(state) {
                return Poll::Ready(());
            }
            self.place.store(waiting.take(cx.waker().clone()).unwrap_or(NOWHERE), Ordering::Relaxed);
        }
        Poll::Pending
    }

    /// Whether whoever waits for nothing may go, or the signal is given.
    pub fn is_asked(&self) -> bool {
        self.drain.0.is_asked()
    }

    /// Returns when the signal is given, or was. See [`Self::poll_signalled`].
    pub async fn signalled(&self) {
        poll_fn(|cx| self.poll_signalled(cx)).await;
    }

    /// Returns when whoever waits for nothing may go. See [`Self::poll_asked`].
    pub async fn asked(&self) {
        poll_fn(|cx| self.poll_asked(cx)).await;
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let place = *self.place.get_mut();
        if place != NOWHERE {
            // Wakers may do anything when they are dropped, so not under the lock.
            let _waker = self.drain.0.waiting().leave(place);
        }
    }
}

impl State {
    fn is_given(&self) -> bool {
        self.is_given.load(Ordering::Acquire)
    }

    fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire) || self.is_given()
    }

    fn give(&self) {
        self.is_given.store(true, Ordering::Release);
        self.told.notify_waiters();
        // Nobody begins to wait for it any more.
        self.waiting().wake_all();
    }

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
        let at = u32::try_from(self.places.len()).ok().filter(|at| *at != NOWHERE)?;
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
        let ear = drain.clone().ear();
        tokio::spawn(async move { ear.signalled().await })
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
        let places = drain.0.waiting().places.len();
        assert_eq!(places, 100 + 50 - 34, "places are used again");
        drop(drain);
        tokio::time::timeout(std::time::Duration::from_secs(10), signal.stop()).await.expect("not heard");
        for task in late {
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn who_waits_for_nothing_is_asked_first_and_all_are_told_later() {
        let (signal, drain) = channel();
        let ear = drain.clone().ear();
        let idle = tokio::spawn(async move {
            ear.asked().await;
            ear
        });
        let busy = listener(&drain);
        drop(drain);
        tokio::task::yield_now().await;
        assert!(!idle.is_finished());
        signal.ask();
        let ear = idle.await.unwrap();
        assert!(poll_fn(|cx| Poll::Ready(ear.poll_signalled(cx).is_pending())).await, "asking tells nobody to end");
        tokio::task::yield_now().await;
        assert!(!busy.is_finished());
        let mut left = Box::pin(signal.left());
        assert!(poll_fn(|cx| Poll::Ready(left.as_mut().poll(cx).is_pending())).await);
        drop((left, ear));
        assert_eq!(signal.held(), 1);
        signal.stop().await;
        busy.await.unwrap();
    }

    #[tokio::test]
    async fn an_ear_that_comes_late_hears_at_once_and_one_that_goes_leaves_nothing() {
        let (signal, drain) = channel();
        let ear = drain.clone().ear();
        for _ in 0..2 {
            assert!(poll_fn(|cx| Poll::Ready(ear.poll_signalled(cx).is_pending())).await);
        }
        assert_eq!(drain.0.waiting().places.len(), 1);
        drop(ear);
        let is_free = matches!(drain.0.waiting().places[..], [Place::Free { next: None }]);
        assert!(is_free);
        drop(signal);
        let late = drain.ear();
        late.signalled().await;
    }
}
