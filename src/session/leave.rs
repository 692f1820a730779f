//! How the sessions of the relay go when mailferry stops: those first in which nothing has been under way for longest,
//! evenly over the time.
//!
//! No session has a clock of its own for this: the registry is looked at, four times a second. Who is quiet, `quiet.rs`
//! knows; whether a session can go is the relay's to decide.

use std::cmp::Reverse;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::registry::{Registry, Session};
use super::spread::Spread;

/// How often it is looked which sessions may end.
const LOOK: Duration = Duration::from_millis(250);

/// Lets quiet sessions go, evenly over nine tenths of the time; the last tenth is for those that are late to be quiet.
/// Never returns.
pub async fn let_go(registry: &Registry, time: Duration) {
    let (began, before) = (Instant::now(), registry.ends().all());
    registry.calm().for_stop(time);
    loop {
        let now = Instant::now();
        let gone = usize::try_from(registry.ends().all() - before).unwrap_or(usize::MAX);
        let spread = Spread::new(gone.saturating_add(registry.len()), time / 10 * 9);
        // Nobody is looked at where nobody is due.
        let due = spread.due(now - began).saturating_sub(gone);
        if due > 0 {
            let_some_go(registry, due, now).await;
        }
        sleep(LOOK).await;
    }
}

/// So many are to be on their way: those that are already, and those that have been quiet for longest.
async fn let_some_go(registry: &Registry, due: usize, now: Instant) {
    let (mut going, mut quiet) = (0, Vec::<(Duration, Weak<Session>)>::new());
    let look = registry.look(|session| {
        if session.is_leaving() {
            going += 1;
        } else if let Some(rest) = session.at_rest(now).filter(|rest| registry.calm().is_over(*rest)) {
            quiet.push((rest, Arc::downgrade(session)));
        }
    });
    look.await;
    let due = due.saturating_sub(going);
    longest_first(&mut quiet, due);
    quiet.iter().take(due).filter_map(|(_, session)| session.upgrade()).for_each(|session| session.leave());
}

/// Those that have been quiet for longest come first, so many of them, in any order.
fn longest_first<T>(quiet: &mut [(Duration, T)], count: usize) {
    if count > 0 && count < quiet.len() {
        quiet.select_nth_unstable_by_key(count, |(rest, _)| Reverse(*rest));
    }
}

#[cfg(test)]
mod tests;
