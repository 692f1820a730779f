//! The replay of one login on a node that is ready for it.
//!
//! What stands behind the answer to the login is the session's.

use std::mem;

use super::{LINE_MAX, line};
use crate::names::UserName;
use crate::proto::pop3::response::{self, Capabilities, Status};
use crate::proto::replay::{answer_to_challenge, challenge_for_client};
use crate::proto::{
    Credentials, Input, NodeAcceptance, NodeAnswer, NodeFault, NodeLogin, NodeRefusal, RefusalKind, ReplayStep,
    TokenMechanism, sasl,
};
use crate::secret::Secret;

/// Longest command with its CRLF, in octets (RFC 2449 §4). An initial response that does not fit must be sent behind
/// the node's challenge instead (RFC 5034 §4); such a line of its own has no limit.
const COMMAND_MAX: usize = 255;

/// The dialogue with a node that judges a login.
pub struct Replay {
    state: State,
    /// The mechanism of a token on which the node may say one more word before it refuses it.
    token: Option<TokenMechanism>,
    /// That word.
    challenge: Option<Vec<u8>>,
}

enum State {
    /// AUTH comes next, with this mechanism and this response in base64.
    Auth(&'static str, Secret),
    /// AUTH was sent; the response waits for the challenge.
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
    /// Passwords by PLAIN where the node announced it: it has room for every octet and for a master user; by USER and
    /// PASS otherwise. Tokens in the client's own mechanism.
    pub(super) fn new(capabilities: &Capabilities, login: NodeLogin) -> Result<Self, NodeFault> {
        let NodeLogin { user, master, credentials } = login;
        let (state, token) = match credentials {
            Credentials::Token(mechanism, token) => {
                if !capabilities.has_mechanism(mechanism.name()) {
                    return Err(NodeFault::TokenUnwanted);
                } else if master.is_some() {
                    return Err(NodeFault::Inexpressible);
                }
                let message = sasl::token_message(mechanism, &user, &token).ok_or(NodeFault::Inexpressible)?;
                (State::Auth(mechanism.name(), sasl::encode(&message)), Some(mechanism))
            }
            Credentials::Password(password) if capabilities.has_mechanism("PLAIN") => {
                let message = sasl::plain_message(&user, master.as_ref(), &password);
                (State::Auth("PLAIN", sasl::encode(&message)), None)
            }
            Credentials::Password(_) if master.is_some() => return Err(NodeFault::Inexpressible),
            Credentials::Password(_) if !capabilities.user => return Err(NodeFault::NoMechanism),
            Credentials::Password(password) => {
                let ends_the_line = |octet: &u8| matches!(octet, 0 | b'\r' | b'\n');
                if user.as_bytes().contains(&b' ') || password.expose().iter().any(ends_the_line) {
                    return Err(NodeFault::Inexpressible);
                }
                (State::User(user, password), None)
            }
        };
        Ok(Self { state, token, challenge: None })
    }

    /// See [`crate::proto::Replay::step`].
    pub fn step(&mut self, input: &mut Input) -> Result<ReplayStep, NodeFault> {
        let (next, step) = match mem::replace(&mut self.state, State::Over) {
            State::Auth(mechanism, response) => auth(mechanism, response),
            State::User(user, password) => {
                (State::Named(password), ReplayStep::Send(command(b"USER ", user.as_bytes())))
            }
            State::Over => (State::Over, ReplayStep::Wait),
            state => match line(input)? {
                Some(line) => self.answered(state, &line)?,
                None => (state, ReplayStep::Wait),
            },
        };
        self.state = next;
        Ok(step)
    }

    fn answered(&mut self, state: State, line: &[u8]) -> Result<(State, ReplayStep), NodeFault> {
        let status = response::status(line).ok_or(NodeFault::Garbage)?;
        match (state, status) {
            (State::Challenge(response), Status::Continue(_)) => {
                Ok((State::Deciding, ReplayStep::Send(command(b"", response.expose()))))
            }
            (State::Deciding, Status::Continue(challenge)) => {
                // Everything was said: this is about the token, and there is one such word.
                let mechanism = self.token.take().ok_or(NodeFault::Garbage)?;
                self.challenge = challenge_for_client(challenge);
                Ok((State::Deciding, ReplayStep::Send(command(b"", answer_to_challenge(mechanism)))))
            }
            // The node has not seen the password: if it gives no other reason, something else is wrong with it. But a
            // stranger may have brought any token, and must not be able to harm the node with it.
            (State::Challenge(_), Status::Err(text)) => match (response::refusal(text), self.token) {
                (NodeRefusal { kind: RefusalKind::WrongPassword, .. }, Some(_)) => Err(NodeFault::TokenUnwanted),
                (NodeRefusal { kind: RefusalKind::WrongPassword, .. }, None) => Err(NodeFault::RefusedUnseen),
                (refusal, _) => Ok((State::Over, ReplayStep::Answer(NodeAnswer::Refused(refusal)))),
            },
            (State::Named(password), Status::Ok(_)) => {
                Ok((State::Deciding, ReplayStep::Send(command(b"PASS ", password.expose()))))
            }
            (State::Deciding, Status::Ok(text)) => {
                let accepted = NodeAcceptance { text: response::one_line(text, LINE_MAX), ..NodeAcceptance::default() };
                Ok((State::Over, ReplayStep::Answer(NodeAnswer::Accepted(accepted))))
            }
            // A node may refuse a name as soon as it hears it (RFC 1939 §7).
            (State::Named(_) | State::Deciding, Status::Err(text)) => {
                let refusal = NodeRefusal { challenge: self.challenge.take(), ..response::refusal(text) };
                Ok((State::Over, ReplayStep::Answer(NodeAnswer::Refused(refusal))))
            }
            _ => Err(NodeFault::Garbage),
        }
    }
}

fn auth(mechanism: &str, response: Secret) -> (State, ReplayStep) {
    let keyword = [b"AUTH ", mechanism.as_bytes()].concat();
    let whole = command(&[&keyword, b" ".as_slice()].concat(), response.expose());
    if whole.expose().len() <= COMMAND_MAX {
        (State::Deciding, ReplayStep::Send(whole))
    } else {
        (State::Challenge(response), ReplayStep::Send(command(&keyword, b"")))
    }
}

fn command(keyword: &[u8], argument: &[u8]) -> Secret {
    Secret::new([keyword, argument, b"\r\n"].concat())
}
