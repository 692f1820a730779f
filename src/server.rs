//! Listeners: bind, accept, hand each connection to a session. Accepting never fails for good.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tracing::{error, info};

use crate::drain::Drain;
use crate::net::{Stream, listen};
use crate::proto::{Channel, Protocol};
use crate::session::{self, Accepted, Context, Door};

/// How long accepting pauses when the process or the machine has run out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

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
    socket: TcpListener,
    address: SocketAddr,
    door: Arc<Door>,
}

impl Listener {
    /// Binds; connections wait in the kernel's queue until [`Self::serve`].
    ///
    /// # Errors
    /// The address is in use, not ours, or not permitted.
    pub fn bind(settings: &ListenerSettings, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        let socket = listen::bind(settings.address)?;
        let address = socket.local_addr()?;
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
        Ok(Self { socket, address, door: Arc::new(door) })
    }

    /// Where it listens: the port that the kernel chose, where the configuration said 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the operator where it listens.
    pub fn announce(&self) {
        let tls = match self.door.channel {
            Channel::Tls => "implicit",
            Channel::Upgradable => "starttls",
            Channel::Clear => "off",
        };
        info!(protocol = %self.door.protocol, address = %self.address, %tls, "listening");
    }

    /// Accepts until told to stop.
    pub async fn serve(self, context: Arc<Context>, drain: Drain) {
        let mut exhausted = false;
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = drain.signalled() => return,
            };
            match accepted {
                Ok((socket, client)) => {
                    exhausted = false;
                    let Ok(slot) = context.limits.enter() else { continue };
                    let connected = socket.local_addr().unwrap_or(self.address);
                    let accepted = Accepted { socket: Stream::Clear(socket), client, connected, slot };
                    let (context, door) = (Arc::clone(&context), Arc::clone(&self.door));
                    tokio::spawn(session::run(context, door, accepted, drain.clone()));
                }
                Err(reason) if is_about_one_connection(&reason) => {}
                Err(reason) => {
                    if !std::mem::replace(&mut exhausted, true) {
                        error!(address = %self.address, %reason, "cannot accept; new connections wait");
                    }
                    sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }
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
