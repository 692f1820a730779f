//! `mailferry sessions` and `mailferry kick`: who is there, and who has to go.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::client::Asking;
use super::print::{complain, octets, say, seconds, table};
use crate::admin::view::{Kick, Kicked, Session, Sessions};

/// Which sessions are shown. Without any, all.
#[derive(Args)]
pub(super) struct Which {
    /// Of this user, as the log shows the name.
    #[arg(long)]
    user: Option<String>,
    /// On this node.
    #[arg(long, value_name = "ISLAND/NODE")]
    node: Option<String>,
    /// On this island.
    #[arg(long)]
    island: Option<String>,
    /// From this network or address.
    #[arg(long, value_name = "CIDR")]
    client: Option<String>,
    /// Most that are shown.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// What the argument of `kick` names.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Kind {
    /// A user: all sessions.
    User,
    /// One session, as the log calls it.
    Session,
    /// A node, as ISLAND/NODE: all sessions.
    Node,
}

pub(super) fn sessions(which: Which, asking: &Asking) -> Result<ExitCode, ExitCode> {
    let query = [
        ("user", which.user),
        ("node", which.node),
        ("island", which.island),
        ("client", which.client),
        ("limit", Some(which.limit.to_string())),
    ];
    asking.get_of_all(
        "/v1/sessions",
        &query,
        |answer: &Sessions| &answer.unreached,
        |answer: Sessions| {
            let told = answer.sessions.len() as u64;
            let head = ["SESSION", "USER", "PROTOCOL", "CLIENT", "TLS", "NODE", "AGE", "TO NODE", "TO CLIENT"];
            table(head, answer.sessions.into_iter().map(row).collect());
            if told < answer.matching {
                complain(&format!("{told} of {} sessions; --limit shows more", answer.matching));
            }
        },
    )
}

fn row(session: Session) -> [String; 9] {
    let held = if session.held { " (held)" } else { "" };
    let elsewhere = session.predecessor.map_or_else(String::new, |process| format!(" (process {process})"));
    [
        session.session + &elsewhere,
        session.user.unwrap_or_default() + held,
        session.protocol,
        session.client,
        session.tls.unwrap_or_else(|| "-".to_owned()),
        format!("{}/{}", session.island, session.node),
        seconds(session.age_s),
        octets(session.to_node),
        octets(session.to_client),
    ]
}

pub(super) fn kick(whom: &str, kind: Option<Kind>, asking: &Asking) -> Result<ExitCode, ExitCode> {
    let name = Some(whom.to_owned());
    let kick = match kind.unwrap_or_else(|| guessed(whom)) {
        Kind::User => Kick { user: name, ..Kick::default() },
        Kind::Session => Kick { session: name, ..Kick::default() },
        Kind::Node => Kick { node: name, ..Kick::default() },
    };
    asking.post("/v1/kick", &kick, |Kicked { kicked, over_ms }| {
        let over = if over_ms == 0 { String::new() } else { format!(" within {}", seconds(over_ms.div_ceil(1000))) };
        say(&format!("{kicked} sessions end{over}"));
    })
}

/// What a name looks like. No name of a user is mistaken for another user's.
fn guessed(whom: &str) -> Kind {
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    match whom.split_once('-') {
        Some((run, number)) if run.len() == 8 && is_hex(run) && is_hex(number) => Kind::Session,
        _ if whom.contains('/') => Kind::Node,
        _ => Kind::User,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_session_or_a_node_is_one() {
        for (name, expected) in
            [("alice", "u"), ("68f0a1b2-1f", "s"), ("a/left", "n"), ("abc-def", "u"), ("68f0a1b2-", "u")]
        {
            let kind = match guessed(name) {
                Kind::User => "u",
                Kind::Session => "s",
                Kind::Node => "n",
            };
            assert_eq!(kind, expected, "{name}");
        }
    }
}
