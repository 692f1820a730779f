//! Whether this mailferry wants new clients, for whoever asks on behalf of a balancer. Set once, when a stop begins, and
//! read at any time; nothing here ends anything.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether new clients are wanted.
#[derive(Debug, Default)]
pub struct Standing {
    is_draining: AtomicBool,
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
}
