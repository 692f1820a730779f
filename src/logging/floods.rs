//! Lines that repeat are summed up: whatever strangers, a dead directory or a node can cause again and again is written a
//! few times, and then now and then, with a word each minute on how many were left out, and one when it is over.
//!
//! It stands at the mouth of the log, so that no `warn!` anywhere can be forgotten. Not summed up are the lines that are a
//! record: of each login and each session, of what operators do, of configurations. Whoever asks for `debug` gets it all.
//! Lines are alike that come from one place in the code about one thing: a node, a server, a file, an address. An error
//! also is about its reason, and has room of its own: however many warnings there are, the first of its kind is written.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::Failures;
use crate::pace::Alarm;

/// Of one kind at once, and in each [`PERIOD`].
const LINES: u32 = 5;

/// Of the sums.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// Kinds of warnings and lines below that are told apart; beyond, all of one place in the code are one kind.
const KINDS_MAX: usize = 1024;

/// The same of errors. What they are about stands in the configuration, their reasons are the system's, and no stranger
/// chooses either: a site of some thousand islands does not come to it.
const ERRORS_MAX: usize = 16 * 1024;

/// Records, each line of which counts.
pub(super) const RECORDS: [&str; 7] = [
    "mailferry::admin::holds",
    "mailferry::admin::orders",
    "mailferry::admin::state",
    "mailferry::app",
    "mailferry::cli",
    "mailferry::logging",
    "mailferry::session::record",
];

/// What lines can be about. Nothing that a stranger chooses, or he would choose how many kinds there are; networks that
/// are blocked are few a minute (`limits`). The state that a node has come to is one, so that its last one is told.
pub(super) const SUBJECTS: [&str; 9] =
    ["address", "file", "host", "island", "network", "node", "protocol", "state", "url"];

/// The keeper.
pub(super) struct Floods {
    errors: Kinds,
    others: Kinds,
    /// Whether failed logins are summed up too.
    sums_failures: AtomicBool,
}

struct Kinds {
    most: usize,
    kinds: Mutex<HashMap<(Identifier, String), Kind>>,
}

struct Kind {
    alarm: Alarm,
    heard: Instant,
    line: String,
    flood: Option<Flood>,
}

struct Flood {
    began: Instant,
    /// The last sum, or the beginning.
    summed: Instant,
    /// Since the last sum.
    left_out: u64,
    total: u64,
    last: String,
}

/// What there is to say of lines that were not written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// The message of the lines.
    pub(super) line: String,
    /// `island=a node=left`
    pub(super) about: String,
    /// Since the last sum; in all where it is over.
    pub(super) left_out: u64,
    /// In so long a time.
    pub(super) within: Duration,
    /// The reason that the last one told.
    pub(super) last: String,
    pub(super) is_over: bool,
}

impl Floods {
    pub(super) fn new(failures: Failures) -> Self {
        let [errors, others] = [ERRORS_MAX, KINDS_MAX].map(|most| Kinds { most, kinds: Mutex::default() });
        Self { errors, others, sums_failures: AtomicBool::new(failures == Failures::Summary) }
    }

    pub(super) fn set(&self, failures: Failures) {
        self.sums_failures.store(failures == Failures::Summary, Ordering::Relaxed);
    }

    /// Whether an event is written.
    pub(super) fn admit(&self, event: &Event<'_>, now: impl FnOnce() -> Instant) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        let is_record = RECORDS.iter().any(|record| is_of(metadata.target(), record));
        if is_record && !self.sums_failures.load(Ordering::Relaxed) {
            return true;
        }
        let mut seen = Seen::default();
        event.record(&mut seen);
        if is_record && !seen.is_failed_login() {
            return true;
        }
        let is_error = *metadata.level() == Level::ERROR;
        let about = if is_error { seen.about_error(metadata.target()) } else { seen.about() };
        let kinds = if is_error { &self.errors } else { &self.others };
        kinds.admit((metadata.callsite(), about), seen, now())
    }

    /// What is due to be said. To be asked a few times in each [`PERIOD`].
    pub(super) fn sums(&self, now: Instant) -> Vec<Sum> {
        [&self.errors, &self.others].into_iter().flat_map(|kinds| kinds.sums(now)).collect()
    }
}

impl Kinds {
    fn admit(&self, mut key: (Identifier, String), seen: Seen, now: Instant) -> bool {
        let mut kinds = self.kinds();
        if kinds.len() >= self.most && !kinds.contains_key(&key) {
            key.1.clear();
        }
        let new = || Kind { alarm: Alarm::new(LINES, PERIOD), heard: now, line: seen.message.clone(), flood: None };
        let kind = kinds.entry(key).or_insert_with(new);
        kind.heard = now;
        if kind.alarm.ring(now).is_some() {
            return true;
        }
        let new = || Flood { began: now, summed: now, left_out: 0, total: 0, last: String::new() };
        let flood = kind.flood.get_or_insert_with(new);
        (flood.left_out, flood.total, flood.last) = (flood.left_out + 1, flood.total + 1, seen.reason);
        false
    }

    fn sums(&self, now: Instant) -> Vec<Sum> {
        let mut kinds = self.kinds();
        let sums = kinds.iter_mut().filter_map(|((_, about), kind)| kind.sum(about, now)).collect();
        // Such a one may be written as often as a new one.
        kinds.retain(|_, kind| kind.flood.is_some() || now.saturating_duration_since(kind.heard) < PERIOD);
        sums
    }

    fn kinds(&self) -> MutexGuard<'_, HashMap<(Identifier, String), Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    fn sum(&mut self, about: &str, now: Instant) -> Option<Sum> {
        let flood = self.flood.as_mut()?;
        let since = now.saturating_duration_since(flood.summed);
        if since < PERIOD {
            return None;
        }
        let is_over = flood.left_out == 0;
        let sum = Sum {
            line: self.line.clone(),
            about: about.to_owned(),
            left_out: if is_over { flood.total } else { flood.left_out },
            within: if is_over { now.saturating_duration_since(flood.began) } else { since },
            last: flood.last.clone(),
            is_over,
        };
        (flood.left_out, flood.summed) = (0, now);
        if is_over {
            self.flood = None;
        }
        Some(sum)
    }
}

pub(super) fn is_of(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What matters of an event here.
#[derive(Default)]
struct Seen {
    message: String,
    reason: String,
    outcome: String,
    subjects: Vec<(&'static str, String)>,
}

impl Seen {
    fn is_failed_login(&self) -> bool {
        self.message == "login" && self.outcome != "accepted"
    }

    fn about(&self) -> String {
        let outcome = Some(("outcome", &self.outcome)).filter(|_| self.message == "login");
        let subjects = self.subjects.iter().map(|(name, value)| (*name, value));
        let words = outcome.into_iter().chain(subjects).map(|(name, value)| format!("{name}={value}"));
        words.collect::<Vec<_>>().join(" ")
    }

    /// The lines of a library may all come from one place in the code, and then their texts tell them apart.
    fn about_error(&self, target: &str) -> String {
        let text = if is_of(target, "mailferry") { &self.reason } else { &self.message };
        let about = self.about();
        let separator = if about.is_empty() || text.is_empty() { "" } else { ": " };
        format!("{about}{separator}{text}")
    }

    fn value(&mut self, field: &Field, value: impl FnOnce() -> String) {
        match field.name() {
            "message" => self.message = value(),
            "reason" => self.reason = value(),
            "outcome" => self.outcome = value(),
            name if SUBJECTS.contains(&name) => self.subjects.push((name, value())),
            _ => {}
        }
    }
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.value(field, || value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.value(field, || format!("{value:?}"));
    }
}
