//! Towards the client: what a dialogue is told, what it says must be done, and how its login is answered.
//!
//! These are the types that every protocol shares; the enum [`ClientDialogue`] hands each call on to one of them.

use std::sync::Arc;

use super::{Claim, Credentials, Extensions, Input, NodeAcceptance, NodeRefusal, Protocol, imap, pop3};
use crate::names::UserName;

/// What protects the connection to the client at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// TLS runs.
    Tls,
    /// Clear text, and STARTTLS/STLS is offered.
    Upgradable,
    /// Clear text for good.
    Clear,
}

/// What a client dialogue needs to know of its listener.
#[derive(Clone)]
pub struct Offer {
    /// Shown in the greeting.
    pub hostname: Arc<str>,
    /// What an unknown user hears, and whoever is refused before a node was asked: the words that the site's nodes use
    /// for a wrong password, without the response code (which is added here).
    pub auth_failed_text: Arc<str>,
    /// What protects the connection.
    pub channel: Channel,
    /// Whether passwords are accepted without TLS.
    pub cleartext_login: bool,
    /// What every node in service can do, or what the configuration says instead.
    pub extensions: Arc<Extensions>,
    /// Who may log in as somebody else (RFC 4616 §2: authcid).
    pub master_users: Arc<[UserName]>,
    /// Whether the client is a proxy that may say who its own client is (ID, XCLIENT).
    pub is_trusted: bool,
}

impl Offer {
    /// Whether a password may be sent over this channel. Where not, no mechanism is announced and none is read.
    pub fn passwords_allowed(&self) -> bool {
        self.channel == Channel::Tls || self.cleartext_login
    }

    /// Whether STARTTLS/STLS is announced and accepted.
    pub fn starttls(&self) -> bool {
        self.channel == Channel::Upgradable
    }
}

/// A complete login, in whatever form the client sent it.
pub struct LoginRequest {
    /// The name as the client typed it: whose mailbox it wants.
    pub user: UserName,
    /// Who proves himself, where that is not the user (RFC 4616 §2: authcid). One of [`Offer::master_users`].
    pub master: Option<UserName>,
    /// With what.
    pub credentials: Credentials,
    /// How the client said it, for the log: "LOGIN" or "USER" by command, "PLAIN", "AUTH-LOGIN", "XOAUTH2" or
    /// "OAUTHBEARER" by SASL.
    pub mechanism: &'static str,
}

/// Whom the answer to a login goes to. There is one for each [`Step::Login`], and answering uses it up, so that a
/// login is answered once.
#[derive(Debug)]
#[must_use = "the client waits for an answer to its login"]
pub struct ReplyTo {
    /// The IMAP tag of the login command; empty for POP3, which has no tags.
    pub(in crate::proto) tag: Box<[u8]>,
}

/// What the session must do next for the client.
#[must_use]
pub enum Step {
    /// Nothing can be done without more octets from the client.
    Wait,
    /// Send this, then ask for the next step.
    Reply(Vec<u8>),
    /// Send this and flush it; whatever is left in the input belongs to the TLS handshake. Then [`ClientDialogue::upgraded`].
    StartTls(Vec<u8>),
    /// Send this, then ask for the next step: the client tried to log in, and no node need be asked about it.
    Decline(Vec<u8>, Declined),
    /// The client wants to log in. Whatever is left in the input is held until the answer is known.
    Login(LoginRequest, ReplyTo),
    /// Send this, then ask for the next step: the client is a proxy, and says this of its own client. What may not be
    /// believed of it is left out already.
    Introduced(Vec<u8>, Claim),
    /// Send this and close the connection; whatever is left in the input is dropped.
    Close(Vec<u8>, Goodbye),
}

/// Why a login is refused without asking a node. Each counts as a bad command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    /// A password may not be sent without TLS here.
    Privacy,
    /// The mechanism is not offered.
    Mechanism,
    /// The name or password is empty, too long, or holds NUL, CR or LF; or the SASL message is malformed.
    Credentials,
    /// The client wants to act as somebody else (RFC 4616 §2: authzid), and is not one of [`Offer::master_users`].
    ForeignAuthzid,
}

/// Why the dialogue wants the connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// LOGOUT or QUIT.
    Logout,
    /// More bad commands than [`BAD_COMMANDS_MAX`].
    TooManyBadCommands,
    /// A line or literal so long that it is not worth skipping.
    TooLong,
    /// The first octets are those of another protocol (HTTP, SMTP, a TLS handshake on a clear-text port).
    OtherProtocol,
}

/// Bad commands (syntax, wrong state, cancelled or malformed SASL, declined logins) on one connection; one more closes
/// it.
pub const BAD_COMMANDS_MAX: u32 = 10;

/// Longest password accepted, in octets.
pub const PASSWORD_MAX: usize = 1024;

/// Why a login is refused, other than by the node's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The user is unknown: `[AUTHENTICATIONFAILED]`, `[AUTH]`, with [`Offer::auth_failed_text`].
    AuthenticationFailed,
    /// The directory or every node of the island is out of reach: `[UNAVAILABLE]`, `[SYS/TEMP]`.
    Unavailable,
    /// A node did not understand what we replayed, or it cannot be said in its dialect: `[SERVERBUG]`, `[SYS/PERM]`.
    ServerBug,
    /// The user has as many sessions as one may: `[LIMIT]`, `[IN-USE]`.
    TooManySessions,
    /// Too many logins of the client's network were refused: `[LIMIT]`, `[SYS/TEMP]`. A farewell follows.
    TooManyFailures,
}

/// Why mailferry ends a connection on its own before the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The login or a command took too long.
    Timeout,
    /// Too many refused passwords on this connection.
    TooManyFailures,
    /// mailferry is shutting down.
    Shutdown,
    /// There are too many connections, and this one must go or cannot come in: `[UNAVAILABLE]`, `[SYS/TEMP]`. May stand in
    /// place of a greeting.
    TooManyConnections,
}

/// The conversation with one client up to its login.
///
/// A dialogue never sees a socket: [`Self::step`] takes octets from the front of the input and says what to do.
pub enum ClientDialogue {
    /// IMAP.
    Imap(imap::client::Client),
    /// POP3.
    Pop3(pop3::client::Client),
}

impl ClientDialogue {
    /// A dialogue at its beginning.
    pub fn new(protocol: Protocol, offer: Offer) -> Self {
        match protocol {
            Protocol::Imap => Self::Imap(imap::client::Client::new(offer)),
            Protocol::Pop3 => Self::Pop3(pop3::client::Client::new(offer)),
        }
    }

    /// What is spoken.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Imap(_) => Protocol::Imap,
            Self::Pop3(_) => Protocol::Pop3,
        }
    }

    /// The first line that we say.
    pub fn greeting(&self) -> Vec<u8> {
        match self {
            Self::Imap(client) => client.greeting(),
            Self::Pop3(client) => client.greeting(),
        }
    }

    /// Takes what it can from the front of the input. To be called until it says [`Step::Wait`].
    pub fn step(&mut self, input: &mut Input) -> Step {
        match self {
            Self::Imap(client) => client.step(input),
            Self::Pop3(client) => client.step(input),
        }
    }

    /// The TLS handshake is done: a new dialogue that has forgotten everything but the number of bad commands.
    pub fn upgraded(self) -> Self {
        match self {
            Self::Imap(client) => Self::Imap(client.upgraded()),
            Self::Pop3(client) => Self::Pop3(client.upgraded()),
        }
    }

    /// The answer to a login that mailferry itself refuses.
    pub fn refuse(&self, to: ReplyTo, refusal: Refusal) -> Vec<u8> {
        match self {
            Self::Imap(client) => client.refuse(to, refusal),
            Self::Pop3(client) => client.refuse(to, refusal),
        }
    }

    /// The answer to a login that the node refused: its own code and text. If the node had a challenge first, that is the
    /// answer; what the client says to it is dropped, and then it hears the rest from [`Self::step`], or from
    /// [`Self::farewell`].
    pub fn relay_refusal(&mut self, to: ReplyTo, refused: &NodeRefusal) -> Vec<u8> {
        match self {
            Self::Imap(client) => client.relay_refusal(to, refused),
            Self::Pop3(client) => client.relay_refusal(to, refused),
        }
    }

    /// The answer to a login that the node accepted. It is the last thing that the dialogue says.
    pub fn accept(self, to: ReplyTo, accepted: &NodeAcceptance) -> Vec<u8> {
        match self {
            Self::Imap(client) => client.accept(to, accepted),
            Self::Pop3(client) => client.accept(to, accepted),
        }
    }

    /// The only line to a client that is not let in. It stands in place of a greeting.
    pub fn turned_away(protocol: Protocol) -> Vec<u8> {
        match protocol {
            Protocol::Imap => imap::client::Client::turned_away(),
            Protocol::Pop3 => pop3::client::Client::turned_away(),
        }
    }

    /// What a client behind its login hears when mailferry shuts down or the operator ends its session, where a line can stand
    /// that nobody has asked for; nothing in a protocol that has no such line (RFC 1939 §3).
    pub fn parting(protocol: Protocol) -> &'static [u8] {
        match protocol {
            Protocol::Imap => imap::client::Client::parting(),
            Protocol::Pop3 => &[],
        }
    }

    /// The last line before mailferry closes the connection on its own, behind the answer to a login that is still due.
    pub fn farewell(&self, farewell: Farewell) -> Vec<u8> {
        match self {
            Self::Imap(client) => client.farewell(farewell),
            Self::Pop3(client) => client.farewell(farewell),
        }
    }
}
