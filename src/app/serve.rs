//! What a serving mailferry waits for: signals and operators' orders, in one loop, until something ends it.
//!
//! An order that is being carried out never keeps a stop waiting, and nothing is decided here of how a stop goes.

use std::fmt;
use std::io;
use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::{App, told};

/// Why a mailferry ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// SIGTERM.
    Terminated,
    /// SIGINT.
    Interrupted,
    /// Another mailferry has taken over, with the listening sockets: those who wait there are its clients.
    HandedOver,
}

impl Why {
    /// Whether new clients are still to be accepted for a while, because balancers send them.
    pub(super) fn waits_for_balancers(self) -> bool {
        match self {
            Self::Terminated | Self::Interrupted => true,
            // They are the other process's.
            Self::HandedOver => false,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminated => "SIGTERM",
            Self::Interrupted => "SIGINT",
            Self::HandedOver => "handed over",
        })
    }
}

/// The signals that are listened for: from the moment in which it is made, none is lost.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns at the next signal that ends this process, or its start. Nothing is lost where it is dropped before.
    pub async fn end(&mut self) -> Why {
        tokio::select! {
            _ = self.terminate.recv() => Why::Terminated,
            _ = self.interrupt.recv() => Why::Interrupted,
        }
    }
}

async fn end(terminate: &mut Signal, interrupt: &mut Signal, handed: &mut watch::Receiver<bool>) -> Why {
    tokio::select! {
        // Never, where nobody can ask.
        Ok(_) = handed.wait_for(|is_handed| *is_handed) => Why::HandedOver,
        _ = terminate.recv() => Why::Terminated,
        _ = interrupt.recv() => Why::Interrupted,
    }
}

impl App {
    /// Serves until something ends it, and says what did. SIGHUP and operators have the file read again, one after the
    /// other; a reload that is under way at the end is left where it is: before its swap nothing has changed.
    pub async fn serve(&mut self, path: &Path, signals: &mut Signals) -> Why {
        let Signals { terminate, interrupt, hangup } = signals;
        loop {
            let order = tokio::select! {
                biased;
                why = end(terminate, interrupt, &mut self.handed) => return why,
                Some(()) = hangup.recv() => None,
                Some(order) = self.reloads.recv() => Some(order),
            };
            let done = tokio::select! {
                biased;
                why = end(terminate, interrupt, &mut self.handed) => return why,
                done = self.reloader.reload(path) => done,
            };
            // What came of a signal is in the log.
            if let Some(order) = order {
                order.answer(told::told(path, done));
            }
        }
    }
}
