//! What systemd is told of the process (sd_notify(3), `Type=notify-reload`). Nothing, where nobody wants to hear it.
//!
//! A message that cannot be sent is no reason to stop serving.

use sd_notify::NotifyState;
use tracing::debug;

/// mailferry serves.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// systemd waits for so long for the next word of a stop, also beyond `TimeoutStopSec`. In microseconds.
const PATIENCE: u32 = 30_000_000;

/// mailferry comes to its end.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// How far the end is. To be said again within [`PATIENCE`], or systemd kills the process once `TimeoutStopSec` is over.
pub(super) fn still_stopping(how_far: &str) {
    send(&[NotifyState::Status(how_far), NotifyState::ExtendTimeoutUsec(PATIENCE)]);
}

/// A reload has begun. Its end, whatever came of it, is when this is dropped.
pub(super) fn reloading() -> Reloading {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(reason) => debug!(%reason, "systemd cannot be told of the reload"),
    }
    Reloading
}

/// See [`reloading`].
pub(super) struct Reloading;

impl Drop for Reloading {
    fn drop(&mut self) {
        ready();
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(reason) = sd_notify::notify(state) {
        debug!(%reason, "systemd cannot be told");
    }
}
