//! One bound connection to an LDAP server, shared by many searches at once.
//!
//! The socket and TLS are ours (own deadlines, TCP_NODELAY, keepalive); the protocol is the library's. Between the two
//! stands [`guard`], and a pair of local sockets. The library's driver may panic on malformed data, so it runs in a task
//! of its own, and so does binding. The bind password lives in a [`Secret`](crate::secret::Secret) and in no message.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, SearchOptions, SearchStream, StdStream};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::answer::{Entry, Reply, told};
use super::guard;
use super::pulse::Pulse;
use super::{Bind, Scope, Settings, Url};
use crate::secret::read_password;

/// Most searches in flight on one connection. OpenLDAP cuts anonymous connections that have more than 100 pending.
const MAX_IN_FLIGHT: usize = 64;
/// So many searches in a row without an answer, to anybody on it meanwhile, and the connection is dead.
const MAX_TIMEOUTS: u32 = 2;
/// Most entries a server should send: two are as wrong as a thousand.
const SIZE_LIMIT: i32 = 2;
/// Silence before the kernel asks whether the server still lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Between its questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A live connection. Dropping it closes the socket.
pub(super) struct Connection {
    ldap: Ldap,
    permits: Semaphore,
    timeouts: AtomicU32,
    /// Of this connection.
    pulse: Pulse,
    /// Of its server.
    server: Arc<Pulse>,
    driver: AbortHandle,
    guard: AbortHandle,
}

/// Why a search brought no reply.
#[derive(Debug, PartialEq)]
pub(super) enum Trouble {
    /// The connection ended; another one may work.
    Closed,
    /// No whole reply in time, and the server has answered nobody since the search was sent.
    TimedOut,
    /// Too much to do, for the server or for us: no word about its health.
    Busy(String),
    /// The reply cannot be read, or the request not be sent.
    Unusable(String),
}

impl Connection {
    /// Connects, starts TLS and binds, all within the connect timeout. The error is for the operator.
    pub(super) async fn open(
        url: Url,
        settings: Arc<Settings>,
        tls: Option<Arc<ClientConfig>>,
        server: Arc<Pulse>,
    ) -> Result<Self, String> {
        // A task of its own, because the library asserts what it expects of a server.
        match tokio::spawn(open(url, settings, tls, server)).await {
            Ok(opened) => opened,
            Err(_) => Err("malformed data while connecting".into()),
        }
    }

    /// Worth another search?
    pub(super) fn is_alive(&self) -> bool {
        !self.driver.is_finished() && self.timeouts.load(Ordering::Relaxed) < MAX_TIMEOUTS
    }

    /// Ends it: whoever still waits on it hears at once that it was closed.
    pub(super) fn cut(&self) {
        self.driver.abort();
        self.guard.abort();
    }

    /// One search, with a filter that is already escaped, within the search timeout. Waiting for its turn, while the
    /// connection has as many as it may have, takes as long again at most: that is our queue, not the server's silence.
    pub(super) async fn search(&self, filter: &str, settings: &Settings) -> Result<Reply, Trouble> {
        let turn = timeout(settings.timeout, self.permits.acquire()).await;
        let turn = turn.map_err(|_| Trouble::Busy(format!("busy: no free place within {:?}", settings.timeout)))?;
        let _permit = turn.map_err(|_| Trouble::Closed)?;
        let sent = Instant::now();
        let reply = self.search_until(filter, settings, sent + settings.timeout).await;
        match &reply {
            Err(Trouble::TimedOut) => {
                if !self.pulse.after(sent) && self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_TIMEOUTS {
                    self.cut();
                }
                if self.server.after(sent) {
                    return Err(Trouble::Busy(format!(
                        "busy: it answers others, not this within {:?}",
                        settings.timeout
                    )));
                }
            }
            Err(Trouble::Closed | Trouble::Busy(_)) => {}
            Ok(_) | Err(Trouble::Unusable(_)) => self.timeouts.store(0, Ordering::Relaxed),
        }
        reply
    }

    async fn search_until(&self, filter: &str, settings: &Settings, deadline: Instant) -> Result<Reply, Trouble> {
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
        let read = timeout_at(deadline, self.read(&mut stream)).await;
        // Also after a timeout: it makes the library forget the search. It waits for nothing.
        let result = stream.finish().await;
        let (entries, continuations) = read.map_err(|_| Trouble::TimedOut)??;
        Ok(Reply { entries, continuations, code: result.rc, text: result.to_string() })
    }

    /// Entries and the number of continuations, up to the end of the reply.
    async fn read<'a>(
        &self,
        stream: &mut SearchStream<'a, &'a str, Vec<&'a str>>,
    ) -> Result<(Vec<Entry>, usize), Trouble> {
        let mut entries = Vec::new();
        let mut continuations = 0;
        loop {
            let item = stream.next().await.map_err(trouble)?;
            self.pulse.beat();
            self.server.beat();
            let Some(item) = item else { return Ok((entries, continuations)) };
            if item.is_ref() {
                continuations += 1;
            } else if !item.is_intermediate() && entries.len() < SIZE_LIMIT as usize {
                entries.push(Entry::parse(item.0).ok_or_else(|| Trouble::Unusable("malformed entry".into()))?);
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn open(
    url: Url,
    settings: Arc<Settings>,
    tls: Option<Arc<ClientConfig>>,
    server: Arc<Pulse>,
) -> Result<Connection, String> {
    let deadline = Instant::now() + settings.connect_timeout;
    let late = |stage: &str| format!("{stage}: no answer within {:?}", settings.connect_timeout);

    let stream = connect(&url, deadline).await?;
    let stage = match (url.tls, &tls) {
        (_, None) => "LDAP",
        (true, Some(_)) => "TLS",
        (false, Some(_)) => "StartTLS",
    };
    let secured = timeout_at(deadline, secure(stream, &url, tls)).await.map_err(|_| late(stage))?;
    let secured = secured.map_err(|error| format!("{stage}: {error}"))?;
    let (ours, theirs) = local_pair().map_err(|error| format!("socket: {error}"))?;
    let guard = tokio::spawn(guard::relay(secured, ours, url.to_string())).abort_handle();
    let library = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
    // It waits for nothing: the pair is connected already.
    let established = LdapConnAsync::with_settings(library, "ldapi:///").await;
    let (driver, mut ldap) = established.map_err(|error| format!("LDAP: {}", told(&error.to_string())))?;
    // Its error is the same for everybody who waits: the connection ended.
    let driver = tokio::spawn(async move { drop(driver.drive().await) }).abort_handle();
    // From here on, a return drops the connection and with it the driver.
    let connection = Connection {
        ldap: ldap.clone(),
        permits: Semaphore::new(MAX_IN_FLIGHT),
        timeouts: AtomicU32::new(0),
        pulse: Pulse::default(),
        server,
        driver,
        guard,
    };
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

/// A connection, in clear text or under TLS.
trait Octets: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Octets for T {}

/// The connection as the settings want it to be protected.
async fn secure(mut stream: TcpStream, url: &Url, tls: Option<Arc<ClientConfig>>) -> Result<Box<dyn Octets>, String> {
    let Some(config) = tls else { return Ok(Box::new(stream)) };
    if !url.tls {
        guard::agree_on_tls(&mut stream).await?;
    }
    let name = ServerName::try_from(url.host.clone()).map_err(|error| error.to_string())?;
    let secured = TlsConnector::from(config).connect(name, stream).await;
    Ok(Box::new(secured.map_err(|error| told(&error.to_string()))?))
}

/// Our end, and the library's.
fn local_pair() -> std::io::Result<(UnixStream, std::os::unix::net::UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
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
    fn the_servers_time_limit_is_never_zero_which_would_mean_none() {
        for (millis, limit) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (2500, 3)] {
            assert_eq!(seconds(Duration::from_millis(millis)), limit);
        }
    }
}
