//! Settings → running parts: the only place that knows everything.
//!
//! `parts` does what can fail, before anything is used; `running` starts it, or puts it in the place of what runs;
//! `reload` is the way from a file to that swap, `told` says what came of it to an operator, and `certificates` is the
//! way from a changed certificate. `serve` waits for whatever wants a reload, or the end, and `stop` is the way
//! there. `files` and `capacity` are
//! what they look at, `notify` tells systemd, and `take_over` is the way from one process to the next.

mod capacity;
mod certificates;
mod files;
pub mod notify;
mod parts;
mod reload;
mod running;
mod serve;
mod stop;
pub mod take_over;
mod told;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

pub use self::parts::open_directory;
pub use self::reload::{ReloadError, Reloader};
use self::running::{Closed, Running};
pub use self::serve::{Signals, Why};
pub use self::stop::Stopped;
use crate::admin::{self, Admin};
use crate::config::Settings;
use crate::directory;
use crate::drain;
pub use crate::net::listen::Passed;
use crate::net::listen::{Left, Origin};
use crate::net::tls::CertificateError;
use crate::net::workers::Workers;
use crate::session::Context;

/// Operators' orders to reload that wait behind the one that is carried out. More wait at their connections.
const RELOADS_WAITING: usize = 1;

/// Processes that want to take over and wait while another one does.
const TAKE_OVERS_WAITING: usize = 1;

/// Why mailferry does not start, or a new configuration is not taken up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate, key or list of authorities cannot be used.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    /// rustls will not have it.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The directory cannot be set up.
    #[error("{0}")]
    Directory(#[from] directory::DirectoryError),
    /// The operator's socket or address cannot be had.
    #[error("{0}")]
    Admin(#[from] admin::SocketError),
    /// A file with a token holds none.
    #[error("{0}")]
    Token(#[from] admin::TokenError),
    /// Another process's place cannot be taken.
    #[error("{0}")]
    TakeOver(#[from] take_over::TakeOverError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        reason: io::Error,
    },
}

/// A running mailferry.
pub struct App {
    /// Where it listened at its start.
    addresses: Vec<SocketAddr>,
    reloader: Reloader,
    reloads: mpsc::Receiver<admin::Reload>,
    context: Arc<Context>,
    /// They end with it, and their sessions with them: it has them until the last session has ended.
    _workers: Workers,
    /// Ends what is being said to a process that would take over, and the looks at certificates.
    changing: Option<drain::Signal>,
    /// Whether one has.
    handed: watch::Receiver<bool>,
    /// Of all sessions, and of the listeners that begin them.
    sessions: drain::Signal,
    /// Of everything else.
    rest: drain::Signal,
}

/// All that can fail, done; the doors are closed.
struct Prepared {
    running: Running,
    closed: Closed,
    sessions: drain::Signal,
    rest: drain::Signal,
}

/// A mailferry that could serve, and does not yet.
pub struct Approached {
    prepared: Prepared,
    met: Option<take_over::Met>,
}

impl Approached {
    /// Serves. An old process accepts nobody any more when this comes back, which takes some seconds at most: it must not be dropped before,
    /// since nobody knows then whether there is anybody who serves.
    ///
    /// # Errors
    /// The other process will not end; it goes on serving.
    pub async fn serve(self) -> Result<App, StartError> {
        let Self { prepared, met } = self;
        if let Some(met) = met {
            met.take_place(prepared.running.admin()).await?;
        }
        Ok(prepared.open())
    }
}

impl App {
    /// Builds and binds everything, then starts to accept, all in the tokio runtime inside which this must be called.
    /// Blocks while it reads files.
    ///
    /// # Errors
    /// Whatever cannot be built or bound; nothing has been accepted then.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        Ok(Self::prepare(settings, Workers::here(), &mut Passed::default(), None, 0)?.open())
    }

    /// The same in two steps, with threads for the sessions, and with sockets that somebody else has opened, as far as they
    /// fit the listeners. Where `old` is another process whose place this one takes, with its sockets: this one does all
    /// that can fail here, while that one goes on serving. Whoever drops what comes of it leaves everything as it was.
    ///
    /// # Errors
    /// As [`Self::start`], or the other process will not; it goes on serving then.
    pub async fn approach(
        settings: Settings,
        workers: Workers,
        mut passed: Passed,
        old: Option<take_over::Old>,
    ) -> Result<Approached, StartError> {
        let Some(old) = old else {
            return Ok(Approached { prepared: Self::prepare(settings, workers, &mut passed, None, 0)?, met: None });
        };
        let mut met = old.meet().await?;
        for socket in std::mem::take(&mut met.sockets) {
            passed.add(socket);
        }
        let prepared = match Self::prepare(settings, workers, &mut passed, met.control.take(), met.run) {
            Ok(prepared) => prepared,
            Err(error) => {
                met.refuse(&error).await;
                return Err(error);
            }
        };
        let running = &prepared.running;
        running.look_at_nodes().await;
        met.get_ready(running.admin(), &running.context).await?;
        Ok(Approached { prepared, met: Some(met) })
    }

    /// Ends what may hold the configuration for long: whoever would take over hears that there will be nobody, and a
    /// certificate that is being read, from a file that hangs perhaps, is left.
    async fn end_changes(&mut self) {
        if let Some(changing) = self.changing.take() {
            changing.stop().await;
        }
    }

    fn prepare(
        settings: Settings,
        workers: Workers,
        passed: &mut Passed,
        control: Option<admin::take_over::Control>,
        last: u32,
    ) -> Result<Prepared, StartError> {
        let (admin, is_alone) = (settings.admin.clone(), control.is_none());
        let parts = parts::prepare(settings, None, passed, &workers).map_err(|error| match error {
            // Most likely it is the one that has the address, and then there is a remedy.
            StartError::Bind { .. } if is_alone => Admin::holder(&admin).map_or(error, StartError::Admin),
            _ => error,
        })?;
        let ((sessions, in_sessions), (rest, in_rest)) = (drain::channel(), drain::channel());
        let (running, closed) = Running::prepare(parts, workers, (control, last), passed, in_sessions, in_rest)?;
        passed.close().iter().for_each(tell_left);
        Ok(Prepared { running, closed, sessions, rest })
    }

    /// Where it listened at its start, in the order of the configuration. [`Reloader::addresses`] is where it does now.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// For changing its configuration.
    pub fn reloader(&self) -> &Reloader {
        &self.reloader
    }
}

impl Prepared {
    fn open(self) -> App {
        let Self { mut running, closed, sessions, rest } = self;
        let (ordered, reloads) = mpsc::channel(RELOADS_WAITING);
        let (asked, take_overs) = mpsc::channel(TAKE_OVERS_WAITING);
        running.open(closed, admin::Orders { reloads: ordered, take_overs: asked });
        let (addresses, context) = (running.addresses(), Arc::clone(&running.context));
        let workers = running.workers.clone();
        let reloader = Reloader::new(running);
        let (changing, ending) = drain::channel();
        let (told, handed) = watch::channel(false);
        tokio::spawn(certificates::watch(reloader.clone(), ending.clone()));
        tokio::spawn(take_over::serve(reloader.clone(), take_overs, told, ending));
        App {
            addresses,
            reloader,
            reloads,
            context,
            _workers: workers,
            changing: Some(changing),
            handed,
            sessions,
            rest,
        }
    }
}

/// A socket that no listener has taken is closed.
fn tell_left(left: &Left) {
    let Left { address, origin, name, is_twin } = left;
    match origin {
        Origin::Store => {
            notify::forget(name);
            info!(%address, name, "a socket that systemd has kept is closed: no listener has its address any more");
        }
        Origin::Unit if *is_twin => {
            warn!(%address, name, "systemd has passed two sockets of one address: one is closed, and clients may hang there");
        }
        Origin::Unit => warn!(
            %address,
            name,
            "systemd has passed a socket that no listener has: it is closed; give a [[listener]] this `address`, or take \
             it out of the socket unit"
        ),
        Origin::Ours | Origin::Process => {
            info!(%address, "no listener has this address any more: its socket is closed");
        }
    }
}
