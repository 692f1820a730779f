//! The states of a POP3 connection towards a node: up to the moment when it may get credentials ([`Hello`]), the replay
//! of one login ([`Replay`]), and whether the node answers at all ([`Command`]).
//!
//! POP3 answers have no tags: they belong to our commands by their order alone, so one command is sent at a time.
//! Nothing is said in clear text between STLS and the handshake, and what stands behind the node's agreement to it is
//! left for the session to see. What stands behind the answer to the login is the session's too.

use std::mem;

use zeroize::Zeroizing;

use super::response::{self, Capabilities, Status};
use crate::names::UserName;
use crate::proto::line::Line;
use crate::proto::{
    CommandStep, HelloStep, Input, NodeAcceptance, NodeAnswer, NodeFault, NodeRefusal, RefusalKind, ReplayStep, sasl,
};
use crate::secret::Secret;

/// Longest line of a node, in octets without its line end.
const LINE_MAX: usize = 8 * 1024;

/// Most octets of a capability list.
const CAPABILITIES_MAX: usize = 64 * 1024;

/// Octets of a CRLF.
const LINE_END: usize = 2;

/// Longest command with its CRLF, in octets (RFC 2449 §4). An initial response that does not fit must be sent behind
/// the node's challenge instead (RFC 5034 §4); such a line of its own has no limit.
const COMMAND_MAX: usize = 255;

/// What a node hears that is not needed any more, before or after a login.
pub const FAREWELL: &[u8] = b"QUIT\r\n";

// ── before the credentials ──────────────────────────────────────────────────────────────────────────────────────────

/// A node that has seen no secret yet.
pub struct Hello {
    state: HelloState,
}

enum HelloState {
    Awaiting(Asked),
    /// The connection is as safe as it will be; CAPA comes next.
    Open,
    Listing(Listing),
    /// The node agreed to TLS.
    Handshake,
    Ready(Capabilities),
    /// A fault was reported.
    Over,
}

/// What the node's next status line answers.
enum Asked {
    Greeting { starttls: bool },
    Stls,
    Capa,
}

/// Inside the list of capabilities.
#[derive(Default)]
struct Listing {
    capabilities: Capabilities,
    octets: usize,
}

impl Hello {
    /// See [`NodeHello::new`](crate::proto::NodeHello::new).
    pub fn new(starttls: bool) -> Self {
        Self { state: HelloState::Awaiting(Asked::Greeting { starttls }) }
    }

    /// See [`NodeHello::step`](crate::proto::NodeHello::step).
    pub fn step(&mut self, input: &mut Input) -> Result<HelloStep, NodeFault> {
        loop {
            let (next, step) = match mem::replace(&mut self.state, HelloState::Over) {
                HelloState::Awaiting(asked) => match line(input)? {
                    Some(line) => asked.answered(&line)?,
                    None => (HelloState::Awaiting(asked), Some(HelloStep::Wait)),
                },
                HelloState::Listing(listing) => match line(input)? {
                    Some(line) => (listing.line(&line)?, None),
                    None => (HelloState::Listing(listing), Some(HelloStep::Wait)),
                },
                HelloState::Open => (HelloState::Awaiting(Asked::Capa), Some(HelloStep::Send(b"CAPA\r\n".to_vec()))),
                HelloState::Ready(capabilities) => (HelloState::Ready(capabilities), Some(HelloStep::Ready)),
                state @ (HelloState::Handshake | HelloState::Over) => (state, Some(HelloStep::Wait)),
            };
            self.state = next;
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// See [`NodeHello::secured`](crate::proto::NodeHello::secured). There is no second greeting (RFC 2595 §4).
    pub fn secured(self) -> Self {
        Self { state: HelloState::Open }
    }

    /// See [`NodeHello::replay`](crate::proto::NodeHello::replay).
    ///
    /// AUTH PLAIN is preferred: it has room for every octet. A node that was not yet [`HelloStep::Ready`] has
    /// announced nothing, and gets nothing.
    pub fn replay(self, user: UserName, password: Secret) -> Result<Replay, NodeFault> {
        let HelloState::Ready(capabilities) = self.state else { return Err(NodeFault::NoMechanism) };
        let state = if capabilities.plain {
            ReplayState::Auth(sasl::encode(&sasl::plain_message(&user, None, &password)))
        } else if !capabilities.user {
            return Err(NodeFault::NoMechanism);
        } else if user.as_bytes().contains(&b' ') || password.expose().iter().any(|o| matches!(o, 0 | b'\r' | b'\n')) {
            return Err(NodeFault::Inexpressible);
        } else {
            ReplayState::User(user, password)
        };
        Ok(Replay { state })
    }

    /// See [`NodeHello::command`](crate::proto::NodeHello::command).
    pub fn command(self) -> Command {
        let state = if matches!(self.state, HelloState::Ready(_)) { HelloState::Open } else { HelloState::Over };
        Command(Self { state })
    }
}

impl Asked {
    /// The state after the answer, and what to do, if that is not to read on.
    fn answered(self, line: &[u8]) -> Result<(HelloState, Option<HelloStep>), NodeFault> {
        let status = response::status(line).ok_or(NodeFault::Garbage)?;
        match (self, status) {
            (_, Status::Continue) => Err(NodeFault::Garbage),
            (Self::Greeting { starttls: false }, Status::Ok(_)) => Ok((HelloState::Open, None)),
            (Self::Greeting { starttls: true }, Status::Ok(_)) => {
                Ok((HelloState::Awaiting(Self::Stls), Some(HelloStep::Send(b"STLS\r\n".to_vec()))))
            }
            (Self::Greeting { .. }, Status::Err(_)) => Err(NodeFault::Bye),
            (Self::Stls, Status::Ok(_)) => Ok((HelloState::Handshake, Some(HelloStep::StartTls))),
            (Self::Stls, Status::Err(_)) => Err(NodeFault::StartTlsRefused),
            (Self::Capa, Status::Ok(_)) => Ok((HelloState::Listing(Listing::default()), None)),
            (Self::Capa, Status::Err(_)) => Ok((HelloState::Ready(Capabilities::WITHOUT_CAPA), None)),
        }
    }
}

impl Listing {
    fn line(mut self, line: &[u8]) -> Result<HelloState, NodeFault> {
        if line == b"." {
            return Ok(HelloState::Ready(self.capabilities));
        }
        self.octets += line.len() + LINE_END;
        if self.octets > CAPABILITIES_MAX {
            return Err(NodeFault::TooLong);
        }
        self.capabilities.add(line);
        Ok(HelloState::Listing(self))
    }
}

/// CAPA once more, the only command before the login that changes nothing.
pub struct Command(Hello);

impl Command {
    /// See [`crate::proto::Command::step`].
    pub fn step(&mut self, input: &mut Input) -> Result<CommandStep, NodeFault> {
        if matches!(self.0.state, HelloState::Over) {
            return Err(NodeFault::Garbage);
        }
        match self.0.step(input)? {
            HelloStep::Wait => Ok(CommandStep::Wait),
            HelloStep::Send(line) => Ok(CommandStep::Send(line)),
            HelloStep::Ready => Ok(CommandStep::Done),
            HelloStep::StartTls => Err(NodeFault::Garbage),
        }
    }
}

// ── the credentials ─────────────────────────────────────────────────────────────────────────────────────────────────

/// The replay of one login on one node.
pub struct Replay {
    state: ReplayState,
}

enum ReplayState {
    /// AUTH PLAIN comes next, with this response in base64.
    Auth(Secret),
    /// AUTH PLAIN was sent; the response waits for the challenge.
    Challenge(Secret),
    /// USER comes next, and PASS behind it.
    User(UserName, Secret),
    /// USER was sent; the password waits for its answer.
    Named(Secret),
    /// The node has everything it needs to decide.
    Deciding,
    /// The node has decided, or a fault was reported.
    Over,
}

impl Replay {
    /// See [`crate::proto::Replay::step`].
    pub fn step(&mut self, input: &mut Input) -> Result<ReplayStep, NodeFault> {
        let (next, step) = match mem::replace(&mut self.state, ReplayState::Over) {
            ReplayState::Auth(response) => auth(response),
            ReplayState::User(user, password) => {
                (ReplayState::Named(password), ReplayStep::Send(command(b"USER ", user.as_bytes())))
            }
            ReplayState::Over => (ReplayState::Over, ReplayStep::Wait),
            state => match line(input)? {
                Some(line) => state.answered(&line)?,
                None => (state, ReplayStep::Wait),
            },
        };
        self.state = next;
        Ok(step)
    }
}

impl ReplayState {
    fn answered(self, line: &[u8]) -> Result<(Self, ReplayStep), NodeFault> {
        let status = response::status(line).ok_or(NodeFault::Garbage)?;
        match (self, status) {
            (Self::Challenge(response), Status::Continue) => {
                Ok((Self::Deciding, ReplayStep::Send(command(b"", response.expose()))))
            }
            // The node has not seen the password: if it gives no other reason, something else is wrong with it.
            (Self::Challenge(_), Status::Err(text)) => match response::refusal(text) {
                NodeRefusal { kind: RefusalKind::WrongPassword, .. } => Err(NodeFault::RefusedUnseen),
                refusal => Ok((Self::Over, ReplayStep::Answer(NodeAnswer::Refused(refusal)))),
            },
            (Self::Named(password), Status::Ok(_)) => {
                Ok((Self::Deciding, ReplayStep::Send(command(b"PASS ", password.expose()))))
            }
            (Self::Deciding, Status::Ok(text)) => {
                let accepted = NodeAcceptance { text: response::one_line(text, LINE_MAX), ..NodeAcceptance::default() };
                Ok((Self::Over, ReplayStep::Answer(NodeAnswer::Accepted(accepted))))
            }
            // A node may refuse a name as soon as it hears it (RFC 1939 §7).
            (Self::Named(_) | Self::Deciding, Status::Err(text)) => {
                Ok((Self::Over, ReplayStep::Answer(NodeAnswer::Refused(response::refusal(text)))))
            }
            _ => Err(NodeFault::Garbage),
        }
    }
}

fn auth(response: Secret) -> (ReplayState, ReplayStep) {
    let whole = command(b"AUTH PLAIN ", response.expose());
    if whole.expose().len() <= COMMAND_MAX {
        (ReplayState::Deciding, ReplayStep::Send(whole))
    } else {
        (ReplayState::Challenge(response), ReplayStep::Send(command(b"AUTH PLAIN", b"")))
    }
}

fn command(keyword: &[u8], argument: &[u8]) -> Secret {
    Secret::new([keyword, argument, b"\r\n"].concat())
}

/// The next line of the node, if it is there in whole.
fn line(input: &mut Input) -> Result<Option<Zeroizing<Vec<u8>>>, NodeFault> {
    match input.line(LINE_MAX) {
        Line::Partial => Ok(None),
        Line::TooLong => Err(NodeFault::TooLong),
        Line::Complete(line) => Ok(Some(line)),
    }
}
