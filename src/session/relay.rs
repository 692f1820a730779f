//! The hours after the login: octets are moved, and nothing else is known.
//!
//! A session in the relay is nearly all of what an idle client costs, so it is written by hand: what is rarely needed is
//! boxed, and nothing of the login is left. Two things are decided here: when a node's sessions die
//! together, their clients are let go one after the other (`disconnect_spread`), so that they do not all come back at
//! once; and when mailferry stops, or the operator ends a session, whether the client can be told so: never inside a
//! line, nor while it waits for an answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep};

use super::end::{End, Who, Why};
use super::handoff::Handoff;
use super::record::{Record, RelayRecord};
use super::registry::Word;
use super::signal::tell;
use crate::drain::Ear;
use crate::limits::{Slot, UserSeat};
use crate::net::Stream;
use crate::net::pump::Pump;
use crate::proto::ClientDialogue;
use crate::routing::{NodePort, Signal};

/// For the orderly end of both connections when mailferry stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A client that spoke so lately is in a conversation: the node's close is most likely the answer to LOGOUT or QUIT.
const CONVERSATION: Duration = Duration::from_secs(2);

/// Moves octets until either side ends it or mailferry stops. Leaves the session's one end record, whatever happens.
pub(super) fn relay(handoff: Handoff, record: Record, ear: Ear) -> Relay {
    let Handoff { client, node, pump, seat, places } = handoff;
    let after = Box::new(After { has_taken_leave: false, places, record: record.relay(seat) });
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
    /// Whether the client was told, or could have been: it is read on, whoever ended first.
    has_taken_leave: bool,
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
            it.after.record.moved(it.pump.to_node(), it.pump.to_client(), it.pump.is_at_rest());
            if let Poll::Ready(ended) = polled {
                return it.finish(End::relayed(&ended));
            }
            match ready!(it.poll_way_out(cx)) {
                why @ Why::Drained => it.take_leave(cx, why),
                why @ Why::Kicked if it.after.record.is_quiet() => it.take_leave(cx, why),
                why => it.finish_by_us(why),
            }
        }
        // In order, so that TLS clients can tell the end from an attack; without waiting for those that take nothing.
        let mut closed = [&mut it.client, &mut it.node].map(|stream| Pin::new(stream).poll_shutdown(cx).is_ready());
        if it.after.has_taken_leave {
            closed[0] &= it.pump.poll_client_gone(cx, &mut it.client, &mut it.node).is_ready();
        }
        if closed == [true, true] {
            return Poll::Ready(());
        }
        it.close_timeout.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT))).as_mut().poll(cx)
    }
}

impl Relay {
    fn finish(&mut self, end: End) -> Poll<()> {
        self.after.record.finish(end);
        Poll::Ready(())
    }

    /// Ready when the session is to end, in which way.
    fn poll_way_out(&self, cx: &Context<'_>) -> Poll<Why> {
        let record = &self.after.record;
        let session = record.session();
        loop {
            match session.poll_word(cx) {
                Poll::Ready(Word::End) => return Poll::Ready(Why::Kicked),
                Poll::Ready(Word::Leave) if record.is_quiet() => return Poll::Ready(Why::Drained),
                Poll::Ready(Word::Leave) => session.stay(),
                Poll::Pending => break,
            }
        }
        self.ear.poll_signalled(cx).map(|()| if record.is_quiet() { Why::Drained } else { Why::Shutdown })
    }

    /// mailferry stops, or the operator ends the session, and nothing is under way: the client is told to come back where its
    /// protocol has words for it.
    fn take_leave(&mut self, cx: &mut Context<'_>, why: Why) {
        let session = self.after.record.session();
        let words = ClientDialogue::parting(session.port().protocol);
        self.pump.take_leave(cx, &mut self.client, words);
        self.after.has_taken_leave = true;
        self.after.record.moved(self.pump.to_node(), self.pump.to_client(), false);
        self.finish_by_us(why);
    }

    fn finish_by_us(&mut self, why: Why) {
        let by_us = End::new(Who::Operator, why);
        // Who ended first, ended it, also where the other side has not heard of it.
        let first = self.pump.ended().filter(|_| why != Why::Kicked).map_or(by_us, End::relayed);
        self.after.record.finish(first);
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
