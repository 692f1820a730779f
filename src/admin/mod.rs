//! The operator's way in: HTTP with JSON over a unix socket, for `mailferry status` and all commands to a running
//! mailferry, and over an address with TLS and tokens, if he wants that.
//!
//! `socket` makes the socket and says who holds it, `serve` takes connections, `access` says who may ask what (with
//! `guesses`, which counts wrong tokens; `operator` is who asks), `routes` is the list of what can be asked, `refusal` how
//! it looks where there is no answer, `health` answers balancers, `sight` looks at the running parts, `people` at the
//! sessions (`listing` tells who is there), `metrics` at all that is counted, `orders` changes something, `holds` lets a user's logins wait, `moves` has
//! what else the move of a user needs, `state` keeps what must survive a restart, `take_over` is how another process gets
//! all this, `together` asks and orders where processes that were taken over have sessions still (`predecessors`), `view` has the words of all answers. Their imports run in no circle. Whoever may open the socket is an
//! operator; what he sends is still bounded in size, time and number.
//! Nothing here is on the way of a login.

mod access;
mod events;
mod guesses;
mod health;
mod holds;
mod listing;
mod metrics;
mod moves;
mod operator;
mod orders;
mod page;
mod people;
mod predecessors;
mod refusal;
mod routes;
mod serve;
mod sight;
mod socket;
mod state;
pub mod take_over;
mod together;
pub mod view;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use self::access::Gate;
pub use self::access::{Entrance, Keys, TokenError, Tokens, check_token};
use self::predecessors::Predecessors;
use self::serve::{Door, REMOTE_MAX};
pub use self::socket::SocketError;
use self::socket::{Bound, Control};
use self::state::StateFile;
use self::take_over::{Handle, Stand, TakeOver};
use crate::directory::Directory;
use crate::drain::Drain;
use crate::net::courier::Courier;
use crate::net::listen::Passed;
use crate::net::tls::CertificateFiles;
use crate::routing::Islands;
use crate::session::{Context, Holds};

/// Descriptors that the address may take.
pub const DESCRIPTORS: usize = REMOTE_MAX + 1;

/// What the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where commands come in; `None`: nowhere.
    pub socket: Option<Socket>,
    /// The group of the socket; `None`: the process's own.
    pub socket_group: Option<String>,
    /// Where they come in over TCP; `None`: nowhere.
    pub address: Option<SocketAddr>,
    /// Whether they come by TLS there. Without it, the address is one of this machine alone.
    pub tls: bool,
    /// The certificate for that; `None`: those of the listeners.
    pub certificate: Option<CertificateFiles>,
    /// What an operator shows there; `None`: nobody orders anything there.
    pub operator_token_file: Option<PathBuf>,
    /// What somebody shows there who may look.
    pub read_only_token_file: Option<PathBuf>,
    /// Where the states are kept that the operator gives to nodes, and whom he holds.
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
    socket: Option<Arc<Bound>>,
    address: Option<Arc<TcpListener>>,
    entrance: Entrance,
    states: Arc<tokio::sync::Mutex<StateFile>>,
    stand: Arc<watch::Sender<Stand>>,
    predecessors: Predecessors,
    successor: (mpsc::Sender<Courier>, mpsc::Receiver<Courier>),
}

/// Where operators' orders go that are carried out by whoever runs mailferry.
pub struct Orders {
    /// To read the configuration again.
    pub reloads: mpsc::Sender<Reload>,
    /// To hand over to another process.
    pub take_overs: mpsc::Sender<TakeOver>,
}

/// What all answers are made from.
struct Desk {
    context: Arc<Context>,
    settings: Settings,
    states: Arc<tokio::sync::Mutex<StateFile>>,
    reloads: mpsc::Sender<Reload>,
    predecessors: Predecessors,
    drain: Drain,
}

impl Admin {
    /// Opens the socket and the address, gives the nodes the states that the operator gave them before the restart, and
    /// holds those whom he held. Blocks for a moment. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The socket is demanded and cannot be had, or another process has it, demanded or not; or the address cannot be
    /// listened on. A state file that is damaged is set aside with a warning.
    ///
    /// `control` is used where it has the right name, and what was `passed` where it has the right address.
    pub fn open(
        settings: &Settings,
        keys: Keys,
        (islands, holds): (&Islands, &Holds),
        control: Option<Control>,
        passed: &mut Passed,
    ) -> Result<Self, SocketError> {
        let group = settings.socket_group.as_deref();
        let bound = |socket: &Socket| match control.and_then(|control| Bound::borrow(&socket.path, control)) {
            Some(borrowed) => Ok(borrowed),
            None => Bound::bind(&socket.path, group),
        };
        let socket = settings.socket.as_ref().map(|socket| bound(socket).map_err(|error| (socket, error)));
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
        let address = settings
            .address
            .map(|address| access::open(address, passed).map_err(|reason| SocketError::Address { address, reason }));
        let address = address.transpose()?.map(|(listener, address)| {
            match settings.tls {
                true => info!(%address, "open for commands with a token"),
                false => info!(%address, "open for commands with a token, in clear text, from this machine alone"),
            }
            Arc::new(listener)
        });
        let mut states = StateFile::open(&settings.state_file, islands);
        states.restore_holds(holds);
        let states = Arc::new(tokio::sync::Mutex::new(states));
        Ok(Self {
            settings: settings.clone(),
            socket: socket.map(Arc::new),
            address,
            entrance: Entrance::new(keys),
            states,
            stand: Arc::new(watch::Sender::new(Stand::Open)),
            predecessors: Predecessors::default(),
            // There is one at most.
            successor: mpsc::channel(1),
        })
    }

    /// Whoever has the socket already, for a process that finds its addresses taken.
    pub fn holder(settings: &Settings) -> Option<SocketError> {
        settings.socket.as_ref().and_then(|socket| socket::held(&socket.path).ok())
    }

    /// What stands behind the address.
    pub fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// For giving it to another process.
    pub fn handle(&self) -> Handle {
        Handle {
            bound: self.socket.clone(),
            address: self.address.clone(),
            states: Arc::clone(&self.states),
            stand: Arc::clone(&self.stand),
            predecessors: self.predecessors.clone(),
            successor: self.successor.0.clone(),
        }
    }

    /// Answers until told to stop. Orders to read the configuration again wait for their place as long as their
    /// connections may last.
    pub async fn serve(self, context: Arc<Context>, orders: Orders, drain: Drain) {
        let Self { settings, socket, address, entrance, states, stand, predecessors, mut successor } = self;
        let Orders { reloads, take_overs } = orders;
        // Also where nobody can give an order any more: holds of before the restart must end.
        tokio::spawn(holds::watch(Arc::clone(&context), Arc::clone(&states), drain.clone()));
        let desk = Desk { context, settings, states, reloads, predecessors, drain: drain.clone() };
        let router = routes::router(Arc::new(desk), &Gate::new(entrance.clone()));
        let local = socket.map(|bound| Door::Local(bound, take_overs));
        let doors = [local, address.map(|address| Door::Remote(address, entrance))];
        let serve = |door| serve::serve(door, stand.subscribe(), router.clone(), drain.clone());
        let succeeded = async {
            tokio::select! {
                Some(bell) = successor.1.recv() => serve(Door::Successor(bell, VecDeque::new())).await,
                () = drain.signalled() => {}
            }
        };
        tokio::join!(join_all(doors.into_iter().flatten().map(serve)), succeeded);
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

#[cfg(test)]
mod tests;
