//! The states of a POP3 connection towards a node: up to the moment when it may get credentials ([`Hello`]), the replay
//! of one login ([`Replay`]), and whether the node answers at all ([`Command`]).
//!
//! POP3 answers have no tags: they belong to our commands by their order alone, so one command is sent at a time.
//! Nothing is said in clear text between STLS and the handshake, and what stands behind the node's agreement to it is
//! left for the session to see. What stands behind the answer to the login is the session's too.

mod introduce;
mod replay;

use std::mem;

use zeroize::Zeroizing;

pub use replay::Replay;

use super::response::{self, Capabilities, Status};
use crate::proto::line::Line;
use crate::proto::{CommandStep, Extensions, HelloStep, Input, Introduction, NodeFault, NodeLogin};

/// Longest line of a node, in octets without its line end.
const LINE_MAX: usize = 8 * 1024;

/// Most octets of a capability list.
const CAPABILITIES_MAX: usize = 64 * 1024;

/// Octets of a CRLF.
const LINE_END: usize = 2;

/// What a node hears that is not needed any more, before or after a login.
pub const FAREWELL: &[u8] = b"QUIT\r\n";

/// A node that has seen no secret yet.
pub struct Hello {
    state: HelloState,
    /// Of whom the node is to be told, until it was.
    introduction: Option<Introduction>,
    /// Whether its greeting asked to be told. In clear text that is only a hint: whoever takes it away keeps the node
    /// from hearing of the client, and whoever adds it makes the login fail.
    wants_introduction: bool,
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
    Xclient,
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
    pub fn new(starttls: bool, introduction: Option<Introduction>) -> Self {
        let state = HelloState::Awaiting(Asked::Greeting { starttls });
        Self { state, introduction, wants_introduction: false }
    }

    /// See [`NodeHello::extensions`](crate::proto::NodeHello::extensions).
    pub fn extensions(&self) -> Extensions {
        match &self.state {
            HelloState::Ready(capabilities) => capabilities.words.clone(),
            _ => Extensions::default(),
        }
    }

    /// See [`NodeHello::step`](crate::proto::NodeHello::step).
    pub fn step(&mut self, input: &mut Input) -> Result<HelloStep, NodeFault> {
        loop {
            let (next, step) = match mem::replace(&mut self.state, HelloState::Over) {
                HelloState::Awaiting(asked) => match line(input)? {
                    Some(line) => {
                        if matches!(asked, Asked::Greeting { .. }) {
                            self.wants_introduction = response::wants_introduction(&line);
                        }
                        asked.answered(&line)?
                    }
                    None => (HelloState::Awaiting(asked), Some(HelloStep::Wait)),
                },
                HelloState::Listing(listing) => match line(input)? {
                    Some(line) => (listing.line(&line)?, None),
                    None => (HelloState::Listing(listing), Some(HelloStep::Wait)),
                },
                HelloState::Open => match self.introduction.take().filter(|_| self.wants_introduction) {
                    Some(client) => {
                        (HelloState::Awaiting(Asked::Xclient), Some(HelloStep::Send(introduce::xclient(&client))))
                    }
                    None => (HelloState::Awaiting(Asked::Capa), Some(HelloStep::Send(b"CAPA\r\n".to_vec()))),
                },
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
        Self { state: HelloState::Open, ..self }
    }

    /// See [`NodeHello::replay`](crate::proto::NodeHello::replay). A node that was not yet [`HelloStep::Ready`] has
    /// announced nothing, and gets nothing.
    pub fn replay(self, login: NodeLogin) -> Result<Replay, NodeFault> {
        let HelloState::Ready(capabilities) = self.state else { return Err(NodeFault::NoMechanism) };
        Replay::new(&capabilities, login)
    }

    /// See [`NodeHello::command`](crate::proto::NodeHello::command).
    pub fn command(self) -> Command {
        let state = if matches!(self.state, HelloState::Ready(_)) { HelloState::Open } else { HelloState::Over };
        Command(Self { state, introduction: None, wants_introduction: false })
    }
}

impl Asked {
    /// The state after the answer, and what to do, if that is not to read on.
    fn answered(self, line: &[u8]) -> Result<(HelloState, Option<HelloStep>), NodeFault> {
        let status = response::status(line).ok_or(NodeFault::Garbage)?;
        match (self, status) {
            (_, Status::Continue(_)) => Err(NodeFault::Garbage),
            (Self::Greeting { starttls: false }, Status::Ok(_)) => Ok((HelloState::Open, None)),
            (Self::Greeting { starttls: true }, Status::Ok(_)) => {
                Ok((HelloState::Awaiting(Self::Stls), Some(HelloStep::Send(b"STLS\r\n".to_vec()))))
            }
            (Self::Greeting { .. }, Status::Err(_)) => Err(NodeFault::Bye),
            (Self::Stls, Status::Ok(_)) => Ok((HelloState::Handshake, Some(HelloStep::StartTls))),
            (Self::Stls, Status::Err(_)) => Err(NodeFault::StartTlsRefused),
            (Self::Xclient, Status::Ok(_)) => Ok((HelloState::Open, None)),
            (Self::Xclient, Status::Err(_)) => Err(NodeFault::IntroductionRefused),
            (Self::Capa, Status::Ok(_)) => Ok((HelloState::Listing(Listing::default()), None)),
            (Self::Capa, Status::Err(_)) => Ok((HelloState::Ready(Capabilities::without_capa()), None)),
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

/// The next line of the node, if it is there in whole.
fn line(input: &mut Input) -> Result<Option<Zeroizing<Vec<u8>>>, NodeFault> {
    match input.line(LINE_MAX) {
        Line::Partial => Ok(None),
        Line::TooLong => Err(NodeFault::TooLong),
        Line::Complete(line) => Ok(Some(line)),
    }
}
