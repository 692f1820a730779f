//! The directory as LDAP servers (RFC 4511), asked in order.
//!
//! `url` says where a server is, `connection` is one bound connection, `server` is one URL with its connections and
//! its health, `guard` lets only lawful messages in, `pulse` tells busy from frozen, `answer` judges replies. This file only goes through the servers until one has an answer.

mod answer;
mod connection;
mod guard;
mod pulse;
mod server;
mod url;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rustls::ClientConfig;
use tokio::time::{Instant, sleep_until};

#[cfg(feature = "testkit")]
pub use self::guard::guarding_is_sound;
pub use self::url::{Url, UrlError};

use self::server::Server;
use super::cache::Answer;
use super::template::FilterTemplate;
use super::{DirectoryError, LookupError, Route};
use crate::metrics;
use crate::names::UserName;

/// The LDAP directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Asked in this order: the next one when the one before is unavailable.
    pub urls: Vec<Url>,
    /// Upgrade `ldap://` connections with StartTLS; a server that will not is not used.
    pub starttls: bool,
    /// Certificate authorities for TLS, as PEM; the system's when absent.
    pub ca: Option<PathBuf>,
    /// Whom to bind as; anonymous when absent.
    pub bind: Option<Bind>,
    /// Where searches begin.
    pub base: String,
    /// How deep they go.
    pub scope: Scope,
    /// The filter, with the user's name to be inserted.
    pub filter: FilterTemplate,
    /// The attribute that names the island. Exactly one value is demanded.
    pub island_attribute: String,
    /// The attribute that names the user on the node, where it differs from what clients type.
    pub login_attribute: Option<String>,
    /// For one whole search on one server.
    pub timeout: Duration,
    /// For connecting, TLS and binding.
    pub connect_timeout: Duration,
    /// Connections kept for each URL.
    pub pool: usize,
}

/// A simple bind (RFC 4513 §5.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Bind {
    /// Whom to bind as.
    pub dn: String,
    /// The password is the file's content without the last line end; read at each connect.
    pub password_file: PathBuf,
}

/// How deep a search goes (RFC 4511 §4.5.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The base itself.
    Base,
    /// Its children.
    One,
    /// Everything below it, and itself.
    Sub,
}

impl Settings {
    /// Does a connection to this URL speak TLS, from the first octet or after StartTLS?
    pub fn uses_tls(&self, url: &Url) -> bool {
        url.tls || self.starttls
    }
}

/// How long a server has a look-up to itself. After that the next one is asked as well, so that a frozen server costs the
/// logins that find it frozen no more than a frozen node does. While the server goes on answering others, the look-up
/// stays in its queue: it is busy, and asking the next one beside it would only double the load of all of them.
const HEDGE: Duration = Duration::from_millis(250);

/// What a look-up does when no server in service has an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Patience {
    /// It says so: there is another way to a route.
    None,
    /// It waits for the trials that run just now: nothing else can help this login.
    ForTrials,
}

/// The servers, in order.
pub(super) struct Ldap {
    settings: Arc<Settings>,
    servers: Vec<Arc<Server>>,
}

impl Ldap {
    /// Connects to nothing yet: mailferry starts while LDAP is down. What is counted of servers that `old` has goes on.
    pub(super) fn new(
        settings: &Settings,
        tls: Option<&Arc<ClientConfig>>,
        old: Option<&Self>,
    ) -> Result<Self, DirectoryError> {
        let settings = Arc::new(settings.clone());
        if settings.urls.is_empty() {
            return Err(DirectoryError::NoServers);
        }
        let mut servers = Vec::new();
        for url in &settings.urls {
            let tls = if settings.uses_tls(url) {
                // The library cannot verify a certificate against an address that stands in brackets.
                if url.is_ipv6() {
                    return Err(DirectoryError::TlsToIpv6(url.to_string()));
                }
                Some(tls.cloned().ok_or_else(|| DirectoryError::TlsMissing(url.to_string()))?)
            } else {
                None
            };
            let mut server = Server::new(url.clone(), Arc::clone(&settings), tls);
            if let Some(old) = old.and_then(|old| old.servers.iter().find(|old| old.name() == server.name())) {
                server.succeed(old);
            }
            servers.push(Arc::new(server));
        }
        Ok(Self { settings, servers })
    }

    /// What is known of each.
    pub(super) fn servers(&self) -> Vec<super::Server> {
        self.servers.iter().map(|server| super::Server { name: server.name(), out: server.is_out() }).collect()
    }

    /// What is counted of each.
    pub(super) fn tallies(&self) -> Vec<(Arc<str>, Arc<metrics::DirectoryServer>)> {
        self.servers.iter().map(|server| (server.name(), server.tally())).collect()
    }

    /// Takes `connect_timeout` + twice `timeout` for each server at most; [`HEDGE`] for one that is silent, and nothing
    /// for those that are out of service, unless the trial of one is all that is left and waited for.
    pub(super) async fn ask(&self, user: &UserName, patience: Patience) -> Answer {
        let filter: Arc<str> = Arc::from(self.settings.filter.render(user));
        let mut reasons = Vec::new();
        let mut waiting = self.servers.iter();
        let mut asked = FuturesUnordered::new();
        loop {
            let last = waiting.next();
            asked.extend(last.map(|server| search(server, &filter)));
            tokio::select! {
                heard = asked.next() => match heard {
                    Some((server, Ok(answer))) => return said_by(server, answer),
                    Some((server, Err(reason))) => reasons.push(format!("{}: {reason}", server.name())),
                    None => break,
                },
                () = silence(last), if waiting.len() > 0 => {}
            }
        }
        // One of them may be back, and nobody has noticed while another one was there.
        self.servers.iter().for_each(|server| server.try_soon(&filter));
        if patience == Patience::ForTrials {
            let mut again: FuturesUnordered<_> = self.servers.iter().map(|server| returned(server, &filter)).collect();
            while let Some(heard) = again.next().await {
                if let Some((server, Ok(answer))) = heard {
                    return said_by(server, answer);
                }
            }
        }
        Err(LookupError::Unavailable(Arc::from(reasons.join("; "))))
    }
}

/// Ends when the server has said nothing to anybody for [`HEDGE`]; at the earliest when so much time has passed.
async fn silence(server: Option<&Arc<Server>>) {
    let mut until = Instant::now() + HEDGE;
    while Instant::now() < until {
        sleep_until(until).await;
        let heard = server.and_then(|server| server.last_heard());
        until = heard.map_or(until, |heard| until.max(heard + HEDGE));
    }
}

/// A server, and its answer or why it has none.
type Heard<'a> = (&'a Arc<Server>, Result<Result<Route, LookupError>, Arc<str>>);

/// One server's answer. The search goes on when nobody waits for it any more: its end says how the server does.
async fn search<'a>(server: &'a Arc<Server>, filter: &Arc<str>) -> Heard<'a> {
    let (searching, filter) = (Arc::clone(server), Arc::clone(filter));
    let heard = tokio::spawn(async move { searching.ask(&filter).await }).await;
    (server, heard.unwrap_or_else(|_| Err("the search broke down".into())))
}

fn said_by(server: &Server, answer: Result<Route, LookupError>) -> Answer {
    answer.map(|route| (route, server.name()))
}

/// The server's answer, if it is in service or a trial runs that brings it back.
async fn returned<'a>(server: &'a Arc<Server>, filter: &Arc<str>) -> Option<Heard<'a>> {
    if server.trial_succeeds().await { Some(search(server, filter).await) } else { None }
}

#[cfg(test)]
mod tests;
