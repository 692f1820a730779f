//! The unix socket: made with its mode, taken over from a process that is gone, left to one that lives and does not hand
//! it over.
//!
//! Nobody may connect between its making and its mode, so it has the mode before it has a name.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Type};

use crate::privileges;

/// Root, our own user and our group. The umask may take from it until it is set again.
const MODE: u32 = 0o660;

/// Connections that wait while we are busy.
const BACKLOG: i32 = 64;

/// Why there is no socket. The texts end with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A process answers there.
    #[error(
        "{path} is held by process {pid}, another mailferry: stop it, take its place with `mailferry run --take-over`, or \
         give this one a `socket` of its own in [admin]"
    )]
    Held {
        /// The socket.
        path: PathBuf,
        /// The process, if the system tells.
        pid: String,
    },
    /// There is something else.
    #[error("{0} is there and is no socket: remove it, or name another `socket` in [admin]")]
    Foreign(PathBuf),
    /// It cannot be made.
    #[error(
        "{path} cannot be made: {reason}: make its folder, writable for mailferry (RuntimeDirectory=mailferry in the \
         service unit does), or name another `socket` in [admin]"
    )]
    Unusable {
        /// The socket.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
    /// It cannot be the group's.
    #[error(
        "{path} cannot be given to the group {group}: {reason}: make mailferry's user a member of it, or remove \
         `socket_group` in [admin]"
    )]
    Group {
        /// The socket.
        path: PathBuf,
        /// The group.
        group: String,
        /// The system's words.
        reason: String,
    },
    /// The address cannot be had.
    #[error("cannot listen on {address} for commands: {reason}: name another `address` in [admin]")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        reason: io::Error,
    },
}

/// The operator's socket, for another process.
#[derive(Debug)]
pub struct Control {
    /// The listening socket.
    pub socket: OwnedFd,
    /// Device and file of its name.
    pub inode: (u64, u64),
}

/// A listening socket. Dropping it removes its name, if that is ours.
pub(super) struct Bound {
    pub(super) socket: tokio::net::UnixListener,
    path: PathBuf,
    /// Device and file, so that nobody else's socket is removed.
    inode: (u64, u64),
    is_ours: AtomicBool,
}

impl Bound {
    /// Whoever is in the group may open it, or in the process's own without one.
    pub(super) fn bind(path: &Path, group: Option<&str>) -> Result<Self, SocketError> {
        let unusable = |reason| SocketError::Unusable { path: path.to_owned(), reason };
        // Of two that start at once, the second should find a socket that lives. Who cannot have the lock goes on without.
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let folder = fs::File::open(folder).map_err(unusable)?;
        let _lock = folder.try_lock();
        remove_stale(path)?;
        let socket = name(path).map_err(unusable)?;
        if let Some(group) = group {
            give(path, group).map_err(|reason| SocketError::Group {
                path: path.to_owned(),
                group: group.to_owned(),
                reason,
            })?;
        }
        let (listener, inode) = listen(socket, path).map_err(unusable)?;
        let socket = tokio::net::UnixListener::from_std(listener).map_err(unusable)?;
        Ok(Self { socket, path: path.to_owned(), inode, is_ours: AtomicBool::new(true) })
    }

    /// Another process's, if it has this name, however that is spelt. It stays that process's.
    pub(super) fn borrow(path: &Path, control: Control) -> Option<Self> {
        let Control { socket, inode } = control;
        let is_there = fs::symlink_metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == inode);
        let socket = UnixListener::from(socket);
        let socket = Some(socket).filter(|_| is_there)?;
        socket.set_nonblocking(true).ok()?;
        let socket = tokio::net::UnixListener::from_std(socket).ok()?;
        Some(Self { socket, path: path.to_owned(), inode, is_ours: AtomicBool::new(false) })
    }

    pub(super) fn inode(&self) -> (u64, u64) {
        self.inode
    }

    pub(super) fn is_ours(&self) -> bool {
        self.is_ours.load(Ordering::Relaxed)
    }

    /// It becomes ours. Whoever connects is told that this process listens (SO_PEERCRED of unix(7)), and not the one that has made it.
    pub(super) fn own(&self) {
        self.is_ours.store(true, Ordering::Relaxed);
        // If that fails, only the number of a process is wrong.
        let _ = rustix::net::listen(&self.socket, BACKLOG);
    }

    /// It becomes another process's.
    pub(super) fn disown(&self) {
        self.is_ours.store(false, Ordering::Relaxed);
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let is_there = fs::symlink_metadata(&self.path).is_ok_and(|it| (it.dev(), it.ino()) == self.inode);
        if is_there && self.is_ours() {
            // If that fails, the next start finds a socket that nobody answers at.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket of a process that is gone.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let unusable = |reason| SocketError::Unusable { path: path.to_owned(), reason };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unusable(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketError::Foreign(path.to_owned())),
        Ok(_) => {}
    }
    match held(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(unusable),
        Err(error) => Err(unusable(error)),
        Ok(held) => Err(held),
    }
}

/// Who lives behind a socket.
///
/// # Errors
/// Nobody, or the system does not say.
pub(super) fn held(path: &Path) -> io::Result<SocketError> {
    // Without a wait: one whose queue is full lives too.
    let asking = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    asking.set_nonblocking(true)?;
    match asking.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(SocketError::Held { path: path.to_owned(), pid: holder(&asking) }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Ok(SocketError::Held { path: path.to_owned(), pid: "that does not answer".to_owned() })
        }
        Err(error) => Err(error),
    }
}

/// Who listens at the other end.
fn holder(socket: &socket2::Socket) -> String {
    let pid = rustix::net::sockopt::socket_peercred(socket).map(|credentials| credentials.pid.as_raw_nonzero());
    pid.map_or_else(|_| "of another user".to_owned(), |pid| pid.to_string())
}

fn name(path: &Path) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    fchmod(&socket, Mode::from_raw_mode(MODE))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// Nobody can connect yet: it has a name, and nobody listens.
fn give(path: &Path, group: &str) -> Result<(), String> {
    let gid = privileges::group(group).map_err(|error| error.to_string())?;
    chown(path, None, Some(gid)).map_err(|error| error.to_string())
}

fn listen(socket: socket2::Socket, path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    let metadata = fs::symlink_metadata(path)?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), (metadata.dev(), metadata.ino())))
}
