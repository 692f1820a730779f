//! The replay of one login on a node that is ready for it.
//!
//! What the login causes the node to say is held until the node has decided, in order and octet for octet, because an
//! acceptance carries all of it to the client and a refusal none.

use std::collections::VecDeque;

use super::next_response;
use crate::names::UserName;
use crate::proto::imap::response::{self, Response};
use crate::proto::{Input, NodeAcceptance, NodeAnswer, NodeFault, RefusalKind, ReplayStep, sasl};
use crate::secret::Secret;

/// The tag of the login.
const LOGIN_TAG: &[u8] = b"f3";
/// The tag of our CAPABILITY behind the login.
const CAPABILITY_TAG: &[u8] = b"f4";

/// The dialogue with a node that judges a login.
pub struct Replay {
    state: State,
    held: Held,
}

/// The untagged responses that the login caused.
#[derive(Default)]
struct Held {
    octets: Vec<u8>,
    /// Whether the client learns the capabilities from them.
    capabilities: bool,
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
    /// PLAIN where the node announced it, for it needs no quoting; LOGIN otherwise.
    pub(super) fn new(list: &[u8], user: &UserName, password: &Secret) -> Result<Self, NodeFault> {
        let parts = if response::lists(list, "AUTH=PLAIN") {
            plain(user, password, response::lists(list, "SASL-IR"))
        } else if response::lists(list, "LOGINDISABLED") {
            return Err(NodeFault::NoMechanism);
        } else {
            login(user, password, response::lists(list, "LITERAL+") || response::lists(list, "LITERAL-"))
        };
        Ok(Self { state: State::Say(parts), held: Held::default() })
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
            Response::Continuation if !parts.is_empty() => Ok((State::Say(parts), None)),
            Response::Accepted(text) if parts.is_empty() => {
                let text = response::without_referral(text);
                if response::capability_code(&text).is_some() {
                    Ok(self.accepted(response::announceable(&text)))
                } else if self.held.capabilities {
                    Ok(self.accepted(text))
                } else {
                    Ok((State::Ask(text), None))
                }
            }
            Response::Refused(text) if response::is_referral(&text) => Err(NodeFault::Referral),
            Response::Refused(text) => {
                let refusal = response::refusal(text);
                if !parts.is_empty() && refusal.kind == RefusalKind::WrongPassword {
                    return Err(NodeFault::RefusedUnseen);
                }
                Ok((State::Over, Some(ReplayStep::Answer(NodeAnswer::Refused(refusal)))))
            }
            Response::Bad => Err(NodeFault::Bad),
            untagged => self.held.hold(&untagged, octets).map(|()| (State::Said(parts), None)),
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
            Response::Capability(list) => Ok((State::Asked(text, Some(list)), None)),
            Response::Accepted(_) | Response::Refused(_) | Response::Bad => Ok(self.accepted(match list {
                Some(list) => [b"[CAPABILITY ", response::announceable(&list).as_slice(), b"] ", &text].concat(),
                None => text,
            })),
            untagged => self.held.hold(&untagged, octets).map(|()| (State::Asked(text, list), None)),
        }
    }

    fn accepted(&mut self, text: Vec<u8>) -> (State, Option<ReplayStep>) {
        let untagged = std::mem::take(&mut self.held.octets);
        (
            State::Over,
            Some(ReplayStep::Answer(NodeAnswer::Accepted(NodeAcceptance { untagged, text, capabilities: Vec::new() }))),
        )
    }
}

impl Held {
    fn hold(&mut self, response: &Response, octets: &[u8]) -> Result<(), NodeFault> {
        let announces = match response {
            Response::Capability(_) => true,
            Response::Ok(text) => response::capability_code(text).is_some(),
            Response::Data => false,
            Response::Bye => return Err(NodeFault::Bye),
            _ => return Err(NodeFault::Garbage),
        };
        self.capabilities |= announces;
        let octets = if announces { response::announceable(octets) } else { octets.to_vec() };
        self.octets.extend(octets);
        Ok(())
    }
}

fn plain(user: &UserName, password: &Secret, initial_response: bool) -> VecDeque<Secret> {
    let response = sasl::encode(&sasl::plain_message(user, None, password));
    let parts = if initial_response {
        vec![[LOGIN_TAG, b" AUTHENTICATE PLAIN ", response.expose(), b"\r\n"].concat()]
    } else {
        vec![[LOGIN_TAG, b" AUTHENTICATE PLAIN\r\n"].concat(), [response.expose(), b"\r\n"].concat()]
    };
    parts.into_iter().map(Secret::new).collect()
}

/// Parts end where the node must answer `+`.
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
