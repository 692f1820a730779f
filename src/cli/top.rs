//! `mailferry top`: who has the most sessions.

use std::process::ExitCode;

use super::client::Asking;
use super::print::{octets, say, table};
use crate::admin::view::{Share, Top};

pub(super) fn top(limit: usize, asking: &Asking) -> Result<ExitCode, ExitCode> {
    asking.get("/v1/top", &[("limit", Some(limit.to_string()))], |top: Top| {
        say(&format!("{} sessions", top.sessions));
        for (head, shares) in [("USER", top.users), ("NETWORK", top.networks), ("NODE", top.nodes)] {
            say("");
            table([head, "SESSIONS", "NEW", "TO NODE", "TO CLIENT"], shares.into_iter().map(row).collect());
        }
    })
}

fn row(share: Share) -> [String; 5] {
    [share.name, share.sessions.to_string(), share.new.to_string(), octets(share.to_node), octets(share.to_client)]
}
