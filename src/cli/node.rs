//! `mailferry drain`, `undrain`, `maintenance` and `fail-back`: what the operator wants of nodes.

use std::process::ExitCode;

use super::client::Asking;
use super::print::{complain, say};
use crate::admin::view::{FailBackOrder, FailedBack, NodeOrder, NodeState};

pub(super) fn set(node: &str, state: &str, asking: &Asking) -> Result<ExitCode, ExitCode> {
    let order = NodeOrder { node: node.to_owned(), state: state.to_owned() };
    asking.post("/v1/node", &order, |answer: NodeState| {
        let NodeState { node, was, state, sessions, in_service, not_kept } = answer;
        say(&format!("{node} is {state} (was {was}); sessions: {sessions}"));
        if in_service == 0 {
            complain("warning: the island has no node in service; its logins wait, and fail");
        }
        if let Some(reason) = not_kept {
            complain(&format!("warning: the state will be forgotten at a restart: {reason}"));
        }
    })
}

pub(super) fn fail_back(island: &str, asking: &Asking) -> Result<ExitCode, ExitCode> {
    let order = FailBackOrder { island: island.to_owned() };
    asking.post("/v1/fail-back", &order, |FailedBack { island, nodes }| {
        if nodes.is_empty() {
            say(&format!("{island}: no node was held back"));
        } else {
            say(&format!("{island}: {} gets its users again", nodes.join(", ")));
        }
    })
}
