//! What the configuration says of an island and its nodes.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::names::{IslandName, NodeName, Protocol, UserName, ZoneName};

/// A mail cluster of its own, served by nodes that all have the same mail.
#[derive(Clone, Debug, PartialEq)]
pub struct Island {
    /// The name in log and reports.
    pub name: IslandName,
    /// Every spelling in the directory that means this island, the name included.
    pub spellings: Vec<IslandName>,
    /// Which node gets a login.
    pub policy: Policy,
    /// When a node that returned gets its users back.
    pub fail_back: FailBack,
    /// How nodes are reached.
    pub tls: NodeTls,
    /// How nodes are told where a client comes from.
    pub forward: Forward,
    /// Certificate authorities for the nodes, as PEM; the system's when absent.
    pub ca: Option<PathBuf>,
    /// For connecting to one node, over all its addresses.
    pub connect_timeout: Duration,
    /// From the connect until the node is ready for the login: greeting, TLS, capabilities.
    pub greeting_timeout: Duration,
    /// From the first octet of the replayed login until the node's answer.
    pub login_timeout: Duration,
    /// How long the first node may take to greet before the next one is dialled beside it. `None`: two nodes are never
    /// tried at the same time.
    pub hedge: Option<Duration>,
    /// How long a login waits for a node to return when none can serve it.
    pub patience: Duration,
    /// Over how long the client connections of a node's sessions that die together are closed.
    pub disconnect_spread: Duration,
    /// Most logins that one node gets in a second, over all protocols. `None`: as many as come.
    pub max_login_rate: Option<NonZeroU32>,
    /// How nodes are checked.
    pub probe: Probe,
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
    /// Its share under [`Policy::Balance`] and [`Policy::Sticky`], relative to the other nodes'.
    pub weight: NonZeroU32,
    /// Its place under [`Policy::Prefer`]: the smallest first.
    pub rank: u32,
    /// Where it stands.
    pub zone: Option<ZoneName>,
    /// What the operator wants of it.
    pub state: OperatorState,
}

impl Node {
    /// Whether it is the same server: what is known of one is true of the other.
    pub fn is_where(&self, other: &Self) -> bool {
        let place = |node: &Self| (node.imap_port, node.pop3_port);
        self.name == other.name && self.host == other.host && place(self) == place(other)
    }

    /// Where it speaks this protocol.
    pub fn port(&self, protocol: Protocol) -> u16 {
        match protocol {
            Protocol::Imap => self.imap_port,
            Protocol::Pop3 => self.pop3_port,
        }
    }
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

/// How a node is told where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// It is not.
    Off,
    /// A PROXY header of version 2 is the first that it gets on each connection, with what is known of the client's TLS.
    Proxy,
    /// IMAP: fields of ID; POP3: XCLIENT. As Dovecot reads them from its `login_trusted_networks`.
    Id,
}

/// Which of an island's nodes gets a login, as long as they are in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The one with the smallest rank; among equals the one in our zone.
    Prefer,
    /// In our zone first; there the one with the fewest sessions for its weight.
    Balance,
    /// The same user's logins go to the same node, whichever mailferry they come through.
    Sticky,
}

/// When a node that was down and returned is preferred again. Nobody who is logged in elsewhere is cut for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailBack {
    /// At once.
    Now,
    /// When it has been in service for this long.
    After(Duration),
    /// When the operator says so.
    Manual,
}

/// What the operator wants of a node. It stands above health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OperatorState {
    /// It gets logins as its health allows.
    #[default]
    InService,
    /// It keeps its sessions and gets no new ones.
    Draining,
    /// It gets nothing and is not probed.
    Maintenance,
}

/// How an island's nodes are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What must succeed.
    pub check: Check,
    /// Between two probes of a node that is in service, ± 10 %.
    pub interval: Duration,
    /// For one probe, from connect to the last answer.
    pub timeout: Duration,
    /// So many failures in a row take a node down.
    pub fall: u32,
    /// So many passed probes in a row bring it back.
    pub rise: u32,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Connect, TLS, greeting.
    Greeting,
    /// All that, and one command that needs no login.
    Command,
    /// All that, and a login.
    Login {
        /// Whose.
        user: UserName,
        /// The password is the file's content without the last line end; read at each probe.
        password_file: PathBuf,
    },
}
