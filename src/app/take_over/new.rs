//! The part of the process that is to serve: it asks for the sockets, makes everything ready, and serves at the other's last
//! word, or because the other is dead.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::{info, warn};

use super::TakeOverError;
use super::wire::{Talk, VERSION, Word, unexpected};
use crate::admin;
use crate::admin::take_over::{Control, FIRST_OCTET, Handle};
use crate::session::Context;

/// For its sockets: a reload that is under way there comes first.
const OFFER_TIMEOUT: Duration = Duration::from_secs(20);

/// For an operator's order that is being carried out there.
const YIELD_TIMEOUT: Duration = Duration::from_secs(20);

/// For its last word.
const DONE_TIMEOUT: Duration = Duration::from_secs(10);

/// A process that answers at the operator's socket, and has not been asked yet.
pub struct Old {
    stream: UnixStream,
    path: PathBuf,
}

/// It has shown what it has.
pub(in crate::app) struct Met {
    talk: Talk,
    /// Of its listeners.
    pub(in crate::app) sockets: Vec<OwnedFd>,
    /// The operator's.
    pub(in crate::app) control: Option<Control>,
}

/// Looks for the process whose place is to be taken; nothing, if nobody is there, which is told. Does not wait. To be called with
/// the rights of the start: who we are for the other one is who we are now.
///
/// # Errors
/// There is somebody who cannot be asked, or should not be.
pub fn reach(settings: &admin::Settings) -> Result<Option<Old>, TakeOverError> {
    let path = &settings.socket.as_ref().ok_or(TakeOverError::Off)?.path;
    match connect(path) {
        Ok(stream) => {
            let (uid, pid) = peer(&stream)?;
            let ours = geteuid().as_raw();
            if uid != 0 && uid != ours && ours != 0 {
                return Err(TakeOverError::Stranger { uid: uid.to_string(), pid: pid.to_string() });
            }
            info!(socket = ?path, pid, "taking over");
            Ok(Some(Old { stream, path: path.clone() }))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            info!(socket = ?path, "nobody is there whose place could be taken: this is an ordinary start");
            Ok(None)
        }
        Err(reason) => Err(TakeOverError::Unreachable { path: path.clone(), reason }),
    }
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

fn peer(stream: &UnixStream) -> io::Result<(u32, i32)> {
    let credentials = rustix::net::sockopt::socket_peercred(stream)?;
    Ok((credentials.uid.as_raw(), credentials.pid.as_raw_nonzero().get()))
}

impl Old {
    /// Asks for the sockets. Must be called inside a tokio runtime.
    pub(in crate::app) async fn meet(self) -> Result<Met, TakeOverError> {
        let Self { stream, path } = self;
        let unreachable = |reason| TakeOverError::Unreachable { path, reason };
        let stream = tokio::net::UnixStream::from_std(stream).map_err(unreachable)?;
        stream.writable().await?;
        stream.try_write(&[FIRST_OCTET])?;
        let mut talk = Talk::new(stream);
        talk.say(&Word::Ask { version: VERSION }, &[]).await?;
        let (listeners, control) = match talk.hear(OFFER_TIMEOUT, "hand over its sockets").await? {
            Word::Offer { listeners, control } => (listeners, control),
            word => return Err(unexpected(&word)),
        };
        let mut sockets = talk.descriptors();
        if sockets.len() != listeners + usize::from(control.is_some()) {
            let why = format!("{} sockets, and not what was said", sockets.len());
            return Err(TakeOverError::Confused(why));
        }
        let control = control.and_then(|inode| Some(Control { socket: sockets.pop()?, inode }));
        Ok(Met { talk, sockets, control })
    }
}

impl Met {
    /// This process cannot serve, and the other one goes on.
    pub(in crate::app) async fn refuse(self, why: &impl ToString) {
        self.talk.refuse(why).await;
    }

    /// Everything that can fail has been done: takes the other's place. Back when it accepts nobody any more.
    ///
    /// # Errors
    /// It goes on serving, and this process must not begin.
    pub(in crate::app) async fn take_place(mut self, admin: &Handle, context: &Context) -> Result<(), TakeOverError> {
        if self.answer(&Word::Ready, &Word::Yielded, YIELD_TIMEOUT, "yield").await? {
            admin.read_again((&context.site().islands, &context.holds)).await;
            let confirm = Word::Confirm { control: admin.is_borrowed() };
            self.answer(&confirm, &Word::Done, DONE_TIMEOUT, "end").await?;
        } else {
            admin.read_again((&context.site().islands, &context.holds)).await;
        }
        admin.own();
        Ok(())
    }

    /// Says a word and waits for its answer. `false`: nobody is there any more, and has not said no before.
    async fn answer(
        &mut self,
        word: &Word,
        answer: &Word,
        within: Duration,
        to_do: &'static str,
    ) -> Result<bool, TakeOverError> {
        // Whether it can still be said or not: what was said before is there to be heard.
        let _ = self.talk.say(word, &[]).await;
        match self.talk.hear(within, to_do).await {
            Ok(heard) if heard == *answer => Ok(true),
            Ok(heard) => Err(unexpected(&heard)),
            Err(reason @ TakeOverError::Gone(_)) => {
                warn!(%reason, "this one serves alone, with its sockets");
                Ok(false)
            }
            Err(reason) => Err(reason),
        }
    }
}
