//! Connecting to a node: all addresses of its name race for it (RFC 8305), within one time.
//!
//! Nothing here waits for one address alone while another one is left to be tried.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "testkit")]
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::Stream;
use super::resolve::{self, Lookup, Resolver};
use crate::drain::Drain;

/// How long an address has the race to itself before the next one joins: the least that RFC 8305 §5 recommends. Its
/// default of 250 ms would come too late, because after as long a login is given to the next node.
const STAGGER: Duration = Duration::from_millis(100);

/// How connections to nodes are made. A clone is the same dialer.
#[derive(Clone)]
pub struct Dialer(Arc<Way>);

enum Way {
    Sockets(Resolver),
    #[cfg(feature = "testkit")]
    Memory(Box<Connector>),
}

/// What a simulation has for nodes: host and port → connection.
#[cfg(feature = "testkit")]
type Connector = dyn Fn(&str, u16) -> BoxFuture<'static, io::Result<Stream>> + Send + Sync;

impl Dialer {
    /// Knows the nodes' `hosts`: names are looked up by the system's resolver, anew at this interval as long as
    /// [`Dialer::refresh`] runs.
    pub fn new(interval: Duration, hosts: impl IntoIterator<Item = String>) -> Self {
        Self::with_lookup(interval, hosts, resolve::system())
    }

    /// The same with another way to look names up.
    pub fn with_lookup(interval: Duration, hosts: impl IntoIterator<Item = String>, lookup: Lookup) -> Self {
        Self(Arc::new(Way::Sockets(Resolver::new(interval, hosts, lookup))))
    }

    /// The same dialer for another interval and other hosts: what is known of those that stay is kept.
    #[must_use]
    pub fn succeed(&self, interval: Duration, hosts: impl IntoIterator<Item = String>) -> Self {
        match &*self.0 {
            Way::Sockets(resolver) => Self(Arc::new(Way::Sockets(resolver.succeed(interval, hosts)))),
            #[cfg(feature = "testkit")]
            Way::Memory(_) => self.clone(),
        }
    }

    /// For simulations: nodes are whatever `connect` says, without sockets or names.
    #[cfg(feature = "testkit")]
    pub fn memory(
        connect: impl Fn(&str, u16) -> BoxFuture<'static, io::Result<Stream>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Way::Memory(Box::new(connect))))
    }

    /// Keeps the addresses of all names up to date until the signal is given. What changes is logged.
    pub async fn refresh(self, drain: Drain) {
        match &*self.0 {
            Way::Sockets(resolver) => resolver.refresh(drain).await,
            #[cfg(feature = "testkit")]
            Way::Memory(_) => {}
        }
    }

    /// Connects to a node, within `limit` for everything, also the name's first look-up.
    ///
    /// # Errors
    /// "Timed out"; why the name could not be resolved; or what of all addresses' errors tells most of the node.
    pub async fn connect(&self, host: &str, port: u16, limit: Duration) -> io::Result<Stream> {
        match &*self.0 {
            Way::Sockets(resolver) => timeout(limit, dial(resolver, host, port)).await?.map(Stream::Clear),
            #[cfg(feature = "testkit")]
            Way::Memory(connect) => timeout(limit, connect(host, port)).await?,
        }
    }
}

async fn dial(resolver: &Resolver, host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = resolver.addresses(host, port).await?;
    match *addresses {
        [address] => connect(address).await,
        _ => race(interleaved(addresses), connect).await,
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    super::set_options(&SockRef::from(&socket))?;
    socket.connect(address).await
}

/// Both families in turn, the first address's first, so that a family that does not work costs one step (RFC 8305 §4).
fn interleaved(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == is_v6);
    let mut second = second.into_iter();
    let mut mixed = VecDeque::new();
    for address in first {
        mixed.push_back(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed
}

/// The first connection that comes about. An address joins [`STAGGER`] after the one before it, or as soon as one has
/// failed; whoever is still under way when there is a winner is dropped.
async fn race<T, F>(mut waiting: VecDeque<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut running = FuturesUnordered::new();
    let mut failure: Option<io::Error> = None;
    loop {
        running.extend(waiting.pop_front().map(&connect));
        // Until there is a reason to let the next one in.
        let ended = tokio::select! {
            biased;
            ended = running.next() => ended,
            () = sleep(STAGGER), if !waiting.is_empty() => continue,
        };
        match ended {
            Some(Ok(connection)) => return Ok(connection),
            Some(Err(error)) if failure.as_ref().is_none_or(|known| tells(&error) >= tells(known)) => {
                failure = Some(error);
            }
            Some(Err(_)) => {}
            None => return Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into())),
        }
    }
}

/// How much an address's error says of the node: most if somebody there caused it, little if our machine has no way to
/// addresses of its kind, least if we lack something.
fn tells(error: &io::Error) -> u8 {
    match error.raw_os_error() {
        _ if is_our_own(error) => 0,
        Some(number::EAFNOSUPPORT | number::ENETUNREACH) => 1,
        _ => 2,
    }
}

/// Whether an error says nothing of the node, because it is this process or machine that lacks something: descriptors,
/// memory, ports or addresses to dial from, or the permission to dial.
pub fn is_our_own(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|number| number::OUR_OWN.contains(&number))
}

/// The system's error numbers, as Linux has them on x86, ARM, POWER and RISC-V.
mod number {
    /// The operation is not permitted: a local firewall forbids it.
    const EPERM: i32 = 1;
    /// No memory.
    const ENOMEM: i32 = 12;
    /// Permission denied: a local policy forbids it.
    const EACCES: i32 = 13;
    /// The machine's table of open files is full.
    const ENFILE: i32 = 23;
    /// The process has too many open files.
    const EMFILE: i32 = 24;
    /// The machine does not speak IP of this version at all.
    pub(super) const EAFNOSUPPORT: i32 = 97;
    /// No port, or no address of the kind, to dial from.
    const EADDRNOTAVAIL: i32 = 99;
    /// The machine has no way to such an address.
    pub(super) const ENETUNREACH: i32 = 101;
    /// No room for another socket's buffers.
    const ENOBUFS: i32 = 105;

    pub(super) const OUR_OWN: [i32; 7] = [EPERM, ENOMEM, EACCES, ENFILE, EMFILE, EADDRNOTAVAIL, ENOBUFS];
}

#[cfg(test)]
mod tests;
