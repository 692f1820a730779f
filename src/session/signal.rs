//! What logins and probes tell of a node's health, and the one line for each change that follows; and the line for each
//! change of what clients are told that nodes can do.
//!
//! The log has a line when a state changes, never one for each failure: a node that is down for an hour costs four. No
//! octet that a node sent gets into a line.

use std::fmt::Display;

use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::proto::{Extensions, Protocol};
use crate::routing::{NodePort, Signal, State, Turnover};

/// What may be named in the log. The rest is counted: it may be any word, and anybody's.
const KNOWN: [&str; 33] = [
    "ACL",
    "AUTH=OAUTHBEARER",
    "AUTH=PLAIN",
    "AUTH=XOAUTH2",
    "BINARY",
    "CATENATE",
    "CHILDREN",
    "COMPRESS=DEFLATE",
    "CONDSTORE",
    "ENABLE",
    "ESEARCH",
    "ID",
    "IDLE",
    "IMAP4REV1",
    "IMAP4REV2",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "METADATA",
    "MOVE",
    "MULTIAPPEND",
    "NAMESPACE",
    "NOTIFY",
    "OBJECTID",
    "QRESYNC",
    "QUOTA",
    "SASL-IR",
    "SORT",
    "SPECIAL-USE",
    "TOP",
    "UIDL",
    "UIDPLUS",
    "UNSELECT",
    "UTF8=ACCEPT",
];

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
        State::Down | State::Suspect => {
            let reason = reason.to_string();
            port.note_reason(&reason);
            line!(warn, Some(reason));
        }
        State::Probation | State::InService => line!(info, None::<String>),
    }
    if change.is == State::Down && change.in_service == 0 {
        error!(%island, protocol = %port.protocol, "island has no node in service");
    }
}

/// Clients are told of something else now that nodes can do: of less, because a node lacks it, or of more.
pub(crate) fn tell_turnover(protocol: Protocol, turnover: &Turnover<NodePort>) {
    let Turnover { gained, lost, lacking } = turnover;
    let first = if *lost == Extensions::default() { None } else { lacking.first() };
    info!(
        %protocol,
        island = first.map(|port| port.table().island().name.to_string()),
        node = first.map(|port| port.node().name.to_string()),
        nodes = first.map(|_| lacking.len()),
        gained = named(gained),
        lost = named(lost),
        "clients are told of other capabilities"
    );
}

/// `IDLE MOVE and 2 more`, or nothing.
fn named(words: &Extensions) -> Option<String> {
    let (known, others): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| KNOWN.contains(word));
    let more = (!others.is_empty()).then(|| format!("and {} more", others.len()));
    Some(known.into_iter().map(str::to_owned).chain(more).collect::<Vec<_>>().join(" ")).filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_a_nodes_own_gets_into_the_log() {
        let of = |words: &str| named(&words.split_whitespace().map(str::as_bytes).collect());
        assert_eq!(of(""), None);
        assert_eq!(of("IDLE move"), Some("IDLE MOVE".to_owned()));
        assert_eq!(of("XSECRET IDLE PA55WORD=x"), Some("IDLE and 2 more".to_owned()));
        assert_eq!(of("XSECRET"), Some("and 1 more".to_owned()));
    }
}
