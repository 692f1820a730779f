//! Listening sockets that somebody else has opened: systemd, for a socket unit or out of the store of descriptors where
//! an earlier mailferry has put them, or the mailferry whose place this one takes.
//!
//! They are found by their local address alone: what systemd calls them says where they come from, and never where they
//! belong. Nothing here binds, accepts, or changes a socket.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use socket2::{SockRef, Type};
use tracing::warn;

/// With what begin the names of sockets in systemd's store.
const STORED: &str = "mailferry_";

/// Descriptors that systemd may pass. More are no more than a mistake.
const PASSED_MAX: usize = 4096;

/// Who has opened a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This process.
    Ours,
    /// A mailferry before this one, which still runs.
    Process,
    /// A mailferry before this one, which has left it with systemd.
    Store,
    /// systemd, for a socket unit, and systemd keeps it open.
    Unit,
}

/// Sockets that wait for their listeners.
#[derive(Debug, Default)]
pub struct Passed(Vec<One>);

#[derive(Debug)]
struct One {
    socket: TcpListener,
    left: Left,
}

/// A socket that no listener has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who has opened it.
    pub origin: Origin,
    /// What systemd calls it; empty, where it does not come from there.
    pub name: String,
    /// Whether a listener has the same address, and has its socket from elsewhere.
    pub is_twin: bool,
}

/// What a socket is called in systemd's store: unlike all others there, and of characters that are allowed.
pub fn stored_name(address: SocketAddr) -> String {
    format!("{STORED}{}", address.to_string().replace(':', "_"))
}

impl Passed {
    /// What systemd has passed to this process (sd_listen_fds(3)). What is no listening TCP socket is closed and told. To
    /// be called once, while there is one thread.
    pub fn from_environment() -> Self {
        let is_ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
        let count: usize = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
        if !is_ours || count == 0 {
            return Self::default();
        }
        if count > PASSED_MAX {
            warn!(count, "LISTEN_FDS is out of reason: no socket is taken from systemd");
            return Self::default();
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let mut passed = Self::default();
        for place in 0..descriptors.len() {
            let name = names.next().unwrap_or_default();
            let origin = if name.starts_with(STORED) { Origin::Store } else { Origin::Unit };
            let taken = descriptors.take_tcp_listener(place).ok().flatten();
            if !taken.is_some_and(|socket| passed.push(socket.into(), origin, name)) {
                close_other(&mut descriptors, place);
                warn!(
                    place,
                    name,
                    "systemd has passed what is no listening TCP socket: it is closed; remove it from the socket unit"
                );
            }
        }
        passed
    }

    /// One more, of the mailferry that runs. Says whether it is a listening TCP socket; it is closed otherwise.
    pub fn add(&mut self, socket: OwnedFd) -> bool {
        self.push(socket, Origin::Process, "")
    }

    fn push(&mut self, socket: OwnedFd, origin: Origin, name: &str) -> bool {
        let asked = SockRef::from(&socket);
        let is_stream = asked.r#type().is_ok_and(|it| it == Type::STREAM) && asked.is_listener().unwrap_or(false);
        let address = asked.local_addr().ok().and_then(|address| address.as_socket()).filter(|_| is_stream);
        let Some(address) = address else { return false };
        let left = Left { address, origin, name: name.to_owned(), is_twin: false };
        self.0.push(One { socket: socket.into(), left });
        true
    }

    /// The first one that listens there. Others, of which each has a queue of its own, stay.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<(TcpListener, Origin)> {
        let place = self.0.iter().position(|one| one.left.address == address)?;
        let One { socket, left } = self.0.remove(place);
        self.0.iter_mut().filter(|one| one.left.address == address).for_each(|one| one.left.is_twin = true);
        Some((socket, left.origin))
    }

    /// Closes those that nobody has taken, and says which.
    pub fn close(&mut self) -> Vec<Left> {
        std::mem::take(&mut self.0).into_iter().map(|one| one.left).collect()
    }
}

/// Closes what is no TCP socket, where that can be done safely.
fn close_other(descriptors: &mut ListenFd, place: usize) {
    let _ = descriptors.take_unix_listener(place);
    let _ = descriptors.take_udp_socket(place);
    let _ = descriptors.take_unix_datagram(place);
    let _ = descriptors.take_custom::<OwnedFd>(place, libc::AF_UNIX, libc::SOCK_SEQPACKET, "a socket of packets");
    let _ = descriptors.take_custom::<OwnedFd>(place, libc::AF_NETLINK, libc::SOCK_RAW, "a netlink socket");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn a_socket_is_found_by_its_address_once_and_what_is_left_is_told() {
        let (first, at) = bound();
        let (other, elsewhere) = bound();
        let twin = first.try_clone().unwrap();
        let mut passed = Passed::default();
        for (socket, origin, name) in
            [(first, Origin::Unit, "mail.socket"), (other, Origin::Process, ""), (twin, Origin::Store, "mailferry_x")]
        {
            assert!(passed.push(socket.into(), origin, name));
        }
        assert!(passed.take(([127, 0, 0, 2], at.port()).into()).is_none(), "another address");
        let (taken, origin) = passed.take(at).unwrap();
        assert_eq!((taken.local_addr().unwrap(), origin), (at, Origin::Unit));
        let left = |address, origin, name: &str, is_twin| Left { address, origin, name: name.to_owned(), is_twin };
        let expected = [left(elsewhere, Origin::Process, "", false), left(at, Origin::Store, "mailferry_x", true)];
        assert_eq!(passed.close(), expected);
        assert!(passed.take(elsewhere).is_none() && passed.close().is_empty());
        assert!(std::net::TcpStream::connect(elsewhere).is_err(), "it is closed");
        assert!(std::net::TcpStream::connect(at).is_ok());
    }

    #[test]
    fn only_what_listens_on_tcp_is_taken() {
        let mut passed = Passed::default();
        let (listening, at) = bound();
        let talking = std::net::TcpStream::connect(at).unwrap();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (local, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(passed.add(listening.into()));
        for other in [talking.into(), datagrams.into(), local.into(), file.into()] {
            assert!(!passed.add(other));
        }
    }

    #[test]
    fn names_in_the_store_have_what_systemd_allows() {
        for (address, name) in
            [("127.0.0.1:143", "mailferry_127.0.0.1_143"), ("[2001:db8::1]:993", "mailferry_[2001_db8__1]_993")]
        {
            assert_eq!(stored_name(address.parse().unwrap()), name);
        }
    }
}
