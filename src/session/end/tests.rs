//! What each end tells an operator, printed into docs/logs.md.

#![warn(clippy::wildcard_enum_match_arm)]

use std::fmt::Write as _;

use super::*;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/logs.md");
const BEGIN: &str = "<!-- the codes: written by a test, from session/end.rs -->\n";
const END: &str = "<!-- end of the codes -->\n";

const WHO: [Who; 4] = [Who::Client, Who::Node, Who::Proxy, Who::Operator];
const STAGES: [Stage; 6] = [Stage::Tls, Stage::Login, Stage::Directory, Stage::Connect, Stage::Replay, Stage::Relay];
const WHYS: [Why; 15] = [
    Why::Closed,
    Why::Broken,
    Why::Logout,
    Why::TlsFailed,
    Why::Timeout,
    Why::BadCommands,
    Why::RefusedLogins,
    Why::TooLong,
    Why::OtherProtocol,
    Why::Drained,
    Why::Shutdown,
    Why::Kicked,
    Why::TooManyConnections,
    Why::BadProxyHeader,
    Why::Defect,
];

/// What has happened, and what to do; `None`: it does not happen. No wildcard: a new word needs a place here.
fn meaning(who: Who, why: Why, stage: Stage) -> Option<[&'static str; 2]> {
    let is_relay = stage == Stage::Relay;
    let only = |at: Stage, meaning| (stage == at).then_some(meaning);
    match (who, why) {
        (Who::Client, Why::Closed | Why::Broken) => Some(gone(stage)),
        (Who::Client, Why::Logout) => {
            only(Stage::Login, ["the client said LOGOUT or QUIT before it had logged in", "nothing"])
        }
        (Who::Client, Why::TlsFailed) => only(
            Stage::Tls,
            [
                "the TLS handshake failed: `reason` says how",
                "nothing for a few, which are scanners; for one kind of client, see `tls.min_version`, the certificate's \
                 names and its chain, and `client_ca`",
            ],
        ),
        (Who::Node, Why::Closed) => {
            only(Stage::Relay, ["the node ended it: behind LOGOUT or QUIT, or by its own idle timeout", "nothing"])
        }
        (Who::Node, Why::Broken) => only(
            Stage::Relay,
            [
                "the node's connection broke",
                "if many of one node end together, it was restarted or has crashed: look at its log; `mailferry islands`",
            ],
        ),
        (Who::Proxy, Why::TlsFailed) => {
            only(Stage::Tls, ["the listener has no TLS of its own any more", "report it: this is a defect"])
        }
        (Who::Proxy, Why::Timeout) => match stage {
            Stage::Tls => Some(["the handshake took longer than 10 s", "nothing, if few: slow networks, scanners"]),
            Stage::Login => Some([
                "no complete login within 30 s of silence or `login_timeout`",
                "nothing, if few: clients that connect ahead and wait; many from one network are an attack that is held off",
            ]),
            Stage::Directory | Stage::Connect | Stage::Replay | Stage::Relay => None,
        },
        (Who::Proxy, Why::BadCommands) => only(
            Stage::Login,
            ["too many commands that are none", "nothing: a scanner, or a client for another protocol"],
        ),
        (Who::Proxy, Why::RefusedLogins) => only(
            Stage::Login,
            [
                "too many logins of this connection were refused",
                "look at the `login` lines of the session: an old password on a device, or somebody who guesses",
            ],
        ),
        (Who::Proxy, Why::TooLong) => {
            only(Stage::Login, ["a line or literal without an end", "nothing: no mail program sends such"])
        }
        (Who::Proxy, Why::OtherProtocol) => only(
            Stage::Login,
            [
                "the client speaks HTTP, TLS or another protocol",
                "look for a client with the wrong port, if it is one of yours",
            ],
        ),
        (Who::Proxy, Why::TooManyConnections) => (!is_relay).then_some([
            "there was no place, or it had to make place for another one",
            "see `limits.connections`, `unauthenticated` and their `_per_network`; behind a balancer, see that \
             `proxy_protocol_from` is set, or all clients are one network",
        ]),
        (Who::Proxy, Why::BadProxyHeader) => only(
            Stage::Login,
            [
                "a PROXY header was wanted and did not come: `reason` says what did",
                "see that the balancer sends it on this port, its health checks too, and that nobody else is in \
                 `proxy_protocol_from`",
            ],
        ),
        (Who::Proxy, Why::Defect) => {
            Some(["the session's task died", "report it, with the lines of the session and what is on standard error"])
        }
        (Who::Operator, Why::Drained) => {
            only(Stage::Relay, ["mailferry was stopped, and nothing was under way in the session", "nothing"])
        }
        (Who::Operator, Why::Shutdown) => Some(match stage {
            Stage::Relay => [
                "mailferry was stopped, and the session was cut: something was under way in it until the end",
                "if there are many, a longer `drain_timeout`",
            ],
            Stage::Tls | Stage::Login | Stage::Directory | Stage::Connect | Stage::Replay => {
                ["mailferry was stopped", "nothing"]
            }
        }),
        (Who::Operator, Why::Kicked) => {
            only(Stage::Relay, ["an operator has ended it", "nothing: the order is in the log"])
        }
        (
            Who::Client | Who::Node | Who::Operator,
            Why::Timeout
            | Why::BadCommands
            | Why::RefusedLogins
            | Why::TooLong
            | Why::OtherProtocol
            | Why::TooManyConnections
            | Why::BadProxyHeader
            | Why::Defect,
        )
        | (Who::Client | Who::Node | Who::Proxy, Why::Drained | Why::Shutdown | Why::Kicked)
        | (Who::Node | Who::Proxy | Who::Operator, Why::Logout)
        | (Who::Node | Who::Operator, Why::TlsFailed)
        | (Who::Proxy | Who::Operator, Why::Closed | Why::Broken) => None,
    }
}

/// The client has gone, in order or not.
fn gone(stage: Stage) -> [&'static str; 2] {
    match stage {
        Stage::Tls => ["the client went away before or within the handshake", "nothing: checks of balancers, scanners"],
        Stage::Login => [
            "the client went away before a login, or after one that was refused",
            "nothing: clients that look what is announced, balancers, scanners",
        ],
        Stage::Directory => [
            "the client did not wait for the directory",
            "if many: `mailferry status`, and `directory_ms` of the `login` lines",
        ],
        Stage::Connect => [
            "the client did not wait for a node",
            "if many: `mailferry islands`, `failed` of the `login` lines; `hedge` and `patience` are how long clients wait",
        ],
        Stage::Replay => [
            "the client did not wait for the node's answer to its login",
            "if many: the nodes' authentication is slow, see `login_ms`; one client that does so often may be guessing",
        ],
        Stage::Relay => ["the client ended it, or its connection broke: the usual end", "nothing"],
    }
}

/// Rows of one meaning are one row.
fn table() -> String {
    let mut rows: Vec<(Vec<String>, Vec<String>, [&str; 2])> = Vec::new();
    for (who, why) in WHO.into_iter().flat_map(|who| WHYS.map(|why| (who, why))) {
        for stage in STAGES {
            let Some(meaning) = meaning(who, why, stage) else { continue };
            let (code, why) = (format!("`{}`", End::new(who, why).code(stage)), format!("`{why}`"));
            let place = rows.iter().position(|(.., other)| *other == meaning).unwrap_or_else(|| {
                rows.push((Vec::new(), Vec::new(), meaning));
                rows.len() - 1
            });
            let row = &mut rows[place];
            for (column, word) in [(&mut row.0, code), (&mut row.1, why)] {
                if !column.contains(&word) {
                    column.push(word);
                }
            }
        }
    }
    let mut table = String::from("| `code` | `why` | what happened | what to do |\n|---|---|---|---|\n");
    for (codes, whys, [happened, what_to_do]) in rows {
        writeln!(table, "| {} | {} | {happened} | {what_to_do} |", codes.join(" "), whys.join(" ")).unwrap();
    }
    table
}

#[test]
fn the_documentation_has_every_code() {
    let docs = std::fs::read_to_string(DOCS).unwrap();
    let (before, rest) = docs.split_once(BEGIN).expect("the table's beginning is not marked");
    let (_, after) = rest.split_once(END).expect("the table's end is not marked");
    let right = format!("{before}{BEGIN}\n{}\n{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(DOCS, right).unwrap();
        return;
    }
    assert!(docs == right, "docs/logs.md is out of date; UPDATE_DOCS=1 cargo test rewrites it");
}

#[test]
fn no_two_ends_have_the_same_code() {
    let mut codes: Vec<String> = WHO
        .into_iter()
        .flat_map(|who| STAGES.map(|stage| End::new(who, Why::Closed).code(stage).to_string()))
        .collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), WHO.len() * STAGES.len());
    assert!(WHYS.iter().all(|why| WHO.iter().any(|who| STAGES.iter().any(|it| meaning(*who, *why, *it).is_some()))));
}
