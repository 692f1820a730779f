//! From one mailferry to the next without a refused connection: the new process gets the very sockets of the old one.
//!
//! `wire` is what the two say to each other, `old` the part of the one that serves, `new` that of the one that will. The old
//! one goes on as if nothing had happened until the new one has everything that can fail behind it. Then nobody writes for
//! a moment, and at the old one's last word the new one begins to accept where the old one has ended: whoever connects
//! meanwhile waits in the queue of a socket that is never closed. A new process that hears no last word because the old
//! one is dead serves alone.

mod new;
mod old;
mod wire;

use std::io;
use std::path::PathBuf;

pub(super) use self::new::Met;
pub use self::new::{Old, reach};
pub(super) use self::old::serve;

/// Why nobody takes over. The old process serves on, unless it says that it stops.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// There is no socket to ask at.
    #[error(
        "--take-over asks the running mailferry at its admin socket, and the configuration has `socket = \"off\"` in [admin]: start without it"
    )]
    Off,
    /// It is there and cannot be asked.
    #[error("{} cannot be asked to hand over: {reason}: start this one as the same user, or as root", .path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
    /// It may not have our trust, or we not its.
    #[error(
        "process {pid} of user number {uid} is neither of our user nor root's: only these two hand over to each other"
    )]
    Stranger {
        /// Whose it is.
        uid: String,
        /// Its number.
        pid: String,
    },
    /// It said nothing in time.
    #[error("the other process did not {0} in time")]
    Late(&'static str),
    /// It is gone.
    #[error("the other process has gone before it could {0}")]
    Gone(&'static str),
    /// It said no.
    #[error("the other process does not go on: {0}")]
    Refused(String),
    /// It is no mailferry that can do this, or something between us is broken.
    #[error("the other process says what is not understood ({0}): stop it and start this one without --take-over")]
    Confused(String),
    /// The talk broke down.
    #[error("the talk with the other process broke down: {0}")]
    Broken(#[from] io::Error),
    /// Sessions and logins of that user here would be out of the operator's sight.
    #[error("a user is being moved: try again when `mailferry holds` tells of no move")]
    Moving,
    /// This process ends.
    #[error("the process that has the sockets is about to stop")]
    Stopping,
}

#[cfg(test)]
mod tests;
