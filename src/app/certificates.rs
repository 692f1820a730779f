//! Certificates that reload by themselves: looks at their files every few seconds, and reads them when they have changed.
//!
//! Polling, because it sees every way to replace a file, also on file systems that tell nobody, for one system call a file.
//! A certificate that cannot be used never takes the place of one that can; of that the operator hears once, and not
//! before whoever replaces two files has had the time for the second one.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{debug, error, info};

use super::files::Prints;
use super::reload::{ReloadError, Reloader};
use crate::drain::Drain;
use crate::metrics::Done;

/// Between two looks. A renewal comes weeks before the old certificate's end.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// So many looks in a row may find files that cannot be used, before the operator is told: a new chain may lie there
/// before its key does.
const QUIET_LOOKS: u32 = 3;

/// Looks until the signal is given.
pub(super) async fn watch(reloader: Reloader, drain: Drain) {
    let looks = async {
        loop {
            sleep(LOOK_EVERY).await;
            reloader.look_at_certificates().await;
        }
    };
    tokio::select! {
        () = looks => {}
        () = drain.signalled() => {}
    }
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Watch {
    /// Looks in a row that have found files which cannot be used.
    failures: u32,
}

impl Watch {
    /// One look.
    pub(super) async fn look(&mut self, reloader: &Reloader) {
        let Some(made) = reloader.made().await else { return };
        let of = made.clone();
        let Ok(prints) = spawn_blocking(move || Prints::take(&of.settings)).await else { return };
        if prints == made.prints {
            self.settle("certificates are as they were again");
            return;
        }
        match reloader.read_again(&made).await {
            Ok(files) => {
                reloader.upkeep().certificates_read.of(Done::Success).count();
                for file in files {
                    info!(?file, "a file with certificates has changed: what it says holds for new connections");
                }
                self.settle("certificates can be read again");
            }
            Err(ReloadError::Stopping) => {}
            Err(error) => {
                reloader.upkeep().certificates_read.of(Done::Failure).count();
                self.fail(&error);
            }
        }
    }

    fn fail(&mut self, reason: &ReloadError) {
        self.failures = self.failures.saturating_add(1);
        if self.failures == QUIET_LOOKS {
            error!(%reason, "a file with certificates has changed and cannot be used: the old one is used still");
        } else {
            debug!(%reason, failures = self.failures, "a file with certificates has changed and cannot be used");
        }
    }

    fn settle(&mut self, message: &'static str) {
        if std::mem::take(&mut self.failures) >= QUIET_LOOKS {
            info!("{message}");
        }
    }
}

#[cfg(test)]
mod tests;
