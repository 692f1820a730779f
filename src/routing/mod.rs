//! Island → ordered nodes, and what is known of each node's health.
//!
//! `island` is what the configuration says, `health` the state machine of one node and protocol, `select` the order in
//! which a login tries nodes, `abilities` what nodes can do. All four are pure: `now` is an argument, no socket, no log.
//! `table` holds the live state of an island, `islands` all of them; these are the only files here with locks.

mod abilities;
pub mod health;
pub mod island;
pub mod islands;
pub mod select;
pub mod table;

pub use abilities::Turnover;
pub use health::{Signal, State, Witness};
pub use island::{Check, FailBack, Forward, Island, Node, NodeTls, OperatorState, Policy, Probe};
pub use islands::Islands;
pub use select::Reason;
pub use table::{Candidate, Change, Changes, NodePort, Plan, Seat, Table, Trial};
