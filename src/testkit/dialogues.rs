//! Dialogues without sockets: octets in, steps out, written down as text.
//!
//! The property that all of `proto` promises is checked here for tests and fuzz targets alike: the steps do not depend
//! on how the octets were cut into reads. It knows dialogues only by the enums of `proto`, so it serves every protocol.
//! A transcript shows how long a password is, never its octets.

use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;

use super::lawful::answer_is_lawful;
use crate::names::UserName;
use crate::proto::{
    Channel, ClientDialogue, CommandStep, Credentials, HelloStep, Input, Introduction, NodeAnswer, NodeFault,
    NodeHello, NodeLogin, NodeRefusal, Offer, Protocol, Refusal, RefusalKind, ReplayStep, Step, TlsFacts,
    TokenMechanism, sasl,
};
use crate::secret::Secret;

/// The name with which [`node_transcript`] replays.
pub const USER: &[u8] = b"bob@example.net";

/// The password with which [`node_transcript`] replays.
pub const PASSWORD: &[u8] = b"correct horse";

/// The sizes of the reads in which a dialogue gets its octets.
#[derive(Clone, Copy, Debug)]
pub enum Reads<'a> {
    /// Everything at once.
    Whole,
    /// One octet each.
    Octets,
    /// 1 to 16 octets, as these say, over and over.
    Sizes(&'a [u8]),
}

impl<'a> Reads<'a> {
    fn sizes(self) -> Box<dyn Iterator<Item = usize> + 'a> {
        match self {
            Self::Whole => Box::new(iter::repeat(usize::MAX)),
            Self::Octets | Self::Sizes([]) => Box::new(iter::repeat(1)),
            Self::Sizes(sizes) => Box::new(sizes.iter().map(|size| usize::from(size % 16) + 1).cycle()),
        }
    }
}

/// An offer as most listeners make it.
pub fn offer(channel: Channel) -> Offer {
    Offer {
        hostname: "mail.example.net".into(),
        auth_failed_text: "Authentication failed.".into(),
        channel,
        cleartext_login: false,
        extensions: Default::default(),
        master_users: [].into(),
        is_trusted: false,
    }
}

/// An offer of a site whose nodes take tokens and can do more than they must.
pub fn rich_offer(channel: Channel) -> Offer {
    let words = [&b"AUTH=XOAUTH2"[..], b"AUTH=OAUTHBEARER", b"IDLE", b"IMAP4rev2", b"TOP", b"UIDL", b"EXPIRE 30"];
    let masters = UserName::new(b"admin").into_iter().collect();
    Offer { extensions: Arc::new(words.into_iter().collect()), master_users: masters, ..offer(channel) }
}

/// What a dialogue says to a client that sends `data`, all of which must be lawful. Every login is refused, a token with
/// a challenge, and a handshake uses no octets up.
pub fn client_transcript(protocol: Protocol, offer: Offer, data: &[u8], reads: Reads<'_>) -> Vec<String> {
    let mut run = Run::new(data, reads);
    let mut dialogue = ClientDialogue::new(protocol, offer);
    let says = |run: &mut Run<'_>, what: &str, answer: &[u8]| {
        answer_is_lawful(protocol, answer);
        run.note(what, answer);
    };
    says(&mut run, "say", &dialogue.greeting());
    loop {
        match dialogue.step(&mut run.input) {
            Step::Wait if run.read() => {}
            Step::Wait => return run.transcript,
            Step::Reply(text) | Step::Decline(text, _) => says(&mut run, "say", &text),
            Step::Introduced(text, claim) => says(&mut run, &format!("introduced as {claim:?}"), &text),
            Step::StartTls(text) => {
                says(&mut run, "starttls", &text);
                dialogue = dialogue.upgraded();
            }
            Step::Login(request, to) => {
                let octets = request.credentials.secret().expose().len();
                run.note(&format!("login by {}, {octets} octets, as", request.mechanism), request.user.as_bytes());
                let answer = match request.credentials {
                    Credentials::Password(_) => dialogue.refuse(to, Refusal::AuthenticationFailed),
                    Credentials::Token(..) => dialogue.relay_refusal(to, &token_refusal()),
                };
                says(&mut run, "say", &answer);
            }
            Step::Close(text, goodbye) => {
                says(&mut run, &format!("close ({goodbye:?})"), &text);
                return run.transcript;
            }
        }
    }
}

/// What a node says of every token.
fn token_refusal() -> NodeRefusal {
    let (kind, text) = (RefusalKind::WrongPassword, b"[AUTH] bad token".to_vec());
    NodeRefusal { kind, text, challenge: Some(b"eyJzdGF0dXMiOiI0MDEifQ==".to_vec()) }
}

/// What is to be said to a node.
#[derive(Clone)]
pub struct Talk {
    /// The protocol.
    pub protocol: Protocol,
    /// Whether STARTTLS is demanded.
    pub starttls: bool,
    /// Of whom the node is to be told.
    pub introduction: Option<Introduction>,
    /// Who logs in.
    pub master: Option<&'static [u8]>,
    /// In which mechanism a token is brought, in place of [`PASSWORD`].
    pub token: Option<TokenMechanism>,
}

impl Talk {
    /// A plain login with [`PASSWORD`].
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, starttls: false, introduction: None, master: None, token: None }
    }

    /// As one octet chooses.
    fn chosen(protocol: Protocol, choice: u8) -> Self {
        let token = [None, None, Some(TokenMechanism::XOAuth2), Some(TokenMechanism::OAuthBearer)];
        Self {
            protocol,
            starttls: choice & 1 != 0,
            introduction: (choice & 2 != 0).then(introduction),
            master: (choice & 4 != 0).then_some(b"root".as_slice()),
            token: token.get(usize::from(choice >> 3 & 3)).copied().flatten(),
        }
    }

    fn login(&self) -> Option<NodeLogin> {
        let secret = Secret::new(PASSWORD.to_vec());
        let master = match self.master {
            Some(master) => Some(UserName::new(master)?),
            None => None,
        };
        let credentials = match self.token {
            Some(mechanism) => Credentials::Token(mechanism, Secret::new([b"Bearer ", secret.expose()].concat())),
            None => Credentials::Password(secret),
        };
        Some(NodeLogin { user: UserName::new(USER)?, master, credentials })
    }
}

/// A client of which a node may be told.
pub fn introduction() -> Introduction {
    Introduction {
        session: "0123456789abcdef-1".into(),
        client: SocketAddr::from(([192, 0, 2, 7], 54321)),
        connected: SocketAddr::from(([198, 51, 100, 1], 993)),
        tls: Some(TlsFacts { version: "TLSv1.3".into(), cipher: None, server_name: Some("mail.example.net".into()) }),
        ttl: 6,
    }
}

/// What a dialogue says to a node that sends `data`, up to its answer to a login as [`USER`] with [`PASSWORD`].
pub fn node_transcript(protocol: Protocol, starttls: bool, data: &[u8], reads: Reads<'_>) -> Vec<String> {
    talk_transcript(&Talk { starttls, ..Talk::new(protocol) }, data, reads)
}

/// The same, with all that a node may have to hear.
pub fn talk_transcript(talk: &Talk, data: &[u8], reads: Reads<'_>) -> Vec<String> {
    let mut run = Run::new(data, reads);
    let hello = match run.greet(talk) {
        Ok(Some(hello)) => hello,
        Ok(None) => return run.transcript,
        Err(fault) => return run.end("fault", fault.to_string().as_bytes()),
    };
    let Some(login) = talk.login() else { return run.transcript };
    let mut replay = match hello.replay(login) {
        Ok(replay) => replay,
        Err(fault) => return run.end("fault", fault.to_string().as_bytes()),
    };
    loop {
        match replay.step(&mut run.input) {
            Ok(ReplayStep::Wait) if run.read() => {}
            Ok(ReplayStep::Wait) => return run.transcript,
            Ok(ReplayStep::Send(secret)) => run.note("say", secret.expose()),
            Ok(ReplayStep::Answer(NodeAnswer::Accepted(accepted))) => {
                run.note("untagged", &accepted.untagged);
                run.note("capabilities", &accepted.capabilities);
                return run.end("accepted", &accepted.text);
            }
            Ok(ReplayStep::Answer(NodeAnswer::Refused(refused))) => {
                if let Some(challenge) = &refused.challenge {
                    run.note("challenge", challenge);
                }
                return run.end(&format!("refused ({:?})", refused.kind), &refused.text);
            }
            Err(fault) => return run.end("fault", fault.to_string().as_bytes()),
        }
    }
}

/// What a probe's dialogue says to a node that sends `data`, up to the answer to its one command.
pub fn command_transcript(protocol: Protocol, starttls: bool, data: &[u8], reads: Reads<'_>) -> Vec<String> {
    let mut run = Run::new(data, reads);
    let mut command = match run.greet(&Talk { starttls, ..Talk::new(protocol) }) {
        Ok(Some(hello)) => hello.command(),
        Ok(None) => return run.transcript,
        Err(fault) => return run.end("fault", fault.to_string().as_bytes()),
    };
    loop {
        match command.step(&mut run.input) {
            Ok(CommandStep::Wait) if run.read() => {}
            Ok(CommandStep::Wait) => return run.transcript,
            Ok(CommandStep::Send(text)) => run.note("say", &text),
            Ok(CommandStep::Done) => return run.end("answered", b""),
            Err(fault) => return run.end("fault", fault.to_string().as_bytes()),
        }
    }
}

/// Asserts that a client's octets give the same steps however they are cut. The first octet chooses the offer.
pub fn client_is_chunking_proof(protocol: Protocol, data: &[u8]) {
    let (choice, data) = data.split_first().unwrap_or((&0, data));
    let channel = match choice % 3 {
        0 => Channel::Tls,
        1 => Channel::Upgradable,
        _ => Channel::Clear,
    };
    let offer = if choice & 0x40 != 0 { rich_offer(channel) } else { offer(channel) };
    let offer = Offer { cleartext_login: choice & 0x80 != 0, is_trusted: choice & 0x20 != 0, ..offer };
    let transcript = |reads| client_transcript(protocol, offer.clone(), data, reads);
    let whole = transcript(Reads::Whole);
    assert_eq!(whole, transcript(Reads::Sizes(data)), "cut into small reads");
    assert_eq!(whole, transcript(Reads::Octets), "one octet at a time");
}

/// Asserts that a node's octets give the same steps however they are cut. The first octet chooses what is said to it.
pub fn node_is_chunking_proof(protocol: Protocol, data: &[u8]) {
    let (choice, data) = data.split_first().unwrap_or((&0, data));
    let talk = Talk::chosen(protocol, *choice);
    for is_login in [true, false] {
        let transcript = |reads| match is_login {
            true => talk_transcript(&talk, data, reads),
            false => command_transcript(protocol, talk.starttls, data, reads),
        };
        let whole = transcript(Reads::Whole);
        assert_eq!(whole, transcript(Reads::Sizes(data)), "cut into small reads");
        assert_eq!(whole, transcript(Reads::Octets), "one octet at a time");
    }
}

/// Asserts that base64 and the messages are read in one way only: what was read, written again, is the same or is read
/// the same.
pub fn sasl_is_unambiguous(data: &[u8]) {
    if let Ok(message) = sasl::decode(data) {
        assert_eq!(sasl::encode(&message).expose(), data, "base64 in a second spelling");
    }
    let message = Secret::new(data.to_vec());
    for mechanism in TokenMechanism::ALL {
        let Ok(login) = sasl::token(mechanism, &message) else { continue };
        let written = sasl::token_message(mechanism, &login.user, login.credentials.secret());
        let Some(again) = written.and_then(|written| sasl::token(mechanism, &written).ok()) else {
            panic!("a token was read that cannot be written");
        };
        assert!(again.user == login.user, "a token was written for somebody else");
        assert_eq!(again.credentials.secret().expose(), login.credentials.secret().expose(), "another token");
    }
    let Ok(login) = sasl::plain(&message, &[]) else { return };
    let written = sasl::plain_message(&login.user, None, login.credentials.secret());
    assert!(data.ends_with(written.expose()), "PLAIN was read as somebody else's");
    let authzid = data.split(|&octet| octet == 0).next().unwrap_or_default();
    assert!(authzid.is_empty() || authzid == login.user.as_bytes(), "an authzid was dropped");
}

/// A dialogue under way.
struct Run<'a> {
    input: Input,
    rest: &'a [u8],
    sizes: Box<dyn Iterator<Item = usize> + 'a>,
    transcript: Vec<String>,
    /// More steps than this are no progress.
    steps_max: usize,
}

impl<'a> Run<'a> {
    fn new(data: &'a [u8], reads: Reads<'a>) -> Self {
        // An octet causes no more than three steps: a login, its answer, and what was said before it.
        let steps_max = 3 * data.len() + 8;
        Self { input: Input::new(), rest: data, sizes: reads.sizes(), transcript: Vec::new(), steps_max }
    }

    /// The dialogue up to the moment when credentials may be sent; `None` where the octets end before that.
    fn greet(&mut self, talk: &Talk) -> Result<Option<NodeHello>, NodeFault> {
        let mut hello = NodeHello::new(talk.protocol, talk.starttls, talk.introduction.clone());
        loop {
            match hello.step(&mut self.input)? {
                HelloStep::Wait if self.read() => {}
                HelloStep::Wait => return Ok(None),
                HelloStep::Send(text) => self.note("say", &text),
                HelloStep::StartTls => {
                    self.note("starttls", b"");
                    hello = hello.secured();
                }
                HelloStep::Ready => {
                    self.note("ready", b"");
                    return Ok(Some(hello));
                }
            }
        }
    }

    /// Moves the next read into the input; false when there is none.
    fn read(&mut self) -> bool {
        let size = self.sizes.next().unwrap_or(1).min(self.rest.len());
        let (read, rest) = self.rest.split_at(size);
        self.input.push(read);
        self.rest = rest;
        size > 0
    }

    fn note(&mut self, what: &str, octets: &[u8]) {
        assert!(self.transcript.len() < self.steps_max, "the dialogue does not come to rest");
        self.transcript.push(format!("{what}: {}", octets.escape_ascii()));
    }

    /// The last entry. What nobody used must be the same in every run.
    fn end(mut self, what: &str, octets: &[u8]) -> Vec<String> {
        self.note(what, octets);
        let unused = self.input.len() + self.rest.len();
        self.transcript.push(format!("{unused} octets unused"));
        self.transcript
    }
}
