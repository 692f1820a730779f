//! Listening sockets.
//!
//! Options are set on the listener, because accepted sockets inherit them: one system call each, saved per connection.

#[cfg(target_os = "linux")]
mod defer;

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the kernel completes and keeps while we are busy; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

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
