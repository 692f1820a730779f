//! Whether this mailferry wants new clients, for whoever asks on behalf of a balancer, and how it stops. Set once, when a
//! stop begins, and read at any time; nothing here ends anything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

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

    /// Logins that had been received, and were not answered because of the stop.
    pub fn logins_broken_off(&self) -> u64 {
        self.logins_broken_off.load(Ordering::Relaxed)
    }

    pub(super) fn login_broken_off(&self) {
        self.logins_broken_off.fetch_add(1, Ordering::Relaxed);
    }
}
