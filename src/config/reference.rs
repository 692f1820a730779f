//! Every key that proxy.toml may have, once: where it stands, what it holds, what is true without it, what it means.
//!
//! The reader takes the defaults and limits from here, unknown keys are compared with it, docs/configuration.md is
//! written from it, and tests hold proxy.toml.example to it. Only keys that work are listed, and no key is read that
//! is not listed. This file knows no setting's type; those belong to the parts that use them.

mod admin;
mod directory;
mod island;
mod limits;
mod listener;
mod server;
mod usernames;

use std::time::Duration;

pub use admin::ADMIN;
pub use directory::{CACHE, DIRECTORY};
pub use island::{ISLAND, NODES, PROBE};
pub use limits::LIMITS;
pub use listener::LISTENER;
pub use server::{CERTIFICATES, LOG, SERVER, TLS};
pub use usernames::{SNI_DOMAINS, USERNAMES};

/// A part of the file.
#[derive(Debug)]
pub struct Section {
    /// `directory.cache` for `[directory.cache]`.
    pub path: &'static str,
    /// How often it may stand in the file.
    pub form: Form,
    /// What it is about: one sentence.
    pub meaning: &'static str,
    /// In the order of the documentation.
    pub keys: &'static [Key],
}

/// How often a section may stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `[server]`: must be there once.
    Required,
    /// `[log]`: once or not at all.
    Optional,
    /// `[[listener]]`: once or more.
    Repeated,
    /// The entries of a list that is a key of the section above.
    Entries,
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name within the section.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What is true where it is absent.
    pub absent: Absent,
    /// The value of `type` that it belongs to; `None` for both.
    pub only: Option<&'static str>,
    /// What it means: one sentence, or two.
    pub meaning: &'static str,
}

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Text in quotes.
    Text,
    /// A list of texts.
    Texts,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A duration within these limits, both included.
    Duration(Duration, Duration),
    /// The same, or the word "off".
    DurationOrOff(Duration, Duration),
    /// A whole number within these limits, both included.
    Integer(u64, u64),
    /// The same, or this word.
    IntegerOr(&'static str, u64, u64),
    /// A list of tables, which are a section of their own.
    Tables,
}

/// What is true where a key is absent.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// It must be there, for example with this value, as TOML.
    Refused(&'static str),
    /// This value, as TOML.
    Default(&'static str),
    /// A value that depends on other keys; the words say on which.
    Derived(&'static str),
    /// Nothing; the key turns something on.
    Unset,
}

impl Section {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The last part of its path: the name that it has in the section above.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// How its header is written.
    pub fn header(&self) -> String {
        match self.form {
            Form::Required | Form::Optional => format!("[{}]", self.path),
            Form::Repeated | Form::Entries => format!("[[{}]]", self.path),
        }
    }
}

/// A duration as the documentation writes it: the shortest form that the reader takes.
pub fn shown(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace("days", "d").replace("day", "d")
}

const fn key(name: &'static str, kind: Kind, absent: Absent, meaning: &'static str) -> Key {
    Key { name, kind, absent, only: None, meaning }
}

const fn ldap(name: &'static str, kind: Kind, absent: Absent, meaning: &'static str) -> Key {
    Key { name, kind, absent, only: Some("ldap"), meaning }
}

const fn file(name: &'static str, kind: Kind, absent: Absent, meaning: &'static str) -> Key {
    Key { name, kind, absent, only: Some("file"), meaning }
}

const fn up_to(most: u64) -> Kind {
    Kind::Duration(Duration::from_millis(1), Duration::from_secs(most))
}

const fn zero_up_to(most: u64) -> Kind {
    Kind::Duration(Duration::ZERO, Duration::from_secs(most))
}

const fn or_off_up_to(most: u64) -> Kind {
    Kind::DurationOrOff(Duration::from_millis(1), Duration::from_secs(most))
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// All sections, in the order of the documentation.
pub static SECTIONS: [&Section; 14] = [
    &SERVER,
    &ADMIN,
    &LOG,
    &TLS,
    &CERTIFICATES,
    &LISTENER,
    &USERNAMES,
    &SNI_DOMAINS,
    &LIMITS,
    &DIRECTORY,
    &CACHE,
    &ISLAND,
    &PROBE,
    &NODES,
];
