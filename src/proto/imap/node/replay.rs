//! The replay of one login on a node that is ready for it.
//!
//! What the login causes the node to say is held until the node has decided, in order and octet for octet, because an
//! acceptance carries all of it to the client and a refusal none.

use std::collections::VecDeque;

use super::next_response;
use crate::names::UserName;
use crate::proto::imap::response::{self, Freed, Response};
use crate::proto::replay::{answer_to_challenge, challenge_for_client};
use crate::proto::{
    Credentials, Input, NodeAcceptance, NodeAnswer, NodeFault, NodeLogin, NodeRefusal, RefusalKind, ReplayStep,
    TokenMechanism, sasl,
};
use crate::secret::Secret;

/// The tag of the login.
const LOGIN_TAG: &[u8] = b"f3";
/// The tag of our CAPABILITY behind the login.
const CAPABILITY_TAG: &[u8] = b"f4";

/// The dialogue with a node that judges a login.
pub struct Replay {
    state: State,
    held: Held,
    /// The mechanism of a token on which the node may say one more word before it refuses it.
    token: Option<TokenMechanism>,
    /// That word.
    challenge: Option<Vec<u8>>,
}

/// The untagged responses that the login caused.
#[derive(Default)]
struct Held {
    octets: Vec<u8>,
    /// What they told of the capabilities.
    capabilities: Option<Vec<u8>>,
    /// Octets received, with those that are not held.
    heard: usize,
}

enum State {
    /// The first part is to be sent.
    Say(VecDeque<Secret>),
    /// Parts were sent, and the node must ask for the next one, or judge if there is none.
    Said(VecDeque<Secret>),
    /// The node accepted with this text, but did not say what it can do now.
    Ask(Vec<u8>),
    /// CAPABILITY was sent; the list, once it has come.
    Asked(Vec<u8>, Option<Vec<u8>>),
    /// The node has decided, or failed us.
    Over,
}

impl Replay {
    /// Passwords by PLAIN where the node announced it, for it needs no quoting and is the only one that can carry a
    /// master user; by LOGIN otherwise. Tokens in the client's own mechanism.
    pub(super) fn new(list: &[u8], login: &NodeLogin) -> Result<Self, NodeFault> {
        let lists = |word: &str| response::lists(list, word);
        let NodeLogin { user, master, credentials } = login;
        let (parts, token) = match credentials {
            Credentials::Token(mechanism, token) => {
                if !lists(mechanism.announced()) {
                    return Err(NodeFault::TokenUnwanted);
                } else if master.is_some() {
                    return Err(NodeFault::Inexpressible);
                }
                let message = sasl::token_message(*mechanism, user, token).ok_or(NodeFault::Inexpressible)?;
                (authenticate(mechanism.name(), &message, lists("SASL-IR")), Some(*mechanism))
            }
            Credentials::Password(password) if lists("AUTH=PLAIN") => {
                let message = sasl::plain_message(user, master.as_ref(), password);
                (authenticate("PLAIN", &message, lists("SASL-IR")), None)
            }
            Credentials::Password(_) if master.is_some() => return Err(NodeFault::Inexpressible),
            Credentials::Password(_) if lists("LOGINDISABLED") => return Err(NodeFault::NoMechanism),
            Credentials::Password(password) => {
                (self::login(user, password, lists("LITERAL+") || lists("LITERAL-")), None)
            }
        };
        Ok(Self { state: State::Say(parts), held: Held::default(), token, challenge: None })
    }

    /// Takes what it can from the front of the input. The first call needs no input: it says what to send.
    ///
    /// # Errors
    /// The node did not decide; the dialogue is over.
    pub fn step(&mut self, input: &mut Input) -> Result<ReplayStep, NodeFault> {
        loop {
            let (state, step) = match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Err(NodeFault::Garbage),
                State::Say(mut parts) => {
                    let part = parts.pop_front().ok_or(NodeFault::Garbage)?;
                    (State::Said(parts), Some(ReplayStep::Send(part)))
                }
                State::Ask(text) => {
                    let ask = [CAPABILITY_TAG, b" CAPABILITY\r\n"].concat();
                    (State::Asked(text, None), Some(ReplayStep::Send(Secret::new(ask))))
                }
                State::Said(parts) => match next_response(input, LOGIN_TAG, &mut self.held.heard)? {
                    None => (State::Said(parts), Some(ReplayStep::Wait)),
                    Some((response, octets)) => self.judged(parts, response, &octets)?,
                },
                State::Asked(text, list) => match next_response(input, CAPABILITY_TAG, &mut self.held.heard)? {
                    None => (State::Asked(text, list), Some(ReplayStep::Wait)),
                    Some((response, octets)) => self.told(text, list, response, &octets)?,
                },
            };
            self.state = state;
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    fn judged(
        &mut self,
        parts: VecDeque<Secret>,
        response: Response,
        octets: &[u8],
    ) -> Result<(State, Option<ReplayStep>), NodeFault> {
        match response {
            Response::Continuation(_) if !parts.is_empty() => Ok((State::Say(parts), None)),
            Response::Continuation(challenge) => {
                // Everything was said: this is about the token, and there is one such word.
                let mechanism = self.token.take().ok_or(NodeFault::Garbage)?;
                self.challenge = challenge_for_client(&challenge);
                let answer = [answer_to_challenge(mechanism), b"\r\n"].concat();
                Ok((State::Say([Secret::new(answer)].into()), None))
            }
            Response::Accepted(text) if parts.is_empty() => {
                let Freed { capabilities, text, .. } = response::freed(&text);
                match capabilities.or_else(|| self.held.capabilities.take()) {
                    Some(list) => Ok(self.accepted(text, list)),
                    None => Ok((State::Ask(text), None)),
                }
            }
            Response::Refused(text) => {
                // The list is that of a connection without a login, and not ours.
                let Freed { is_referral, text, .. } = response::freed(&text);
                if is_referral {
                    return Err(NodeFault::Referral);
                }
                let refusal = NodeRefusal { challenge: self.challenge.take(), ..response::refusal(text) };
                match (parts.is_empty(), refusal.kind, self.token) {
                    // A stranger may have brought any token, and must not be able to harm the node with it.
                    (false, RefusalKind::WrongPassword, Some(_)) => Err(NodeFault::TokenUnwanted),
                    (false, RefusalKind::WrongPassword, None) => Err(NodeFault::RefusedUnseen),
                    _ => Ok((State::Over, Some(ReplayStep::Answer(NodeAnswer::Refused(refusal))))),
                }
            }
            Response::Bad => Err(NodeFault::Bad),
            untagged => self.held.hold(untagged, octets).map(|()| (State::Said(parts), None)),
        }
    }

    fn told(
        &mut self,
        text: Vec<u8>,
        list: Option<Vec<u8>>,
        response: Response,
        octets: &[u8],
    ) -> Result<(State, Option<ReplayStep>), NodeFault> {
        match response {
            Response::Capability(list) => Ok((State::Asked(text, Some(response::announceable(&list))), None)),
            Response::Accepted(said) => {
                let list = list.or(response::freed(&said).capabilities);
                Ok(self.accepted(text, list.unwrap_or_default()))
            }
            Response::Refused(_) | Response::Bad => Ok(self.accepted(text, list.unwrap_or_default())),
            untagged => self.held.hold(untagged, octets).map(|()| (State::Asked(text, list), None)),
        }
    }

    fn accepted(&mut self, text: Vec<u8>, capabilities: Vec<u8>) -> (State, Option<ReplayStep>) {
        let untagged = std::mem::take(&mut self.held.octets);
        let acceptance = NodeAcceptance { untagged, text, capabilities };
        (State::Over, Some(ReplayStep::Answer(NodeAnswer::Accepted(acceptance))))
    }
}

impl Held {
    /// Keeps a response octet for octet, but for what it tells of the capabilities, which is kept apart, and for where
    /// else the client should go, which is dropped.
    fn hold(&mut self, response: Response, octets: &[u8]) -> Result<(), NodeFault> {
        let (list, octets) = match response {
            Response::Capability(list) => (Some(response::announceable(&list)), Vec::new()),
            Response::Ok(text) => match response::freed(&text) {
                freed if freed.text.len() == text.len() => (None, octets.to_vec()),
                freed if freed.text.is_empty() => (freed.capabilities, Vec::new()),
                freed => (freed.capabilities, [b"* OK ", freed.text.as_slice(), b"\r\n"].concat()),
            },
            Response::Data if response::is_untagged_referral(octets) => (None, Vec::new()),
            Response::Data => (None, octets.to_vec()),
            Response::Bye => return Err(NodeFault::Bye),
            Response::Continuation(_)
            | Response::Preauth
            | Response::Accepted(_)
            | Response::Refused(_)
            | Response::Bad => return Err(NodeFault::Garbage),
        };
        self.capabilities = list.filter(|list| !list.is_empty()).or(self.capabilities.take());
        self.octets.extend(octets);
        Ok(())
    }
}

/// AUTHENTICATE with the one message of a mechanism in which the client speaks first.
fn authenticate(mechanism: &str, message: &Secret, initial_response: bool) -> VecDeque<Secret> {
    let response = sasl::encode(message);
    let command = [LOGIN_TAG, b" AUTHENTICATE ", mechanism.as_bytes()].concat();
    let parts = if initial_response {
        vec![[command.as_slice(), b" ", response.expose(), b"\r\n"].concat()]
    } else {
        vec![[command.as_slice(), b"\r\n"].concat(), [response.expose(), b"\r\n"].concat()]
    };
    parts.into_iter().map(Secret::new).collect()
}

/// LOGIN. Parts end where the node must answer `+`.
fn login(user: &UserName, password: &Secret, may_not_wait: bool) -> VecDeque<Secret> {
    let mut parts = VecDeque::new();
    // Room for both arguments with every octet escaped: growing would leave unwiped copies behind.
    let room = 64 + 2 * (user.as_bytes().len() + password.expose().len());
    let mut part = Vec::with_capacity(room);
    part.extend_from_slice(LOGIN_TAG);
    part.extend_from_slice(b" LOGIN");
    for argument in [user.as_bytes(), password.expose()] {
        part.push(b' ');
        if argument.iter().all(|octet| matches!(octet, b' '..=b'~')) {
            push_quoted(&mut part, argument);
            continue;
        }
        let plus = if may_not_wait { "+" } else { "" };
        part.extend_from_slice(format!("{{{}{plus}}}\r\n", argument.len()).as_bytes());
        if !may_not_wait {
            parts.push_back(Secret::new(std::mem::replace(&mut part, Vec::with_capacity(room))));
        }
        part.extend_from_slice(argument);
    }
    part.extend_from_slice(b"\r\n");
    parts.push_back(Secret::new(part));
    parts
}

fn push_quoted(part: &mut Vec<u8>, argument: &[u8]) {
    part.push(b'"');
    for &octet in argument {
        if matches!(octet, b'"' | b'\\') {
            part.push(b'\\');
        }
        part.push(octet);
    }
    part.push(b'"');
}
