//! The operator's way in, from one mailferry to the next: who asks to take over, and what this process gives it: the
//! socket itself, so that its name never has nobody behind it, and the states of nodes.
//!
//! The state file has one writer: while another process makes itself ready, orders to this one wait, and once it has
//! taken over, this one keeps nothing any more. What the two processes say to each other is not known here.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixStream};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, watch};

use super::predecessors::Predecessors;
use super::socket::Bound;
pub use super::socket::Control;
use super::state::StateFile;
use crate::net::courier::Courier;
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

/// Whom this process takes for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Everybody.
    Open,
    /// Nobody for now: another process makes itself ready.
    Waiting,
    /// Another process has taken over, and the address with it, whether that is its own still or was closed.
    Left {
        /// Whether it has the socket.
        socket: bool,
    },
}

/// The operator's way in, for whoever gives it to another process, or has it from one.
pub struct Handle {
    pub(super) bound: Option<Arc<Bound>>,
    pub(super) address: Option<Arc<TcpListener>>,
    pub(super) states: Arc<Mutex<StateFile>>,
    pub(super) stand: Arc<watch::Sender<Stand>>,
    pub(super) predecessors: Predecessors,
    pub(super) successor: mpsc::Sender<Courier>,
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

    /// The socket is ours from now on: its name is removed at the end. What operators ask is asked these processes too.
    pub fn own(&self, predecessors: Vec<Courier>) {
        if let Some(bound) = &self.bound {
            bound.own();
        }
        predecessors.into_iter().for_each(|bell| self.predecessors.add(bell));
    }

    /// Connections to the processes that this one has followed and that may live still, for one that follows this one.
    ///
    /// # Errors
    /// There are no descriptors.
    pub async fn predecessors(&self) -> io::Result<Vec<OwnedFd>> {
        self.predecessors.copies().await
    }

    /// Gives the nodes their states once more, and holds who is held, if the file has changed since it was read.
    pub async fn read_again(&self, (islands, holds): (&Islands, &Holds)) {
        self.states.lock().await.read_again(islands, holds);
    }

    /// Takes no more operators, and has no state of a node written, once an order that is carried out is done. When the
    /// answer is dropped, everything is as before.
    pub async fn pause(&self) -> Paused {
        let states = Arc::clone(&self.states).lock_owned().await;
        self.stand.send_replace(Stand::Waiting);
        Paused {
            states,
            bound: self.bound.clone(),
            stand: Arc::clone(&self.stand),
            next: Stand::Open,
            predecessors: self.predecessors.clone(),
            successor: self.successor.clone(),
        }
    }
}

/// See [`Handle::pause`].
pub struct Paused {
    states: OwnedMutexGuard<StateFile>,
    bound: Option<Arc<Bound>>,
    stand: Arc<watch::Sender<Stand>>,
    next: Stand,
    predecessors: Predecessors,
    successor: mpsc::Sender<Courier>,
}

impl Paused {
    /// All of it is another process's now; the socket only if that has taken it. What that asks over its connection, which is to
    /// be sent to the answer, is answered as an operator at the socket is.
    pub fn give_away(mut self, has_taken_socket: bool) -> mpsc::Sender<Courier> {
        // Where it has another one, operators may still look at this process.
        self.next = Stand::Left { socket: has_taken_socket };
        self.states.give_away();
        self.predecessors.leave();
        if let Some(bound) = self.bound.as_ref().filter(|_| has_taken_socket) {
            bound.disown();
        }
        self.successor.clone()
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.stand.send_replace(self.next);
    }
}
