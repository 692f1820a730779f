//! Fake nodes: a listener and an async function that plays the node's part on each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking::Shared;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::client::DEADLINE;

/// The password that the friendly nodes refuse.
pub const WRONG: &str = "wrong-Pa55word";

/// Sooner than any of our timeouts would do it where a test does not set its own, and enough for a machine that has much to do.
pub const PROMPTLY: Duration = Duration::from_secs(8);

/// What a friendly node says of [`WRONG`].
pub const REFUSAL: &str = "[AUTHENTICATIONFAILED] Not this one.";

/// With which a probe leaves an IMAP node.
pub const PROBES_IMAP_FAREWELL: &str = "f6 LOGOUT";

/// A running fake node. It ends with the test's runtime.
pub struct FakeNode {
    pub port: u16,
    pub seen: Arc<Seen>,
}

/// What a node has seen, over all connections.
#[derive(Default)]
pub struct Seen {
    pub connections: AtomicUsize,
    pub octets: Shared<Vec<u8>>,
    /// User and password of each login that was tried.
    pub logins: Shared<Vec<(Vec<u8>, Vec<u8>)>>,
    /// Floods that came to an end because everything was taken.
    pub swallowed: AtomicUsize,
    /// Commands after a login.
    pub commands: Shared<Vec<String>>,
    open: watch::Sender<usize>,
}

/// One connection to a fake node.
pub struct Conn {
    stream: TcpStream,
    unread: Vec<u8>,
    pub seen: Arc<Seen>,
}

impl FakeNode {
    pub async fn start<F, Fut>(play: F) -> Self
    where
        F: Fn(Conn) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::start_at(0, play).await
    }

    /// At this port; 0 for any that is free.
    pub async fn start_at<F, Fut>(port: u16, play: F) -> Self
    where
        F: Fn(Conn) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                shared.open.send_modify(|open| *open += 1);
                let conn = Conn { stream, unread: Vec::new(), seen: Arc::clone(&shared) };
                tokio::spawn(play(conn));
            }
        });
        Self { port, seen }
    }

    /// A node that speaks IMAP and accepts every password but [`WRONG`].
    pub async fn imap() -> Self {
        Self::start(friendly_imap).await
    }

    /// A node that speaks POP3 and accepts every password but [`WRONG`].
    pub async fn pop3() -> Self {
        Self::start(friendly_pop3).await
    }

    /// A port on which nobody listens.
    pub async fn dead() -> u16 {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub fn logins(&self) -> Vec<(String, String)> {
        let lossy = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        self.seen.logins.get().iter().map(|(user, pass)| (lossy(user), lossy(pass))).collect()
    }

    pub fn commands(&self) -> Vec<String> {
        self.seen.commands.get()
    }

    /// Waits until at least one connection has been made.
    pub async fn connected(&self) {
        let mut open = self.seen.open.subscribe();
        timeout(DEADLINE, open.wait_for(|open| *open > 0)).await.expect("nobody connects").unwrap();
    }

    /// Waits until a connection is made or closed.
    pub async fn next_connection(&self) {
        let mut open = self.seen.open.subscribe();
        timeout(DEADLINE, open.changed()).await.expect("nobody connects").unwrap();
    }

    /// Waits until it has heard this.
    pub async fn hears(&self, octets: &str) {
        let heard = async {
            while !String::from_utf8_lossy(&self.seen.octets.get()).contains(octets) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(DEADLINE, heard).await.expect("it does not come to the node");
    }

    /// Waits until every connection is closed.
    pub async fn all_closed(&self, within: Duration) {
        let mut open = self.seen.open.subscribe();
        timeout(within, open.wait_for(|open| *open == 0)).await.expect("a connection stays open").unwrap();
    }
}

impl Seen {
    /// Connections that are open now.
    pub fn open(&self) -> usize {
        *self.open.borrow()
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.seen.open.send_modify(|open| *open -= 1);
    }
}

impl Conn {
    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        // A peer that is gone is noticed when reading.
        let _ = self.stream.write_all(octets.as_ref()).await;
    }

    /// Sends this over and over until nobody takes it any more, or so many octets were taken.
    pub async fn flood(&mut self, octets: &[u8], most: usize) {
        let mut taken = 0;
        while let Ok(count) = self.stream.write(octets).await {
            taken += count;
            if taken >= most {
                self.seen.swallowed.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
    }

    /// The next line without its CRLF, or nothing when the peer has closed.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.fill().await, "the peer closed inside {count} octets");
        }
        self.unread.drain(..count).collect()
    }

    /// Says that nothing more comes.
    pub async fn half_close(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Whether a write would fail: the peer has reset the connection, or closed it before the last one.
    pub fn has_hung_up(&self) -> bool {
        self.stream.try_write(b"").is_err() || self.stream.take_error().is_ok_and(|error| error.is_some())
    }

    /// Waits for the peer to close.
    pub async fn closed(&mut self) {
        while self.fill().await {}
    }

    async fn fill(&mut self) -> bool {
        let mut octets = [0; 4096];
        let Ok(count) = self.stream.read(&mut octets).await else { return false };
        self.unread.extend_from_slice(&octets[..count]);
        self.seen.octets.with(|seen| seen.extend_from_slice(&octets[..count]));
        count > 0
    }

    fn login(&self, user: &[u8], password: &[u8]) -> bool {
        self.seen.logins.with(|logins| logins.push((user.to_vec(), password.to_vec())));
        password != WRONG.as_bytes()
    }

    /// Judges a PLAIN response.
    pub fn plain(&self, response: &str) -> bool {
        let message = STANDARD.decode(response).expect("base64 from mailferry");
        let parts: Vec<&[u8]> = message.split(|&octet| octet == 0).collect();
        assert_eq!(parts.len(), 3, "PLAIN from mailferry");
        self.login(parts[1], parts[2])
    }
}

pub async fn friendly_imap(mut conn: Conn) {
    conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] node ready\r\n").await;
    while let Some(line) = conn.line().await {
        if line == PROBES_IMAP_FAREWELL {
            return conn.send("* BYE see you\r\nf6 OK done\r\n").await;
        }
        let Some((tag, response)) = line.split_once(" AUTHENTICATE PLAIN ") else {
            panic!("an unexpected command before the login: {line:?}");
        };
        if conn.plain(response) {
            conn.send(format!("{tag} OK [CAPABILITY IMAP4rev1 IDLE UIDPLUS] Logged in\r\n")).await;
            return imap_mailbox(conn).await;
        }
        conn.send(format!("{tag} NO {REFUSAL}\r\n")).await;
    }
}

/// After the login: every command is noted and answered OK; a literal is asked for and echoed as an untagged line;
/// LOGOUT closes.
pub async fn imap_mailbox(mut conn: Conn) {
    while let Some(line) = conn.line().await {
        conn.seen.commands.with(|commands| commands.push(line.clone()));
        let (tag, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if let Some(octets) = rest.strip_suffix('}').and_then(|rest| rest.rsplit_once('{')) {
            conn.send("+ go on\r\n").await;
            let literal = conn.exactly(octets.1.parse().unwrap()).await;
            assert_eq!(conn.line().await.as_deref(), Some(""));
            conn.send(format!("* ECHO {{{}}}\r\n", literal.len())).await;
            conn.send(literal).await;
            conn.send("\r\n").await;
        }
        if rest == "LOGOUT" {
            conn.send(format!("* BYE see you\r\n{tag} OK done\r\n")).await;
            return;
        }
        conn.send(format!("{tag} OK done\r\n")).await;
    }
}

pub async fn friendly_pop3(mut conn: Conn) {
    conn.send("+OK node ready\r\n").await;
    while let Some(line) = conn.line().await {
        let accepted = match line.split_once(' ').unwrap_or((&line, "")) {
            ("CAPA", "") => {
                conn.send("+OK\r\nTOP\r\nUIDL\r\nSASL PLAIN\r\n.\r\n").await;
                continue;
            }
            ("AUTH", rest) => {
                let response = match rest.split_once(' ') {
                    Some((_, response)) => response.to_owned(),
                    None => {
                        conn.send("+ \r\n").await;
                        conn.line().await.expect("a response")
                    }
                };
                conn.plain(&response)
            }
            ("QUIT", "") => return conn.send("+OK bye\r\n").await,
            _ => panic!("an unexpected command before the login: {line:?}"),
        };
        if accepted {
            conn.send("+OK Logged in.\r\n").await;
            return pop3_mailbox(conn).await;
        }
        conn.send("-ERR [AUTH] Not this one.\r\n").await;
    }
}

pub async fn pop3_mailbox(mut conn: Conn) {
    while let Some(line) = conn.line().await {
        conn.seen.commands.with(|commands| commands.push(line.clone()));
        match line.as_str() {
            "STAT" => conn.send("+OK 2 320\r\n").await,
            "QUIT" => return conn.send("+OK bye\r\n").await,
            _ => conn.send("+OK\r\n").await,
        }
    }
}

/// A value that several tasks look at, never across an await.
pub mod parking {
    use std::sync::Mutex;

    #[derive(Default)]
    pub struct Shared<T>(Mutex<T>);

    impl<T> Shared<T> {
        pub fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
            look(&mut self.0.lock().unwrap())
        }
    }

    impl<T: Clone> Shared<T> {
        pub fn get(&self) -> T {
            self.with(|value| value.clone())
        }
    }
}
