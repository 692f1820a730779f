//! What logins and probes tell of a node's health, and the one line for each change that follows.
//!
//! The log has a line when a state changes, never one for each failure: a node that is down for an hour costs four.

use std::fmt::Display;

use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::routing::{NodePort, Signal, State};

/// Tells what was seen of a node, and why if it was a failure.
pub(crate) fn tell(port: &NodePort, signal: Signal, reason: &dyn Display) {
    let Some(change) = port.signal(signal, Instant::now().into_std()) else { return };
    let (island, node) = (&port.table().island().name, &port.node().name);
    macro_rules! line {
        ($level:ident, $reason:expr) => {
            $level!(
                %island,
                %node,
                protocol = %port.protocol,
                state = change.is.to_string(),
                was = change.was.to_string(),
                in_service = change.in_service,
                reason = $reason,
                "node state"
            )
        };
    }
    match change.is {
        State::Down | State::Suspect => line!(warn, Some(reason.to_string())),
        State::Probation | State::InService => line!(info, None::<String>),
    }
    if change.is == State::Down && change.in_service == 0 {
        error!(%island, protocol = %port.protocol, "island has no node in service");
    }
}
