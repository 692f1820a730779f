//! Sockets and TLS, without any mail: binding, connecting, upgrading, copying.
//!
//! Nothing here knows a protocol above TLS, a user, or more of clients and nodes than that they are the two peers of a
//! session. Streams are one enum, so that nothing above is generic.

pub mod courier;
pub mod descriptors;
pub mod dial;
pub mod listen;
pub mod pump;
pub mod resolve;
pub mod stream;
pub mod tls;
pub mod workers;

pub use dial::Dialer;
pub use stream::Stream;

use std::time::Duration;

/// Silence after which the kernel asks whether the peer is still there. Below the 5 minutes after which many home
/// routers forget a connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);

/// Between two such questions; after the kernel's usual 9 without an answer the connection is dead.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long a peer may let what was sent to it unacknowledged, or take nothing, before the kernel gives the connection
/// up. It holds for [`KEEPALIVE_IDLE`] too, in place of the number of questions.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(390);

/// Octets that the kernel takes from us ahead of what it has sent. Without a limit it takes megabytes for a peer that
/// does not read, and tells us of progress only when a third of them is gone.
#[cfg(target_os = "linux")]
const NOT_SENT_MAX: u32 = 128 * 1024;

/// Octets moved by one read and one write. The more, the fewer calls; but a client that takes nothing pins a read beside
/// what the kernel has taken ([`NOT_SENT_MAX`]), and the areas of a thread should fit its processor's cache.
const AT_ONCE: usize = 128 * 1024;

/// What every socket of ours gets: no Nagle delay (a login is a ping-pong of small lines), TCP keepalive, and a bound on
/// what waits in the kernel.
///
/// Not set: the sizes of the kernel's buffers, which would end its own choice of them and save nothing on idle sockets.
fn set_options(socket: &socket2::SockRef<'_>) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(NOT_SENT_MAX)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    }
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)
}

/// What the kernel says of a socket's options.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
fn assert_options(socket: &socket2::SockRef<'_>) {
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
    #[cfg(target_os = "linux")]
    {
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOT_SENT_MAX);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}
