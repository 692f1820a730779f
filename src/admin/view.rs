//! The words of all questions and answers, as JSON has them: docs/openapi.json describes the same, and a test compares
//! the two. Names of users are escaped as in the log.

mod holds;
mod watch;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::holds::{Held, Hold, HoldFilter, HoldOrder, Holds, ReleaseOrder, Released, Route, Whom};
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

/// What `GET /v1/sessions` may say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Of this user only.
    pub user: Option<String>,
    /// On this node only: `island/node`.
    pub node: Option<String>,
    /// On this island only.
    pub island: Option<String>,
    /// From this network only, or this address.
    pub client: Option<String>,
    /// Most that are told; 100 without it, and 100000 at most.
    pub limit: Option<usize>,
}

/// `GET /v1/sessions`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    /// How many there are, of which some may not be told.
    pub matching: u64,
    /// In no order.
    pub sessions: Vec<Session>,
}

/// One session in the relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// As in the log.
    pub session: String,
    /// As in the log.
    pub user: Option<String>,
    /// Whether new logins of the user wait.
    pub held: bool,
    /// `imap` or `pop3`.
    pub protocol: String,
    /// Address and port.
    pub client: String,
    /// Towards the client.
    pub tls: Option<String>,
    /// Where it is.
    pub island: String,
    /// Where it is.
    pub node: String,
    /// Seconds since the client connected.
    pub age_s: u64,
    /// Octets that the node has got.
    pub to_node: u64,
    /// Octets that the client has got.
    pub to_client: u64,
}

/// What `GET /v1/top` may say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Depth {
    /// Most of each kind that are told; 10 without it, and 1000 at most.
    pub limit: Option<usize>,
    /// Who comes first; those with the most logins without it.
    pub sort: Option<Sort>,
}

/// Of what they have the most who come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// Logins of the last minute.
    #[default]
    Logins,
    /// Sessions.
    Sessions,
    /// Octets of the last minute.
    Bytes,
}

/// `GET /v1/top`: those with the most first. Whoever was there in the last minute counts, also if he has gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// In all.
    pub sessions: u64,
    /// Accepted in the last minute.
    pub logins_last_minute: u64,
    /// Users.
    pub users: Vec<Share>,
    /// IPv4 addresses and IPv6 /64s.
    pub networks: Vec<Share>,
    /// `island/node`.
    pub nodes: Vec<Share>,
    /// By how much each may have more than it is told.
    pub missed: MissedRates,
}

/// What one of them has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Who.
    pub name: String,
    /// Accepted in the last minute; at least so many.
    pub logins_last_minute: u64,
    /// Now.
    pub sessions: u64,
    /// Octets moved in the last minute, both ways; at least so many, but for up to 64 KiB of each session.
    pub octets_last_minute: u64,
    /// Octets that these sessions have moved to nodes.
    pub to_node: u64,
    /// Octets that these sessions have moved to clients.
    pub to_client: u64,
}

/// What is not told where there are too many to count each: zeros up to some thousands in a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedRates {
    /// Of each user, at most.
    pub users: Missed,
    /// Of each network, at most.
    pub networks: Missed,
}

/// What may be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// In the last minute.
    pub logins: u64,
    /// In the last minute.
    pub octets: u64,
}

/// `POST /v1/kick`: exactly one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kick {
    /// All sessions of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// This session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// All sessions on this node: `island/node`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kicked {
    /// Sessions that end.
    pub kicked: u64,
    /// Milliseconds until the last of them.
    pub over_ms: u64,
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

/// `POST /v1/reload`: what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whether the file is taken up; else nothing has changed, and `problems` says why.
    pub done: bool,
    /// The configuration's file.
    pub file: String,
    /// What holds from now on.
    pub changes: Vec<Changed>,
    /// What differs in the file and stays as it was until a restart.
    pub restart: Vec<NeedsRestart>,
    /// What is wrong with the file, in its order.
    pub problems: Vec<FileProblem>,
}

/// A part of the configuration that is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The section, as `island.nodes`.
    pub section: String,
    /// Which one of several; empty where there is only one.
    pub name: String,
    /// `added`, `removed` or `changed`, with the keys where they are known: `changed: hostname`.
    pub what: String,
}

/// A key that a running mailferry cannot take up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedsRestart {
    /// With its section, as `log.format`.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// Something wrong with the configuration's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProblem {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
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
