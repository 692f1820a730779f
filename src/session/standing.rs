//! Whether this mailferry wants new clients, for whoever asks on behalf of a balancer, and how it stops. Set once, when a
//! stop begins, and read at any time; nothing here ends anything.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How a stop goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopSettings {
    /// From the moment in which balancers can see that no clients are wanted to the close of the listeners.
    pub delay: Duration,
    /// From there to the end of those that have not come to theirs. Zero: they end at once.
    pub timeout: Duration,
}

/// Whether new clients are wanted.
#[derive(Debug, Default)]
pub struct Standing {
    is_draining: AtomicBool,
    ends: OnceLock<Instant>,
    logins_broken_off: AtomicU64,
}

impl Standing {
    /// A stop has begun: balancers are to send clients elsewhere. Those who come still are served while the listeners are
    /// open.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// A stop begins. There is no way back.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// The stop that has begun cuts all sessions after this time.
    pub fn ends_within(&self, time: Duration) {
        let _ = self.ends.set(Instant::now() + time);
    }

    /// From now to the cut of the sessions that are left. `None`: no stop has come so far.
    pub fn left(&self) -> Option<Duration> {
        self.ends.get().map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Logins that had been received, and were not answered because of the stop.
    pub fn logins_broken_off(&self) -> u64 {
        self.logins_broken_off.load(Ordering::Relaxed)
    }

    pub(super) fn login_broken_off(&self) {
        self.logins_broken_off.fetch_add(1, Ordering::Relaxed);
    }
}
