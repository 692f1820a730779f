//! The words of questions and answers about sessions: who is there, who has the most, who has to go.

use serde::{Deserialize, Serialize};

use super::Unreached;

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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    /// How many there are, of which some may not be told.
    pub matching: u64,
    /// In no order.
    pub sessions: Vec<Session>,
    /// Processes that were taken over, and whose sessions are neither counted nor told.
    #[serde(default)]
    pub unreached: Vec<Unreached>,
}

/// One session in the relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// As in the log.
    pub session: String,
    /// The process that has it, where that is one whose place this one has taken.
    #[serde(default)]
    pub predecessor: Option<u32>,
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
