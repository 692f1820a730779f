//! What the node has seen. Clients ask for it over a connection of its own, and so hear the truth.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Counts since the node started.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections accepted.
    pub(crate) connections: AtomicU64,
    /// Logins accepted.
    pub(crate) logins: AtomicU64,
    /// Connections that are open and logged in.
    pub(crate) sessions: AtomicU64,
    /// Commands after the login.
    pub(crate) commands: AtomicU64,
    /// Octets of messages sent.
    pub(crate) sent: AtomicU64,
    /// Octets of messages received.
    pub(crate) received: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) connections: u64,
    pub(crate) logins: u64,
    pub(crate) sessions: u64,
    pub(crate) commands: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Counts {
    pub(crate) fn now(&self) -> Counted {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted {
            connections: read(&self.connections),
            logins: read(&self.logins),
            sessions: read(&self.sessions),
            commands: read(&self.commands),
            sent: read(&self.sent),
            received: read(&self.received),
        }
    }
}

impl Counted {
    /// What has been added since then. Sessions are those that are open now.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            connections: self.connections - before.connections,
            logins: self.logins - before.logins,
            sessions: self.sessions,
            commands: self.commands - before.commands,
            sent: self.sent - before.sent,
            received: self.received - before.received,
        }
    }

    fn text(self) -> String {
        let mut text = String::new();
        for (name, count) in [
            ("connections", self.connections),
            ("logins", self.logins),
            ("sessions", self.sessions),
            ("commands", self.commands),
            ("sent", self.sent),
            ("received", self.received),
        ] {
            let _ = writeln!(text, "{name} {count}");
        }
        text
    }

    /// `None` unless every count is there.
    fn parse(text: &str) -> Option<Self> {
        let find = |name: &str| {
            let mut words = text.lines().filter_map(|line| line.split_once(' '));
            words.find(|(word, _)| *word == name)?.1.parse().ok()
        };
        Some(Self {
            connections: find("connections")?,
            logins: find("logins")?,
            sessions: find("sessions")?,
            commands: find("commands")?,
            sent: find("sent")?,
            received: find("received")?,
        })
    }
}

/// Tells the counts to everybody who connects, for ever.
pub(crate) async fn tell(listener: TcpListener, counts: Arc<Counts>) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let _ = socket.write_all(counts.now().text().as_bytes()).await;
    }
}

/// Asks a node.
pub(crate) async fn ask(address: &str) -> Result<Counted, String> {
    let wrong = |words: String| format!("the node's counts at {address}: {words}");
    let mut socket = TcpStream::connect(address).await.map_err(|error| wrong(error.to_string()))?;
    let mut text = String::new();
    socket.read_to_string(&mut text).await.map_err(|error| wrong(error.to_string()))?;
    Counted::parse(&text).ok_or_else(|| wrong(format!("not counts: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let counted = Counted { connections: 1, logins: 2, sessions: 3, commands: 4, sent: 5, received: 6 };
        assert_eq!(Counted::parse(&counted.text()), Some(counted));
        assert_eq!(Counted::parse("logins 2\n"), None);
        let since =
            counted.since(Counted { connections: 1, logins: 1, sessions: 9, commands: 1, sent: 1, received: 1 });
        assert_eq!(since, Counted { connections: 0, logins: 1, sessions: 3, commands: 3, sent: 4, received: 5 });
    }
}
