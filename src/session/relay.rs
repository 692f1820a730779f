//! The hours after the login: octets are moved, and nothing else is known or decided here.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::end::{End, Stage, Who, Why};
use super::handoff::Handoff;
use super::record::Record;
use crate::drain::Drain;

/// For the orderly end of both connections when mailferry stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Moves octets until either side ends it or mailferry stops.
pub(super) async fn run(handoff: Handoff, record: &mut Record, drain: &Drain) -> End {
    let Handoff { mut client, mut node, mut pump } = handoff;
    record.enter(Stage::Relay);
    let ended = tokio::select! {
        ended = pump.run(&mut client, &mut node, |_| Duration::ZERO) => Some(ended),
        () = drain.signalled() => None,
    };
    if ended.is_none() {
        // In order, so that TLS clients can tell the end from an attack; without waiting for those that take nothing.
        let _ = timeout(CLOSE_TIMEOUT, async { tokio::join!(client.shutdown(), node.shutdown()) }).await;
    }
    let end = match ended.as_ref().or(pump.ended()) {
        Some(ended) => End::relayed(ended),
        None => End::new(Who::Operator, Why::Shutdown),
    };
    record.relayed(pump.to_node(), pump.to_client());
    end
}
