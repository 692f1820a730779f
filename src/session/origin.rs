//! Who the client is, as far as mailferry knows and believes: for limits, nodes and the log.
//!
//! Addresses come from the socket, or from a proxy that the configuration trusts. Nothing that a stranger says about
//! himself gets in here.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::record::Record;
use crate::names::SessionId;
use crate::net::Stream;
use crate::proto::LoginRequest;
use crate::proto::introduction::{Claim, Introduction, TTL_MAX, TlsFacts};
use crate::proto::proxy_header::{Header, Peers};

/// Who the client is.
#[derive(Clone)]
pub(super) struct Origin {
    /// Where it comes from.
    pub(super) client: SocketAddr,
    /// Which address it connected to.
    pub(super) connected: SocketAddr,
    /// What protects its connection to us, or to the balancer that we trust in this.
    pub(super) tls: Option<TlsFacts>,
    /// Hops that the login may still take, to us included; 1 is the end of a circle.
    pub(super) ttl: u8,
}

/// Who logs in, with what, and until when.
pub(super) struct Login<'a> {
    pub(super) request: &'a LoginRequest,
    pub(super) origin: &'a Origin,
    pub(super) deadline: Instant,
}

impl Origin {
    /// What the socket says. IPv4 addresses are written as such.
    pub(super) fn of_socket(client: SocketAddr, connected: SocketAddr) -> Self {
        Self { client: canonical(client), connected: canonical(connected), tls: None, ttl: TTL_MAX }
    }

    /// TLS runs on the connection.
    pub(super) fn secured(&mut self, stream: &Stream) {
        self.tls = stream.tls_facts();
    }

    /// What the header of a balancer says that we trust in this; of TLS only with `believes_tls`.
    pub(super) fn passed_on(&mut self, header: &Header, believes_tls: bool, record: &mut Record) {
        match header.peers {
            // HAProxy's checks say so with version 1, which has no other word for them that it uses.
            Some(Peers { client, .. }) if client == self.client => record.is_of_balancer(),
            Some(Peers { client, connected }) => {
                (self.client, self.connected) = (client, connected);
                record.comes_from(client);
            }
            // The socket's addresses stand.
            None => record.is_of_balancer(),
        }
        self.ttl = header.ttl.map_or(self.ttl, |ttl| ttl.min(self.ttl));
        if believes_tls && let Some(facts) = &header.tls {
            record.secured(Some(logged(&facts.version)));
            self.tls = Some(facts.clone());
        }
    }

    /// What a proxy in front of us says of its client, as far as its dialogue let it say so.
    pub(super) fn believe(&mut self, claim: &Claim, record: &mut Record) {
        self.client = claim.client.map_or(self.client, canonical);
        self.connected = claim.connected.map_or(self.connected, canonical);
        self.ttl = claim.ttl.map_or(self.ttl, |ttl| ttl.min(self.ttl));
        record.comes_from(self.client);
    }

    /// The server name that the client asked for in its TLS handshake.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.tls.as_ref().and_then(|tls| tls.server_name.as_deref())
    }

    /// What a node is told.
    pub(super) fn introduction(&self, session: SessionId) -> Introduction {
        let session: Arc<str> = session.to_string().into();
        Introduction {
            session,
            client: self.client,
            connected: self.connected,
            tls: self.tls.clone(),
            ttl: self.ttl.saturating_sub(1),
        }
    }
}

/// The version in the log's spelling, which is that of our own handshakes.
fn logged(version: &str) -> &'static str {
    match version {
        "TLSv1.3" => "TLSv1_3",
        "TLSv1.2" => "TLSv1_2",
        _ => "TLS",
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
