//! Connecting to a node: every address of its name in turn, all within one time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

/// Connects to the first address of `host` that answers, within `limit` for all of them and the look-up of the name.
/// Names are resolved by the system's resolver, at each call.
///
/// # Errors
/// The last address's error; "timed out"; or "not found" when the name has no address.
pub async fn connect(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + limit;
    let addresses: Vec<SocketAddr> = timeout_at(deadline, lookup_host((host, port))).await??.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        // An address that swallows packets must leave time for the next one.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(address)).await.unwrap_or_else(|late| Err(late.into())) {
            Ok(socket) => {
                super::set_options(&SockRef::from(&socket))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_refused_connection_is_an_error_and_an_open_one_has_nodelay_and_keepalive() {
        let listener = crate::net::listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = connect("127.0.0.1", port, LIMIT).await.unwrap();
        assert!(socket.nodelay().unwrap() && SockRef::from(&socket).keepalive().unwrap());
        drop(listener);
        assert_eq!(connect("127.0.0.1", port, LIMIT).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_an_error() {
        assert!(connect("mail.invalid", 143, LIMIT).await.is_err());
    }
}
