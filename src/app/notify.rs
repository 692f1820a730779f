//! What systemd is told of the process (sd_notify(3), `Type=notify-reload`), and the listening sockets that it keeps for the
//! next one. Nothing, where nobody wants to hear it.
//!
//! A message that cannot be sent is no reason to stop serving.

use std::env;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;

use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sd_notify::NotifyState;
use tracing::debug;

use crate::net::listen::stored_name;
use crate::server::Entrance;

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

/// A listening socket for systemd to keep, so that the next mailferry has it, also after a crash of this one.
pub(super) fn store(address: SocketAddr, entrance: &Entrance) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
    let stored = entrance.copy().and_then(|socket| {
        let message = format!("FDSTORE=1\nFDNAME={}\n", stored_name(address));
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [socket.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let to = UnixDatagram::unbound()?;
        to.connect(path)?;
        sendmsg(&to, &[IoSlice::new(message.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    });
    if let Err(reason) = stored {
        debug!(%address, %reason, "systemd cannot be given a socket");
    }
}

/// A socket of this name in systemd's store is not wanted any more.
pub(super) fn forget(name: &str) {
    send(&[NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::Custom(&format!("FDNAME={name}"))]);
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
