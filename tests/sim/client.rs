//! Mail clients in memory: log in, exchange commands that nobody else sends, leave.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use mailferry::proto::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, timeout_at};

use crate::ledger::{Answer, Ledger, Login};
use crate::script::{ClientScript, LoginScript};

/// What a quiet IMAP client is told when mailferry stops.
const STOPPING: &str = "* BYE [UNAVAILABLE] Shutting down, please reconnect";

/// Beyond every deadline of mailferry's login phase.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Client {
    pub number: usize,
    pub script: ClientScript,
    pub ledger: Ledger,
    pub stream: DuplexStream,
    pub rng: Rng,
    pub unread: Vec<u8>,
}

/// What a client heard of the session behind its login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relay {
    /// Every command was answered.
    Whole,
    /// It ended early, or there was no answer.
    Cut,
}

/// Why no line comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoLine {
    Closed,
    TooLate,
}

impl Client {
    /// The whole life. Returns how the relay went, if a login was accepted.
    pub async fn live(mut self) -> Option<Relay> {
        let connected = self.ledger.now();
        if self.line(Instant::now() + PATIENCE).await.is_err() {
            return None;
        }
        let logins = std::mem::take(&mut self.script.logins);
        for (turn, LoginScript { user, is_right }) in logins.into_iter().enumerate() {
            let began = self.ledger.now();
            let protocol = self.script.protocol;
            let login =
                Login { client: self.number, user, is_right, protocol, connected, began, ended: None, answer: None };
            let (number, password) = self.ledger.login(login);
            self.ledger.tell(format_args!("client {} begins login {number} of u{user} by {protocol}", self.number));
            let answer = self.log_in(turn, number, user, &password).await;
            self.ledger.answered(number, answer);
            match answer {
                Answer::Accepted => return Some(self.relay(turn, number).await),
                Answer::WrongPassword | Answer::Unavailable => {}
                Answer::Closed | Answer::HungUp | Answer::Never => return None,
            }
            let pause = Duration::from_micros(self.rng.u64(0..2_000_000));
            sleep(pause).await;
        }
        None
    }

    async fn log_in(&mut self, turn: usize, number: usize, user: usize, password: &str) -> Answer {
        let plain = STANDARD.encode(format!("\0u{user}\0{password}"));
        let mut commands = match (self.script.protocol, self.script.sasl) {
            (Protocol::Imap, false) => format!("a{turn} LOGIN u{user} {password}\r\n"),
            (Protocol::Imap, true) => format!("a{turn} AUTHENTICATE PLAIN {plain}\r\n"),
            (Protocol::Pop3, false) => format!("USER u{user}\r\nPASS {password}\r\n"),
            (Protocol::Pop3, true) => format!("AUTH PLAIN {plain}\r\n"),
        };
        if self.script.pipelines {
            commands += &match self.script.protocol {
                Protocol::Imap => format!("m{turn} TOKEN t{number}\r\n"),
                Protocol::Pop3 => format!("TOKEN t{number}\r\n"),
            };
        }
        if self.send(&commands).await.is_err() {
            return Answer::Closed;
        }
        let until = Instant::now() + self.script.waits.min(PATIENCE);
        if self.script.protocol == Protocol::Pop3 && !self.script.sasl {
            match self.line(until).await {
                Ok(line) if line.starts_with("+OK") => {}
                // A goodbye: mailferry stops.
                Ok(line) if line.contains("[SYS/TEMP]") => return Answer::Closed,
                Ok(line) => {
                    self.ledger.violation(format_args!("client {}: USER is answered {line:?}", self.number));
                    return Answer::Closed;
                }
                Err(why) => return self.no_answer(why),
            }
        }
        let answer = loop {
            match self.line(until).await {
                Ok(line) if line.starts_with("* BYE") => {}
                Ok(line) => break self.answer(turn, &line),
                Err(why) => return self.no_answer(why),
            }
        };
        if self.script.pipelines && answer != Answer::Accepted && answer != Answer::Closed {
            // No node was asked: mailferry itself does not know the command.
            match self.line(Instant::now() + PATIENCE).await {
                Ok(line) if line.starts_with(&format!("m{turn} BAD")) || line.starts_with("-ERR") => {}
                // It was stopped before it got there.
                Ok(line) if line.starts_with("* BYE") => {}
                Ok(line) => self.ledger.violation(format_args!("client {}: TOKEN is answered {line:?}", self.number)),
                Err(_) => {}
            }
        }
        answer
    }

    fn no_answer(&self, why: NoLine) -> Answer {
        match why {
            NoLine::Closed => Answer::Closed,
            NoLine::TooLate if self.script.waits < PATIENCE => Answer::HungUp,
            NoLine::TooLate => Answer::Never,
        }
    }

    /// The answer to a login.
    fn answer(&self, turn: usize, line: &str) -> Answer {
        let status = match self.script.protocol {
            Protocol::Imap => line.strip_prefix(&format!("a{turn} ")).unwrap_or(""),
            Protocol::Pop3 => line,
        };
        if status.starts_with("OK") || status.starts_with("+OK") {
            Answer::Accepted
        } else if status.contains("[AUTHENTICATIONFAILED]") || status.contains("[AUTH]") {
            Answer::WrongPassword
        } else if status.contains("[UNAVAILABLE]") || status.contains("[SYS/TEMP]") {
            Answer::Unavailable
        } else if status.starts_with("-ERR") && self.script.protocol == Protocol::Pop3 {
            self.ledger.violation(format_args!("client {}: unclear answer {line:?}", self.number));
            Answer::Closed
        } else {
            self.ledger.violation(format_args!("client {}: no answer to its login: {line:?}", self.number));
            Answer::Closed
        }
    }

    /// After the login: each command has one answer, its own.
    async fn relay(&mut self, turn: usize, number: usize) -> Relay {
        let mut commands = self.script.commands;
        let mut is_sent = self.script.pipelines;
        let mut count = 0;
        while commands > 0 || is_sent {
            let tag = if is_sent { format!("m{turn}") } else { format!("c{count}") };
            if !is_sent {
                sleep(self.script.pause).await;
                let command = match self.script.protocol {
                    Protocol::Imap => format!("{tag} TOKEN t{number}\r\n"),
                    Protocol::Pop3 => format!("TOKEN t{number}\r\n"),
                };
                if self.send(&command).await.is_err() {
                    return Relay::Cut;
                }
                (commands, count) = (commands - 1, count + 1);
            }
            let was_quiet = !std::mem::take(&mut is_sent);
            let expected = match self.script.protocol {
                Protocol::Imap => vec![format!("* TOKEN t{number}"), format!("{tag} OK done")],
                Protocol::Pop3 => vec![format!("+OK t{number}")],
            };
            for (place, expected) in expected.into_iter().enumerate() {
                match self.line(Instant::now() + Duration::from_secs(5)).await {
                    Ok(line) if line == expected => {}
                    // It was told while it was quiet, before its command; never between the lines of an answer.
                    Ok(line) if line == STOPPING && was_quiet && place == 0 => return Relay::Cut,
                    Ok(line) => {
                        let client = self.number;
                        self.ledger.violation(format_args!("client {client}: {line:?} instead of {expected:?}"));
                        return Relay::Cut;
                    }
                    Err(_) => return Relay::Cut,
                }
            }
        }
        self.leave().await
    }

    /// Nothing but the answer to a goodbye may still come.
    async fn leave(&mut self) -> Relay {
        if !self.script.is_polite {
            return Relay::Whole;
        }
        let (goodbye, expected): (_, &[&str]) = match self.script.protocol {
            Protocol::Imap => ("z LOGOUT\r\n", &["* BYE bye", "z OK done"]),
            Protocol::Pop3 => ("QUIT\r\n", &["+OK bye"]),
        };
        if self.send(goodbye).await.is_err() {
            return Relay::Cut;
        }
        for (place, expected) in expected.iter().enumerate() {
            match self.line(Instant::now() + Duration::from_secs(5)).await {
                Ok(line) if line == *expected => {}
                Ok(line) if line == STOPPING && place == 0 => return Relay::Cut,
                Ok(line) => {
                    self.ledger.violation(format_args!("client {}: {line:?} instead of a goodbye", self.number));
                }
                Err(_) => return Relay::Cut,
            }
        }
        if let Ok(line) = self.line(Instant::now() + Duration::from_secs(10)).await {
            self.ledger.violation(format_args!("client {}: {line:?} after the goodbye", self.number));
        }
        Relay::Whole
    }

    async fn send(&mut self, text: &str) -> std::io::Result<()> {
        let mut octets = text.as_bytes();
        while self.script.pieces && octets.len() > 1 {
            let (piece, rest) = octets.split_at(self.rng.usize(1..octets.len()));
            self.stream.write_all(piece).await?;
            let pause = Duration::from_micros(self.rng.u64(0..20_000));
            sleep(pause).await;
            octets = rest;
        }
        self.stream.write_all(octets).await
    }

    async fn line(&mut self, until: Instant) -> Result<String, NoLine> {
        loop {
            if let Some(end) = self.unread.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let mut octets = [0; 2048];
            match timeout_at(until, self.stream.read(&mut octets)).await {
                Ok(Ok(count)) if count > 0 => self.unread.extend_from_slice(&octets[..count]),
                Ok(_) => return Err(NoLine::Closed),
                Err(_) => return Err(NoLine::TooLate),
            }
        }
    }
}
