//! Listening sockets.
//!
//! Options are set on the listener, because accepted sockets inherit them: one system call each, saved per connection.
//! Where somebody else has opened a socket for an address already, that one is used and nothing is bound: whoever has
//! connected to it meanwhile waits in its queue. It is never a second socket at the same address.

#[cfg(target_os = "linux")]
mod defer;
mod passed;

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tracing::warn;

pub use self::passed::{Left, Origin, Passed, stored_name};

/// Connections that the kernel completes and keeps while we are busy; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A socket that was passed for this address, or one that is bound. The first accepts what its queue holds already.
///
/// # Errors
/// The system's.
pub fn open(address: SocketAddr, passed: &mut Passed) -> io::Result<(TcpListener, Origin)> {
    match passed.take(address) {
        Some((socket, origin)) => Ok((adopt(socket, address)?, origin)),
        None => Ok((bind(address)?, Origin::Ours)),
    }
}

/// Makes a passed socket as one that was bound here, as far as nobody else is disturbed who accepts at it.
fn adopt(socket: std::net::TcpListener, address: SocketAddr) -> io::Result<TcpListener> {
    super::set_options(&SockRef::from(&socket))?;
    socket.set_nonblocking(true)?;
    let is_any = address.is_ipv6() && address.ip().is_unspecified();
    if is_any && SockRef::from(&socket).only_v6()? {
        warn!(%address, "the socket that was passed takes no IPv4: set BindIPv6Only=both in the socket unit");
    }
    TcpListener::from_std(socket)
}

/// Binds and listens. `[::]` takes IPv4 connections too.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    super::set_options(&SockRef::from(&socket))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Has connections handed over together with their first octets, where the system can do that, or without them. The
/// first only for a door where clients speak first.
///
/// # Errors
/// The system's.
pub fn defer_accept(listener: &TcpListener, is_deferred: bool) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    defer::defer(listener, is_deferred)?;
    #[cfg(not(target_os = "linux"))]
    let _ = (listener, is_deferred);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn accepted_sockets_inherit_the_listeners_options() {
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, _client) = tokio::join!(listener.accept(), client);
        let (accepted, _) = accepted.unwrap();
        crate::net::assert_options(&SockRef::from(&accepted));
    }

    #[tokio::test]
    async fn the_unspecified_ipv6_address_takes_ipv4_too() {
        let listener = bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (accepted, client) = tokio::join!(listener.accept(), TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
        client.unwrap();
        assert_eq!(accepted.unwrap().1.ip().to_canonical(), Ipv4Addr::LOCALHOST);
    }
}
