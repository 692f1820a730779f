//! What is said with an IMAP client up to its login.
//!
//! One state at a time, each with only what it needs. The client's octets never come back to it, but for the tag of
//! a command; its password lives in wiped buffers until it leaves in a [`Step::Login`]. Whatever follows a login or
//! STARTTLS is left in the input, unread.

mod framing;
#[cfg(feature = "testkit")]
pub mod proof;

use framing::{Behind, Collected, Collector, Discard, Discarded, Limit};

use super::command::{self, Command, Header, Parsed, Place};
use super::reply::{self, Bad, Bye, Done};
use crate::proto::claim::Facts;
use crate::proto::sasl::{self, Answered, Exchange, Mechanism};
use crate::proto::{
    BAD_COMMANDS_MAX, Channel, Declined, Farewell, Goodbye, Input, LoginRequest, NodeAcceptance, NodeRefusal, Offer,
    Refusal, ReplyTo, Step,
};
use crate::secret::Secret;

/// What other protocols begin with. A browser or a mail server that was sent here gets one line and no second chance to
/// make an answer of ours mean something (ALPACA).
const FOREIGN: [&[u8]; 9] =
    [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"HELO", b"EHLO", b"\x16\x03"];

/// The dialogue with one client.
pub struct Client {
    offer: Offer,
    /// Since the connection began, also across STARTTLS.
    bad_commands: u32,
    /// Whether the client has sent CAPABILITY: one that asks does not look for the list in our answers.
    has_asked: bool,
    /// Whether the client has sent ID. Only the first one counts, as with Dovecot.
    has_identified: bool,
    state: State,
}

enum State {
    /// Nothing was read: it may be another protocol.
    Opening,
    /// A line of a command is being read.
    Command(Collector),
    /// So many octets of a literal are missing.
    Literal(Collector, usize),
    /// The line is too long; it gets its answer when it has ended.
    Overlong(Option<Box<[u8]>>, Discard),
    /// The command has got its answer, and more of it comes.
    Discarding(Discard),
    /// A SASL response is being read.
    Sasl(Response),
    /// A node's challenge says why a token was refused. The client must answer it; that line is dropped, whatever it is,
    /// and then the login has this answer.
    Refused(Vec<u8>, Collector),
    /// Nothing is read any more: TLS begins, or the connection ends.
    Over,
}

/// A SASL exchange: until it has ended, every line is a response.
struct Response {
    tag: Box<[u8]>,
    exchange: Exchange,
    line: Collector,
}

impl Client {
    /// A dialogue at its beginning.
    pub fn new(offer: Offer) -> Self {
        Self { offer, bad_commands: 0, has_asked: false, has_identified: false, state: State::Opening }
    }

    /// The greeting, with the capabilities.
    pub fn greeting(&self) -> Vec<u8> {
        reply::greeting(&self.offer)
    }

    /// Takes what it can from the front of the input. To be called until it says [`Step::Wait`].
    pub fn step(&mut self, input: &mut Input) -> Step {
        loop {
            // A state that leaves nothing behind ends the dialogue, so a forgotten transition cannot repeat a command.
            let step = match std::mem::replace(&mut self.state, State::Over) {
                State::Opening => self.opening(input),
                State::Command(held) => self.line(held, input),
                State::Literal(held, missing) => self.literal(held, missing, input),
                State::Overlong(tag, rest) => self.overlong(tag, rest, input),
                State::Discarding(rest) => self.discarding(rest, input),
                State::Sasl(response) => self.response(response, input),
                State::Refused(answer, line) => self.refused(answer, line, input),
                State::Over => Some(Step::Wait),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// The dialogue under TLS: it has forgotten all that was said in clear text, but for the number of bad commands.
    pub fn upgraded(self) -> Self {
        let offer = Offer { channel: Channel::Tls, ..self.offer };
        Self { bad_commands: self.bad_commands, ..Self::new(offer) }
    }

    /// The answer to a login that mailferry itself refuses.
    pub fn refuse(&self, to: ReplyTo, refusal: Refusal) -> Vec<u8> {
        reply::refusal(&self.offer, &to.tag, refusal)
    }

    /// The answer to a login that the node refused: its own code and text, or first its challenge.
    pub fn relay_refusal(&mut self, to: ReplyTo, refused: &NodeRefusal) -> Vec<u8> {
        let answer = reply::relayed_refusal(&self.offer, &to.tag, refused);
        let Some(challenge) = &refused.challenge else { return answer };
        self.state = State::Refused(answer, Collector::default());
        reply::challenge(challenge)
    }

    /// The answer to a login that the node accepted.
    pub fn accept(self, to: ReplyTo, accepted: &NodeAcceptance) -> Vec<u8> {
        reply::acceptance(&to.tag, accepted, self.has_asked)
    }

    /// See [`ClientDialogue::turned_away`](crate::proto::ClientDialogue::turned_away).
    pub fn turned_away() -> Vec<u8> {
        reply::farewell(Farewell::TooManyConnections)
    }

    /// See [`ClientDialogue::parting`](crate::proto::ClientDialogue::parting).
    pub fn parting() -> &'static [u8] {
        reply::parting()
    }

    /// The last line before mailferry closes the connection on its own. A login that was refused and has not been told
    /// so is told.
    pub fn farewell(&self, farewell: Farewell) -> Vec<u8> {
        let State::Refused(answer, _) = &self.state else { return reply::farewell(farewell) };
        [answer.as_slice(), &reply::farewell(farewell)].concat()
    }

    // ── reading: `None` means that the state has changed and the input should be looked at again ────────────────────

    fn opening(&mut self, input: &Input) -> Option<Step> {
        let octets = input.as_bytes();
        if FOREIGN.iter().any(|foreign| octets.starts_with(foreign)) {
            return Some(Step::Close(reply::bye(Bye::OtherProtocol), Goodbye::OtherProtocol));
        }
        if FOREIGN.iter().any(|foreign| foreign.starts_with(octets)) {
            return self.wait(State::Opening);
        }
        self.next(State::Command(Collector::default()))
    }

    fn line(&mut self, mut held: Collector, input: &mut Input) -> Option<Step> {
        let limit = match command::whole_max(&held.head(input, command::HEAD_MAX)) {
            Some(max) => Limit::InAll(max),
            None => Limit::WithoutLiterals(command::COMMAND_MAX),
        };
        match held.line(input, limit) {
            Collected::More => self.wait(State::Command(held)),
            Collected::Line => self.judge(held),
            Collected::TooLong => {
                let tag = command::tag_of(held.octets()).map(Box::from);
                self.next(State::Overlong(tag, held.discard()))
            }
        }
    }

    fn judge(&mut self, mut held: Collector) -> Option<Step> {
        match command::parse(held.octets()) {
            Parsed::Complete(tag, command) => {
                let tag = tag.into();
                self.state = State::Command(Collector::default());
                Some(self.execute(tag, command))
            }
            Parsed::NeedLiteral(tag, Header { place: Place::Credential, .. }) if !self.offer.passwords_allowed() => {
                let answer = reply::no(&self.offer, tag, Declined::Privacy);
                Some(self.count(answer, |answer| Step::Decline(answer, Declined::Privacy), Some(held.discard())))
            }
            Parsed::NeedLiteral(_, Header { octets, synchronising, .. }) => {
                held.begin_literal();
                self.state = State::Literal(held, octets);
                synchronising.then(|| Step::Reply(reply::GO_ON.to_vec()))
            }
            Parsed::Bad(tag, why) => {
                let tag: Box<[u8]> = tag.into();
                Some(self.bad_and_discard(held.discard(), Some(&tag), why))
            }
            Parsed::Tagless => Some(self.bad_and_discard(held.discard(), None, Bad::Syntax)),
        }
    }

    fn literal(&mut self, mut held: Collector, missing: usize, input: &mut Input) -> Option<Step> {
        match held.literal(input, missing) {
            0 => self.next(State::Command(held)),
            missing => self.wait(State::Literal(held, missing)),
        }
    }

    fn overlong(&mut self, tag: Option<Box<[u8]>>, rest: Discard, input: &mut Input) -> Option<Step> {
        match rest.run(input) {
            Discarded::More(rest) => self.wait(State::Overlong(tag, rest)),
            Discarded::LineEnd(rest) => Some(self.bad_and_discard(rest, tag.as_deref(), Bad::LineTooLong)),
            Discarded::TooMuch => Some(too_long()),
        }
    }

    fn discarding(&mut self, rest: Discard, input: &mut Input) -> Option<Step> {
        match rest.run(input) {
            Discarded::More(rest) => self.wait(State::Discarding(rest)),
            Discarded::LineEnd(rest) => match rest.behind_line() {
                Behind::Command => self.next(State::Command(Collector::default())),
                Behind::Rest(rest) => self.next(State::Discarding(rest)),
                Behind::TooMuch => Some(too_long()),
            },
            Discarded::TooMuch => Some(too_long()),
        }
    }

    fn response(&mut self, mut response: Response, input: &mut Input) -> Option<Step> {
        match response.line.line(input, Limit::InAll(sasl::RESPONSE_MAX)) {
            Collected::More => self.wait(State::Sasl(response)),
            Collected::TooLong => Some(too_long()),
            Collected::Line => {
                self.state = State::Command(Collector::default());
                let Response { tag, exchange, line } = response;
                Some(match line.octets() {
                    b"*" => self.bad(&tag, Bad::Cancelled),
                    octets => self.message(tag, exchange, octets),
                })
            }
        }
    }

    fn refused(&mut self, mut answer: Vec<u8>, mut line: Collector, input: &mut Input) -> Option<Step> {
        match line.line(input, Limit::InAll(sasl::RESPONSE_MAX)) {
            Collected::More => self.wait(State::Refused(answer, line)),
            Collected::TooLong => {
                answer.extend(reply::bye(Bye::TooLong));
                Some(Step::Close(answer, Goodbye::TooLong))
            }
            Collected::Line => {
                self.state = State::Command(Collector::default());
                Some(Step::Reply(answer))
            }
        }
    }

    fn wait(&mut self, state: State) -> Option<Step> {
        self.state = state;
        Some(Step::Wait)
    }

    fn next(&mut self, state: State) -> Option<Step> {
        self.state = state;
        None
    }

    // ── answering ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn execute(&mut self, tag: Box<[u8]>, command: Command) -> Step {
        match command {
            Command::Capability => {
                self.has_asked = true;
                Step::Reply(reply::capability(&self.offer, &tag))
            }
            Command::Noop => Step::Reply(reply::ok(&tag, Done::Noop)),
            Command::Id(facts) => self.identified(&tag, facts),
            Command::Logout => self.close(reply::logout(&tag), Goodbye::Logout),
            Command::StartTls if self.offer.starttls() => {
                self.state = State::Over;
                Step::StartTls(reply::ok(&tag, Done::StartTls))
            }
            Command::StartTls => self.bad(&tag, Bad::StartTls),
            Command::Login { .. } | Command::Authenticate { .. } if !self.offer.passwords_allowed() => {
                self.no(&tag, Declined::Privacy)
            }
            Command::Login { user, password } => {
                self.login(tag, sasl::by_password(user.expose(), password.expose(), "LOGIN"))
            }
            Command::Authenticate { mechanism, initial } => {
                match mechanism.filter(|mechanism| mechanism.is_offered(&self.offer)) {
                    Some(mechanism) => self.exchange(tag, mechanism, initial.as_ref()),
                    None => self.no(&tag, Declined::Mechanism),
                }
            }
        }
    }

    fn identified(&mut self, tag: &[u8], facts: Facts) -> Step {
        let is_first = !std::mem::replace(&mut self.has_identified, true);
        match facts.claim(self.offer.is_trusted).filter(|_| is_first) {
            Some(claim) => Step::Introduced(reply::id(tag), claim),
            None => Step::Reply(reply::id(tag)),
        }
    }

    fn exchange(&mut self, tag: Box<[u8]>, mechanism: Mechanism, initial: Option<&Secret>) -> Step {
        let exchange = Exchange::new(mechanism);
        match initial.map(Secret::expose) {
            None => self.challenge(tag, exchange),
            Some(b"=") => self.message(tag, exchange, b""),
            Some(response) => self.message(tag, exchange, response),
        }
    }

    fn message(&mut self, tag: Box<[u8]>, exchange: Exchange, response: &[u8]) -> Step {
        let Ok(message) = sasl::decode(response) else { return self.bad(&tag, Bad::Base64) };
        match exchange.answered(message, &self.offer.master_users) {
            Answered::GoesOn(exchange) => self.challenge(tag, exchange),
            Answered::Login(login) => self.login(tag, login),
        }
    }

    fn challenge(&mut self, tag: Box<[u8]>, exchange: Exchange) -> Step {
        let challenge = reply::challenge(exchange.challenge());
        self.state = State::Sasl(Response { tag, exchange, line: Collector::default() });
        Step::Reply(challenge)
    }

    fn login(&mut self, tag: Box<[u8]>, login: Result<LoginRequest, Declined>) -> Step {
        match login {
            Ok(request) => Step::Login(request, ReplyTo { tag }),
            Err(why) => self.no(&tag, why),
        }
    }

    /// Answers NO to a login that reaches no node. The state is that of the next command.
    fn no(&mut self, tag: &[u8], why: Declined) -> Step {
        self.count(reply::no(&self.offer, tag, why), |answer| Step::Decline(answer, why), None)
    }

    /// Answers BAD. The state is that of the next command.
    fn bad(&mut self, tag: &[u8], why: Bad) -> Step {
        self.count(reply::bad(Some(tag), why), Step::Reply, None)
    }

    fn bad_and_discard(&mut self, rest: Discard, tag: Option<&[u8]>, why: Bad) -> Step {
        self.count(reply::bad(tag, why), Step::Reply, Some(rest))
    }

    /// Counts a bad command, and closes the connection if that was one too many. With `rest`, the command is answered
    /// at the end of one of its lines, and what the client sends of it nevertheless is dropped.
    fn count(&mut self, mut answer: Vec<u8>, step: impl FnOnce(Vec<u8>) -> Step, rest: Option<Discard>) -> Step {
        self.bad_commands += 1;
        if self.bad_commands > BAD_COMMANDS_MAX {
            answer.extend(reply::bye(Bye::TooManyBadCommands));
            return self.close(answer, Goodbye::TooManyBadCommands);
        }
        if let Some(rest) = rest {
            self.state = match rest.behind_line() {
                Behind::Command => State::Command(Collector::default()),
                Behind::Rest(rest) => State::Discarding(rest),
                Behind::TooMuch => return too_long(),
            };
        }
        step(answer)
    }

    fn close(&mut self, answer: Vec<u8>, why: Goodbye) -> Step {
        self.state = State::Over;
        Step::Close(answer, why)
    }

    /// Octets of room that the dialogue holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        match &self.state {
            State::Command(held) | State::Literal(held, _) | State::Refused(_, held) => held.capacity(),
            State::Sasl(Response { line, .. }) => line.capacity() + sasl::RESPONSE_MAX,
            State::Opening | State::Overlong(..) | State::Discarding(_) | State::Over => 0,
        }
    }
}

/// The connection is not worth keeping. No state follows.
fn too_long() -> Step {
    Step::Close(reply::bye(Bye::TooLong), Goodbye::TooLong)
}

#[cfg(test)]
mod tests;
