//! The states of a POP3 connection towards its client, from the greeting to the answer to the login.
//!
//! A line uses its state up and yields the next one. Whatever stands behind the line that logs in stays in the input:
//! nobody here looks at it before that login is refused. Nothing that a client sent is ever said back to it.

use std::mem;

use super::command::{self, Bad, Command};
use super::reply;
use crate::names::UserName;
use crate::proto::line::Line;
use crate::proto::sasl::{self, Answered, BadBase64, Exchange, Mechanism};
use crate::proto::{
    BAD_COMMANDS_MAX, Channel, Claim, Declined, Farewell, Goodbye, Input, LoginRequest, NodeAcceptance, NodeRefusal,
    Offer, Refusal, ReplyTo, Step,
};
use crate::secret::Secret;

/// Longest command line, in octets without its line end. RFC 2449 §4 allows clients 255; passwords may be longer.
const LINE_MAX: usize = 1024;

/// Longest line that is skipped and not answered by closing, in octets before its LF.
const SKIP_MAX: usize = 64 * 1024;

/// The conversation with one client.
pub struct Client {
    offer: Offer,
    bad_commands: u32,
    /// Whether it is too late for XCLIENT: there was one, or a login has begun.
    has_begun: bool,
    state: State,
}

enum State {
    Authorization,
    Named(Named),
    Sasl(Exchange),
    Skipping(Skipping),
    /// A node's challenge says why a token was refused. The client must answer it; that line is dropped, whatever it is,
    /// and then the login has this answer.
    Refused(Vec<u8>),
    /// The last step was taken: whatever the input holds now is not ours.
    Over,
}

/// USER was accepted; the very next line may be PASS (RFC 1939 §7).
struct Named {
    user: UserName,
}

/// Inside a line that is too long.
struct Skipping {
    /// Octets dropped so far.
    skipped: usize,
    /// The answer that is due when it has ended.
    answer: Vec<u8>,
}

/// What a whole line led to.
enum Outcome {
    /// Send this and go on in that state.
    Say(Vec<u8>, State),
    /// Send this and forget what was begun. It counts as a bad command.
    Bad(Vec<u8>),
    /// A login that reaches no node; it counts as a bad command, and the state is the first one again.
    Decline(Vec<u8>, Declined),
    Login(LoginRequest),
    /// A trusted proxy said this of its client.
    Introduced(Claim),
    StartTls,
    Quit,
}

impl Client {
    /// A conversation at its beginning.
    pub fn new(offer: Offer) -> Self {
        Self { offer, bad_commands: 0, has_begun: false, state: State::Authorization }
    }

    /// See [`ClientDialogue::greeting`](crate::proto::ClientDialogue::greeting).
    pub fn greeting(&self) -> Vec<u8> {
        reply::greeting(&self.offer)
    }

    /// See [`ClientDialogue::step`](crate::proto::ClientDialogue::step).
    pub fn step(&mut self, input: &mut Input) -> Step {
        let state = match mem::replace(&mut self.state, State::Over) {
            State::Over => return Step::Wait,
            State::Skipping(skipping) => return self.skip(skipping, input),
            state => state,
        };
        let is_command = matches!(state, State::Authorization | State::Named(_));
        if is_command && command::is_other_protocol(input.as_bytes()) {
            return Step::Close(reply::OTHER_PROTOCOL.to_vec(), Goodbye::OtherProtocol);
        }
        let is_long = !is_command || command::is_auth(input.as_bytes());
        match input.line(if is_long { sasl::RESPONSE_MAX } else { LINE_MAX }) {
            Line::Partial => {
                self.state = state;
                Step::Wait
            }
            Line::TooLong => {
                let answer = if let State::Refused(answer) = state { answer } else { reply::LINE_TOO_LONG.to_vec() };
                self.skip(Skipping { skipped: 0, answer }, input)
            }
            Line::Complete(line) => self.line(state, &line),
        }
    }

    /// See [`ClientDialogue::upgraded`](crate::proto::ClientDialogue::upgraded).
    pub fn upgraded(self) -> Self {
        let offer = Offer { channel: Channel::Tls, ..self.offer };
        Self { bad_commands: self.bad_commands, ..Self::new(offer) }
    }

    /// See [`ClientDialogue::refuse`](crate::proto::ClientDialogue::refuse).
    pub fn refuse(&self, _to: ReplyTo, refusal: Refusal) -> Vec<u8> {
        reply::refusal(&self.offer, refusal)
    }

    /// See [`ClientDialogue::relay_refusal`](crate::proto::ClientDialogue::relay_refusal).
    pub fn relay_refusal(&mut self, _to: ReplyTo, refused: &NodeRefusal) -> Vec<u8> {
        let answer = reply::refused_by_node(&self.offer, refused);
        let Some(challenge) = &refused.challenge else { return answer };
        self.state = State::Refused(answer);
        reply::challenge(challenge)
    }

    /// See [`ClientDialogue::accept`](crate::proto::ClientDialogue::accept).
    pub fn accept(self, _to: ReplyTo, accepted: &NodeAcceptance) -> Vec<u8> {
        reply::accepted_by_node(accepted)
    }

    /// See [`ClientDialogue::turned_away`](crate::proto::ClientDialogue::turned_away).
    pub fn turned_away() -> Vec<u8> {
        reply::farewell(Farewell::TooManyConnections)
    }

    /// See [`ClientDialogue::farewell`](crate::proto::ClientDialogue::farewell). A login that was refused and has not
    /// been told so is told.
    pub fn farewell(&self, farewell: Farewell) -> Vec<u8> {
        let State::Refused(answer) = &self.state else { return reply::farewell(farewell) };
        [answer.as_slice(), &reply::farewell(farewell)].concat()
    }

    fn line(&mut self, state: State, line: &[u8]) -> Step {
        let outcome = match state {
            State::Authorization => self.command(line, None),
            State::Named(named) => self.command(line, Some(named)),
            State::Sasl(exchange) => self.response(line, exchange),
            State::Refused(answer) => Outcome::Say(answer, State::Authorization),
            State::Skipping(_) | State::Over => return Step::Wait,
        };
        match outcome {
            Outcome::Say(text, next) => {
                self.state = next;
                Step::Reply(text)
            }
            Outcome::Bad(text) => self.bad(text, Step::Reply),
            Outcome::Decline(text, why) => self.bad(text, |text| Step::Decline(text, why)),
            Outcome::Introduced(claim) => {
                self.state = State::Authorization;
                Step::Introduced(reply::INTRODUCED.to_vec(), claim)
            }
            Outcome::Login(request) => {
                self.state = State::Authorization;
                Step::Login(request, ReplyTo { tag: Box::default() })
            }
            Outcome::StartTls => Step::StartTls(reply::BEGIN_TLS.to_vec()),
            Outcome::Quit => Step::Close(reply::GOODBYE.to_vec(), Goodbye::Logout),
        }
    }

    /// Counts a bad command, and closes the connection if that was one too many.
    fn bad(&mut self, text: Vec<u8>, step: impl FnOnce(Vec<u8>) -> Step) -> Step {
        self.bad_commands += 1;
        if self.bad_commands > BAD_COMMANDS_MAX {
            return Step::Close(reply::TOO_MANY_BAD_COMMANDS.to_vec(), Goodbye::TooManyBadCommands);
        }
        self.state = State::Authorization;
        step(text)
    }

    /// Drops what there is of an over-long line. It is judged by its own length, not by how much of it came at once.
    fn skip(&mut self, Skipping { skipped, answer }: Skipping, input: &mut Input) -> Step {
        let available = input.len();
        let end = input.skip_line();
        let skipped = skipped + end.map_or(available, |end| end - 1);
        if skipped > SKIP_MAX {
            return Step::Close(answer, Goodbye::TooLong);
        }
        if end.is_some() {
            return self.bad(answer, Step::Reply);
        }
        self.state = State::Skipping(Skipping { skipped, answer });
        Step::Wait
    }

    fn command(&mut self, line: &[u8], named: Option<Named>) -> Outcome {
        let command = match command::parse(line) {
            Ok(command) => command,
            Err(Bad::Octets) => return bad(reply::BAD_OCTETS),
            Err(Bad::Unknown) => return bad(reply::UNKNOWN_COMMAND),
        };
        let is_early = !self.has_begun;
        self.has_begun |= matches!(command, Command::User(_) | Command::Auth { .. } | Command::XClient(_));
        match command {
            Command::Capa => say(reply::capabilities(&self.offer)),
            Command::Mechanisms => say(reply::mechanisms(&self.offer)),
            Command::Quit => Outcome::Quit,
            Command::Stls if self.offer.starttls() => Outcome::StartTls,
            Command::Stls => bad(reply::NO_STLS),
            Command::User(_) | Command::Pass(_) | Command::Auth { .. } if !self.offer.passwords_allowed() => {
                self.decline(Declined::Privacy)
            }
            Command::User(user) => self.user(user),
            Command::Pass(password) => match named {
                Some(named) => self.login(sasl::by_password(named.user.as_bytes(), password, "USER")),
                None => bad(reply::NO_USER),
            },
            // Whoever is not trusted hears what he would hear if there was no such command.
            Command::XClient(_) if !self.offer.is_trusted => bad(reply::UNKNOWN_COMMAND),
            Command::XClient(arguments) if is_early => match command::facts(arguments).claim(true) {
                Some(claim) => Outcome::Introduced(claim),
                None => say(reply::INTRODUCED),
            },
            Command::XClient(_) => bad(reply::XCLIENT_TOO_LATE),
            Command::Auth { mechanism, initial } => {
                match mechanism.filter(|mechanism| mechanism.is_offered(&self.offer)) {
                    Some(mechanism) => self.auth(mechanism, initial),
                    None => self.decline(Declined::Mechanism),
                }
            }
        }
    }

    fn user(&self, name: &[u8]) -> Outcome {
        match UserName::new(name) {
            Some(user) => Outcome::Say(reply::SEND_PASSWORD.to_vec(), State::Named(Named { user })),
            None => self.decline(Declined::Credentials),
        }
    }

    /// AUTH, with or without an initial response; a lone `=` is an empty one (RFC 5034 §4). curl sends one with LOGIN
    /// too: the name.
    fn auth(&self, mechanism: Mechanism, initial: Option<&[u8]>) -> Outcome {
        let exchange = Exchange::new(mechanism);
        match initial {
            Some(b"=") => self.answer(exchange, Secret::new(Vec::new())),
            Some(response) => self.response(response, exchange),
            None => challenge(exchange),
        }
    }

    /// One line of a SASL exchange: `*` cancels, anything else is base64, even if it looks like a command.
    fn response(&self, line: &[u8], exchange: Exchange) -> Outcome {
        if line == b"*" {
            return bad(reply::CANCELLED);
        }
        match sasl::decode(line) {
            Ok(message) => self.answer(exchange, message),
            Err(BadBase64) => bad(reply::BAD_BASE64),
        }
    }

    fn answer(&self, exchange: Exchange, message: Secret) -> Outcome {
        match exchange.answered(message, &self.offer.master_users) {
            Answered::GoesOn(exchange) => challenge(exchange),
            Answered::Login(login) => self.login(login),
        }
    }

    fn login(&self, login: Result<LoginRequest, Declined>) -> Outcome {
        login.map_or_else(|why| self.decline(why), Outcome::Login)
    }

    /// A login that reaches no node.
    fn decline(&self, why: Declined) -> Outcome {
        Outcome::Decline(reply::declined(&self.offer, why), why)
    }
}

fn say(text: impl Into<Vec<u8>>) -> Outcome {
    Outcome::Say(text.into(), State::Authorization)
}

fn bad(text: &[u8]) -> Outcome {
    Outcome::Bad(text.to_vec())
}

/// Asks for the response that the exchange is at.
fn challenge(exchange: Exchange) -> Outcome {
    Outcome::Say(reply::challenge(exchange.challenge()), State::Sasl(exchange))
}
