//! The way to the end: balancers are told, listeners close, logins under way end, and the sessions of the relay one after
//! the other, those first in which nothing has been under way for longest.
//!
//! Nothing here waits for a client longer than the configuration says, and a second signal ends it at once.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::running::{Remains, Running};
use super::serve::{Signals, Why};
use super::{App, Reloader, notify};
use crate::drain;
use crate::session::leave::let_go;
use crate::session::registry::Ends;
use crate::session::{Context, StopSettings};

/// How long sessions may take to end once they are cut, and a reload that is under way to be done.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often systemd hears how far the end is.
const WORD: Duration = Duration::from_secs(5);

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Sessions of the relay that came to their ends by themselves meanwhile.
    pub ended: u64,
    /// Sessions of the relay that were ended while nothing was under way in them.
    pub told: u64,
    /// Sessions of the relay that were cut.
    pub cut: u64,
    /// Logins that were received and never answered.
    pub logins_unfinished: u64,
    /// From the signal to the last end.
    pub took: Duration,
}

impl Stopped {
    /// Whether nothing was broken off.
    pub fn is_in_order(&self) -> bool {
        self.cut == 0 && self.logins_unfinished == 0
    }
}

impl App {
    /// Comes to the end, in the phases and times that the configuration says, or at once at the next signal. No reload
    /// begins any more. Logs what came of it.
    pub async fn end(mut self, why: Why, signals: &mut Signals) -> Stopped {
        self.end_changes().await;
        notify::stopping();
        self.context.standing.drain();
        let word = async {
            loop {
                notify::still_stopping(&format!("stopping: {} sessions are left", self.context.registry.len()));
                sleep(WORD).await;
            }
        };
        let before = Before::now(&self.context);
        tokio::select! {
            biased;
            again = signals.end() => info!(signal = %again, "stopping at once"),
            () = phases(why, &self.reloader, &self.context, &self.sessions) => {}
            () = word => {}
        }
        self.cut(before).await
    }

    /// Ends all sessions now, those first told so in which nothing is under way, and waits for their records, for at most
    /// 10 seconds. No reload begins any more.
    pub async fn stop(mut self) -> Stopped {
        self.end_changes().await;
        self.context.standing.drain();
        let before = Before::now(&self.context);
        self.cut(before).await
    }

    async fn cut(self, before: Before) -> Stopped {
        // What is not named here, the workers among it, lives to the end.
        let Self { reloader, context, sessions, rest, .. } = self;
        let ended = async {
            // Who reloads comes to his end first. The listeners among it end as they are dropped.
            drop(reloader.end().await);
            sessions.stop().await;
            rest.stop().await;
        };
        let is_in_time = timeout(STOP_TIMEOUT, ended).await.is_ok();
        let stopped = before.until_now(&context);
        let Stopped { ended, told, cut, logins_unfinished, took } = stopped;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if !is_in_time {
            warn!("some sessions did not end in time");
        }
        if stopped.is_in_order() {
            info!(ended, told, cut, logins_unfinished, took_ms, "stopped");
        } else {
            warn!(ended, told, cut, logins_unfinished, took_ms, "stopped");
        }
        stopped
    }
}

/// What there was when the stop began.
struct Before {
    at: Instant,
    ends: Ends,
}

impl Before {
    fn now(context: &Context) -> Self {
        Self { at: Instant::now(), ends: context.registry.ends() }
    }

    fn until_now(&self, context: &Context) -> Stopped {
        let ends = context.registry.ends();
        // Whoever is still there will not be for long.
        let left = u64::try_from(context.registry.len()).unwrap_or(u64::MAX);
        Stopped {
            ended: ends.by_themselves - self.ends.by_themselves,
            told: ends.told - self.ends.told,
            cut: ends.cut - self.ends.cut + left,
            logins_unfinished: context.standing.logins_broken_off(),
            took: self.at.elapsed(),
        }
    }
}

/// Everything before the cut. Returns when nobody is left, or the time is over.
async fn phases(why: Why, reloader: &Reloader, context: &Context, sessions: &drain::Signal) {
    // Certificates that are being read hold it.
    let Ok(Some(running)) = timeout(STOP_TIMEOUT, reloader.end()).await else { return };
    let StopSettings { delay, timeout: time } = running.made.settings.stop;
    let delay = if why.waits_for_balancers() { delay } else { Duration::ZERO };
    context.standing.ends_within(delay + time);
    info!(signal = %why, sessions = context.registry.len(), delay = ?delay, timeout = ?time, "stopping");
    sleep(delay).await;
    let _remains = close(running, sessions).await;
    if time.is_zero() {
        return;
    }
    let all_gone = async {
        tokio::select! {
            () = sessions.left() => {}
            () = let_go(&context.registry, time) => {}
        }
    };
    // Who is left then is cut.
    let _ = timeout(time, all_gone).await;
}

/// Nobody comes in any more.
async fn close(running: Running, sessions: &drain::Signal) -> Remains {
    let context = running.context.clone();
    let (closing, remains) = running.close();
    join_all(closing.into_iter().map(drain::Signal::stop)).await;
    sessions.ask();
    let in_relay = context.registry.len();
    let before_login = sessions.held().saturating_sub(in_relay);
    info!(sessions = in_relay, before_login, "no listener is open any more");
    remains
}

#[cfg(test)]
mod tests;
