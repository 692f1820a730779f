//! The hours after the login: octets are moved, and nothing else is known.
//!
//! One thing is decided here: when a node's sessions die together, their clients are let go one after the other
//! (`disconnect_spread`), so that they do not all come back at once.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::end::{End, Stage, Who, Why};
use super::handoff::Handoff;
use super::record::Record;
use super::signal::tell;
use crate::drain::Drain;
use crate::routing::{NodePort, Signal};

/// For the orderly end of both connections when mailferry stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A client that spoke so lately is in a conversation: the node's close is most likely the answer to LOGOUT or QUIT.
const CONVERSATION: Duration = Duration::from_secs(2);

/// Moves octets until either side ends it or mailferry stops.
pub(super) async fn run(handoff: Handoff, record: &mut Record, drain: &Drain) -> End {
    let Handoff { mut client, mut node, mut pump, port, seat: _seat, user_seat: _user_seat, slot: _slot } = handoff;
    record.enter(Stage::Relay);
    let ended = tokio::select! {
        ended = pump.run(&mut client, &mut node, |spoke| hold(&port, spoke)) => Some(ended),
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

/// The node has closed, and the client last spoke so long ago: how long the client is kept.
fn hold(port: &NodePort, spoke: Option<Duration>) -> Duration {
    if spoke.is_some_and(|ago| ago < CONVERSATION) {
        return Duration::ZERO;
    }
    tell(port, Signal::Doubt, &"");
    port.end_delay(Instant::now().into_std())
}
