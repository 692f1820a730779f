//! One connection, in clear text or under TLS.
//!
//! An upgrade consumes the stream. Towards clients, octets that arrived behind the STARTTLS line go *into* the
//! handshake, never back to a parser (RFC 9051 §6.2.1, CVE-2011-0411 and its forty siblings). Towards nodes there must
//! be none: the caller makes sure of that before it upgrades.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::net::SendFlags;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::pump::Breakable;
use super::tls::stream::{ClientStream, ServerStream};
use crate::proto::TlsFacts;

/// A connection to a client or a node.
pub enum Stream {
    /// Clear text.
    Clear(TcpStream),
    /// TLS towards a client.
    Client(Box<ServerStream>),
    /// TLS towards a node.
    Node(Box<ClientStream>),
    /// A pipe inside the process, for simulations. It knows no TLS and breaks only by ending.
    #[cfg(feature = "testkit")]
    Memory(tokio::io::DuplexStream),
}

impl Stream {
    /// Answers a client's TLS handshake. `unread` is what already arrived of it. `first` is what we say first under TLS:
    /// it goes out together with the first flight in which it may.
    ///
    /// # Errors
    /// The handshake's failure, after the alert was sent; or "already encrypted".
    pub async fn accept_tls(self, config: Arc<ServerConfig>, unread: Vec<u8>, first: &[u8]) -> io::Result<Self> {
        let Self::Clear(socket) = self else { return Err(already_encrypted()) };
        ServerStream::accept(socket, config, unread, first).await.map(Self::Client)
    }

    /// Begins TLS with a node and verifies its certificate for `name`.
    ///
    /// # Errors
    /// The handshake's failure, or "already encrypted".
    pub async fn connect_tls(self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let Self::Clear(socket) = self else { return Err(already_encrypted()) };
        ClientStream::connect(socket, config, name).await.map(Self::Node)
    }

    /// The socket of a connection in clear text, on which octets can be moved without being looked at.
    pub fn clear(&self) -> Option<&TcpStream> {
        match self {
            Self::Clear(socket) => Some(socket),
            Self::Client(_) | Self::Node(_) => None,
            #[cfg(feature = "testkit")]
            Self::Memory(_) => None,
        }
    }

    /// Writes what the system takes now, and says how many octets that were. Nobody is asked before whether it takes any:
    /// that is known of a new connection only after a wait. What is wrong with a connection is heard by writing in order.
    pub fn write_at_once(&self, octets: &[u8]) -> usize {
        let Some(socket) = self.clear() else { return 0 };
        rustix::net::send(socket, octets, SendFlags::NOSIGNAL).unwrap_or(0)
    }

    /// For the log: the TLS version, or nothing in clear text.
    pub fn tls_version(&self) -> Option<&'static str> {
        let version = match self {
            Self::Clear(_) => None,
            Self::Client(stream) => stream.protocol_version(),
            Self::Node(stream) => stream.protocol_version(),
            #[cfg(feature = "testkit")]
            Self::Memory(_) => None,
        };
        version.and_then(|version| version.as_str())
    }

    /// What nodes are told of the TLS with a client; nothing of any other stream.
    pub fn tls_facts(&self) -> Option<TlsFacts> {
        let Self::Client(stream) = self else { return None };
        // rustls has spellings of its own: TLSv1_3, and TLS13_AES_… for the suites of that version.
        let cipher = stream.cipher_suite().and_then(|suite| suite.suite().as_str());
        Some(TlsFacts {
            version: stream.protocol_version()?.as_str()?.replace('_', ".").into(),
            cipher: cipher.map(|name| name.replacen("TLS13_", "TLS_", 1).into()),
            // A DNS name, which rustls has made sure of.
            server_name: stream.server_name().map(|name| name.to_ascii_lowercase().into()),
        })
    }
}

/// A connection that was reset has no peer any more, also while nobody reads it. Its pending error alone says less: on
/// Linux that may be an ICMP message, which must not end a connection.
impl Breakable for Stream {
    fn broken(&self) -> Option<io::Error> {
        let socket = match self {
            Self::Clear(socket) => socket,
            Self::Client(stream) => stream.socket(),
            Self::Node(stream) => stream.socket(),
            #[cfg(feature = "testkit")]
            Self::Memory(_) => return None,
        };
        let lost = socket.peer_addr().err()?;
        Some(socket.take_error().ok().flatten().unwrap_or(lost))
    }

    fn socket(&self) -> Option<&TcpStream> {
        self.clear()
    }
}

fn already_encrypted() -> io::Error {
    io::Error::other("TLS is already in use")
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Client(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Node(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(feature = "testkit")]
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Client(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Node(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(feature = "testkit")]
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Self::Client(stream) => Pin::new(stream).poll_flush(cx),
            Self::Node(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "testkit")]
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Under TLS, close_notify goes first.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = match self.get_mut() {
            Self::Clear(stream) => ready!(Pin::new(stream).poll_shutdown(cx)),
            Self::Client(stream) => ready!(Pin::new(stream).poll_shutdown(cx)),
            Self::Node(stream) => ready!(Pin::new(stream).poll_shutdown(cx)),
            #[cfg(feature = "testkit")]
            Self::Memory(stream) => ready!(Pin::new(stream).poll_shutdown(cx)),
        };
        match closed {
            // The peer was faster: what we wanted has happened.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}
