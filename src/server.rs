//! Listeners: open, accept, hand each connection to a session. Accepting never fails for good.
//!
//! For whom there is no place hears one line, if it is a door where clear text may be spoken, and is closed at once: that
//! costs us a write, without a task, a wait or a descriptor that is held. A TLS handshake for the sake of a refusal would
//! cost us more than the attacker, so behind implicit TLS the connection is closed without a word.

use std::future::{pending, poll_fn};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::drain::Drain;
use crate::limits::{Full, Limits};
use crate::net::Stream;
use crate::net::descriptors::{Spare, is_lack};
use crate::net::listen::{self, Origin, Passed};
use crate::net::workers::{Place, Worker};
use crate::proto::{Channel, ClientDialogue, Protocol};
use crate::session::{self, Accepted, Context, Door};

/// How long accepting pauses when the process or the machine has run out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// What a client may have sent ahead of its refusal, in octets, that is read so that the close does not become a reset.
const SENT_AHEAD: usize = 4096;

/// One listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where. `[::]` means IPv6 and IPv4.
    pub address: SocketAddr,
    /// How the connection is protected.
    pub tls: ListenerTls,
    /// Whether passwords are accepted without TLS.
    pub cleartext_login: bool,
    /// See [`Door::proxy_protocol_from`].
    pub proxy_protocol_from: Vec<IpNet>,
    /// See [`Door::proxy_protocol_tls`].
    pub proxy_protocol_tls: bool,
    /// See [`Door::trusted_networks`].
    pub trusted_networks: Vec<IpNet>,
    /// The authorities of which clients must have a certificate, as PEM; none is asked for when absent.
    pub client_ca: Option<PathBuf>,
    /// See [`Door::default_domain`].
    pub default_domain: Option<Arc<str>>,
}

/// How a listener protects its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerTls {
    /// TLS from the first octet.
    Implicit,
    /// STARTTLS or STLS is offered.
    StartTls,
    /// Clear text for good.
    Off,
}

/// A bound listener.
pub struct Listener {
    socket: Arc<TcpListener>,
    place: Place,
    address: SocketAddr,
    origin: Origin,
    entrance: Entrance,
    spare: Spare,
}

/// What stands behind a listening socket: what connections that are accepted from now on find there. A clone is the same.
#[derive(Clone)]
pub struct Entrance {
    way: Arc<ArcSwap<Way>>,
    /// The listener's, for as long as that lives.
    socket: Weak<TcpListener>,
    /// Whoever accepts looks at it under its lock: once it has changed, it is so.
    stand: Arc<watch::Sender<Stand>>,
}

/// Whose those are who wait in the socket's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// They are accepted here.
    Open,
    /// Another process, which has the same socket, is about to accept them, or they will be accepted here again.
    Paused,
    /// Another process's.
    HandedOver,
}

/// A listener that accepts nobody. Dropping it lets it go on, unless it was handed over.
#[must_use = "it goes on when this is dropped"]
pub struct Pause(Arc<watch::Sender<Stand>>);

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.send_if_modified(|stand| {
            let is_paused = *stand == Stand::Paused;
            if is_paused {
                *stand = Stand::Open;
            }
            is_paused
        });
    }
}

/// A connection that was accepted.
struct Incoming<'a> {
    socket: TcpStream,
    client: SocketAddr,
    /// Who has its socket, and is to serve it.
    worker: &'a Worker,
}

/// What a connection finds.
struct Way {
    door: Arc<Door>,
    /// What a client hears for whom there is no place.
    refusal: Vec<u8>,
}

impl Way {
    fn new(settings: &ListenerSettings, tls: Option<&Arc<ServerConfig>>) -> Self {
        let channel = match settings.tls {
            ListenerTls::Implicit => Channel::Tls,
            ListenerTls::StartTls => Channel::Upgradable,
            ListenerTls::Off => Channel::Clear,
        };
        let door = Door {
            protocol: settings.protocol,
            channel,
            cleartext_login: settings.cleartext_login,
            tls: tls.cloned(),
            proxy_protocol_from: settings.proxy_protocol_from.clone(),
            proxy_protocol_tls: settings.proxy_protocol_tls,
            trusted_networks: settings.trusted_networks.clone(),
            default_domain: settings.default_domain.clone(),
        };
        let refusal = match channel {
            Channel::Tls => Vec::new(),
            Channel::Upgradable | Channel::Clear => ClientDialogue::turned_away(settings.protocol),
        };
        Self { door: Arc::new(door), refusal }
    }
}

impl Entrance {
    /// Connections that are accepted from now on find this.
    pub fn replace(&self, settings: &ListenerSettings, tls: Option<&Arc<ServerConfig>>) {
        self.way.store(Arc::new(Way::new(settings, tls)));
        if let Some(socket) = self.socket.upgrade() {
            // What has worked for this socket at its bind works now.
            let _ = listen::defer_accept(&socket, settings.tls == ListenerTls::Implicit);
        }
    }

    /// The socket itself once more, for another process.
    ///
    /// # Errors
    /// It is closed, or there are no descriptors.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        let socket = self.socket.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        socket.as_fd().try_clone_to_owned()
    }

    /// Nobody is accepted once this is back: whoever connects waits in the kernel's queue.
    pub fn pause(&self) -> Pause {
        self.stand.send_replace(Stand::Paused);
        Pause(Arc::clone(&self.stand))
    }

    /// Another process accepts at the same socket from now on, and nobody does here. When this listener ends, it leaves to it
    /// whoever waits.
    pub fn hand_over(&self) {
        self.stand.send_replace(Stand::HandedOver);
    }
}

impl Listener {
    /// Takes the socket that was passed for the address, or binds; connections wait in the kernel's queue until
    /// [`Self::spawn`]. They are accepted at this place.
    ///
    /// # Errors
    /// The address is in use, not ours, or not permitted.
    pub fn open(
        settings: &ListenerSettings,
        tls: Option<&Arc<ServerConfig>>,
        passed: &mut Passed,
        place: Place,
    ) -> io::Result<Self> {
        let (socket, origin) = {
            let _there = place.own().enter();
            listen::open(settings.address, passed)?
        };
        let socket = Arc::new(socket);
        if origin == Origin::Ours {
            listen::defer_accept(&socket, settings.tls == ListenerTls::Implicit)?;
        }
        let address = socket.local_addr()?;
        let way = Arc::new(ArcSwap::from_pointee(Way::new(settings, tls)));
        let stand = Arc::new(watch::Sender::new(Stand::Open));
        let entrance = Entrance { way, socket: Arc::downgrade(&socket), stand };
        Ok(Self { socket, place, address, origin, entrance, spare: Spare::take() })
    }

    /// Who has opened its socket.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Where it listens: the port that the kernel chose, where the configuration said 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For changing what is behind the socket.
    pub fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Tells the operator where it listens.
    pub fn announce(&self) {
        let door = Arc::clone(&self.entrance.way.load().door);
        let tls = match door.channel {
            Channel::Tls => "implicit",
            Channel::Upgradable => "starttls",
            Channel::Clear => "off",
        };
        info!(protocol = %door.protocol, address = %self.address, %tls, "listening");
    }

    /// Serves in a task of its own, where its socket is.
    pub fn spawn(self, context: Arc<Context>, closing: Drain, drain: Drain) {
        let place = self.place.clone();
        place.own().spawn(self.serve(context, closing, drain));
    }

    /// Accepts until told to stop. `closing` ends this listener alone: whoever the kernel has let in by then is accepted
    /// still, and when that signal's owner is told that all have heard it, the socket is closed.
    async fn serve(mut self, context: Arc<Context>, closing: Drain, drain: Drain) {
        if self.origin != Origin::Ours {
            // Not earlier: until now, somebody else may have served there in another way.
            let is_deferred = self.entrance.way.load().door.channel == Channel::Tls;
            let _ = listen::defer_accept(&self.socket, is_deferred);
        }
        tokio::select! {
            () = self.accept(&context, &drain) => {}
            () = closing.signalled() => {
                let stand = *self.entrance.stand.borrow();
                if stand != Stand::HandedOver {
                    self.let_in_who_waits(&context, &drain);
                }
            }
        }
        // Whoever hears that it is closed finds it counted nowhere.
        drop((self, drain));
        drop(closing);
    }

    /// Whoever is in the kernel's queue.
    fn let_in_who_waits(&self, context: &Arc<Context>, drain: &Drain) {
        loop {
            match take_waiting(&self.socket, &self.place) {
                Ok(incoming) => self.let_in(incoming, context, drain),
                Err(reason) if is_about_one_connection(&reason) => {}
                Err(_) => return,
            }
        }
    }

    async fn accept(&mut self, context: &Arc<Context>, drain: &Drain) {
        // One for all: while clients are waiting, one after the other is accepted without a wait in between.
        let mut stopped = pin!(drain.signalled());
        let mut stand = self.entrance.stand.subscribe();
        loop {
            let accepted = tokio::select! {
                // First, so that a storm of connections does not drown it.
                biased;
                () = &mut stopped => return,
                accepted = next(&self.socket, &self.place, &mut stand) => accepted,
            };
            match accepted {
                Ok(incoming) => {
                    self.spare.take_again();
                    self.let_in(incoming, context, drain);
                }
                Err(reason) if is_about_one_connection(&reason) => {}
                Err(reason) if is_lack(&reason) && self.spare.give_up() => {
                    match next(&self.socket, &self.place, &mut stand).now_or_never() {
                        Some(Ok(incoming)) => self.turn_away(incoming.socket, Full::Connections, &context.limits),
                        // Somebody else was faster to take the descriptor.
                        Some(Err(_)) => sleep(EXHAUSTED_PAUSE).await,
                        // Nobody waits any more.
                        None => {}
                    }
                    self.spare.take_again();
                }
                Err(reason) => {
                    // It comes and goes with each descriptor that is free for a moment. Each address and each reason is heard of.
                    let kind = format!("accept {} {reason}", self.address);
                    if let Some(untold) = context.limits.alarm(kind, Instant::now().into_std()) {
                        error!(address = %self.address, %reason, untold, "cannot accept; new connections wait");
                    }
                    sleep(EXHAUSTED_PAUSE).await;
                    self.spare.take_again();
                }
            }
        }
    }

    /// A session for a connection that was accepted, if there is a place for it.
    fn let_in(&self, incoming: Incoming<'_>, context: &Arc<Context>, drain: &Drain) {
        let Incoming { socket, client, worker } = incoming;
        let door = Arc::clone(&self.entrance.way.load().door);
        // Before anybody has to make place for it: who it is, where that is known already.
        let entered = match client.ip() {
            from if door.wants_header(from) => context.limits.enter(),
            from => context.limits.enter_from(from),
        };
        match entered {
            Ok(slot) => {
                let connected = self.connected(&socket);
                let accepted = Accepted { socket: Stream::Clear(socket), client, connected, slot };
                worker.spawn(session::run(Arc::clone(context), door, accepted, drain.clone()));
            }
            Err(full) => self.turn_away(socket, full, &context.limits),
        }
    }

    /// The address to which a client has connected. The kernel is asked only where that may be any.
    fn connected(&self, socket: &TcpStream) -> SocketAddr {
        let is_any = self.address.ip().is_unspecified();
        if is_any { socket.local_addr().unwrap_or(self.address) } else { self.address }
    }

    /// Ends a connection for which there is no place. Nothing here waits: the line has room in the kernel, or it is lost.
    fn turn_away(&self, socket: TcpStream, why: Full, limits: &Limits) {
        if let Some(untold) = limits.turned_away(why, Instant::now().into_std()) {
            let address = self.address;
            if why == Full::Network {
                let client = socket.peer_addr().ok().map(|client| client.ip().to_canonical());
                let client = client.map(tracing::field::display);
                warn!(%address, client, untold, "no place for more connections of a client's network: it is turned away");
            } else {
                warn!(%address, untold, "no place for more connections: clients are turned away");
            }
        }
        let Ok(mut socket) = socket.into_std() else { return };
        let _ = socket.write(&self.entrance.way.load().refusal);
        let _ = socket.shutdown(Shutdown::Write);
        let _ = socket.read(&mut [0; SENT_AHEAD]);
    }
}

/// Who comes next, as long as anybody is accepted here. Loses nobody where it is dropped.
async fn next<'a>(
    socket: &TcpListener,
    place: &'a Place,
    stand: &mut watch::Receiver<Stand>,
) -> io::Result<Incoming<'a>> {
    loop {
        let accepted = poll_fn(|cx| {
            // Held until somebody is accepted: who pauses us waits for that, and nobody is behind his back.
            let stand = stand.borrow();
            match *stand {
                Stand::Open => {
                    let worker = place.for_session();
                    // What is accepted is registered there.
                    let _there = worker.enter();
                    let accepted = socket.poll_accept(cx);
                    accepted.map_ok(|(socket, client)| Incoming { socket, client, worker }).map(Some)
                }
                Stand::Paused | Stand::HandedOver => Poll::Ready(None),
            }
        });
        match accepted.await {
            Some(accepted) => return accepted,
            // Its other end is there for as long as the listener is.
            None if stand.wait_for(|stand| *stand == Stand::Open).await.is_err() => return pending().await,
            None => {}
        }
    }
}

/// Who waits in the kernel's queue, however many do. The kernel itself is asked: what tokio knows of the socket may be
/// older than they.
#[cfg(target_os = "linux")]
fn take_waiting<'a>(listener: &TcpListener, place: &'a Place) -> io::Result<Incoming<'a>> {
    use rustix::net::{SocketFlags, acceptfrom_with};

    let (socket, client) = acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let client = client.and_then(|client| client.try_into().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let worker = place.for_session();
    let _there = worker.enter();
    Ok(Incoming { socket: TcpStream::from_std(socket.into())?, client, worker })
}

/// Who waits in the kernel's queue, as far as tokio knows.
#[cfg(not(target_os = "linux"))]
fn take_waiting<'a>(listener: &TcpListener, place: &'a Place) -> io::Result<Incoming<'a>> {
    let worker = place.for_session();
    let _there = worker.enter();
    let next = tokio::task::coop::unconstrained(listener.accept()).now_or_never();
    let (socket, client) = next.unwrap_or(Err(io::ErrorKind::WouldBlock.into()))?;
    Ok(Incoming { socket, client, worker })
}

/// accept(2) also reports what happened to a connection that is gone already.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
