//! A scripted mail client: sends octets, reads lines, knows no protocol. Every wait ends after [`DEADLINE`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::site::{log_len, log_lines_within};

/// A hang is a failure after this time.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A client in the log: its address, which another client of another test may have had before.
#[derive(Clone, Copy)]
pub struct Origin {
    address: SocketAddr,
    since: usize,
}

impl Origin {
    /// Of a socket that connects just now.
    pub fn of(socket: &TcpStream) -> Self {
        Self { address: socket.local_addr().unwrap(), since: log_len() }
    }

    /// What has been logged of this client so far, with this message.
    pub fn lines(&self, message: &str) -> Vec<String> {
        let (message, from) = (format!("\"message\":\"{message}\""), format!("\"client\":\"{}\"", self.address));
        log_lines_within(self.since..log_len(), &[&message, &from])
    }

    /// Whether a line of the log is about it.
    pub fn is_in(&self, line: &str) -> bool {
        line.contains(&format!("\"client\":\"{}\"", self.address))
    }

    /// The first such line, as soon as it is there.
    pub async fn line(&self, message: &str) -> String {
        let deadline = tokio::time::Instant::now() + DEADLINE * 3;
        loop {
            if let Some(line) = self.lines(message).into_iter().next() {
                return line;
            }
            assert!(tokio::time::Instant::now() < deadline, "no {message} for {}", self.address);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

trait Octets: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Octets for T {}

pub struct Client {
    /// Where the log says that this client comes from.
    pub from: Origin,
    stream: Box<dyn Octets>,
    unread: Vec<u8>,
}

impl Client {
    pub async fn clear(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let from = Origin::of(&socket);
        Self { from, stream: Box::new(socket), unread: Vec::new() }
    }

    /// From this address of the machine.
    pub async fn clear_from(from: std::net::IpAddr, address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let socket = socket.connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { from: Origin::of(&socket), stream: Box::new(socket), unread: Vec::new() }
    }

    pub async fn tls(address: SocketAddr, config: Arc<rustls::ClientConfig>) -> Self {
        let client = Self::clear(address).await;
        client.handshake(config).await
    }

    /// Begins TLS on this connection.
    pub async fn handshake(self, config: Arc<rustls::ClientConfig>) -> Self {
        assert!(self.unread.is_empty(), "clear text before the handshake: {:?}", text(&self.unread));
        let name = "localhost".try_into().unwrap();
        let stream = timeout(DEADLINE, TlsConnector::from(config).connect(name, self.stream)).await;
        let stream = stream.expect("no handshake in time").expect("handshake");
        Self { from: self.from, stream: Box::new(stream), unread: Vec::new() }
    }

    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends one octet a segment.
    pub async fn trickle(&mut self, octets: &[u8]) {
        for octet in octets {
            self.send([*octet]).await;
            tokio::task::yield_now().await;
        }
    }

    /// Closes the sending side; answers can still be read.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next line, without its CRLF; a line end of another kind is a failure.
    pub async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.iter().position(|&octet| octet == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let line = line.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("bare LF: {:?}", text(&line)));
                return text(line);
            }
            assert!(self.fill().await, "closed where a line was expected; unread: {:?}", text(&self.unread));
        }
    }

    /// The next lines up to the one that answers this IMAP tag, that one included.
    pub async fn answer(&mut self, tag: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.line().await);
            if lines.last().is_some_and(|line| line.starts_with(&format!("{tag} "))) {
                return lines;
            }
        }
    }

    /// Sends a command with this tag and returns the line that answers it.
    pub async fn command(&mut self, tag: &str, rest: &str) -> String {
        self.send(format!("{tag} {rest}\r\n")).await;
        self.answer(tag).await.pop().unwrap()
    }

    /// Sends a line and returns the next one: POP3's way of asking.
    pub async fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.line().await
    }

    /// The lines up to the lone dot of a POP3 multi-line answer.
    pub async fn until_dot(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.line().await {
                dot if dot == "." => return lines,
                line => lines.push(line),
            }
        }
    }

    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.fill().await, "closed after {} of {count} octets", self.unread.len());
        }
        self.unread.drain(..count).collect()
    }

    /// Everything until the peer closes. A reset, or the end of a TLS connection without close_notify, is a failure.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.unread)
    }

    /// Says that nothing more comes and the peer closes.
    pub async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "more octets where a close was expected: {:?}", text(&rest));
    }

    /// Says that the peer closes, and that it says nothing but why, where it does.
    pub async fn kicked(&mut self) {
        let rest = text(&self.rest().await);
        assert!(["", "* BYE [UNAVAILABLE] Shutting down, please reconnect\r\n"].contains(&rest.as_str()), "{rest:?}");
    }

    /// Does nothing, for as long as it takes, until the peer closes.
    pub async fn until_closed(mut self) {
        let mut octets = [0; 4096];
        while self.stream.read(&mut octets).await.is_ok_and(|count| count > 0) {}
    }

    /// Leaves an IMAP session in order.
    pub async fn until_logged_out(mut self) {
        assert!(self.command("z", "LOGOUT").await.starts_with("z OK"));
        self.until_closed().await;
    }

    async fn fill(&mut self) -> bool {
        let mut octets = [0; 4096];
        let read = timeout(DEADLINE, self.stream.read(&mut octets)).await;
        let read = read.unwrap_or_else(|_| panic!("nothing more in time; unread: {:?}", text(&self.unread)));
        match read {
            Ok(count) => {
                self.unread.extend_from_slice(&octets[..count]);
                count > 0
            }
            Err(error) => panic!("{error}; unread: {:?}", text(&self.unread)),
        }
    }
}

pub fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
