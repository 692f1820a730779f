//! What systemd is told of the process (sd_notify(3), `Type=notify-reload`). Nothing, where nobody wants to hear it.
//!
//! A message that cannot be sent is no reason to stop serving.

use sd_notify::NotifyState;
use tracing::debug;

/// mailferry serves.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// mailferry comes to its end.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
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
