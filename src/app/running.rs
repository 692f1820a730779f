//! What runs: the tasks that a configuration needs, and the swap from one configuration to the next.
//!
//! Nothing here can fail, and nothing between the first and the last change of a swap waits, so that nobody sees half of
//! one. Sessions are not looked at: each keeps what it began with.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::capacity::{self, Capacity};
use super::parts::{Made, Parts, Socket};
use super::{StartError, notify};
use crate::admin::take_over::{Control, Handle};
use crate::admin::{self, Admin, Orders};
use crate::config::Settings;
use crate::directory::Directory;
use crate::drain::{self, Drain};
use crate::limits::Limits;
use crate::logging;
use crate::metrics::Done;
use crate::names::Protocol;
use crate::net::Dialer;
use crate::net::listen::{Origin, Passed, stored_name};
use crate::net::workers::Workers;
use crate::probe;
use crate::routing::{Islands, NodePort};
use crate::server::{Entrance, Listener, Pause};
use crate::session::{Context, Site};

/// For how long a process that takes another's place looks at its nodes before.
const FIRST_LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two questions whether they have been looked at.
const FIRST_LOOK_STEP: Duration = Duration::from_millis(50);

/// A configuration at work.
pub(super) struct Running {
    pub(super) context: Arc<Context>,
    pub(super) made: Arc<Made>,
    /// In the order of the configuration.
    listeners: Vec<Open>,
    entrance: admin::Entrance,
    probes: Vec<Watched>,
    pub(super) workers: Workers,
    /// Each ends its task when it is dropped.
    lookups: drain::Signal,
    keeper: drain::Signal,
    admin: Handle,
    /// Held by each session, and by the listeners that begin them.
    sessions: Drain,
    /// Held by everything else.
    drain: Drain,
}

/// What a stopping mailferry still needs for logins that are under way, and nothing that begins a new one. Ends when it is
/// dropped.
pub(super) struct Remains {
    _probes: Vec<Watched>,
    _lookups: drain::Signal,
    _keeper: drain::Signal,
}

/// What is not open yet.
pub(super) struct Closed {
    sockets: Vec<Socket>,
    admin: Admin,
    /// So many are told to the operator.
    clients: u32,
}

/// A listener at work.
struct Open {
    address: SocketAddr,
    origin: Origin,
    entrance: Entrance,
    closing: drain::Signal,
}

/// A node under watch for a protocol.
struct Watched {
    port: NodePort,
    /// Ends the watch when it is dropped.
    _closing: drain::Signal,
}

impl Running {
    /// Starts everything behind the doors: each session will hold `sessions`, everything else `drain`. `control` is the
    /// operator's socket, of another process, `last` that process's run, before which this one has not begun; his address may be among
    /// those that were `passed`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The operator's socket cannot be had.
    pub(super) fn prepare(
        parts: Parts,
        workers: Workers,
        (control, last): (Option<Control>, u32),
        passed: &mut Passed,
        sessions: Drain,
        drain: Drain,
    ) -> Result<(Self, Closed), StartError> {
        let Parts { made, sockets, .. } = parts;
        let settings = &made.settings;
        let Capacity { possible, clients } = capacity::reckon(settings, &workers);
        let site = Site {
            settings: settings.session.clone(),
            directory: made.directory.clone(),
            islands: Islands::new(settings.islands.clone(), settings.zone.as_ref(), Instant::now().into_std()),
            dialer: Dialer::new(settings.resolve_interval, hosts(settings)),
            node_tls: made.node_tls.clone(),
        };
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // No two sessions have the same name, also where two processes begin in the same second.
        let run = u32::try_from(since_1970.as_secs()).unwrap_or(u32::MAX).max(last.saturating_add(1));
        let context = Arc::new(Context::new(site, Limits::new(settings.limits.clone(), possible), run));
        context.upkeep.configured(Done::Success, since_1970.as_secs());
        context.upkeep.certified(made.expiries.clone());
        let site = context.site();
        let admin = Admin::open(&settings.admin, made.keys.clone(), (&site.islands, &context.holds), control, passed)?;
        let entrance = admin.entrance();
        tokio::spawn(until(drain.clone(), logging::keep_summing()));
        let (lookups, (keeper, _)) = (refresh(&site, &drain), drain::channel());
        let mut running = Self {
            context,
            made: Arc::new(made),
            listeners: Vec::new(),
            entrance,
            probes: Vec::new(),
            workers,
            lookups,
            keeper,
            admin: admin.handle(),
            sessions,
            drain,
        };
        running.watch_nodes();
        Ok((running, Closed { sockets, admin, clients }))
    }

    /// Opens the doors, and writes what is kept from now on. What operators order goes to `orders`.
    pub(super) fn open(&mut self, closed: Closed, orders: Orders) {
        let Closed { sockets, admin, clients } = closed;
        self.begin_writing_routes();
        let new = sockets.into_iter().filter_map(|socket| match socket {
            Socket::Kept(_) => None,
            Socket::New(listener) => Some(open(*listener, &self.context, &self.sessions)),
        });
        self.listeners = new.collect();
        let islands = self.made.settings.islands.len();
        // Last, so that nobody hears that all is well before it is.
        tokio::spawn(admin.serve(Arc::clone(&self.context), orders, self.drain.clone()));
        info!(version = env!("CARGO_PKG_VERSION"), islands, clients, "ready");
    }

    /// Waits until every node was looked at that is looked at soon, but not for long.
    pub(super) async fn look_at_nodes(&self) {
        let looked = async {
            while !self.probes.iter().all(|watched| probe::has_looked(&watched.port)) {
                sleep(FIRST_LOOK_STEP).await;
            }
        };
        if timeout(FIRST_LOOK_TIMEOUT, looked).await.is_err() {
            info!("not every node has answered yet");
        }
    }

    /// The operator's way in, for another process.
    pub(super) fn admin(&self) -> &Handle {
        &self.admin
    }

    /// All listening sockets of addresses once more, the operator's too.
    pub(super) fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        let address = self.admin.address().transpose();
        self.listeners.iter().map(|it| it.entrance.copy()).chain(address).collect()
    }

    /// Accepts nobody once this is back, and until the answer is dropped.
    pub(super) fn pause_listeners(&self) -> Vec<Pause> {
        self.listeners.iter().map(|open| open.entrance.pause()).collect()
    }

    /// Ends all listeners, and leaves those who wait at their sockets to another process, which has the same.
    pub(super) fn leave_listeners(&mut self) {
        for open in self.listeners.drain(..) {
            open.entrance.hand_over();
            // Dropping it ends the listener.
            drop(open.closing);
        }
    }

    /// Has the file of routes written as of now, for a process that reads it.
    pub(super) async fn write_routes(&mut self) {
        self.end_writing_routes().await;
        self.begin_writing_routes();
    }

    /// Writes the file of routes once more, and never again.
    pub(super) async fn end_writing_routes(&mut self) {
        let (none, _) = drain::channel();
        std::mem::replace(&mut self.keeper, none).stop().await;
    }

    /// Writes the file of routes from now on.
    pub(super) fn begin_writing_routes(&mut self) {
        self.keeper = keep(&self.context.site().directory, &self.drain, None);
    }

    /// Where it listens, in the order of the configuration.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|it| it.address).collect()
    }

    /// The swap. What came of it is complete when this returns; the listeners that were closed stop within a moment, which
    /// is when their signals say so.
    pub(super) fn become_of(&mut self, parts: Parts) -> Vec<drain::Signal> {
        let Parts { made, sockets, is_other_directory } = parts;
        let (old, settings) = (Arc::clone(&self.made), &made.settings);
        let before = self.context.site();
        let has_other_hosts =
            old.settings.resolve_interval != settings.resolve_interval || hosts(&old.settings) != hosts(settings);
        let dialer = match has_other_hosts {
            true => before.dialer.succeed(settings.resolve_interval, hosts(settings)),
            false => before.dialer.clone(),
        };
        let now = Instant::now().into_std();
        let site = Arc::new(Site {
            settings: settings.session.clone(),
            directory: made.directory.clone(),
            islands: before.islands.succeed(settings.islands.clone(), settings.zone.as_ref(), now),
            dialer,
            node_tls: made.node_tls.clone(),
        });
        self.context.replace_site(Arc::clone(&site));
        self.context.upkeep.certified(made.expiries.clone());
        self.context.limits.reconfigure(settings.limits.clone(), capacity::reckon(settings, &self.workers).possible);
        logging::set_failures(settings.log.failures);
        if settings.log.level != old.settings.log.level {
            // An error means that the log is not ours.
            let _ = logging::set_level(None, settings.log.level);
        }
        let mut left: Vec<_> = std::mem::take(&mut self.listeners).into_iter().map(Some).collect();
        for ((socket, listener), tls) in sockets.into_iter().zip(&settings.listeners).zip(&made.tls) {
            match socket {
                Socket::New(listener) => self.listeners.push(open(*listener, &self.context, &self.sessions)),
                Socket::Kept(place) => {
                    let Some(kept) = left.get_mut(place).and_then(Option::take) else { continue };
                    kept.entrance.replace(listener, tls.as_ref());
                    self.listeners.push(kept);
                }
            }
        }
        self.entrance.replace(made.keys.clone());
        if has_other_hosts {
            self.lookups = refresh(&site, &self.drain);
        }
        if is_other_directory {
            let (last, _) = drain::channel();
            let last = std::mem::replace(&mut self.keeper, last);
            self.keeper = keep(&site.directory, &self.drain, Some(last));
        }
        self.made = Arc::new(made);
        self.watch_nodes();
        left.into_iter().flatten().map(close).collect()
    }

    /// Nobody new comes in: the listeners' signals, which are to be given. Whoever the kernel has let in is served.
    pub(super) fn close(self) -> (Vec<drain::Signal>, Remains) {
        let Self { listeners, probes, lookups, keeper, .. } = self;
        let remains = Remains { _probes: probes, _lookups: lookups, _keeper: keeper };
        (listeners.into_iter().map(|it| it.closing).collect(), remains)
    }

    /// Probes of nodes that are there no more, or have another configuration, end; each node that has none gets one for
    /// each protocol that is spoken here.
    fn watch_nodes(&mut self) {
        let site = self.context.site();
        let is_spoken = |it: &Protocol| self.made.settings.listeners.iter().any(|listener| listener.protocol == *it);
        let spoken: Vec<_> = Protocol::ALL.into_iter().filter(is_spoken).collect();
        let ports = site.islands.iter().flat_map(|table| spoken.iter().flat_map(|it| table.ports(*it)));
        let mut old = std::mem::take(&mut self.probes);
        for port in ports {
            let probe = match old.iter().position(|watched| watched.port.is(&port)) {
                Some(place) => old.swap_remove(place),
                None => {
                    let (closing, closed) = drain::channel();
                    let watch = probe::watch(Arc::clone(&self.context), port.clone(), closed);
                    tokio::spawn(until(self.drain.clone(), watch));
                    Watched { port, _closing: closing }
                }
            };
            self.probes.push(probe);
        }
    }
}

/// A task until the signal is given; until its end the signal's owner waits for it.
async fn until(drain: Drain, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        () = drain.signalled() => {}
    }
}

fn hosts(settings: &Settings) -> Vec<String> {
    settings.islands.iter().flat_map(|island| &island.nodes).map(|node| node.host.clone()).collect()
}

fn open(listener: Listener, context: &Arc<Context>, sessions: &Drain) -> Open {
    listener.announce();
    let (closing, closed) = drain::channel();
    let (address, origin) = (listener.address(), listener.origin());
    let open = Open { address, origin, entrance: listener.entrance(), closing };
    match origin {
        Origin::Ours | Origin::Process => notify::store(address, &open.entrance),
        // systemd has it, and keeps it.
        Origin::Store | Origin::Unit => {}
    }
    listener.spawn(Arc::clone(context), closed, sessions.clone());
    open
}

/// A listener that is no more in the configuration.
fn close(open: Open) -> drain::Signal {
    let Open { address, origin, closing, .. } = open;
    match origin {
        Origin::Ours | Origin::Process | Origin::Store => notify::forget(&stored_name(address)),
        Origin::Unit => warn!(
            %address,
            "systemd listens there still, and clients that connect hang: take the address out of the socket unit, and \
             restart that"
        ),
    }
    closing
}

/// Looks up the names of nodes.
fn refresh(site: &Site, drain: &Drain) -> drain::Signal {
    let (closing, closed) = drain::channel();
    tokio::spawn(until(drain.clone(), site.dialer.clone().refresh(closed)));
    closing
}

/// Keeps the routes over a restart, as soon as whoever did so before has written for the last time: no file has two
/// writers.
fn keep(directory: &Directory, drain: &Drain, last: Option<drain::Signal>) -> drain::Signal {
    let (closing, closed) = drain::channel();
    let (directory, drain) = (directory.clone(), drain.clone());
    tokio::spawn(async move {
        if let Some(last) = last {
            last.stop().await;
        }
        let (writing, told) = drain::channel();
        let writer = directory.keep(told);
        let stop = async {
            tokio::select! {
                () = closed.signalled() => {}
                () = drain.signalled() => {}
            }
            // It writes once more; whoever waits for us waits for that.
            drop(writing);
        };
        tokio::join!(writer, stop);
    });
    closing
}

#[cfg(test)]
mod tests;
