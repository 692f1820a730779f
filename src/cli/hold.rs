//! `mailferry hold`, `release` and `holds`: users whose logins wait.

use std::process::ExitCode;
use std::time::Duration;

use super::client::Asking;
use super::print::{complain, say, seconds, table};
use crate::admin::view::{Held, Hold, HoldOrder, Holds, ReleaseOrder, Released, Unreached};

pub(super) fn hold(user: String, lasts: Duration, asking: &Asking) -> Result<ExitCode, ExitCode> {
    let order = HoldOrder { user, for_s: Some(lasts.as_secs()), ..HoldOrder::default() };
    asking.post_to_all(
        "/v1/hold",
        &order,
        |held: &Held| &held.hold.unreached,
        |held: Held| {
            let Hold { user, ends_in_s, sessions, under_way, .. } = held.hold;
            let ends = seconds(ends_in_s);
            let still = if held.was_held { "held still" } else { "held" };
            say(&format!("{user} is {still}, for {ends}; sessions: {sessions}, logins under way: {under_way}"));
            if let Some(doubt) = held.doubt {
                complain(&format!("warning: {doubt}; the user's other names are not held"));
            }
            warn_not_kept(held.not_kept);
        },
    )
}

pub(super) fn release(user: String, asking: &Asking) -> Result<ExitCode, ExitCode> {
    let order = ReleaseOrder { user, ..ReleaseOrder::default() };
    asking.post_to_all(
        "/v1/release",
        &order,
        |it: &Released| &it.unreached,
        |released: Released| {
            let Released { user, waited, held_s, goes_on, not_kept, .. } = released;
            let held = seconds(held_s);
            if goes_on {
                say(&format!("{user} is being moved: the move goes on; said again, this ends the hold"));
            } else {
                say(&format!("{user} is released after {held}; logins that waited: {waited}"));
            }
            if let Some(reason) = not_kept {
                complain(&format!("warning: a restart brings the hold back: {reason}"));
            }
        },
    )
}

pub(super) fn holds(user: Option<String>, asking: &Asking) -> Result<ExitCode, ExitCode> {
    asking.get_of_all("/v1/holds", &[("user", user)], unreached, |answer: Holds| {
        let row = |hold: Hold| {
            [
                hold.user,
                hold.account.unwrap_or_else(|| "-".to_owned()),
                hold.since,
                seconds(hold.ends_in_s),
                hold.waiting.to_string(),
                hold.under_way.to_string(),
                hold.sessions.to_string(),
                hold.move_to.unwrap_or_else(|| "-".to_owned()),
            ]
        };
        let head = ["USER", "ACCOUNT", "SINCE", "ENDS IN", "WAITING", "UNDER WAY", "SESSIONS", "MOVES TO"];
        table(head, answer.holds.into_iter().map(row).collect());
    })
}

/// Those of the hold that lacks the most.
fn unreached(answer: &Holds) -> &[Unreached] {
    answer.holds.iter().map(|hold| hold.unreached.as_slice()).max_by_key(|it| it.len()).unwrap_or(&[])
}

fn warn_not_kept(reason: Option<String>) {
    if let Some(reason) = reason {
        complain(&format!("warning: the hold will be forgotten at a restart: {reason}"));
    }
}
