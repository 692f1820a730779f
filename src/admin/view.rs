//! The words of all questions and answers, as JSON has them: docs/openapi.json describes the same, and a test compares
//! the two. Names of users are escaped as in the log.

mod holds;
mod people;
mod predecessors;
mod reloaded;
mod watch;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::holds::{Held, Hold, HoldFilter, HoldOrder, Holds, ReleaseOrder, Released, Route, Whom};
pub use self::people::{Depth, Filter, Kick, Kicked, Missed, MissedRates, Session, Sessions, Share, Sort, Top};
pub use self::predecessors::{Predecessor, Unreached};
pub use self::reloaded::{Changed, FileProblem, NeedsRestart, Reloaded};
pub use self::watch::{Curve, Curves, Event, Failure, Failures};

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong.
    pub error: String,
    /// What may have been meant.
    pub meant: Vec<String>,
}

/// `GET /healthz` and `GET /readyz`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it is so.
    pub ok: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of mailferry.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Its start, as RFC 3339 has it.
    pub since: String,
    /// Seconds since then.
    pub uptime_s: u64,
    /// The configuration's file.
    pub config: String,
    /// Where states of nodes are kept.
    pub state_file: String,
    /// Whether new clients are wanted; not any more when it has begun to stop.
    pub ready: bool,
    /// Seconds until the sessions that are left are cut, once it has begun to stop.
    #[serde(default)]
    pub ends_in_s: Option<u64>,
    /// In the relay.
    pub sessions: u64,
    /// Accepted in the last minute.
    pub logins_last_minute: u64,
    /// Users who are held.
    pub held: usize,
    /// Logins of theirs that wait.
    pub held_logins: usize,
    /// In short.
    pub islands: Vec<IslandBrief>,
    /// In the order of asking.
    pub directory: Vec<DirectoryServer>,
    /// In front of it.
    pub cache: Cache,
    /// What the process may do to the machine.
    pub rights: Rights,
    /// Processes whose place this one has taken, and which still have sessions.
    #[serde(default)]
    pub predecessors: Vec<Predecessor>,
    /// Those of them that cannot be asked.
    #[serde(default)]
    pub unreached: Vec<Unreached>,
}

/// What the process may do to the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Who it is: a name of the configuration, `root`, or the number of whoever started it.
    pub user: String,
    /// Files, in words.
    pub files: String,
    /// Calls of the kernel, in words.
    pub calls: String,
}

/// An island in a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IslandBrief {
    /// Its name.
    pub name: String,
    /// How many it has.
    pub nodes: usize,
    /// How many of them take logins of every protocol.
    pub in_service: usize,
    /// On all of them, and logins on their way.
    pub sessions: u64,
}

/// A server of the directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectoryServer {
    /// The URL, or the file.
    pub name: String,
    /// Whether it is asked.
    pub available: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// The cache in front of the directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cache {
    /// Users in it.
    pub users: u64,
    /// Most of them.
    pub capacity: u64,
    /// Look-ups of logins in the last minute.
    pub lookups_last_minute: u64,
    /// Of these, those for which the directory was not asked.
    pub served_last_minute: u64,
}

/// `GET /v1/islands`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Islands {
    /// In the order of the configuration.
    pub islands: Vec<Island>,
}

/// One island.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Island {
    /// Its name.
    pub name: String,
    /// `prefer`, `balance` or `sticky`.
    pub policy: String,
    /// In the order of the configuration.
    pub nodes: Vec<Node>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Name or address.
    pub host: String,
    /// What the operator wants of it: `in-service`, `draining` or `maintenance`.
    pub operator: String,
    /// What the configuration says of that.
    pub configured: String,
    /// Its own, and logins on their way.
    pub sessions: u64,
    /// What is known of it for each protocol.
    pub protocols: Vec<Port>,
}

/// A node's health for one protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// `imap` or `pop3`.
    pub protocol: String,
    /// Where it listens.
    pub port: u16,
    /// `in-service`, `suspect`, `down` or `probation`.
    pub state: String,
    /// Seconds since it is in this state.
    pub since_s: u64,
    /// Why it is not in service.
    pub reason: Option<String>,
    /// It has returned, and its users have not (`fail_back`).
    pub held_back: bool,
    /// From the connect to the greeting, of the last probe that was greeted.
    pub greeting_ms: Option<f64>,
}

/// `POST /v1/node`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeOrder {
    /// `island/node`.
    pub node: String,
    /// `in-service`, `draining` or `maintenance`.
    pub state: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeState {
    /// `island/node`.
    pub node: String,
    /// Before.
    pub was: String,
    /// Now.
    pub state: String,
    /// It still has so many.
    pub sessions: u64,
    /// Nodes of its island that take logins now.
    pub in_service: usize,
    /// Why it will be forgotten at a restart.
    pub not_kept: Option<String>,
}

/// `POST /v1/fail-back`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailBackOrder {
    /// Its name.
    pub island: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedBack {
    /// Its name.
    pub island: String,
    /// Nodes that were held back and get their users again.
    pub nodes: Vec<String>,
}

/// `POST /v1/flush`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlushOrder {
    /// Whom; all without it.
    pub user: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flushed {
    /// Whether there was anything to forget.
    pub flushed: bool,
}

/// `POST /v1/levels`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelOrder {
    /// Of which module; of all without it.
    pub module: Option<String>,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

/// `GET /v1/levels`, and what came of the order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    /// Of all modules without their own.
    pub level: String,
    /// Of modules.
    pub modules: BTreeMap<String, String>,
}
