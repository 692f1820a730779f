//! `mailferry top`: who logs in most often, has the most sessions, moves the most octets.
//!
//! On a terminal it is drawn anew until Ctrl-C, with nothing but the codes to go to the corner and clear. There is no state
//! of the terminal that would have to be given back, so the signal may simply end it.

use std::io::{IsTerminal, Write as _, stdout};
use std::process::ExitCode;
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use tokio::time::sleep;

use super::client::Asking;
use super::print::{octets, say, table};
use super::runtime;
use crate::admin::view::{Missed, Share, Top};

/// To the corner, and all that stood there is gone.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Lines of a screen that are no rows: the first one, three heads with a line before each, what was missed, and where the
/// cursor stands.
const OTHER_LINES: usize = 10;

/// How it is looked at.
#[derive(clap::Args)]
pub(super) struct Look {
    /// Most of each kind that are shown; on a terminal, no more than fit.
    #[arg(long, default_value_t = 10)]
    limit: usize,
    /// Who comes first: who has the most logins in the last minute, the most sessions, or moved the most octets in the
    /// last minute.
    #[arg(long, value_name = "WHAT", default_value = "logins", value_parser = ["logins", "sessions", "bytes"])]
    sort: String,
    /// Time from one look to the next, on a terminal.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Look once, also on a terminal.
    #[arg(long)]
    once: bool,
}

pub(super) fn top(look: &Look, asking: &Asking) -> Result<ExitCode, ExitCode> {
    if look.once || asking.wants_json() || !stdout().is_terminal() {
        return ask(look, look.limit, asking, show);
    }
    let runtime = runtime()?;
    loop {
        // Anew each time: the window may have another size now.
        let rows = tcgetwinsize(stdout()).map_or(usize::MAX, |size| rows(size.ws_row.into()));
        ask(look, look.limit.min(rows), asking, |top| {
            let _ = stdout().write_all(CLEAR.as_bytes());
            show(top);
        })?;
        // Made within the runtime, or it has no clock.
        runtime.block_on(async { sleep(look.interval.max(Duration::from_millis(100))).await });
    }
}

fn ask(look: &Look, limit: usize, asking: &Asking, show: impl FnOnce(Top)) -> Result<ExitCode, ExitCode> {
    asking.get("/v1/top", &[("limit", Some(limit.to_string())), ("sort", Some(look.sort.clone()))], show)
}

/// Of each kind, on a screen of so many lines. One that does not tell has 0.
fn rows(lines: usize) -> usize {
    if lines == 0 { usize::MAX } else { (lines.saturating_sub(OTHER_LINES) / 3).max(1) }
}

fn show(top: Top) {
    say(&format!("{} sessions, {} logins in the last minute", top.sessions, top.logins_last_minute));
    let kinds = [
        ("USER", top.users, Some(top.missed.users)),
        ("NETWORK", top.networks, Some(top.missed.networks)),
        ("NODE", top.nodes, None),
    ];
    for (head, shares, missed) in kinds {
        say("");
        table(
            [head, "LOGINS/MIN", "SESSIONS", "BYTES/MIN", "TO NODE", "TO CLIENT"],
            shares.into_iter().map(row).collect(),
        );
        if let Some(Missed { logins, octets: moved }) = missed.filter(|it| (it.logins, it.octets) != (0, 0)) {
            say(&format!("There are many: each may have {logins} logins and {} a minute more.", octets(moved)));
        }
    }
}

fn row(share: Share) -> [String; 6] {
    [
        share.name,
        share.logins_last_minute.to_string(),
        share.sessions.to_string(),
        octets(share.octets_last_minute),
        octets(share.to_node),
        octets(share.to_client),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rows_are_asked_for_as_the_screen_has() {
        assert_eq!([0, 1, 24, 50].map(rows), [usize::MAX, 1, 4, 13]);
    }
}
