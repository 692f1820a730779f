//! Island → ordered nodes. Pure: no socket, no clock, no log.

pub mod island;
pub mod select;

pub use island::{Island, Islands, Node, NodeTls};
pub use select::{Candidate, Plan};
