//! A mail server that accepts every login and holds nothing: the cheapest node that a proxy can have behind it.
//!
//! It counts what arrives. A message is as large as the client asks for, and what it is given it throws away.

mod imap;
mod pop3;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::counts::{self, Counts};
use crate::engine::Protocol;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// Octets of a buffer that each connection has for commands.
const BUFFER: usize = 512;

/// Octets that are sent or received at once.
const BLOCK: usize = 256 * 1024;

/// Octets of a line or a kept literal; a client that goes on is not one of ours.
const LINE_MAX: u64 = 16 * 1024;

/// How long the node waits when it has no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);

/// A mail server for benchmarks: it accepts every login, idles, sends messages of any size and throws away what it gets.
///
/// Port 0 takes a free one. The first lines that it writes are NAME=ADDRESS, one for each listener; then it stays in
/// the foreground.
///
///   IMAP  FETCH 1 BODY.PEEK[]<0.N>   sends a message of N octets
///         APPEND INBOX {N+}          throws N octets away
///   POP3  RETR N                     sends a message of N octets
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Node {
    /// Serve IMAP in clear text here.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) imap: Option<SocketAddr>,
    /// Serve POP3 in clear text here.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) pop3: Option<SocketAddr>,
    /// Serve IMAP with TLS from the first octet here.
    #[arg(long, value_name = "ADDRESS", requires = "certificates")]
    pub(crate) imaps: Option<SocketAddr>,
    /// Serve POP3 with TLS from the first octet here.
    #[arg(long, value_name = "ADDRESS", requires = "certificates")]
    pub(crate) pop3s: Option<SocketAddr>,
    /// Tell everybody who connects here what was counted so far.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) counts: Option<SocketAddr>,
    /// chain.pem and key.pem for TLS, as `loadgen certificates` makes them.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) certificates: Option<PathBuf>,
}

/// A node at work. Dropping it ends it.
pub(crate) struct Running {
    /// Names and addresses of the listeners.
    pub(crate) listeners: Vec<(&'static str, SocketAddr)>,
    tasks: JoinSet<()>,
}

impl Node {
    /// Serves until it is killed.
    pub(crate) async fn run(&self) -> Result<(), String> {
        let mut running = self.start()?;
        let text: String = running.listeners.iter().map(|(name, address)| format!("{name}={address}\n")).collect();
        io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())?;
        running.tasks.join_next().await;
        Err("a listener ended".into())
    }

    /// Opens its listeners and serves beside the caller.
    pub(crate) fn start(&self) -> Result<Running, String> {
        let counts = Arc::new(Counts::default());
        let tls = self.certificates.as_deref().map(acceptor).transpose()?;
        let mut running = Running { listeners: Vec::new(), tasks: JoinSet::new() };
        for (name, address, protocol, tls) in [
            ("imap", self.imap, Protocol::Imap, None),
            ("pop3", self.pop3, Protocol::Pop3, None),
            ("imaps", self.imaps, Protocol::Imap, tls.as_ref()),
            ("pop3s", self.pop3s, Protocol::Pop3, tls.as_ref()),
        ] {
            let Some(listener) = running.listen(name, address)? else { continue };
            running.tasks.spawn(accept(listener, protocol, tls.cloned(), Arc::clone(&counts)));
        }
        if running.listeners.is_empty() {
            return Err("nothing to listen on".into());
        }
        if let Some(listener) = running.listen("counts", self.counts)? {
            running.tasks.spawn(counts::tell(listener, counts));
        }
        Ok(running)
    }
}

impl Running {
    fn listen(&mut self, name: &'static str, address: Option<SocketAddr>) -> Result<Option<TcpListener>, String> {
        let Some(address) = address else { return Ok(None) };
        let listener = listen(address).map_err(|error| format!("{address}: {error}"))?;
        self.listeners.push((name, listener.local_addr().map_err(|error| error.to_string())?));
        Ok(Some(listener))
    }

    /// The address of a listener, as `127.0.0.1:…`.
    #[cfg(test)]
    pub(crate) fn address(&self, name: &str) -> String {
        self.listeners.iter().find(|(listener, _)| *listener == name).unwrap().1.to_string()
    }
}

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn acceptor(folder: &Path) -> Result<TlsAcceptor, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
    let chain = CertificateDer::pem_file_iter(folder.join("chain.pem")).map_err(|error| wrong(&error))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).map_err(|error| wrong(&error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    Ok(TlsAcceptor::from(Arc::new(config.map_err(|error| wrong(&error))?)))
}

async fn accept(listener: TcpListener, protocol: Protocol, tls: Option<TlsAcceptor>, counts: Arc<Counts>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        counts.connections.fetch_add(1, Ordering::Relaxed);
        let (tls, counts) = (tls.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            let _ = serve(socket, protocol, tls, &counts).await;
        });
    }
}

async fn serve(socket: TcpStream, protocol: Protocol, tls: Option<TlsAcceptor>, counts: &Counts) -> io::Result<()> {
    socket.set_nodelay(true)?;
    match tls {
        None => talk(socket, protocol, counts).await,
        Some(tls) => talk(Box::new(tls.accept(socket).await?), protocol, counts).await,
    }
}

async fn talk<W: AsyncRead + AsyncWrite + Unpin>(wire: W, protocol: Protocol, counts: &Counts) -> io::Result<()> {
    let mut visitor = Visitor { wire: BufReader::with_capacity(BUFFER, wire), counts, logged_in: false };
    match protocol {
        Protocol::Imap => imap::serve(&mut visitor).await?,
        Protocol::Pop3 => pop3::serve(&mut visitor).await?,
    }
    visitor.wire.shutdown().await
}

/// One connection.
struct Visitor<'a, W> {
    wire: BufReader<W>,
    counts: &'a Counts,
    logged_in: bool,
}

impl<W> Drop for Visitor<'_, W> {
    fn drop(&mut self) {
        if self.logged_in {
            self.counts.sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<W: AsyncRead + AsyncWrite + Unpin> Visitor<'_, W> {
    /// Every login is right.
    fn log_in(&mut self) {
        add(&self.counts.logins, 1);
        if !self.logged_in {
            add(&self.counts.sessions, 1);
        }
        self.logged_in = true;
    }

    /// One more line, with its end, behind what `line` holds; false at the end of the stream.
    async fn line(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        let read = (&mut self.wire).take(LINE_MAX).read_until(b'\n', line).await?;
        match line.last() {
            Some(b'\n') => Ok(read > 0),
            _ if read == 0 => Ok(false),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.wire.write_all(text.as_bytes()).await?;
        self.wire.flush().await
    }

    /// Sends a message of so many octets.
    async fn send(&mut self, mut octets: u64) -> io::Result<()> {
        while octets > 0 {
            let block = &message()[..octets.min(BLOCK as u64) as usize];
            self.wire.write_all(block).await?;
            octets -= block.len() as u64;
            add(&self.counts.sent, block.len() as u64);
        }
        Ok(())
    }

    /// Throws so many octets away.
    async fn sink(&mut self, mut octets: u64) -> io::Result<()> {
        let mut block = vec![0; octets.min(BLOCK as u64) as usize];
        while octets > 0 {
            let most = octets.min(BLOCK as u64) as usize;
            let read = self.wire.read(&mut block[..most]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            octets -= read as u64;
            add(&self.counts.received, read as u64);
        }
        Ok(())
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// The beginning of every message: lines of 78 octets.
fn message() -> &'static [u8] {
    static MESSAGE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let line = [[b'x'; 76].as_slice(), b"\r\n"].concat();
        line.into_iter().cycle().take(BLOCK).collect()
    });
    &MESSAGE
}
