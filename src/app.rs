//! Settings → running parts: the only file that knows everything. It builds what can fail first, binds, and only then
//! starts.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::config::Settings;
use crate::directory::{self, Directory, SourceSettings};
use crate::drain;
use crate::limits::Limits;
use crate::names::Protocol;
use crate::net::Dialer;
use crate::net::descriptors::Descriptors;
use crate::net::pump;
use crate::net::tls::{self, CertificateError};
use crate::probe;
use crate::routing::{Islands, NodeTls};
use crate::server::{Listener, ListenerSettings, ListenerTls};
use crate::session::{Context, Site};

/// How long sessions may take to end when mailferry stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Descriptors that no client has, whatever the configuration: standard streams, the runtime's own, signals, files that
/// are read or written for a moment, names that are looked up.
const RESERVE: usize = 32;

/// Each listener has its socket and a spare descriptor.
const RESERVE_PER_LISTENER: usize = 2;

/// Each node's probe of each protocol has one, and each look-up of a node's name two.
const RESERVE_PER_NODE: usize = 4;

/// Each LDAP server's trial has a connection, beside its pool.
const RESERVE_PER_LDAP_URL: usize = 1;

/// Each connection to an LDAP server has its socket, and the pair of sockets between our guard and the library.
const PER_LDAP_CONNECTION: usize = 3;

/// Why mailferry does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate, key or list of authorities cannot be used.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    /// rustls will not have it.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The directory cannot be set up.
    #[error("{0}")]
    Directory(#[from] directory::DirectoryError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        reason: io::Error,
    },
}

/// A running mailferry.
pub struct App {
    addresses: Vec<SocketAddr>,
    stop: drain::Signal,
}

impl App {
    /// Builds and binds everything, then starts to accept. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Whatever cannot be built or bound; nothing has been accepted then.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let descriptors = Descriptors::raise(reserve(&settings));
        let clients = clients(&settings, &descriptors);
        pump::allow_pipes(descriptors.pipes());
        let tls = settings.listeners.iter().map(|it| server_tls(&settings, it)).collect::<Result<Vec<_>, _>>()?;
        let context = Arc::new(context(&settings, &descriptors)?);
        let mut listeners = Vec::new();
        for (it, tls) in settings.listeners.iter().zip(&tls) {
            let bound = Listener::bind(it, tls.as_ref());
            listeners.push(bound.map_err(|reason| StartError::Bind { address: it.address, reason })?);
        }
        let addresses = listeners.iter().map(Listener::address).collect();
        let (stop, drain) = drain::channel();
        let site = context.site();
        tokio::spawn(site.dialer.clone().refresh(drain.clone()));
        tokio::spawn(site.directory.clone().keep(drain.clone()));
        for listener in listeners {
            listener.announce();
            tokio::spawn(listener.serve(Arc::clone(&context), drain.clone()));
        }
        let has_listener = |protocol: &Protocol| settings.listeners.iter().any(|it| it.protocol == *protocol);
        for protocol in Protocol::ALL.into_iter().filter(has_listener) {
            for port in site.islands.iter().flat_map(|table| table.ports(protocol)) {
                tokio::spawn(probe::watch(Arc::clone(&context), port, drain.clone()));
            }
        }
        info!(version = env!("CARGO_PKG_VERSION"), islands = settings.islands.len(), clients, "ready");
        Ok(Self { addresses, stop })
    }

    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops accepting, ends all sessions and waits for their records, for at most 10 seconds.
    pub async fn stop(self) {
        if timeout(STOP_TIMEOUT, self.stop.stop()).await.is_err() {
            warn!("some sessions did not end in time");
        }
    }
}

/// Descriptors that are not for clients.
fn reserve(settings: &Settings) -> u64 {
    let nodes: usize = settings.islands.iter().map(|island| island.nodes.len()).sum();
    let ldap = match &settings.directory.source {
        SourceSettings::Ldap(ldap) => ldap.urls.len() * (ldap.pool + RESERVE_PER_LDAP_URL) * PER_LDAP_CONNECTION,
        SourceSettings::File(_) => 0,
    };
    let all = RESERVE + settings.listeners.len() * RESERVE_PER_LISTENER + nodes * RESERVE_PER_NODE + ldap;
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// How many clients there may be. Tells the operator if that is less than he wants.
fn clients(settings: &Settings, descriptors: &Descriptors) -> u32 {
    let possible = descriptors.clients();
    let Some(wanted) = settings.limits.connections.map(NonZeroU32::get) else { return possible };
    if wanted > possible {
        let (limit, needed) = (descriptors.limit, descriptors.needed(wanted));
        warn!(
            wanted,
            possible,
            limit,
            needed,
            "too few file descriptors for so many connections: set LimitNOFILE={needed} in the service unit, or ulimit -n"
        );
    }
    wanted.min(possible)
}

/// TLS towards the clients of one listener. Protocols have the names that they have in ALPN.
fn server_tls(settings: &Settings, listener: &ListenerSettings) -> Result<Option<Arc<ServerConfig>>, StartError> {
    let protocol = match listener.protocol {
        Protocol::Imap => &b"imap"[..],
        Protocol::Pop3 => b"pop3",
    };
    let tls = settings.tls.as_ref().filter(|_| listener.tls != ListenerTls::Off);
    Ok(tls.map(|tls| tls::server_config(tls, protocol, listener.client_ca.as_deref())).transpose()?)
}

/// Everything that sessions share.
fn context(settings: &Settings, descriptors: &Descriptors) -> Result<Context, StartError> {
    let mut roots = Roots::default();
    let directory = directory(settings, &mut roots)?;
    let mut node_tls = HashMap::new();
    for island in settings.islands.iter().filter(|island| island.tls != NodeTls::Off) {
        node_tls.insert(island.name.clone(), roots.client_config(island.ca.as_ref())?);
    }
    let hosts = settings.islands.iter().flat_map(|island| &island.nodes).map(|node| node.host.clone());
    let islands = Islands::new(settings.islands.clone(), settings.zone.as_ref(), Instant::now().into_std());
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let run = u32::try_from(since_1970.as_secs()).unwrap_or(u32::MAX);
    let site = Site {
        settings: settings.session.clone(),
        directory,
        islands,
        dialer: Dialer::new(settings.resolve_interval, hosts),
        node_tls,
    };
    Ok(Context::new(site, Limits::new(settings.limits.clone(), descriptors.clients()), run))
}

/// The directory alone, for asking it where a user would go.
///
/// # Errors
/// Its certificate authorities or its file cannot be used.
pub fn open_directory(settings: &Settings) -> Result<Directory, StartError> {
    directory(settings, &mut Roots::default())
}

fn directory(settings: &Settings, roots: &mut Roots) -> Result<Directory, StartError> {
    let tls = match &settings.directory.source {
        SourceSettings::Ldap(ldap) if ldap.urls.iter().any(|url| ldap.uses_tls(url)) => {
            Some(roots.client_config(ldap.ca.as_ref())?)
        }
        SourceSettings::Ldap(_) | SourceSettings::File(_) => None,
    };
    Ok(Directory::new(&settings.directory, tls)?)
}

/// TLS configurations by the file of their authorities, so that each file is loaded once.
#[derive(Default)]
struct Roots(HashMap<Option<PathBuf>, Arc<ClientConfig>>);

impl Roots {
    fn client_config(&mut self, ca: Option<&PathBuf>) -> Result<Arc<ClientConfig>, StartError> {
        if let Some(known) = self.0.get(&ca.cloned()) {
            return Ok(Arc::clone(known));
        }
        let roots: RootCertStore = match ca {
            Some(path) => tls::load_roots(path)?,
            None => tls::system_roots()?,
        };
        let config = tls::client_config(roots)?;
        self.0.insert(ca.cloned(), Arc::clone(&config));
        Ok(config)
    }
}
