//! The operator's way in, from one mailferry to the next: who asks to take over, and what this process gives it: the
//! socket itself, so that its name never has nobody behind it, and the states of nodes.
//!
//! The state file has one writer: while another process makes itself ready, orders to this one wait, and once it has
//! taken over, this one keeps nothing any more. What the two processes say to each other is not known here.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixStream};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::socket::Bound;
pub use super::socket::Control;
use super::state::StateFile;
use crate::routing::Islands;
use crate::session::Holds;

/// With this octet, which no HTTP begins with, a connection begins of a process that wants to take over.
pub const FIRST_OCTET: u8 = 0;

/// Another process wants to take over, and has said no more than [`FIRST_OCTET`]. Nothing was judged yet.
pub struct TakeOver {
    /// Its connection.
    pub stream: UnixStream,
    /// Its user's number, if the system tells.
    pub uid: Option<u32>,
    /// Its number, if the system tells.
    pub pid: Option<i32>,
}

/// The operator's way in, for whoever gives it to another process, or has it from one.
pub struct Handle {
    pub(super) bound: Option<Arc<Bound>>,
    pub(super) address: Option<Arc<TcpListener>>,
    pub(super) states: Arc<Mutex<StateFile>>,
    pub(super) is_open: Arc<watch::Sender<bool>>,
}

impl Handle {
    /// The socket, for another process. `None`: there is none.
    ///
    /// # Errors
    /// There are no descriptors.
    pub fn control(&self) -> io::Result<Option<Control>> {
        let control = |bound: &Arc<Bound>| {
            let socket = bound.socket.as_fd().try_clone_to_owned()?;
            Ok(Control { socket, inode: bound.inode() })
        };
        self.bound.as_ref().map(control).transpose()
    }

    /// The socket of the address, for another process. `None`: there is none.
    ///
    /// # Errors
    /// There are no descriptors.
    pub fn address(&self) -> io::Result<Option<OwnedFd>> {
        self.address.as_ref().map(|address| address.as_fd().try_clone_to_owned()).transpose()
    }

    /// Whether the socket is one that another process has made, and has not given away yet.
    pub fn is_borrowed(&self) -> bool {
        self.bound.as_ref().is_some_and(|bound| !bound.is_ours())
    }

    /// The socket is ours from now on: its name is removed at the end.
    pub fn own(&self) {
        if let Some(bound) = &self.bound {
            bound.own(true);
        }
    }

    /// Gives the nodes their states once more, and holds who is held, if the file has changed since it was read.
    pub async fn read_again(&self, (islands, holds): (&Islands, &Holds)) {
        self.states.lock().await.read_again(islands, holds);
    }

    /// Takes no more operators, and has no state of a node written, once an order that is carried out is done. When the
    /// answer is dropped, everything is as before.
    pub async fn pause(&self) -> Paused {
        let states = Arc::clone(&self.states).lock_owned().await;
        self.is_open.send_replace(false);
        Paused { states, bound: self.bound.clone(), is_open: Arc::clone(&self.is_open), stays_closed: false }
    }
}

/// See [`Handle::pause`].
pub struct Paused {
    states: OwnedMutexGuard<StateFile>,
    bound: Option<Arc<Bound>>,
    is_open: Arc<watch::Sender<bool>>,
    stays_closed: bool,
}

impl Paused {
    /// All of it is another process's now; the socket only if that has taken it.
    pub fn give_away(mut self, has_taken_socket: bool) {
        // Where it has another one, operators may still look at this process.
        self.stays_closed = has_taken_socket;
        self.states.give_away();
        if let Some(bound) = self.bound.as_ref().filter(|_| has_taken_socket) {
            bound.own(false);
        }
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        if !self.stays_closed {
            self.is_open.send_replace(true);
        }
    }
}
