//! The server that a node's name leads to: it speaks IMAP, in the manner that a test gives it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::world::ms;

/// Longer than any test.
pub const NEVER: Duration = Duration::from_secs(100_000);

/// What a server does now.
#[derive(Clone, Copy)]
pub struct Manner {
    pub refuses: bool,
    /// From connect to greeting.
    pub greets_after: Duration,
    /// From the login to its answer. After [`NEVER`], logins are answered when the server has another manner.
    pub answers_after: Duration,
    /// What is said behind the tag.
    pub says: &'static str,
}

pub const WELL: Manner = Manner { refuses: false, greets_after: ms(1), answers_after: ms(1), says: "OK hi" };
pub const REFUSES: Manner = Manner { refuses: true, ..WELL };
/// Greets, so that probes pass, and answers no login.
pub const SILENT: Manner = Manner { answers_after: NEVER, ..WELL };
/// Accepts connections, because its kernel does, and says nothing.
pub const FROZEN: Manner = Manner { greets_after: NEVER, answers_after: NEVER, ..WELL };

/// What a node's name leads to.
pub struct Server {
    manner: watch::Sender<Manner>,
    /// When it was dialled, by logins and by probes.
    pub dialled: Mutex<Vec<Instant>>,
    /// Logins that it has seen.
    pub logins: AtomicU64,
}

impl Server {
    pub fn new(manner: Manner) -> Arc<Self> {
        Arc::new(Self { manner: watch::Sender::new(manner), dialled: Mutex::default(), logins: AtomicU64::new(0) })
    }

    pub fn now(&self) -> Manner {
        *self.manner.borrow()
    }

    pub fn set(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// Over a login. If it falls silent meanwhile, the answer comes when it no longer is.
    async fn think(&self) {
        let mut manner = self.manner.subscribe();
        let takes = self.now().answers_after;
        if takes < NEVER {
            sleep(takes).await;
        }
        manner.wait_for(|manner| manner.answers_after < NEVER).await.unwrap();
    }
}

/// One connection.
pub async fn serve(server: Arc<Server>, stream: DuplexStream) {
    let (read, mut write) = tokio::io::split(stream);
    let mut lines = BufReader::new(read).lines();
    tokio::select! {
        () = sleep(server.now().greets_after) => {}
        _ = lines.next_line() => return,
    }
    if write.write_all(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n").await.is_err() {
        return;
    }
    while let Ok(Some(line)) = lines.next_line().await {
        let (tag, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if rest.starts_with("LOGOUT") {
            let _ = write.write_all(format!("* BYE\r\n{tag} OK\r\n").as_bytes()).await;
            return;
        }
        if rest.starts_with("AUTHENTICATE") || rest.starts_with("LOGIN") {
            server.logins.fetch_add(1, Ordering::Relaxed);
            server.think().await;
        }
        if write.write_all(format!("{tag} {}\r\n", server.now().says).as_bytes()).await.is_err() {
            return;
        }
    }
}
