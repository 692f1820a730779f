//! One bound connection to an LDAP server, shared by many searches at once.
//!
//! The socket is ours (own deadlines, TCP_NODELAY, keepalive); TLS, StartTLS and the protocol are the library's. The
//! library's driver may panic on malformed data, so it runs in a task of its own, and so does binding. The bind
//! password lives in a [`Secret`] and in no message.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, SearchOptions, SearchStream, StdStream};
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::answer::{Entry, Reply, told};
use super::{Bind, Scope, Settings, Url};
use crate::secret::Secret;

/// Most searches in flight on one connection. OpenLDAP cuts anonymous connections that have more than 100 pending.
const MAX_IN_FLIGHT: usize = 64;
/// So many searches in a row without an answer, and the connection is dead.
const MAX_TIMEOUTS: u32 = 2;
/// Most entries a server should send: two are as wrong as a thousand.
const SIZE_LIMIT: i32 = 2;
/// Longest bind password, in octets.
const MAX_PASSWORD_LEN: usize = 1024;
/// Silence before the kernel asks whether the server still lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Between its questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Why a file's content cannot be a bind password. Nothing of it is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The operating system's reason, or it is no regular file.
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A bind with a name and no password succeeds anonymously (RFC 4513 §5.1.2), and then finds nobody.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// Some other file, most likely.
    #[error("{} is longer than {MAX_PASSWORD_LEN} octets", .0.display())]
    TooLong(PathBuf),
    /// Passwords are UTF-8 (RFC 4513 §5.1.3).
    #[error("{} is not UTF-8", .0.display())]
    NotText(PathBuf),
}

/// A live connection. Dropping it closes the socket.
pub(super) struct Connection {
    ldap: Ldap,
    permits: Semaphore,
    timeouts: AtomicU32,
    driver: AbortHandle,
}

/// Why a search brought no reply.
#[derive(Debug, PartialEq)]
pub(super) enum Trouble {
    /// The connection ended; another one may work.
    Closed,
    /// No whole reply in time.
    TimedOut,
    /// The reply cannot be read, or the request not be sent.
    Unusable(String),
}

impl Connection {
    /// Connects, starts TLS and binds, all within the connect timeout. The error is for the operator.
    pub(super) async fn open(
        url: Url,
        settings: Arc<Settings>,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, String> {
        // A task of its own, because the library asserts what it expects of a server.
        match tokio::spawn(open(url, settings, tls)).await {
            Ok(opened) => opened,
            Err(_) => Err("malformed data while connecting".into()),
        }
    }

    /// Worth another search?
    pub(super) fn is_alive(&self) -> bool {
        !self.driver.is_finished() && self.timeouts.load(Ordering::Relaxed) < MAX_TIMEOUTS
    }

    /// One search, with a filter that is already escaped, within the search timeout.
    pub(super) async fn search(&self, filter: &str, settings: &Settings) -> Result<Reply, Trouble> {
        let reply = self.search_until(filter, settings, Instant::now() + settings.timeout).await;
        match &reply {
            Err(Trouble::TimedOut) => {
                if self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_TIMEOUTS {
                    // Whoever still waits on this connection hears at once that it ended.
                    self.driver.abort();
                }
            }
            Err(Trouble::Closed) => {}
            Ok(_) | Err(Trouble::Unusable(_)) => self.timeouts.store(0, Ordering::Relaxed),
        }
        reply
    }

    async fn search_until(&self, filter: &str, settings: &Settings, deadline: Instant) -> Result<Reply, Trouble> {
        let permit = timeout_at(deadline, self.permits.acquire()).await.map_err(|_| Trouble::TimedOut)?;
        let _permit = permit.map_err(|_| Trouble::Closed)?;
        let scope = match settings.scope {
            Scope::Base => ldap3::Scope::Base,
            Scope::One => ldap3::Scope::OneLevel,
            Scope::Sub => ldap3::Scope::Subtree,
        };
        let mut attributes = vec![settings.island_attribute.as_str()];
        attributes.extend(settings.login_attribute.as_deref());
        let mut ldap = self.ldap.clone();
        ldap.with_search_options(SearchOptions::new().sizelimit(SIZE_LIMIT).timelimit(seconds(settings.timeout)));
        let started = timeout_at(deadline, ldap.streaming_search(&settings.base, scope, filter, attributes)).await;
        let mut stream = started.map_err(|_| Trouble::TimedOut)?.map_err(trouble)?;
        let read = timeout_at(deadline, read(&mut stream)).await;
        // Also after a timeout: it makes the library forget the search. It waits for nothing.
        let result = stream.finish().await;
        let (entries, continuations) = read.map_err(|_| Trouble::TimedOut)??;
        Ok(Reply { entries, continuations, code: result.rc, text: result.to_string() })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Entries and the number of continuations, up to the end of the reply.
async fn read<'a>(stream: &mut SearchStream<'a, &'a str, Vec<&'a str>>) -> Result<(Vec<Entry>, usize), Trouble> {
    let mut entries = Vec::new();
    let mut continuations = 0;
    while let Some(item) = stream.next().await.map_err(trouble)? {
        if item.is_ref() {
            continuations += 1;
        } else if !item.is_intermediate() && entries.len() < SIZE_LIMIT as usize {
            entries.push(Entry::parse(item.0).ok_or_else(|| Trouble::Unusable("malformed entry".into()))?);
        }
    }
    Ok((entries, continuations))
}

async fn open(url: Url, settings: Arc<Settings>, tls: Option<Arc<ClientConfig>>) -> Result<Connection, String> {
    let deadline = Instant::now() + settings.connect_timeout;
    let late = |stage: &str| format!("{stage}: no answer within {:?}", settings.connect_timeout);

    let stream = connect(&url, deadline).await?;
    let stream = stream.into_std().map_err(|error| format!("socket: {error}"))?;
    let mut library = LdapConnSettings::new().set_std_stream(StdStream::Tcp(stream));
    let stage = match (url.tls, tls) {
        (_, None) => "LDAP",
        (from_the_start, Some(config)) => {
            library = library.set_config(config).set_starttls(!from_the_start);
            if from_the_start { "TLS" } else { "StartTLS" }
        }
    };
    let established = timeout_at(deadline, LdapConnAsync::with_settings(library, &url.to_string())).await;
    let (driver, mut ldap) =
        established.map_err(|_| late(stage))?.map_err(|error| format!("{stage}: {}", told(&error.to_string())))?;
    // Its error is the same for everybody who waits: the connection ended.
    let driver = tokio::spawn(async move { drop(driver.drive().await) }).abort_handle();
    // From here on, a return drops the connection and with it the driver.
    let connection =
        Connection { ldap: ldap.clone(), permits: Semaphore::new(MAX_IN_FLIGHT), timeouts: AtomicU32::new(0), driver };
    if let Some(Bind { dn, password_file }) = &settings.bind {
        let path = password_file.clone();
        let read = tokio::task::spawn_blocking(move || read_password(&path)).await;
        let read = read.map_err(|_| "the reading of the bind password was cut short")?;
        let password = read.map_err(|error| format!("bind password file {error}"))?;
        let password = std::str::from_utf8(password.expose()).map_err(|_| "the bind password is not UTF-8")?;
        let bound = timeout_at(deadline, ldap.simple_bind(dn, password)).await.map_err(|_| late("bind"))?;
        let result = bound.and_then(ldap3::LdapResult::success);
        result.map_err(|error| format!("bind as {dn:?}: {}", told(&error.to_string())))?;
    }
    Ok(connection)
}

/// Tries the host's addresses in order; each gets its share of the time that is left.
async fn connect(url: &Url, deadline: Instant) -> Result<TcpStream, String> {
    let resolved = timeout_at(deadline, lookup_host((url.host.as_str(), url.port))).await;
    let addresses: Vec<SocketAddr> = match resolved {
        Err(_) => return Err("name lookup: no answer in time".into()),
        Ok(Err(error)) => return Err(format!("name lookup: {error}")),
        Ok(Ok(addresses)) => addresses.collect(),
    };
    let mut reasons = Vec::new();
    for (tried, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = now + deadline.saturating_duration_since(now) / left;
        match timeout_at(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => match set_options(&stream) {
                Ok(()) => return Ok(stream),
                Err(error) => reasons.push(format!("connect to {address}: {error}")),
            },
            Ok(Err(error)) => reasons.push(format!("connect to {address}: {error}")),
            Err(_) => reasons.push(format!("connect to {address}: no answer in time")),
        }
    }
    if reasons.is_empty() { Err("name lookup: no address".into()) } else { Err(reasons.join(", ")) }
}

fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// The file's content without its last line end: UTF-8 text of 1 to 1024 octets. Blocks.
///
/// # Errors
/// It cannot be read, or is no password that a bind could use.
pub fn read_password(path: &Path) -> Result<Secret, PasswordError> {
    let octets = read_file(path)
        .map_err(|error| PasswordError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
    match octets.expose() {
        [] => Err(PasswordError::Empty(path.to_owned())),
        octets if octets.len() > MAX_PASSWORD_LEN => Err(PasswordError::TooLong(path.to_owned())),
        octets if std::str::from_utf8(octets).is_err() => Err(PasswordError::NotText(path.to_owned())),
        _ => Ok(octets),
    }
}

/// As much of the file as a password may have, and a little more.
fn read_file(path: &Path) -> std::io::Result<Secret> {
    // Before it is opened, because opening a pipe would wait.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    // Never grown, so that no copy of it is left behind.
    let mut octets = Vec::with_capacity(MAX_PASSWORD_LEN + 3);
    let done = std::fs::File::open(path)?.take(MAX_PASSWORD_LEN as u64 + 3).read_to_end(&mut octets);
    strip_line_end(&mut octets);
    let password = Secret::new(octets);
    done.map(|_| password)
}

fn strip_line_end(octets: &mut Vec<u8>) {
    if octets.last() == Some(&b'\n') {
        octets.pop();
        if octets.last() == Some(&b'\r') {
            octets.pop();
        }
    }
}

/// The server's own limit, in whole seconds: it need not go on searching when nobody waits any more.
fn seconds(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_secs_f64().ceil() as u64).unwrap_or(i32::MAX).max(1)
}

fn trouble(error: LdapError) -> Trouble {
    match error {
        LdapError::Io { .. }
        | LdapError::OpSend { .. }
        | LdapError::ResultRecv { .. }
        | LdapError::IdScrubSend { .. }
        | LdapError::EndOfStream => Trouble::Closed,
        other => Trouble::Unusable(told(&other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bind_password_is_the_file_without_its_last_line_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let longest = vec![b'x'; MAX_PASSWORD_LEN];
        let longest_line = [&longest, &b"\r\n"[..]].concat();
        let cases: [(&[u8], &[u8]); 7] = [
            (b"pw", b"pw"),
            (b"pw\n", b"pw"),
            (b"pw\r\n", b"pw"),
            (b" p w \n\n", b" p w \n"),
            (b"pw\r", b"pw\r"),
            (&longest, &longest),
            (&longest_line, &longest),
        ];
        for (content, password) in cases {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read_password(&path).map_err(|error| error.to_string()).unwrap().expose(), password);
        }
    }

    #[test]
    fn a_password_file_that_no_bind_could_use_is_refused_by_name_and_nothing_of_it_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let error = |path: &Path| read_password(path).err().unwrap().to_string();
        let mut errors = vec![
            (error(&path), "secret cannot be read: No such file"),
            (error(directory.path()), "not a regular file"),
        ];
        let long = [b'x'; 5000];
        let cases: [(&[u8], &str); 6] = [
            (b"", "secret is empty"),
            (b"\n", "secret is empty"),
            (b"\r\n", "secret is empty"),
            (b"xxx\xff", "secret is not UTF-8"),
            (&long[..=MAX_PASSWORD_LEN], "secret is longer than 1024 octets"),
            (&long, "secret is longer than 1024 octets"),
        ];
        for (content, part) in cases {
            std::fs::write(&path, content).unwrap();
            errors.push((error(&path), part));
        }
        for (error, part) in errors {
            assert!(error.contains(part) && !error.contains("xxx"), "{error}");
        }
    }

    #[test]
    fn the_servers_time_limit_is_never_zero_which_would_mean_none() {
        for (millis, limit) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (2500, 3)] {
            assert_eq!(seconds(Duration::from_millis(millis)), limit);
        }
    }
}
