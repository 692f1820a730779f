//! What there is to see: the process, islands with their nodes, the directory. Changes nothing.

use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

use super::Desk;
use super::refusal::Unknown;
use super::view::{Cache, DirectoryServer, Island, IslandBrief, Islands, Node, Port, Rights, Status};
use crate::names::{IslandName, Protocol};
use crate::privileges::{self, Identity};
use crate::routing::{NodePort, OperatorState, Policy, State, Table};
use crate::sandbox;

/// The states that the operator gives, in the words of the configuration.
pub(super) const OPERATOR_STATES: [(&str, OperatorState); 3] = [
    ("in-service", OperatorState::InService),
    ("draining", OperatorState::Draining),
    ("maintenance", OperatorState::Maintenance),
];

/// The word for a state.
pub(super) fn operator_word(state: OperatorState) -> &'static str {
    match state {
        OperatorState::InService => "in-service",
        OperatorState::Draining => "draining",
        OperatorState::Maintenance => "maintenance",
    }
}

/// The word for a state of health.
pub(super) fn state_word(state: State) -> &'static str {
    match state {
        State::InService => "in-service",
        State::Suspect => "suspect",
        State::Down => "down",
        State::Probation => "probation",
    }
}

impl Desk {
    pub(super) async fn status(&self) -> Status {
        let since = Duration::from_secs(self.context.run().into());
        let (users, capacity) = self.directory().cached().await;
        let (lookups_last_minute, served_last_minute) = self.directory().lately();
        let (held, held_logins) = self.context.holds.count();
        let islands = self.islands();
        let brief = |island: &Island, in_service| IslandBrief {
            name: island.name.clone(),
            nodes: island.nodes.len(),
            in_service,
            sessions: island.nodes.iter().map(|node| node.sessions).sum(),
        };
        let servers = self.directory().servers().into_iter().map(|server| DirectoryServer {
            name: server.name.to_string(),
            available: server.out.is_none(),
            reason: server.out.map(|reason| reason.to_string()),
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string(),
            uptime_s: UNIX_EPOCH.elapsed().unwrap_or_default().saturating_sub(since).as_secs(),
            config: std::path::absolute(&self.settings.config).unwrap_or_default().display().to_string(),
            state_file: self.settings.state_file.display().to_string(),
            ready: !self.context.standing.is_draining(),
            ends_in_s: self.context.standing.left().map(|left| left.as_secs()),
            sessions: self.context.registry.len() as u64,
            logins_last_minute: self.context.registry.minutes().last_minute(),
            held,
            held_logins,
            islands: islands.iter().map(|table| brief(&island(table), in_service(table))).collect(),
            directory: servers.collect(),
            cache: Cache { users, capacity, lookups_last_minute, served_last_minute },
            rights: rights(),
            predecessors: Vec::new(),
            unreached: Vec::new(),
        }
    }

    pub(super) fn all_islands(&self) -> Islands {
        Islands { islands: self.islands().iter().map(island).collect() }
    }

    /// The island of this name.
    pub(super) fn island(&self, name: &str) -> Result<std::sync::Arc<Table>, Unknown> {
        let islands = self.islands();
        let found = islands.iter().find(|table| table.island().name == IslandName::new(name)).cloned();
        found.ok_or_else(|| {
            let known: Vec<String> = islands.iter().map(|table| table.island().name.to_string()).collect();
            Unknown::new("island", name, &known)
        })
    }

    /// The node that is called `island/node`, for each protocol.
    pub(super) fn node(&self, path: &str) -> Result<[NodePort; 2], Unknown> {
        let islands = self.islands();
        let nodes: Vec<[NodePort; 2]> = islands.iter().flat_map(nodes).collect();
        let known: Vec<String> = nodes.iter().map(|[port, _]| path_of(port)).collect();
        let found = nodes.into_iter().zip(&known).find(|(_, known)| *known == path);
        found.map(|(node, _)| node).ok_or_else(|| {
            let only = known.iter().filter(|known| known.rsplit('/').next() == Some(path)).collect::<Vec<_>>();
            match only.as_slice() {
                [one] => Unknown { meant: Some((*one).clone()), ..Unknown::new("node", path, &[]) },
                _ => Unknown::new("node", path, &known),
            }
        })
    }
}

fn rights() -> Rights {
    let user = match privileges::identity() {
        Identity::Became(account) => account.name,
        Identity::Root => "root".to_owned(),
        Identity::Unchanged => format!("number {}", privileges::user_number()),
    };
    let report = sandbox::in_force();
    Rights { user, files: report.files.to_string(), calls: report.calls.to_string() }
}

/// `island/node`
pub(super) fn path_of(port: &NodePort) -> String {
    format!("{}/{}", port.table().island().name, port.node().name)
}

/// How many nodes take logins of every protocol.
pub(super) fn in_service(table: &std::sync::Arc<Table>) -> usize {
    nodes(table).filter(|ports| ports.iter().all(NodePort::takes_logins)).count()
}

fn nodes(table: &std::sync::Arc<Table>) -> impl Iterator<Item = [NodePort; 2]> {
    table.ports(Protocol::Imap).zip(table.ports(Protocol::Pop3)).map(|(imap, pop3)| [imap, pop3])
}

fn island(table: &std::sync::Arc<Table>) -> Island {
    let policy = match table.island().policy {
        Policy::Prefer => "prefer",
        Policy::Balance => "balance",
        Policy::Sticky => "sticky",
    };
    Island {
        name: table.island().name.to_string(),
        policy: policy.to_owned(),
        nodes: nodes(table).map(|ports| node(&ports)).collect(),
    }
}

fn node(ports: &[NodePort; 2]) -> Node {
    let [port, _] = ports;
    Node {
        name: port.node().name.to_string(),
        host: port.node().host.clone(),
        operator: operator_word(port.operator_state()).to_owned(),
        configured: operator_word(port.node().state).to_owned(),
        sessions: port.sessions(),
        protocols: ports.iter().map(health).collect(),
    }
}

fn health(port: &NodePort) -> Port {
    let now = Instant::now().into_std();
    let (state, notes) = (port.state(), port.notes());
    let reason = notes.reason.filter(|_| state != State::InService);
    Port {
        protocol: port.protocol.to_string(),
        port: port.node().port(port.protocol),
        state: state_word(state).to_owned(),
        since_s: now.saturating_duration_since(port.since()).as_secs(),
        reason: reason.map(|reason| reason.to_string()),
        held_back: port.is_held_back(now),
        greeting_ms: notes.greeted_in.map(|took| (took.as_secs_f64() * 1e5).round() / 100.0),
    }
}
