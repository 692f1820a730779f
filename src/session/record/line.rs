//! The end record: one line for each session, whichever way it ended.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{debug, info};

use crate::names::{IslandName, NodeName, SessionId, UserName};
use crate::proto::Protocol;
use crate::session::end::{End, Stage};
use crate::session::recent::{Failed, Whose};
use crate::session::registry::Registry;

/// Everything that the end record says.
pub(super) struct Line<'a> {
    pub(super) id: SessionId,
    pub(super) protocol: Protocol,
    pub(super) client: SocketAddr,
    pub(super) began: Instant,
    pub(super) stage: Stage,
    pub(super) tls: Option<&'static str>,
    pub(super) refused: Option<&'a str>,
    pub(super) user: Option<&'a UserName>,
    pub(super) island: Option<&'a IslandName>,
    pub(super) node: Option<&'a NodeName>,
    pub(super) relay: Option<Relay>,
}

/// What the relay has to add.
#[derive(Clone, Copy)]
pub(super) struct Relay {
    pub(super) began: Instant,
    pub(super) to_node: u64,
    pub(super) to_client: u64,
}

impl Line<'_> {
    /// `is_a_look`: nobody need hear of it.
    pub(super) fn log(&self, end: &End, is_a_look: bool) {
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    code = %end.code(self.stage),
                    who = %end.who,
                    stage = %self.stage,
                    why = %end.why,
                    user = self.user.map(UserName::to_string),
                    client = %self.client,
                    protocol = %self.protocol,
                    tls = self.tls.map(tracing::field::display),
                    reason = self.refused,
                    island = self.island.map(IslandName::as_str),
                    node = self.node.map(NodeName::as_str),
                    to_node = self.relay.map(|relay| relay.to_node),
                    to_client = self.relay.map(|relay| relay.to_client),
                    relay_ms = self.relay.map(|relay| milliseconds(relay.began.elapsed())),
                    total_ms = milliseconds(self.began.elapsed()),
                    session = %self.id,
                    "session ended"
                )
            };
        }
        if is_a_look { line!(debug) } else { line!(info) }
    }
    /// For the operator who wants to see what goes wrong.
    pub(super) fn keep(&self, registry: &Registry, whose: Whose, why: String, reason: Option<String>) {
        let now = SystemTime::now();
        registry.recent().put(Failed {
            last: now,
            first: now,
            times: 1,
            whose,
            session: self.id,
            user: self.user.cloned(),
            client: self.client.ip(),
            protocol: self.protocol,
            stage: self.stage.to_string(),
            why,
            reason,
            island: self.island.cloned(),
            node: self.node.cloned(),
        });
    }
}

/// Whole milliseconds, rounded to the nearest.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from((time.as_micros() + 500) / 1000).unwrap_or(u64::MAX)
}
