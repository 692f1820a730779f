//! Sessions that log in and then say nothing, as most mail clients do most of the time: when do they end?

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Load, Session};

/// Idle sessions. Dropping it closes them.
pub(crate) struct Held {
    wanted: u32,
    refused: Vec<String>,
    ends: Arc<Mutex<Vec<Instant>>>,
    tasks: JoinSet<()>,
}

/// What became of them.
pub(crate) struct HeldReport {
    /// How many were opened.
    pub(crate) opened: usize,
    /// Why the others were not.
    pub(crate) refused: Vec<String>,
    /// When the server ended one, from the beginning of the load; in order.
    pub(crate) ends: Vec<Duration>,
}

impl Held {
    /// Opens `wanted` sessions at the load's rate, with its targets and users, and returns when all have been tried.
    pub(crate) async fn open(load: &Arc<Load>, wanted: u32) -> Self {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let (told, mut hear) = mpsc::unbounded_channel();
        let start = Instant::now();
        for turn in 0..wanted {
            sleep_until(start + load.offset(turn)).await;
            let (load, ends, told) = (Arc::clone(load), Arc::clone(&ends), told.clone());
            tasks.spawn(async move {
                let opened = timeout(load.limit, log_in(&load, turn)).await;
                let opened = opened.unwrap_or_else(|_| Err(format!("nothing more within {:?}", load.limit)));
                let session = opened.map_err(|words| drop(told.send(Some(words)))).ok();
                let Some(mut session) = session else { return };
                let _ = told.send(None);
                drop(told);
                session.wait_for_end().await;
                ends.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            });
        }
        drop(told);
        let mut refused = Vec::new();
        while let Some(answer) = hear.recv().await {
            refused.extend(answer);
        }
        Self { wanted, refused, ends, tasks }
    }

    /// Waits until another one has ended; false when none is left.
    #[cfg(test)]
    pub(crate) async fn is_waiting(&mut self) -> bool {
        self.tasks.join_next().await.is_some()
    }

    /// Closes what is still open and tells about the rest; times count from `start`.
    pub(crate) fn close(mut self, start: Instant) -> HeldReport {
        self.tasks.abort_all();
        let mut ends = std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner));
        ends.sort();
        let opened = self.wanted as usize - self.refused.len();
        let ends = ends.into_iter().map(|end| end.saturating_duration_since(start)).collect();
        HeldReport { opened, refused: self.refused, ends }
    }
}

async fn log_in(load: &Load, turn: u32) -> Result<Session, String> {
    let mut session = Session::open(load.target(turn), load.address(turn), |_| ()).await?;
    session.log_in(load.user(turn)).await?;
    Ok(session)
}
