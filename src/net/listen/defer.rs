//! TCP_DEFER_ACCEPT, for which no library has a safe call: the one file with `unsafe`. It holds this one call.
//!
//! Where clients speak first (implicit TLS, a PROXY header), a connection is handed to us together with its first octets:
//! that spares a wake-up and a read that finds nothing. Never for a door where we greet first.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// How long the kernel keeps a silent connection to itself, in seconds. Short: in its queue there is no limit for each
/// network and nobody makes place, until SYN cookies help it out.
static SECONDS: libc::c_int = 1;

/// Has a listening socket's connections handed over when they bring something, or after a second (tcp(7)).
///
/// # Errors
/// It is no TCP socket.
pub(super) fn defer(listener: &impl AsFd) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of_val(&SECONDS)).map_err(io::Error::other)?;
    // SAFETY: setsockopt(2) reads `size` octets at the pointer and keeps nothing. The pointer is to a static of exactly
    // that size and of the type that this option wants, an int. The descriptor is borrowed, and
    // so open, for the whole call.
    let status = unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const SECONDS).cast(),
            size,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_comes_with_its_first_octets() {
        let first_accepted = |is_deferred: bool| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            if is_deferred {
                defer(&listener).unwrap();
            }
            let silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut talking = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            talking.write_all(b"\x16").unwrap();
            let (_, accepted) = listener.accept().unwrap();
            [&silent, &talking].map(|client| client.local_addr().unwrap() == accepted)
        };
        assert_eq!(first_accepted(false), [true, false]);
        assert_eq!(first_accepted(true), [false, true]);
    }

    #[test]
    fn what_is_no_tcp_socket_is_an_error() {
        assert!(defer(&std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).is_err());
    }
}
