//! The hours after the login: octets are moved, and nothing else is known.
//!
//! A session in the relay is nearly all of what an idle client costs, so it is written by hand: what is rarely needed is
//! boxed, and nothing of the login is left. One thing is decided here: when a node's sessions die
//! together, their clients are let go one after the other (`disconnect_spread`), so that they do not all come back at
//! once.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep};

use super::end::{End, Who, Why};
use super::handoff::Handoff;
use super::record::{Record, RelayRecord};
use super::registry::Registry;
use super::signal::tell;
use crate::drain::Ear;
use crate::limits::{Slot, UserSeat};
use crate::net::Stream;
use crate::net::pump::Pump;
use crate::routing::{NodePort, Signal};

/// For the orderly end of both connections when mailferry stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A client that spoke so lately is in a conversation: the node's close is most likely the answer to LOGOUT or QUIT.
const CONVERSATION: Duration = Duration::from_secs(2);

/// Moves octets until either side ends it or mailferry stops. Leaves the session's one end record, whatever happens.
pub(super) fn relay(handoff: Handoff, record: Record, registry: &Registry, ear: Ear) -> Relay {
    let Handoff { client, node, pump, seat, places } = handoff;
    let after = Box::new(After { places, record: record.relay(seat, registry) });
    Relay { client, node, pump, close_timeout: None, after, ear }
}

/// The relay's future.
pub(super) struct Relay {
    client: Stream,
    node: Stream,
    pump: Pump,
    /// Runs while both connections are closed because mailferry stops, or the operator wants it.
    close_timeout: Option<Pin<Box<Sleep>>>,
    after: Box<After>,
    /// Dropped last: whoever waits for it may end the process, and the line must be written then.
    ear: Ear,
}

/// What is of use at the session's end alone, in the order in which it is dropped: the line comes last.
struct After {
    #[expect(dead_code, reason = "held, and given back when dropped")]
    places: (UserSeat, Slot),
    record: RelayRecord,
}

impl Future for Relay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let it = self.get_mut();
        if it.close_timeout.is_none() {
            let session = it.after.record.session();
            let polled = it.pump.poll(cx, &mut it.client, &mut it.node, |spoke| hold(session.port(), spoke));
            session.moved(it.pump.to_node(), it.pump.to_client());
            if let Poll::Ready(ended) = polled {
                return it.finish(End::relayed(&ended));
            }
            if session.poll_kicked(cx).is_ready() {
                it.after.record.finish(End::new(Who::Operator, Why::Kicked));
            } else if it.ear.poll_signalled(cx).is_pending() {
                return Poll::Pending;
            }
        }
        // In order, so that TLS clients can tell the end from an attack; without waiting for those that take nothing.
        let closed = [&mut it.client, &mut it.node].map(|stream| Pin::new(stream).poll_shutdown(cx).is_ready());
        let timeout = it.close_timeout.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT)));
        if closed != [true, true] && timeout.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let end = it.pump.ended().map_or(End::new(Who::Operator, Why::Shutdown), End::relayed);
        it.finish(end)
    }
}

impl Relay {
    fn finish(&mut self, end: End) -> Poll<()> {
        self.after.record.finish(end);
        Poll::Ready(())
    }
}

/// The node has closed, and the client last spoke so long ago: how long the client is kept.
fn hold(port: &NodePort, spoke: Option<Duration>) -> Duration {
    if spoke.is_some_and(|ago| ago < CONVERSATION) {
        return Duration::ZERO;
    }
    tell(port, Signal::Doubt, &"");
    port.end_delay(Instant::now().into_std())
}

#[cfg(test)]
mod tests;
