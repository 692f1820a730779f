//! The way into a node: a fair queue that lets in so many logins a second (`max_login_rate`), so that the node that is
//! left does not die of the other one's clients.
//!
//! First come, first served. The queue is bounded by time: who could not get in before his patience is over does not
//! queue at all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::failure::Failure;
use crate::routing::NodePort;

/// Logins that come within so much time need not wait for each other: timers tick in milliseconds.
const AT_ONCE: Duration = Duration::from_millis(20);

/// Waits for the node's turn, until `patience` is over at most.
pub(super) async fn admit(port: &NodePort, patience: Instant) -> Result<(), Failure> {
    let Some(rate) = port.table().island().max_login_rate else { return Ok(()) };
    let interval = Duration::from_secs(1) / rate.get();
    let at_once = u32::try_from(AT_ONCE.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u32::MAX).max(1);
    let (gate, waiting) = port.gate();
    let place = Place::take(waiting);
    let longest = interval.saturating_mul(u32::try_from(place.ahead).unwrap_or(u32::MAX));
    if longest > patience.saturating_duration_since(Instant::now()) {
        return Err(Failure::NotAdmitted);
    }
    let entry = async {
        // The lock is the queue. A client that goes away leaves it, and leaves its place in time to the next one.
        let mut pace = gate.lock().await;
        let due = Instant::from(pace.due(Instant::now().into_std(), interval, at_once));
        if due > Instant::now() {
            sleep_until(due).await;
        }
        pace.take(Instant::now().into_std(), interval, at_once);
    };
    timeout_at(patience, entry).await.map_err(|_| Failure::NotAdmitted)
}

/// A place in the queue, for as long as it is held.
struct Place<'a> {
    waiting: &'a AtomicU64,
    ahead: u64,
}

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicU64) -> Self {
        Self { ahead: waiting.fetch_add(1, Ordering::Relaxed), waiting }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
