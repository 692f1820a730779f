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
use crate::net::courier::Courier;
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
    /// Which run of mailferry it is.
    pub(in crate::app) run: u32,
    /// Of processes whose place it has taken.
    predecessors: Vec<OwnedFd>,
    /// Nobody is there any more, and nobody has said no.
    is_dead: bool,
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
        let (listeners, control, predecessors, run) = match talk.hear(OFFER_TIMEOUT, "hand over its sockets").await? {
            Word::Offer { listeners, control, predecessors, run } => (listeners, control, predecessors, run),
            word => return Err(unexpected(&word)),
        };
        let mut sockets = talk.descriptors();
        let ends = listeners.saturating_add(usize::from(control.is_some()));
        if sockets.len() != ends.saturating_add(predecessors) {
            let why = format!("{} sockets, and not what was said", sockets.len());
            return Err(TakeOverError::Confused(why));
        }
        let predecessors = sockets.split_off(ends);
        let control = control.and_then(|inode| Some(Control { socket: sockets.pop()?, inode }));
        Ok(Met { talk, sockets, control, run, predecessors, is_dead: false })
    }
}

impl Met {
    /// This process cannot serve, and the other one goes on.
    pub(in crate::app) async fn refuse(self, why: &impl ToString) {
        self.talk.refuse(why).await;
    }

    /// Everything that can fail has been done. Back when the other one writes nothing any more, and all of that is read.
    ///
    /// # Errors
    /// It goes on serving.
    pub(in crate::app) async fn get_ready(&mut self, admin: &Handle, context: &Context) -> Result<(), TakeOverError> {
        // Whether it can still be said or not: what was said before is there to be heard.
        let _ = self.talk.say(&Word::Ready, &[]).await;
        let heard = self.talk.hear(YIELD_TIMEOUT, "yield").await;
        self.is_dead = !has_said(&Word::Yielded, heard)?;
        admin.read_again((&context.site().islands, &context.holds)).await;
        Ok(())
    }

    /// Takes the other's place. Back when it accepts nobody any more. Must come to its end: whoever drops it does not know who serves.
    ///
    /// # Errors
    /// It goes on serving, and this process must not begin.
    pub(in crate::app) async fn take_place(mut self, admin: &Handle) -> Result<(), TakeOverError> {
        if !self.is_dead {
            let _ = self.talk.say(&Word::Confirm { control: admin.is_borrowed() }, &[]).await;
            let heard = self.talk.hear_last(DONE_TIMEOUT, "end").await;
            self.is_dead = !has_said(&Word::Done, heard)?;
        }
        let mut bells = Vec::new();
        for descriptor in self.predecessors {
            match Courier::passed(descriptor) {
                Ok(bell) => bells.push(bell),
                Err(reason) => warn!(%reason, "a process that was taken over before cannot be asked"),
            }
        }
        if !self.is_dead {
            bells.push(self.talk.into_courier());
        }
        admin.own(bells);
        Ok(())
    }
}

/// `false`: nobody is there any more, and has not said no before.
fn has_said(expected: &Word, heard: Result<Word, TakeOverError>) -> Result<bool, TakeOverError> {
    match heard {
        Ok(heard) if heard == *expected => Ok(true),
        Ok(heard) => Err(unexpected(&heard)),
        Err(reason @ TakeOverError::Gone(_)) => {
            warn!(%reason, "this one serves alone, with its sockets");
            Ok(false)
        }
        Err(reason) => Err(reason),
    }
}
