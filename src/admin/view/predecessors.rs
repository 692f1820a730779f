//! The words about processes whose place this one has taken, and which still have sessions.

use serde::{Deserialize, Serialize};

/// A process that was taken over, and comes to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// Its number.
    pub process: u32,
    /// Of mailferry.
    pub version: String,
    /// In the relay.
    pub sessions: u64,
    /// Seconds until those that are left are cut.
    pub ends_in_s: Option<u64>,
}

/// A process that was taken over, and of whose sessions the answer says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreached {
    /// Its number.
    pub process: u32,
    /// Why.
    pub reason: String,
}

impl std::fmt::Display for Unreached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { process, reason } = self;
        write!(f, "process {process}, which was taken over and drains, has no part in this: {reason}")
    }
}
