//! From login to relay: what was said on either side before goes first, once and in order.

use super::connect::LoginAccepted;
use super::login::Client;
use crate::limits::{Slot, UserSeat};
use crate::net::Stream;
use crate::net::pump::Pump;
use crate::proto::ReplyTo;
use crate::routing::Seat;

/// Two connected streams and the octets that are already due.
pub(super) struct Handoff {
    pub(super) client: Stream,
    pub(super) node: Stream,
    pub(super) pump: Pump,
    /// Which node it is, and the session as its load.
    pub(super) seat: Seat,
    /// The session's places among its user's sessions and all connections.
    pub(super) places: (UserSeat, Slot),
}

/// To the client: the node's answer under the client's tag, then what the node said behind it. To the node: what the
/// client sent ahead behind its login.
pub(super) fn handoff(client: Client, reply_to: ReplyTo, accepted: LoginAccepted) -> Handoff {
    let LoginAccepted { mut node, acceptance, seat, user_seat, .. } = accepted;
    let Client { mut wire, dialogue, mut slot, .. } = client;
    slot.authenticated();
    let mut to_client = dialogue.accept(reply_to, &acceptance);
    to_client.extend_from_slice(&node.input.take());
    let pump = Pump::new(wire.input.take(), to_client);
    Handoff { client: wire.stream, node: node.stream, pump, seat, places: (user_seat, slot) }
}
