//! Towards the node: greeting, protection and capabilities first, then one login, then the node's decision.
//!
//! Two dialogues one after the other, so that a node that has seen no secret can still be left for another one. A probe
//! may go another way after the first: one command that needs no login.

use super::{Extensions, Input, Introduction, NodeLogin, Protocol, TokenMechanism, imap, pop3, sasl};
use crate::secret::Secret;

/// What the session must do next for the node, up to the moment when credentials may be sent.
#[must_use]
pub enum HelloStep {
    /// Nothing can be done without more octets from the node.
    Wait,
    /// Send this, then ask for the next step.
    Send(Vec<u8>),
    /// The node agreed to TLS: the input must be empty (else somebody injected clear text), then the handshake runs,
    /// then [`NodeHello::secured`].
    StartTls,
    /// The node greeted and told what it can do: [`NodeHello::replay`] or [`NodeHello::command`] may follow.
    Ready,
}

/// The conversation with a node up to the moment when credentials may be sent. It has seen no secret, so it may be
/// dropped in favour of another node at any time.
pub enum NodeHello {
    /// IMAP.
    Imap(imap::node::Hello),
    /// POP3.
    Pop3(pop3::node::Hello),
}

impl NodeHello {
    /// A dialogue that waits for the greeting. With `starttls`, the upgrade is demanded before anything else is said.
    /// With an introduction, the node is told of the client (IMAP: ID, RFC 2971; POP3: XCLIENT), if it wants to hear of
    /// it, under the protection that is demanded.
    pub fn new(protocol: Protocol, starttls: bool, introduction: Option<Introduction>) -> Self {
        match protocol {
            Protocol::Imap => Self::Imap(imap::node::Hello::new(starttls, introduction)),
            Protocol::Pop3 => Self::Pop3(pop3::node::Hello::new(starttls, introduction)),
        }
    }

    /// What the node can do, after [`HelloStep::Ready`]; nothing before that.
    pub fn extensions(&self) -> Extensions {
        match self {
            Self::Imap(hello) => hello.extensions(),
            Self::Pop3(hello) => hello.extensions(),
        }
    }

    /// The octets in which it said so, where they are in one place: the same octets mean the same.
    pub fn said(&self) -> Option<&[u8]> {
        match self {
            Self::Imap(hello) => hello.said(),
            Self::Pop3(_) => None,
        }
    }

    /// Takes what it can from the front of the input.
    pub fn step(&mut self, input: &mut Input) -> Result<HelloStep, NodeFault> {
        match self {
            Self::Imap(hello) => hello.step(input),
            Self::Pop3(hello) => hello.step(input),
        }
    }

    /// The handshake after [`HelloStep::StartTls`] succeeded: everything that was learned in clear text is forgotten.
    pub fn secured(self) -> Self {
        match self {
            Self::Imap(hello) => Self::Imap(hello.secured()),
            Self::Pop3(hello) => Self::Pop3(hello.secured()),
        }
    }

    /// Begins the replay of a login, after [`HelloStep::Ready`].
    ///
    /// # Errors
    /// The login cannot be said to this node.
    pub fn replay(self, login: NodeLogin) -> Result<Replay, NodeFault> {
        match self {
            Self::Imap(hello) => hello.replay(&login).map(Replay::Imap),
            Self::Pop3(hello) => hello.replay(login).map(Replay::Pop3),
        }
    }

    /// Begins one command that needs no login, after [`HelloStep::Ready`]: whether the node answers is all that is asked.
    pub fn command(self) -> Command {
        match self {
            Self::Imap(hello) => Command::Imap(hello.command()),
            Self::Pop3(hello) => Command::Pop3(hello.command()),
        }
    }

    /// The last line to a node that is not needed any more. Its answer need not be waited for.
    pub fn farewell(protocol: Protocol) -> &'static [u8] {
        match protocol {
            Protocol::Imap => imap::node::FAREWELL,
            Protocol::Pop3 => pop3::node::FAREWELL,
        }
    }
}

/// What must be done next for a node that answers a command.
#[must_use]
pub enum CommandStep {
    /// Nothing can be done without more octets from the node.
    Wait,
    /// Send this, then ask for the next step.
    Send(Vec<u8>),
    /// The node has answered.
    Done,
}

/// One command that needs no login.
pub enum Command {
    /// IMAP: NOOP, which must succeed.
    Imap(imap::node::Command),
    /// POP3: CAPA; there is no NOOP before the login. Old nodes do not know it, so that a refusal is an answer too.
    Pop3(pop3::node::Command),
}

impl Command {
    /// Takes what it can from the front of the input. The first call needs no input: it says what to send.
    ///
    /// # Errors
    /// The node did not answer the command; the dialogue is over.
    pub fn step(&mut self, input: &mut Input) -> Result<CommandStep, NodeFault> {
        match self {
            Self::Imap(command) => command.step(input),
            Self::Pop3(command) => command.step(input),
        }
    }
}

/// What the session must do next for the node while it judges the login.
#[must_use]
pub enum ReplayStep {
    /// Nothing can be done without more octets from the node.
    Wait,
    /// Send this, then ask for the next step. It may hold credentials.
    Send(Secret),
    /// The node has decided. After an acceptance, whatever is left in the input belongs to the session.
    Answer(NodeAnswer),
}

/// The replay of one login on one node.
pub enum Replay {
    /// IMAP.
    Imap(imap::node::Replay),
    /// POP3.
    Pop3(pop3::node::Replay),
}

impl Replay {
    /// Takes what it can from the front of the input. The first call needs no input: it says what to send.
    pub fn step(&mut self, input: &mut Input) -> Result<ReplayStep, NodeFault> {
        match self {
            Self::Imap(replay) => replay.step(input),
            Self::Pop3(replay) => replay.step(input),
        }
    }
}

/// A node's own decision about a login.
pub enum NodeAnswer {
    /// The user is in.
    Accepted(NodeAcceptance),
    /// The user is not, for the reason that the node gave.
    Refused(NodeRefusal),
}

/// What an accepting node said. The client gets all of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NodeAcceptance {
    /// IMAP: the untagged lines that the login caused, whole and in order, each with its CRLF, but for those that only
    /// tell the capabilities. POP3: empty.
    pub untagged: Vec<u8>,
    /// IMAP: what follows `OK ` in the tagged line, without a `[CAPABILITY …]`. POP3: what follows `+OK `. Without CRLF.
    pub text: Vec<u8>,
    /// IMAP: the node's capabilities behind the login, as the node wrote them, but for what no client may use. Empty
    /// where the node would not say, and for POP3.
    pub capabilities: Vec<u8>,
}

impl NodeAcceptance {
    /// What the node can do behind the login; nothing where it did not say.
    pub fn extensions(&self) -> Extensions {
        self.capabilities.split(|&octet| octet == b' ').collect()
    }
}

/// What a refusing node said.
#[derive(Debug, PartialEq, Eq)]
pub struct NodeRefusal {
    /// What it means for the login.
    pub kind: RefusalKind,
    /// What follows `NO ` or `-ERR `, with its response code, without CR, LF and NUL and capped at
    /// [`NodeRefusal::TEXT_MAX`] octets.
    pub text: Vec<u8>,
    /// What the node said of a token before it refused it (RFC 7628 §3.2.2): JSON in base64, at most
    /// [`NodeRefusal::CHALLENGE_MAX`] octets. The client gets it as a challenge, and its answer to that is dropped.
    pub challenge: Option<Vec<u8>>,
}

impl NodeRefusal {
    /// Most octets of a node's refusal that reach the client. RFC 2449 §4 allows a POP3 answer 512 in all.
    pub const TEXT_MAX: usize = 500;

    /// Most octets of base64 in a node's challenge that reach the client.
    pub const CHALLENGE_MAX: usize = 2048;

    /// The response codes that may stand in a log. A code that is not among them could be anything that a hostile node
    /// wants to have there, a password for one.
    const CODES: [&str; 19] = [
        "ALERT",
        "AUTH",
        "AUTHENTICATIONFAILED",
        "AUTHORIZATIONFAILED",
        "CANNOT",
        "CLIENTBUG",
        "CONTACTADMIN",
        "CORRUPTION",
        "EXPIRED",
        "IN-USE",
        "INUSE",
        "LIMIT",
        "LOGIN-DELAY",
        "NOPERM",
        "PRIVACYREQUIRED",
        "SERVERBUG",
        "SYS/PERM",
        "SYS/TEMP",
        "UNAVAILABLE",
    ];

    /// The response code, if it is a known one.
    pub fn code(&self) -> Option<&'static str> {
        let inside = self.text.strip_prefix(b"[")?;
        let code = inside.split(|octet| matches!(octet, b']' | b' ')).next()?;
        Self::CODES.into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(code))
    }
}

/// What a node says of a token, if a client may get it. Anything else is answered all the same, and dropped.
pub(in crate::proto) fn challenge_for_client(said: &[u8]) -> Option<Vec<u8>> {
    let lawful = (1..=NodeRefusal::CHALLENGE_MAX).contains(&said.len()) && sasl::decode(said).is_ok();
    lawful.then(|| said.to_vec())
}

/// How that is answered, in base64, so that the node refuses the token: an empty line, or a lone ^A (RFC 7628 §3.2.3).
pub(in crate::proto) fn answer_to_challenge(mechanism: TokenMechanism) -> &'static [u8] {
    match mechanism {
        TokenMechanism::XOAuth2 => b"",
        TokenMechanism::OAuthBearer => b"AQ==",
    }
}

/// The meaning of a node's refusal, read from its response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// `[AUTHENTICATIONFAILED]`, `[AUTH]`, or no code at all: the password is wrong, or so the client must believe.
    WrongPassword,
    /// `[UNAVAILABLE]`, `[SERVERBUG]`, `[SYS/TEMP]`…: the node has trouble of its own; the same login may succeed later
    /// or elsewhere.
    Temporary,
    /// IMAP's `[INUSE]`: the mailbox is in use. The same login may succeed later, here or elsewhere; it says nothing
    /// of the node's health.
    InUse,
    /// Any other code: `[EXPIRED]`, `[CONTACTADMIN]`, `[LIMIT]`, `[SYS/PERM]`…: final, but not about the password.
    Other,
}

/// How a node failed us. Nothing here is the user's fault, and no text of the node is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeFault {
    /// `* BYE`, or `-ERR` as the greeting.
    #[error("the node said goodbye")]
    Bye,
    /// `* PREAUTH`: somebody else's mailbox.
    #[error("the node greeted with PREAUTH")]
    Preauth,
    /// Octets that no node of this protocol sends here.
    #[error("the node answered something that is not this protocol")]
    Garbage,
    /// A line or a sum of lines beyond the limits.
    #[error("the node answered more than the limits allow")]
    TooLong,
    /// TLS is demanded by the configuration and the node would not start it.
    #[error("the node refused STARTTLS")]
    StartTlsRefused,
    /// Clear text behind the agreement to TLS (response injection).
    #[error("clear text was injected behind the node's answer to STARTTLS")]
    ClearTextInjected,
    /// The node offers no way to log in with a password.
    #[error("the node offers no way to log in with a password")]
    NoMechanism,
    /// The node does not offer the mechanism that this client's token is for. A stranger can cause it at will.
    #[error("the node does not offer the client's mechanism")]
    TokenUnwanted,
    /// The node would not hear who the client is, as the configuration says that it does.
    #[error("the node refused to hear who the client is")]
    IntroductionRefused,
    /// This login cannot be said in the only dialect that the node speaks (a space in a POP3 `USER`).
    #[error("the login cannot be expressed in the node's dialect")]
    Inexpressible,
    /// The node called our own command bad.
    #[error("the node did not understand our command")]
    Bad,
    /// The node refused a login of which it had not seen the password yet: it cannot be about the password.
    #[error("the node refused the login before it had seen the password")]
    RefusedUnseen,
    /// The node wants the client to log in elsewhere (RFC 2221), which is never passed on.
    #[error("the node answered with a referral")]
    Referral,
}
