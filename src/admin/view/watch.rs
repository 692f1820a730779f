//! The words of what the status page shows. Never a secret, and never more than is bounded elsewhere.

use serde::{Deserialize, Serialize};

use super::{Health, Island, Status};

/// What `GET /v1/events` tells, once a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Whether orders of whoever listens would be carried out.
    pub may_order: bool,
    /// The same as `GET /readyz`.
    pub ready: Health,
    /// The same as `GET /v1/status`.
    pub status: Status,
    /// The same as `GET /v1/islands`.
    pub islands: Vec<Island>,
    /// Where they are others than in the event before.
    pub curves: Option<Curves>,
    /// Where they are others than in the event before.
    pub failures: Option<Vec<Failure>>,
}

/// Logins of the last minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curves {
    /// Seconds of a step.
    pub step_s: u64,
    /// Those that had any.
    pub nodes: Vec<Curve>,
}

/// One node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curve {
    /// `island/node`.
    pub node: String,
    /// Logins that it has accepted in each step, the oldest first, without the one that is running.
    pub logins: Vec<u32>,
}

/// `GET /v1/failures`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// The last 50 of the site and the last 50 of clients, newest first.
    pub failures: Vec<Failure>,
}

/// A login that failed, or a session that ended as it should not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When it happened last, as RFC 3339 has it.
    pub last: String,
    /// When it happened first.
    pub first: String,
    /// How often, these two counted.
    pub times: u64,
    /// Whose trouble it is: `site` or `client`.
    pub whose: String,
    /// The last session that had it, as in the log.
    pub session: String,
    /// As in the log.
    pub user: Option<String>,
    /// Its address.
    pub client: String,
    /// `imap` or `pop3`.
    pub protocol: String,
    /// The stage in which it happened.
    pub stage: String,
    /// One word for it: the `outcome` of a login, or the `why` of an end.
    pub why: String,
    /// In more words.
    pub reason: Option<String>,
    /// Where it was to go.
    pub island: Option<String>,
    /// The node that was tried last.
    pub node: Option<String>,
}
