//! What the configuration says of an island and its nodes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::names::{IslandName, NodeName};

/// A mail cluster of its own, served by nodes that all have the same mail.
#[derive(Clone, Debug, PartialEq)]
pub struct Island {
    /// The name in log and reports.
    pub name: IslandName,
    /// Every spelling in the directory that means this island, the name included.
    pub spellings: Vec<IslandName>,
    /// How nodes are reached.
    pub tls: NodeTls,
    /// Certificate authorities for the nodes, as PEM; the system's when absent.
    pub ca: Option<PathBuf>,
    /// For connecting to one node, over all its addresses.
    pub connect_timeout: Duration,
    /// From the connect until the node is ready for the login: greeting, TLS, capabilities.
    pub greeting_timeout: Duration,
    /// From the first octet of the replayed login until the node's answer.
    pub login_timeout: Duration,
    /// In order of preference; at least one.
    pub nodes: Vec<Arc<Node>>,
}

/// One server of an island.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `left`, `right`, or whatever the operator calls it.
    pub name: NodeName,
    /// Name or address to connect to.
    pub host: String,
    /// For IMAP.
    pub imap_port: u16,
    /// For POP3.
    pub pop3_port: u16,
    /// The name that its certificate must have.
    pub tls_name: String,
}

/// How the connection to a node is protected. There is no opportunistic mode: what is configured happens or the node
/// is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeTls {
    /// Clear text.
    Off,
    /// STARTTLS or STLS, demanded.
    StartTls,
    /// TLS from the first octet.
    Implicit,
}

/// All islands, found by the directory's spelling.
#[derive(Clone, Debug, Default)]
pub struct Islands(Vec<Arc<Island>>);

impl Islands {
    /// The configuration has made sure that no spelling means two islands.
    pub fn new(islands: Vec<Island>) -> Self {
        Self(islands.into_iter().map(Arc::new).collect())
    }

    /// The island that the directory means.
    pub fn find(&self, spelling: &IslandName) -> Option<&Arc<Island>> {
        self.0.iter().find(|island| island.spellings.contains(spelling))
    }
}
