//! Settings → running parts: the only place that knows everything.
//!
//! `parts` does what can fail, before anything is used; `running` starts it, or puts it in the place of what runs;
//! `reload` is the way from a file to that swap, `told` says what came of it to an operator, and `certificates` is the
//! way from a changed certificate. `serve` waits for whatever wants a reload, or the end, and `stop` is the way
//! there. `files` and `capacity` are
//! what they look at, `notify` tells systemd.

mod capacity;
mod certificates;
mod files;
pub mod notify;
mod parts;
mod reload;
mod running;
mod serve;
mod stop;
mod told;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

pub use self::parts::open_directory;
pub use self::reload::{ReloadError, Reloader};
use self::running::Running;
pub use self::serve::{Signals, Why};
pub use self::stop::Stopped;
use crate::admin;
use crate::config::Settings;
use crate::directory;
use crate::drain;
use crate::net::tls::CertificateError;
use crate::session::Context;

/// Operators' orders to reload that wait behind the one that is carried out. More wait at their connections.
const RELOADS_WAITING: usize = 1;

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
    /// Of all sessions, and of the listeners that begin them.
    sessions: drain::Signal,
    /// Of everything else.
    rest: drain::Signal,
}

impl App {
    /// Builds and binds everything, then starts to accept. Must be called inside a tokio runtime. Blocks while it reads
    /// files.
    ///
    /// # Errors
    /// Whatever cannot be built or bound; nothing has been accepted then.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let parts = parts::prepare(settings, None)?;
        let ((sessions, in_sessions), (rest, in_rest)) = (drain::channel(), drain::channel());
        let (ordered, reloads) = mpsc::channel(RELOADS_WAITING);
        let running = Running::start(parts, ordered, in_sessions, in_rest.clone())?;
        let (addresses, context) = (running.addresses(), Arc::clone(&running.context));
        let reloader = Reloader::new(running);
        tokio::spawn(certificates::watch(reloader.clone(), in_rest));
        Ok(Self { addresses, reloader, reloads, context, sessions, rest })
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
