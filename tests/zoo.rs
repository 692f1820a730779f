//! The client zoo: how real mail clients log in, played through mailferry's client dialogue. `tests/zoo/README.md` says
//! how a transcript is written. A transcript that is not understood is a failure, never one fewer. No log tells what they
//! log in with.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use mailferry::names::UserName;
use mailferry::proto::{Channel, ClientDialogue, Input, NodeRefusal, Offer, Protocol, Refusal, RefusalKind, Step};
use mailferry::testkit::{dialogues, leaks};

/// What stands before the name of a master user.
const MASTER: &str = "master=";

/// One connection of a transcript.
struct Visit {
    /// File and line, for whoever has to look.
    place: String,
    protocol: Protocol,
    offer: Offer,
    lines: Vec<Line>,
}

enum Line {
    /// What the client sent in one segment.
    Sent(Vec<u8>),
    /// What must come of it, as [`Play`] writes it down.
    Expected(String),
}

impl Line {
    /// What is expected, if it is of this kind.
    fn expected(&self, kind: &str) -> Option<&str> {
        match self {
            Self::Expected(line) => line.strip_prefix(kind),
            Self::Sent(_) => None,
        }
    }
}

/// Everything in the zoo.
fn visits() -> Vec<Visit> {
    let mut visits = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zoo")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name != "README.md" {
            assert!(name.ends_with(".txt"), "{name} is no transcript");
            visits.extend(read(name, &fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(!visits.is_empty(), "the zoo is empty");
    visits
}

/// The connections of one file.
fn read(name: &str, text: &str) -> Vec<Visit> {
    let origins = text.lines().filter(|line| line.starts_with("# recorded: ") || line.starts_with("# written from: "));
    assert!(text.starts_with("# client: ") && origins.count() == 1, "{name} does not say whose it is and where from");
    let mut visits: Vec<Visit> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let place = format!("{name}:{number}");
        let shown = |text| octets(&place, text).escape_ascii().to_string();
        let line = match line.split_once(": ").unwrap_or((line, "")) {
            ("", "") => continue,
            (comment, _) if comment.starts_with('#') => continue,
            ("O", listener) => {
                visits.push(visit(place, listener));
                continue;
            }
            ("C", sent) => Line::Sent(octets(&place, sent)),
            ("S" | "N", _) => Line::Expected(shown(line)),
            ("L", login) => {
                let is_login = (3..=4).contains(&login.split(' ').count());
                assert!(is_login, "{place}: mechanism, user, password, and perhaps whose that is");
                Line::Expected(line.split(' ').map(shown).collect::<Vec<_>>().join(" "))
            }
            ("T:", "") => Line::Expected(line.to_owned()),
            _ => panic!("{place} is not understood: {line}"),
        };
        visits.last_mut().unwrap_or_else(|| panic!("{place} comes before any O line")).lines.push(line);
    }
    assert!(
        visits.iter().flat_map(|visit| &visit.lines).any(|line| line.expected("L: ").is_some()),
        "{name}: nobody logs in"
    );
    visits
}

/// A connection to a listener: its protocol, its protection, who is a master user, and what the nodes can do.
fn visit(place: String, listener: &str) -> Visit {
    let mut words = listener.split(' ');
    let protocol = match words.next() {
        Some("imap") => Protocol::Imap,
        Some("pop3") => Protocol::Pop3,
        _ => panic!("{place}: no such protocol: {listener}"),
    };
    let channel = match words.next() {
        Some("tls") => Channel::Tls,
        Some("starttls") => Channel::Upgradable,
        _ => panic!("{place}: no such protection: {listener}"),
    };
    let (masters, words): (Vec<_>, Vec<_>) = words.partition(|word| word.starts_with(MASTER));
    let master_users = masters.iter().filter_map(|word| UserName::new(&word.as_bytes()[MASTER.len()..])).collect();
    let extensions = Arc::new(words.into_iter().map(str::as_bytes).collect());
    let offer = Offer { extensions, master_users, ..dialogues::offer(channel) };
    Visit { place, protocol, offer, lines: Vec::new() }
}

/// Undoes the escapes.
fn octets(place: &str, text: &str) -> Vec<u8> {
    assert!(text.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{place}: to be written as an escape");
    assert!(!text.ends_with(' '), "{place}: the last space is to be written as \\x20");
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&octet, behind)) = rest.split_first() {
        let (octet, behind) = match (octet, behind) {
            (b'\\', [b'r', behind @ ..]) => (b'\r', behind),
            (b'\\', [b'n', behind @ ..]) => (b'\n', behind),
            (b'\\', [b'\\', behind @ ..]) => (b'\\', behind),
            (b'\\', [b'x', high, low, behind @ ..]) => {
                let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                (digit(*high).unwrap() << 4 | digit(*low).unwrap(), behind)
            }
            (b'\\', _) => panic!("{place}: no such escape"),
            plain => plain,
        };
        octets.push(octet);
        rest = behind;
    }
    octets
}

/// A dialogue under way, and what came of it so far.
struct Play {
    protocol: Protocol,
    /// `None` when it is over: the client is logged in, or was told goodbye.
    dialogue: Option<ClientDialogue>,
    input: Input,
    /// For each login to come, the last one first: nothing where it is accepted, else what the client hears of it.
    verdicts: Vec<Option<String>>,
    /// What the client sent behind its login, once that is accepted: it is the node's.
    ahead: Option<Vec<u8>>,
    /// Passwords, and tokens without the word before them.
    secrets: Vec<Vec<u8>>,
    notes: Vec<String>,
}

impl Play {
    fn new(visit: &Visit) -> Self {
        let dialogue = ClientDialogue::new(visit.protocol, visit.offer.clone());
        // A login that hears something is one that was refused: the transcript ends where the node begins to talk.
        let heard = |at: usize| visit.lines.get(at + 1).and_then(|line| line.expected("S: ")).map(str::to_owned);
        let logins = (0..visit.lines.len()).rev().filter(|&at| visit.lines[at].expected("L: ").is_some());
        let verdicts = logins.map(heard).collect();
        let notes = vec![format!("S: {}", dialogue.greeting().escape_ascii())];
        let (dialogue, input) = (Some(dialogue), Input::new());
        Self { protocol: visit.protocol, dialogue, input, verdicts, ahead: None, secrets: Vec::new(), notes }
    }

    fn receive(&mut self, octets: &[u8]) {
        self.input.push(octets);
        while let Some(mut dialogue) = self.dialogue.take() {
            match dialogue.step(&mut self.input) {
                Step::Wait => {
                    self.dialogue = Some(dialogue);
                    return;
                }
                Step::Reply(text) | Step::Decline(text, _) | Step::Introduced(text, _) => self.say(&text),
                Step::StartTls(text) => {
                    self.say(&text);
                    self.notes.push("T:".to_owned());
                    assert!(self.input.is_empty(), "something was sent ahead of the handshake");
                    dialogue = dialogue.upgraded();
                }
                Step::Login(login, to) => {
                    let (user, secret) = (login.user.as_bytes().escape_ascii(), login.credentials.secret().expose());
                    self.secrets.push(secret.strip_prefix(b"Bearer ").unwrap_or(secret).to_vec());
                    let master = login.master.map(|master| format!(" {}", master.as_bytes().escape_ascii()));
                    let (mechanism, master) = (login.mechanism, master.unwrap_or_default());
                    self.notes.push(format!("L: {mechanism} {user} {}{master}", secret.escape_ascii()));
                    let Some(Some(heard)) = self.verdicts.pop() else {
                        self.ahead = Some(Vec::new());
                        break;
                    };
                    // A challenge is the node's, and so is the refusal behind it.
                    let answer = match heard.strip_prefix("+ ").and_then(|heard| heard.strip_suffix("\\r\\n")) {
                        None => dialogue.refuse(to, Refusal::AuthenticationFailed),
                        Some(challenge) => dialogue.relay_refusal(to, &self.token_refusal(challenge)),
                    };
                    self.say(&answer);
                }
                Step::Close(text, _) => {
                    self.say(&text);
                    break;
                }
            }
            self.dialogue = Some(dialogue);
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.extend_from_slice(self.input.as_bytes());
        }
        self.input = Input::new();
    }

    /// What a node says of a token.
    fn token_refusal(&self, challenge: &str) -> NodeRefusal {
        let text: &[u8] = match self.protocol {
            Protocol::Imap => b"[AUTHENTICATIONFAILED] Authentication failed.",
            Protocol::Pop3 => b"[AUTH] Authentication failed.",
        };
        let challenge = Some(challenge.as_bytes().to_vec());
        NodeRefusal { kind: RefusalKind::WrongPassword, text: text.to_vec(), challenge }
    }

    fn say(&mut self, text: &[u8]) {
        self.notes.push(format!("S: {}", text.escape_ascii()));
    }

    fn end(mut self) -> Vec<String> {
        assert!(self.input.is_empty(), "the dialogue waits for more");
        let ahead = self.ahead.filter(|ahead| !ahead.is_empty());
        self.notes.extend(ahead.map(|ahead| format!("N: {}", ahead.escape_ascii())));
        self.notes
    }
}

#[test]
fn each_client_hears_what_its_transcript_says_and_logs_in() {
    for visit in visits() {
        let mut play = Play::new(&visit);
        let mut expected = Vec::new();
        for line in &visit.lines {
            match line {
                Line::Expected(line) => expected.push(line.clone()),
                Line::Sent(octets) => {
                    assert_eq!(play.notes, expected, "{}, before {}", visit.place, octets.escape_ascii());
                    play.receive(octets);
                }
            }
        }
        assert_eq!(play.end(), expected, "{}", visit.place);
    }
}

/// What a client sends is fixed here, whether it had waited for an answer or not. So it can be cut anywhere, and glued
/// together everywhere but where TLS begins: what stands ahead of a handshake is not the dialogue's.
#[test]
fn r_imap_12_no_way_of_cutting_a_transcript_changes_an_answer() {
    for visit in visits() {
        for size in [1, 2, usize::MAX] {
            let mut play = Play::new(&visit);
            for clear_or_tls in visit.lines.split(|line| line.expected("T:").is_some()) {
                let mut sent = Vec::new();
                for line in clear_or_tls {
                    if let Line::Sent(octets) = line {
                        sent.extend_from_slice(octets);
                    }
                }
                sent.chunks(size).for_each(|read| play.receive(read));
            }
            let expected = visit.lines.iter().filter_map(|line| line.expected(""));
            assert!(play.end().iter().eq(expected), "{}, in reads of {size}", visit.place);
        }
    }
}

/// As in the transcripts, but in whole sessions that log, at TRACE and with every library: in clear text, with nodes that
/// repeat in some manner what they hear.
#[test]
fn r_log_01_no_clients_password_gets_into_the_log() {
    // How many are accepted depends on the clock: these nodes are given up after some milliseconds.
    let (mut searched, mut accepted) = (0, 0);
    for visit in visits() {
        let sent = |line: &Line| if let Line::Sent(octets) = line { octets.clone() } else { Vec::new() };
        let said: Vec<u8> = visit.lines.iter().flat_map(sent).collect();
        let mut play = Play::new(&visit);
        visit.lines.iter().for_each(|line| play.receive(&sent(line)));
        // One word of the transcripts is one of the log's as well.
        play.secrets.retain(|secret| secret != b"wrong");
        for manner in [0, 1, 4] {
            let log = leaks::log_of_a_session(visit.protocol, manner, said.clone());
            assert!(log.contains("TRACE") && log.contains("session ended"), "{}: {log}", visit.place);
            accepted += log.matches("outcome=accepted").count();
            for secret in &play.secrets {
                assert_eq!(leaks::leak(secret, &log), None, "{}", visit.place);
                searched += 1;
            }
        }
    }
    assert!(searched > 300 && accepted > 10, "{searched} searches, {accepted} accepted");
}
