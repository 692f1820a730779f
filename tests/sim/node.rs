//! Fake nodes in memory: what a node does is a function of its script and the time.
//!
//! Octets arrive at a node's machine also while its program hangs; that is when credentials count as seen.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use mailferry::net::Stream;
use mailferry::proto::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{sleep, sleep_until};

use crate::ledger::{InFlight, Ledger, login_of};
use crate::script::{Mood, NodeScript, Step};

/// A time that never comes in a history.
const NEVER: Duration = Duration::from_secs(100_000);

pub struct Node {
    pub island: usize,
    pub place: usize,
    pub script: NodeScript,
    pub ledger: Ledger,
    /// Where a user lives at a time.
    pub home: Arc<dyn Fn(usize, Duration) -> Option<usize> + Send + Sync>,
}

impl Node {
    pub fn mood(&self) -> Mood {
        let now = self.ledger.now();
        self.script.moods.iter().rev().find(|(from, _)| *from <= now).map_or(Mood::Healthy, |(_, mood)| *mood)
    }

    /// All its moods in that time.
    pub fn moods(&self, from: Duration, to: Duration) -> impl Iterator<Item = Mood> {
        let ends = self.script.moods.iter().skip(1).map(|(from, _)| *from).chain([NEVER]);
        let spells = self.script.moods.iter().zip(ends);
        spells.filter(move |((begins, _), ends)| *ends > from && *begins <= to).map(|((_, mood), _)| *mood)
    }

    /// Whether it is healthy for all of that time.
    pub fn is_healthy(&self, from: Duration, to: Duration) -> bool {
        self.moods(from, to).all(|mood| mood == Mood::Healthy)
    }

    /// When the mood changes next.
    fn next_change(&self) -> Duration {
        let now = self.ledger.now();
        self.script.moods.iter().map(|(from, _)| *from).find(|from| *from > now).unwrap_or(NEVER)
    }

    /// When it dies next.
    fn next_death(&self) -> Duration {
        let now = self.ledger.now();
        let death = self.script.moods.iter().find(|(from, mood)| *from > now && *mood == Mood::Dead);
        death.map_or(NEVER, |(from, _)| *from)
    }

    /// Somebody connects.
    pub async fn connect(self: Arc<Self>, protocol: Protocol, mut rng: Rng) -> io::Result<Stream> {
        sleep(Duration::from_micros(rng.u64(0..3000))).await;
        while self.mood() == Mood::Unplugged {
            sleep_until(self.ledger.at(self.next_change())).await;
        }
        if self.mood() == Mood::Dead {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = duplex(8192);
        let death = self.ledger.at(self.next_death());
        let ledger = self.ledger.clone();
        let connection =
            Connection { node: self, stream: ours, unread: Vec::new(), heard: 0, ended: false, flight: None, rng };
        tokio::spawn(async move {
            tokio::select! {
                _ = connection.serve(protocol) => {}
                () = sleep_until(death) => ledger.tell("a connection dies with its node"),
            }
        });
        Ok(Stream::Memory(theirs))
    }
}

struct Connection {
    node: Arc<Node>,
    stream: DuplexStream,
    unread: Vec<u8>,
    /// How much of it was searched for credentials.
    heard: usize,
    /// Whether the peer has closed.
    ended: bool,
    flight: Option<InFlight>,
    rng: Rng,
}

/// The conversation is over.
struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Connection {
    /// Takes what arrives until then.
    async fn pause_until(&mut self, until: Duration) {
        let until = self.node.ledger.at(until);
        let mut octets = [0; 2048];
        loop {
            let count = tokio::select! {
                biased;
                read = self.stream.read(&mut octets), if !self.ended => read.unwrap_or(0),
                () = sleep_until(until) => return,
            };
            self.hear(&octets[..count]);
        }
    }

    async fn pause(&mut self, time: Duration) {
        self.pause_until(self.node.ledger.now() + time).await;
    }

    /// Octets have arrived, or the end.
    fn hear(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            self.ended = true;
            self.flight = None;
            return;
        }
        self.unread.extend_from_slice(octets);
        while let Some(end) = self.unread[self.heard..].iter().position(|octet| *octet == b'\n') {
            let line = &self.unread[self.heard..self.heard + end];
            self.heard += end + 1;
            if let Some((login, ..)) = credentials(line) {
                if self.flight.is_some() {
                    self.node
                        .ledger
                        .violation(format_args!("credentials of login {login} on a connection that has some"));
                }
                self.flight = Some(self.node.ledger.flies(login, self.node.island, self.node.place));
            }
        }
    }

    /// While the node hangs, nothing is done.
    async fn thawed(&mut self) {
        while matches!(self.node.mood(), Mood::Frozen | Mood::Unplugged) {
            self.pause_until(self.node.next_change()).await;
        }
    }

    /// Silence for as long as the peer likes it.
    async fn silence(&mut self) -> Over {
        while !self.ended {
            let mut octets = [0; 2048];
            let count = self.stream.read(&mut octets).await.unwrap_or(0);
            self.hear(&octets[..count]);
        }
        Over
    }

    async fn line(&mut self) -> Result<String, Over> {
        loop {
            self.thawed().await;
            if let Some(end) = self.unread.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                self.heard = self.heard.saturating_sub(end + 1);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.ended {
                return Err(Over);
            }
            let mut octets = [0; 2048];
            let count = self.stream.read(&mut octets).await.unwrap_or(0);
            self.hear(&octets[..count]);
        }
    }

    async fn say(&mut self, text: &str) -> Result<(), Over> {
        self.thawed().await;
        let mut octets = text.as_bytes();
        while self.node.script.pieces && octets.len() > 1 {
            let (piece, rest) = octets.split_at(self.rng.usize(1..octets.len()));
            self.stream.write_all(piece).await?;
            let pause = Duration::from_micros(self.rng.u64(0..10_000));
            self.pause(pause).await;
            self.thawed().await;
            octets = rest;
        }
        Ok(self.stream.write_all(octets).await?)
    }

    async fn endless(&mut self) -> Over {
        let octets = [b'x'; 4096];
        while self.stream.write_all(&octets).await.is_ok() {}
        Over
    }

    /// Does what a bad mood wants at this step, if it wants something.
    async fn suffer(&mut self, step: Step, protocol: Protocol, half: &str) -> Result<(), Over> {
        let bye = if protocol == Protocol::Imap { "* BYE later\r\n" } else { "-ERR [SYS/TEMP] later\r\n" };
        match self.node.mood() {
            Mood::Silent(at) if at == step => {
                if matches!(step, Step::Greeting | Step::Answer) {
                    self.say(half).await?;
                }
                Err(self.silence().await)
            }
            Mood::Closes(at) if at == step => {
                if matches!(step, Step::Greeting | Step::Answer) {
                    self.say(half).await?;
                }
                Err(Over)
            }
            Mood::Babbles(at) if at == step => {
                self.say("\u{1}%&?! 220 ready\r\n").await?;
                Err(self.silence().await)
            }
            Mood::Endless(at) if at == step => Err(self.endless().await),
            Mood::Bye(at) if at == step => {
                self.say(bye).await?;
                Err(Over)
            }
            _ => Ok(()),
        }
    }

    async fn serve(mut self, protocol: Protocol) -> Result<(), Over> {
        self.thawed().await;
        if let Mood::Slow(time) = self.node.mood() {
            self.pause(time).await;
        }
        let pause = Duration::from_micros(self.rng.u64(0..5000));
        self.pause(pause).await;
        let greeting = match protocol {
            Protocol::Imap if self.node.mood() == Mood::Preauth => "* PREAUTH you are in\r\n".to_owned(),
            Protocol::Imap if self.node.script.tells => format!("* OK [CAPABILITY {}] ready\r\n", self.capabilities()),
            Protocol::Imap => "* OK ready\r\n".to_owned(),
            Protocol::Pop3 => "+OK ready\r\n".to_owned(),
        };
        self.suffer(Step::Accept, protocol, "").await?;
        self.suffer(Step::Greeting, protocol, &greeting[..4]).await?;
        self.say(&greeting).await?;
        self.suffer(Step::Greeted, protocol, "").await?;
        match protocol {
            Protocol::Imap => self.imap().await,
            Protocol::Pop3 => self.pop3().await,
        }
    }

    fn capabilities(&self) -> &'static str {
        if self.node.script.sasl { "IMAP4rev1 SASL-IR AUTH=PLAIN" } else { "IMAP4rev1" }
    }

    async fn imap(&mut self) -> Result<(), Over> {
        let mut owner = None;
        loop {
            let line = self.line().await?;
            let (tag, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let (verb, argument) = rest.split_once(' ').unwrap_or((rest, ""));
            match verb {
                "CAPABILITY" => {
                    self.say(&format!("* CAPABILITY {}\r\n{tag} OK done\r\n", self.capabilities())).await?;
                }
                "LOGIN" | "AUTHENTICATE" => {
                    let accepted = format!("{tag} OK [CAPABILITY IMAP4rev1] in\r\n");
                    let plain = format!("{tag} OK in\r\n");
                    let text = if self.node.script.tells { accepted } else { plain };
                    let refused = format!("{tag} NO [AUTHENTICATIONFAILED] not you\r\n");
                    let unavailable = format!("{tag} NO [UNAVAILABLE] not now\r\n");
                    let refers = format!("{tag} NO [REFERRAL imap://else.example/] go\r\n");
                    owner = self.judge(&line, Protocol::Imap, [&text, &refused, &unavailable, &refers]).await?;
                }
                "TOKEN" => {
                    self.check_owner(owner, argument);
                    self.say(&format!("* TOKEN {argument}\r\n{tag} OK done\r\n")).await?;
                }
                "NOOP" => self.say(&format!("{tag} OK done\r\n")).await?,
                "LOGOUT" => {
                    self.say(&format!("* BYE bye\r\n{tag} OK done\r\n")).await?;
                    return Ok(());
                }
                _ => {
                    self.node.ledger.violation(format_args!("an IMAP node hears {line:?}"));
                    self.say(&format!("{tag} BAD what\r\n")).await?;
                }
            }
        }
    }

    async fn pop3(&mut self) -> Result<(), Over> {
        let mut owner = None;
        loop {
            let line = self.line().await?;
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            match verb {
                "CAPA" => {
                    let sasl = if self.node.script.sasl { "SASL PLAIN\r\n" } else { "" };
                    self.say(&format!("+OK\r\nUSER\r\n{sasl}.\r\n")).await?;
                }
                "USER" | "NOOP" => self.say("+OK\r\n").await?,
                "PASS" | "AUTH" => {
                    let answers = [
                        "+OK in\r\n",
                        "-ERR [AUTH] not you\r\n",
                        "-ERR [SYS/TEMP] not now\r\n",
                        "-ERR [SYS/TEMP] go\r\n",
                    ];
                    owner = self.judge(&line, Protocol::Pop3, answers).await?;
                }
                "TOKEN" => {
                    self.check_owner(owner, argument);
                    self.say(&format!("+OK {argument}\r\n")).await?;
                }
                "QUIT" => {
                    self.say("+OK bye\r\n").await?;
                    return Ok(());
                }
                _ => {
                    self.node.ledger.violation(format_args!("a POP3 node hears {line:?}"));
                    self.say("-ERR what\r\n").await?;
                }
            }
        }
    }

    /// Answers a login: yes, no, not now, elsewhere. Returns whose session it is, if yes.
    async fn judge(&mut self, line: &str, protocol: Protocol, answers: [&str; 4]) -> Result<Option<usize>, Over> {
        let Some((login, is_right, user)) = credentials(line.as_bytes()) else {
            self.node.ledger.violation(format_args!("no credentials in {line:?}"));
            return Err(Over);
        };
        if !self.ended && self.flight.as_ref().is_none_or(|flight| flight.login() != login) {
            self.node.ledger.violation(format_args!("login {login} was not seen to arrive"));
        }
        let pause = Duration::from_micros(self.rng.u64(0..20_000));
        self.pause(pause).await;
        self.thawed().await;
        self.suffer(Step::Login, protocol, "").await?;
        let lives_here = (self.node.home)(user, self.node.ledger.now()) == Some(self.node.island);
        let [accepted, refused, unavailable, refers] = answers;
        let answer = match self.node.mood() {
            Mood::Unavailable => unavailable,
            Mood::Refers => refers,
            _ if is_right && lives_here => accepted,
            _ => refused,
        };
        self.suffer(Step::Answer, protocol, &answer[..answer.len() - 5]).await?;
        let is_accepted = answer == accepted;
        if let (true, Some(flight)) = (is_accepted, &self.flight) {
            flight.accepted();
        }
        self.say(answer).await?;
        self.flight = None;
        Ok(is_accepted.then_some(login))
    }

    /// Commands behind the login are those of its client.
    fn check_owner(&self, owner: Option<usize>, token: &str) {
        if owner.map(|login| format!("t{login}")).as_deref() != Some(token) {
            let Node { island, place, .. } = *self.node;
            self.node.ledger.violation(format_args!("node {island}.{place} gets {token} in the session of {owner:?}"));
        }
    }
}

/// The credentials in a line: login, whether they are right, and whose they are.
fn credentials(line: &[u8]) -> Option<(usize, bool, usize)> {
    login_of(line).or_else(|| {
        if !line.windows(5).any(|word| word == b"PLAIN") {
            return None;
        }
        let last = line.trim_ascii_end().rsplit(|octet| *octet == b' ').next()?;
        login_of(&STANDARD.decode(last).ok()?)
    })
}
