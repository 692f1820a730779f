//! The login phase as bytes: what a client may say, what we answer, how a login is replayed on a node.
//!
//! Nothing here does I/O, reads a clock or logs. A dialogue is fed an [`Input`] and returns one step at a time; the
//! steps are the same however the octets were cut into reads. Each protocol is a folder with the same five files:
//! `command` (grammar), `client` (states towards the client), `node` (states towards the node), `reply` (every text we
//! say) and `response` (what nodes say). The enums in [`dialogue`] and [`replay`]
//! are the only place that branches on the protocol.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod claim;
pub mod credentials;
pub mod dialogue;
pub mod extensions;
pub mod imap;
pub mod introduction;
pub mod line;
pub mod pop3;
pub mod proxy_header;
pub mod replay;
pub mod sasl;

pub use crate::names::Protocol;
pub use credentials::{Credentials, NodeLogin, TokenMechanism};
pub use dialogue::{
    BAD_COMMANDS_MAX, Channel, ClientDialogue, Declined, Farewell, Goodbye, LoginRequest, Offer, PASSWORD_MAX, Refusal,
    ReplyTo, Step,
};
pub use extensions::Extensions;
pub use introduction::{Claim, Introduction, TlsFacts};
pub use line::Input;
pub use replay::{
    Command, CommandStep, HelloStep, NodeAcceptance, NodeAnswer, NodeFault, NodeHello, NodeRefusal, RefusalKind,
    Replay, ReplayStep,
};
