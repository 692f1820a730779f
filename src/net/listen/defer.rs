//! TCP_DEFER_ACCEPT, for which no library has a safe call: the one file with `unsafe`. It holds this one call.
//!
//! Where clients speak first (implicit TLS, a PROXY header), a connection is handed to us together with its first octets:
//! that spares a wake-up and a read that finds nothing. Never for a door where we greet first.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// How long the kernel keeps a silent connection to itself, in seconds. Short: in its queue there is no limit for each
/// network and nobody makes place, until SYN cookies help it out.
const SECONDS: libc::c_int = 1;

/// Has a listening socket's connections handed over when they bring something, or after a second; or as soon as they are
/// made (tcp(7)).
///
/// # Errors
/// It is no TCP socket.
pub(super) fn defer(listener: &impl AsFd, is_deferred: bool) -> io::Result<()> {
    let seconds = if is_deferred { SECONDS } else { 0 };
    let size = libc::socklen_t::try_from(size_of_val(&seconds)).map_err(io::Error::other)?;
    // SAFETY: setsockopt(2) reads `size` octets at the pointer and keeps nothing. The pointer is to a variable of exactly
    // that size and of the type that this option wants, an int, which outlives the call. The descriptor is borrowed, and
    // so open, for the whole call.
    let status = unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
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
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let first_accepted = |is_deferred: bool| {
            defer(&listener, is_deferred).unwrap();
            let mut silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut talking = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            talking.write_all(b"\x16").unwrap();
            let (_, accepted) = listener.accept().unwrap();
            silent.write_all(b"\x16").unwrap();
            listener.accept().unwrap();
            [&silent, &talking].map(|client| client.local_addr().unwrap() == accepted)
        };
        assert_eq!(first_accepted(false), [true, false]);
        assert_eq!(first_accepted(true), [false, true]);
        assert_eq!(first_accepted(false), [true, false]);
    }

    #[test]
    fn what_is_no_tcp_socket_is_an_error() {
        assert!(defer(&std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), true).is_err());
    }
}
