//! What is said with an IMAP node: [`Hello`] up to the moment when it may be sent a password, [`Replay`] for the login,
//! [`Command`] for whether it answers at all.
//!
//! A node is one of ours, but what it says may be broken or forged: all of it is bounded, and what is not understood
//! ends the attempt. Nothing is pipelined: whatever stands behind an answer was not asked for and stays in the input.
//! The replayed login must be right for every octet that a password may have.

mod introduce;
mod replay;

pub use replay::Replay;

use super::response::{self, Response};
use crate::proto::{CommandStep, Extensions, HelloStep, Input, Introduction, NodeFault, NodeLogin};

/// The tag of our STARTTLS.
const STARTTLS_TAG: &[u8] = b"f1";
/// The tag of our CAPABILITY before the login.
const CAPABILITY_TAG: &[u8] = b"f2";
/// The tag of a probe's NOOP.
const NOOP_TAG: &[u8] = b"f5";

/// The tag of our ID.
const ID_TAG: &[u8] = b"f7";

/// What a node hears that is not needed any more, before or after a login.
pub const FAREWELL: &[u8] = b"f6 LOGOUT\r\n";

/// The dialogue with a node that has not been told any secret.
pub struct Hello {
    state: State,
    /// Of whom the node is to be told, until it was.
    introduction: Option<Introduction>,
    /// Octets of untagged responses since our last command.
    heard: usize,
}

enum State {
    /// The greeting is awaited, and so is whether TLS comes first.
    Greeting { starttls: bool },
    /// STARTTLS was sent.
    StartTls,
    /// The session must bring TLS up.
    Upgrading,
    /// CAPABILITY is to be sent.
    Ask,
    /// CAPABILITY was sent; the list, once it has come.
    Asked(Option<Vec<u8>>),
    /// The list is known; the node may have to be told of the client.
    Known(Vec<u8>),
    /// ID was sent.
    Introduced(Vec<u8>),
    /// All is said that comes before a login.
    Ready(Vec<u8>),
    /// The node failed us.
    Failed,
}

impl Hello {
    /// A dialogue that waits for the greeting. With `starttls`, the upgrade is demanded before anything else is said. A
    /// node that does not announce ID is not told of the client, and the login goes on.
    pub fn new(starttls: bool, introduction: Option<Introduction>) -> Self {
        Self { state: State::Greeting { starttls }, introduction, heard: 0 }
    }

    /// See [`NodeHello::extensions`](crate::proto::NodeHello::extensions).
    pub fn extensions(&self) -> Extensions {
        self.said().map(response::words).unwrap_or_default()
    }

    /// See [`NodeHello::said`](crate::proto::NodeHello::said).
    pub fn said(&self) -> Option<&[u8]> {
        if let State::Ready(list) = &self.state { Some(list) } else { None }
    }

    /// Takes what it can from the front of the input. To be called until it says [`HelloStep::Wait`].
    ///
    /// # Errors
    /// The node is not fit for a login; the dialogue is over.
    pub fn step(&mut self, input: &mut Input) -> Result<HelloStep, NodeFault> {
        loop {
            let (state, step) = match std::mem::replace(&mut self.state, State::Failed) {
                State::Failed => return Err(NodeFault::Garbage),
                State::Upgrading => (State::Upgrading, Some(HelloStep::StartTls)),
                State::Ready(list) => (State::Ready(list), Some(HelloStep::Ready)),
                State::Known(list) => match self.introduction.take() {
                    Some(client) if response::lists(&list, "ID") => {
                        (State::Introduced(list), Some(HelloStep::Send(introduce::id(ID_TAG, &client))))
                    }
                    _ => (State::Ready(list), None),
                },
                State::Ask => (State::Asked(None), Some(command(CAPABILITY_TAG, "CAPABILITY"))),
                state => match next_response(input, state.tag(), &mut self.heard)? {
                    None => (state, Some(HelloStep::Wait)),
                    Some((response, _)) => state.hear(response)?,
                },
            };
            self.state = state;
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// The handshake after [`HelloStep::StartTls`] succeeded: everything that was learned in clear text is forgotten.
    pub fn secured(self) -> Self {
        Self { state: State::Ask, introduction: self.introduction, heard: 0 }
    }

    /// Begins the replay of a login, after [`HelloStep::Ready`].
    ///
    /// # Errors
    /// The node announced no way in which this login could be said to it.
    pub fn replay(self, login: &NodeLogin) -> Result<Replay, NodeFault> {
        match self.state {
            State::Ready(list) => Replay::new(&list, login),
            _ => Err(NodeFault::Garbage),
        }
    }

    /// Begins a NOOP, after [`HelloStep::Ready`].
    pub fn command(self) -> Command {
        let state = if matches!(self.state, State::Ready(_)) { CommandState::Say } else { CommandState::Over };
        Command { state, heard: 0 }
    }
}

impl State {
    fn tag(&self) -> &'static [u8] {
        match self {
            Self::StartTls => STARTTLS_TAG,
            Self::Introduced(_) => ID_TAG,
            _ => CAPABILITY_TAG,
        }
    }

    fn hear(self, response: Response) -> Result<(Self, Option<HelloStep>), NodeFault> {
        match (self, response) {
            (_, Response::Bye) => Err(NodeFault::Bye),
            (_, Response::Preauth) => Err(NodeFault::Preauth),
            (Self::Greeting { starttls: true }, Response::Ok(_)) => {
                Ok((Self::StartTls, Some(command(STARTTLS_TAG, "STARTTLS"))))
            }
            (Self::Greeting { starttls: false }, Response::Ok(text)) => {
                Ok((response::capability_code(&text).map_or(Self::Ask, |list| Self::Known(list.to_vec())), None))
            }
            (Self::StartTls, Response::Accepted(_)) => Ok((Self::Upgrading, None)),
            (Self::StartTls, Response::Refused(_) | Response::Bad) => Err(NodeFault::StartTlsRefused),
            (Self::StartTls, Response::Ok(_) | Response::Capability(_) | Response::Data) => Ok((Self::StartTls, None)),
            (Self::Asked(_), Response::Capability(list)) => Ok((Self::Asked(Some(list)), None)),
            (Self::Asked(list), Response::Ok(_) | Response::Data) => Ok((Self::Asked(list), None)),
            (Self::Asked(Some(list)), Response::Accepted(_)) => Ok((Self::Known(list), None)),
            (Self::Asked(None), Response::Accepted(text)) => {
                let list = response::capability_code(&text).ok_or(NodeFault::Garbage)?;
                Ok((Self::Known(list.to_vec()), None))
            }
            (Self::Asked(_), Response::Refused(_) | Response::Bad) => Err(NodeFault::Bad),
            (Self::Introduced(list), Response::Ok(_) | Response::Capability(_) | Response::Data) => {
                Ok((Self::Introduced(list), None))
            }
            (Self::Introduced(list), Response::Accepted(_)) => Ok((Self::Ready(list), None)),
            // A node may dislike ID before the login; Dovecot says SERVERBUG when it is about what ID told it.
            (Self::Introduced(list), Response::Refused(text)) if !response::is_server_bug(&text) => {
                Ok((Self::Ready(list), None))
            }
            (Self::Introduced(_), Response::Refused(_) | Response::Bad) => Err(NodeFault::IntroductionRefused),
            _ => Err(NodeFault::Garbage),
        }
    }
}

fn command(tag: &[u8], name: &str) -> HelloStep {
    HelloStep::Send([tag, b" ", name.as_bytes(), b"\r\n"].concat())
}

/// The dialogue with a node that is asked for nothing but an answer.
pub struct Command {
    state: CommandState,
    /// Octets of untagged responses since the command.
    heard: usize,
}

#[derive(Clone, Copy)]
enum CommandState {
    /// NOOP is to be sent.
    Say,
    /// NOOP was sent.
    Said,
    /// The node has answered, or failed us.
    Over,
}

impl Command {
    /// Takes what it can from the front of the input. The first call needs no input: it says what to send.
    ///
    /// # Errors
    /// The node did not answer OK, as every node does before and after a login; the dialogue is over.
    pub fn step(&mut self, input: &mut Input) -> Result<CommandStep, NodeFault> {
        loop {
            match std::mem::replace(&mut self.state, CommandState::Over) {
                CommandState::Over => return Err(NodeFault::Garbage),
                CommandState::Say => {
                    self.state = CommandState::Said;
                    return Ok(CommandStep::Send([NOOP_TAG, b" NOOP\r\n"].concat()));
                }
                CommandState::Said => match next_response(input, NOOP_TAG, &mut self.heard)?.map(|(it, _)| it) {
                    Some(Response::Accepted(_)) => return Ok(CommandStep::Done),
                    Some(Response::Refused(_) | Response::Bad) => return Err(NodeFault::Bad),
                    Some(Response::Bye) => return Err(NodeFault::Bye),
                    Some(Response::Preauth | Response::Continuation(_)) => return Err(NodeFault::Garbage),
                    Some(Response::Ok(_) | Response::Capability(_) | Response::Data) => {
                        self.state = CommandState::Said;
                    }
                    None => {
                        self.state = CommandState::Said;
                        return Ok(CommandStep::Wait);
                    }
                },
            }
        }
    }
}

/// Takes one response from the front of the input, with its octets. Of all since the last tagged one, at most
/// [`response::RESPONSES_MAX`] octets are heard.
fn next_response(input: &mut Input, tag: &[u8], heard: &mut usize) -> Result<Option<(Response, Vec<u8>)>, NodeFault> {
    let Some(length) = response::length(input.as_bytes())? else { return Ok(None) };
    *heard += length;
    if *heard > response::RESPONSES_MAX {
        return Err(NodeFault::TooLong);
    }
    let octets = input.as_bytes().get(..length).unwrap_or_default().to_vec();
    let response = response::parse(&octets, tag)?;
    input.consume(length);
    Ok(Some((response, octets)))
}

#[cfg(test)]
mod tests;
