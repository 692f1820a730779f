//! The addresses of the nodes' names: looked up at an interval, and kept for as long as nobody knows better.
//!
//! A resolver that fails, hangs or denies a name that it knew must never take away an answer that was good, and no dial
//! waits for it once there has been one.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, Shared, join_all};
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::drain::Drain;

/// For one look-up. The system's resolver cannot be interrupted; it is no longer waited for.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// How far an interval may be off, so that many processes that started together do not ask together.
const JITTER: f64 = 0.1;

/// How a name is looked up: every address it has, the preferred one first. Ports are not looked at.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// A look-up in the air. Everybody who needs it waits for the same one.
type Flight = Shared<BoxFuture<'static, Result<Addresses, Arc<io::Error>>>>;

type Addresses = Arc<[SocketAddr]>;

/// By the resolver of the system, with everything that it is configured to ask.
pub(super) fn system() -> Lookup {
    Arc::new(|host| async move { Ok(lookup_host((host.as_str(), 0)).await?.collect()) }.boxed())
}

/// The names of all nodes, with what is known of them.
pub(super) struct Resolver {
    lookup: Lookup,
    interval: Duration,
    names: HashMap<String, Arc<Name>>,
}

impl Resolver {
    /// Knows these hosts, of which those that are addresses need no look-up.
    pub(super) fn new(interval: Duration, hosts: impl IntoIterator<Item = String>, lookup: Lookup) -> Self {
        let names = hosts.into_iter().filter(|host| literal(host).is_none());
        Self { lookup, interval, names: names.map(|host| (host, Arc::default())).collect() }
    }

    /// Another interval and other hosts. Of those that stay, the answers stay.
    pub(super) fn succeed(&self, interval: Duration, hosts: impl IntoIterator<Item = String>) -> Self {
        let mut new = Self::new(interval, hosts, Arc::clone(&self.lookup));
        for (host, name) in &mut new.names {
            if let Some(known) = self.names.get(host) {
                *name = Arc::clone(known);
            }
        }
        new
    }

    /// The addresses of `host`, the preferred one first, at least one; the port is `port`. Waits only for the first
    /// answer. A host that was not registered is looked up each time.
    ///
    /// # Errors
    /// Why the look-up failed that was waited for, after 5 seconds at the latest.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Some(address) = literal(host) {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let found = match self.names.get(host) {
            Some(name) => match name.answer() {
                Some(known) => Ok(known),
                None => self.look_up(host, name).await,
            },
            None => self.flight(host).await,
        };
        let with_port = |mut address: SocketAddr| {
            address.set_port(port);
            address
        };
        found.map(|found| found.iter().copied().map(with_port).collect()).map_err(|error| again(&error))
    }

    /// Looks all names up, at once and then at the interval ± 10 %, each on its own, until the signal is given.
    pub(super) async fn refresh(&self, drain: Drain) {
        let each = self.names.iter().map(|(host, name)| async move {
            loop {
                // What it came to is told and kept there.
                let _ = self.look_up(host, name).await;
                sleep(self.interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())).await;
            }
        });
        tokio::select! {
            _ = join_all(each) => {}
            () = drain.signalled() => {}
        }
    }

    /// Joins the look-up of this name, or begins one, and takes note of what it came to.
    async fn look_up(&self, host: &str, name: &Name) -> Result<Addresses, Arc<io::Error>> {
        let flight = name.state().join(|| self.flight(host));
        let result = flight.clone().await;
        name.land(host, &flight, &result);
        result
    }

    fn flight(&self, host: &str) -> Flight {
        let answer = timeout(LOOKUP_TIMEOUT, (self.lookup)(host.to_owned()));
        let flight = async move {
            let mut found = Vec::new();
            for address in answer.await.unwrap_or_else(|late| Err(late.into()))? {
                if !found.contains(&address) {
                    found.push(address);
                }
            }
            if found.is_empty() {
                return Err(Arc::new(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
            }
            Ok(found.into())
        };
        flight.boxed().shared()
    }
}

/// What is known of one name.
#[derive(Default)]
struct Name(Mutex<State>);

#[derive(Default)]
struct State {
    /// The last good answer, however old it is.
    answer: Option<Addresses>,
    /// Whether the last look-up failed.
    fails: bool,
    /// The look-up that nobody has taken note of yet, and when it began.
    flight: Option<(Flight, Instant)>,
}

/// A change that an operator should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// There is an answer: the first one, another one, or one again.
    Resolved,
    /// Look-ups have begun to fail.
    Failing {
        /// Whether there is an earlier answer.
        has_answer: bool,
    },
}

impl Name {
    /// Never held across an await or while something is logged.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self) -> Option<Addresses> {
        self.state().answer.clone()
    }

    /// Takes note of a look-up's result, once, whoever waited for it; what changed is logged.
    fn land(&self, host: &str, flight: &Flight, result: &Result<Addresses, Arc<io::Error>>) {
        let news = self.state().land(flight, result);
        match (news, result) {
            (Some(News::Resolved), Ok(found)) => info!(host, addresses = %list(found), "name resolved"),
            (Some(News::Failing { has_answer: true }), Err(reason)) => {
                warn!(host, %reason, "name cannot be resolved; the last answer is kept");
            }
            (Some(News::Failing { has_answer: false }), Err(reason)) => {
                warn!(host, %reason, "name cannot be resolved; there is no earlier answer");
            }
            (Some(News::Resolved | News::Failing { .. }) | None, _) => {}
        }
    }
}

impl State {
    /// The look-up in the air, or a new one. One that everybody has left is not joined after its time: its result says
    /// nothing of now.
    fn join(&mut self, begin: impl FnOnce() -> Flight) -> Flight {
        let now = Instant::now();
        match &self.flight {
            Some((flight, begun)) if now.duration_since(*begun) < LOOKUP_TIMEOUT => flight.clone(),
            Some(_) | None => self.flight.insert((begin(), now)).0.clone(),
        }
    }

    fn land(&mut self, flight: &Flight, result: &Result<Addresses, Arc<io::Error>>) -> Option<News> {
        let _landed = self.flight.take_if(|(latest, _)| latest.ptr_eq(flight))?;
        let has_failed = std::mem::replace(&mut self.fails, result.is_err());
        match result {
            Ok(found) => {
                let before = self.answer.replace(Arc::clone(found));
                let is_same = before.is_some_and(|before| is_same(&before, found));
                (has_failed || !is_same).then_some(News::Resolved)
            }
            Err(_) => (!has_failed).then_some(News::Failing { has_answer: self.answer.is_some() }),
        }
    }
}

/// Whether both have the same addresses. Their order means nothing: many servers turn it at each answer.
fn is_same(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ")
}

fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

/// The same error once more: each of those who waited gets one. A number of the system stays what it is.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests;
