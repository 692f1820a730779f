//! The operator's way in: HTTP with JSON over a unix socket, for `mailferry status` and all commands to a running
//! mailferry.
//!
//! `socket` makes the socket and says who holds it, `serve` takes connections, `routes` is the list of what can be asked,
//! `sight` looks at the running parts, `people` at the sessions, `orders` changes something, `state` keeps what must survive a
//! restart, `view` has the words of all answers. Whoever may open the socket is an operator; what he sends is still
//! bounded in size, time and number. Nothing here is on the way of a login.

mod orders;
mod people;
mod routes;
mod serve;
mod sight;
mod socket;
mod state;
pub mod view;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use self::socket::Bound;
pub use self::socket::SocketError;
use self::state::StateFile;
use crate::directory::Directory;
use crate::drain::Drain;
use crate::routing::Islands;
use crate::session::Context;

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where commands come in; `None`: nowhere.
    pub socket: Option<Socket>,
    /// Where the states are kept that the operator gives to nodes.
    pub state_file: PathBuf,
    /// The file that says all this, for `status`.
    pub config: String,
}

/// The unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its path.
    pub path: PathBuf,
    /// Whether mailferry must not start without it.
    pub is_demanded: bool,
}

/// An operator's order to read the configuration again, for whoever can do that: nobody on this floor. Dropped without
/// an answer: mailferry stops.
pub struct Reload(oneshot::Sender<Result<view::Reloaded, String>>);

impl Reload {
    /// Tells what came of it, or why the file, without a problem of its own, could not be taken up. An operator who is
    /// gone does not hear it.
    pub fn answer(self, outcome: Result<view::Reloaded, String>) {
        let _ = self.0.send(outcome);
    }
}

/// The operator's way in, open and not yet served.
pub struct Admin {
    settings: Settings,
    socket: Option<Bound>,
    states: StateFile,
}

/// What all answers are made from.
struct Desk {
    context: Arc<Context>,
    settings: Settings,
    states: tokio::sync::Mutex<StateFile>,
    reloads: mpsc::Sender<Reload>,
    drain: Drain,
}

impl Admin {
    /// Opens the socket, and gives the nodes the states that the operator gave them before the restart. Blocks for a
    /// moment. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The socket is demanded and cannot be had, or another process has it, demanded or not. A state file that is damaged
    /// is set aside with a warning.
    pub fn open(settings: &Settings, islands: &Islands) -> Result<Self, SocketError> {
        let socket = settings.socket.as_ref().map(|socket| Bound::bind(&socket.path).map_err(|error| (socket, error)));
        let socket = match socket.transpose() {
            Ok(bound) => bound,
            Err((socket, error)) if socket.is_demanded || matches!(error, SocketError::Held { .. }) => {
                return Err(error);
            }
            Err((_, error)) => {
                warn!(reason = %error, "no admin socket: commands as `mailferry status` will not work");
                None
            }
        };
        let states = StateFile::open(&settings.state_file, islands);
        Ok(Self { settings: settings.clone(), socket, states })
    }

    /// Answers until told to stop. Orders to read the configuration again go to `reloads`, and wait for their place there
    /// as long as their connections may last.
    pub async fn serve(self, context: Arc<Context>, reloads: mpsc::Sender<Reload>, drain: Drain) {
        let Self { settings, socket, states } = self;
        let Some(socket) = socket else { return };
        let states = tokio::sync::Mutex::new(states);
        let desk = Desk { context, settings, states, reloads, drain: drain.clone() };
        serve::serve(socket, routes::router(Arc::new(desk)), drain).await;
    }
}

impl Desk {
    fn islands(&self) -> Islands {
        self.context.site().islands.clone()
    }

    fn directory(&self) -> Directory {
        self.context.site().directory.clone()
    }
}
