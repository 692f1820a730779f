//! A mail client of a few words. Every wait ends after [`DEADLINE`].

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A hang is a failure after this time.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub struct Client(BufReader<TcpStream>);

impl Client {
    pub async fn clear(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(DEADLINE, self.0.read_line(&mut line)).await.expect("no line in time").unwrap();
        line.trim_end().to_owned()
    }

    /// A command, and its tagged answer.
    pub async fn command(&mut self, tag: &str, rest: &str) -> String {
        self.0.get_mut().write_all(format!("{tag} {rest}\r\n").as_bytes()).await.unwrap();
        loop {
            let line = self.line().await;
            if line.is_empty() || line.starts_with(&format!("{tag} ")) {
                return line;
            }
        }
    }

    /// Waits for the other side to close.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _ = timeout(DEADLINE, self.0.read_to_end(&mut rest)).await.expect("no close in time");
    }
}
