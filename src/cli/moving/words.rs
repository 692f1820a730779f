//! What a move tells of its steps: a line for people, an object on a line for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::print::{complain, say, seconds};
use crate::admin::view::{Hold, Route};

/// A step that was taken.
#[derive(Debug, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub(super) enum Step<'a> {
    /// User and island are known.
    Checked { user: &'a str, account: Option<&'a str>, from: &'a str, to: &'a str },
    /// Nothing is to be done.
    There { user: &'a str, island: &'a str },
    /// New logins wait.
    Held { user: &'a str, ends_in_s: u64, sessions: u64, under_way: usize },
    /// Logins that came before have come to an end.
    Quiet,
    /// The command begins.
    Command { command: &'a str },
    /// The mail is to be moved by hand.
    Waiting { user: &'a str, enter: bool },
    /// The directory is asked until it says the new island.
    Looking { island: &'a str },
    /// It does.
    Found { island: &'a str, answered: Option<&'a str> },
    /// The user's sessions end.
    Kicked { kicked: u64 },
    /// The logins go on.
    Released { waited: usize, held_s: u64 },
    /// The directory says so still, if `verified`: else it could not be asked.
    Moved { user: &'a str, island: &'a str, verified: bool },
    /// Why it is not moved. `island` is where the directory says that the user is.
    PutBack { user: &'a str, reason: &'a str, island: Option<&'a str> },
    /// The hold is still there, and ends by itself.
    Left { user: &'a str, reason: &'a str, ends_in_s: u64 },
}

impl<'a> Step<'a> {
    pub(super) fn checked(route: &'a Route, to: &'a str) -> Self {
        Self::Checked { user: &route.user, account: route.account.as_deref(), from: &route.island, to }
    }

    pub(super) fn held(hold: &'a Hold) -> Self {
        let Hold { user, ends_in_s, sessions, under_way, .. } = hold;
        Self::Held { user, ends_in_s: *ends_in_s, sessions: *sessions, under_way: *under_way }
    }

    pub(super) fn tell(&self, is_json: bool) {
        if is_json {
            // It cannot fail: all names are text.
            return say(&serde_json::to_string(self).unwrap_or_default());
        }
        let line = self.line();
        if matches!(self, Self::PutBack { .. } | Self::Left { .. }) { complain(&line) } else { say(&line) }
    }

    fn line(&self) -> String {
        match self {
            Self::Checked { user, account, from, to } => {
                let mut line = format!("{user}: from {from} to {to}");
                if let Some(account) = account.filter(|account| account != user) {
                    let _ = write!(line, ", as {account} on the nodes");
                }
                line
            }
            Self::There { user, island } => format!("{user} is on {island} already"),
            Self::Held { ends_in_s, sessions, under_way, .. } => format!(
                "held: new logins wait, for {} at most; sessions: {sessions}, logins under way: {under_way}",
                seconds(*ends_in_s)
            ),
            Self::Quiet => "no login is under way any more".to_owned(),
            Self::Command { command } => format!("running: {command}"),
            Self::Waiting { user, enter } => {
                let enter = if *enter { "press Enter, or say " } else { "" };
                format!("move the mail and change the directory now; then {enter}mailferry release {user}")
            }
            Self::Looking { island } => format!("waiting until the directory says {island}"),
            Self::Found { island, .. } => format!("the directory says {island}"),
            Self::Kicked { kicked } => format!("old sessions that end: {kicked}"),
            Self::Released { waited, held_s } => {
                format!("released after {}; logins that waited: {waited}", seconds(*held_s))
            }
            Self::Moved { user, island, verified: true } => format!("{user} is on {island}"),
            Self::Moved { user, island, verified: false } => {
                format!("{user} is on {island}, as the directory has said; now it cannot be asked")
            }
            Self::PutBack { user, reason, island } => {
                let island = island.map_or_else(
                    || "the directory cannot say where logins go".to_owned(),
                    |island| format!("logins go to {island}, as the directory says"),
                );
                format!("{user} is not moved: {reason}; put back: {island}")
            }
            Self::Left { user, reason, ends_in_s } => format!(
                "{user} is not moved: {reason}; the hold ends by itself, at the latest in {}",
                seconds(*ends_in_s)
            ),
        }
    }
}
