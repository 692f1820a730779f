//! Keeping the routes over a restart: reads them at the start, writes them while mailferry runs and when it stops.
//!
//! What was kept only ever becomes an *old* route, which serves while the directory is unavailable; it is never
//! believed like an answer. No trouble with the file stops mailferry or a login: each is logged once. A file that is not
//! mailferry's own is never replaced.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;
use tracing::{info, warn};

use super::cache::Cache;
use super::snapshot::{self, SnapshotError};
use crate::drain::Drain;

/// Between two writings: how much of what was heard a killed mailferry forgets.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// Old routes from the file into the cache, and whether routes may be kept there from now on. Removes what killed
/// savings have left beside it. Blocks; to be called before the cache has other users.
pub(super) fn restore(cache: &Cache, path: &Path) -> bool {
    match snapshot::file::load(path) {
        Ok(Some(entries)) => {
            let users = cache.restore(entries, since_1970());
            info!(file = ?path, users, "old routes were read: they serve while the directory is unavailable");
        }
        Ok(None) => info!(file = ?path, "no old routes are kept yet"),
        Err(error) if error.may_be_replaced() => warn!(file = ?path, reason = %error, "old routes are not used"),
        Err(error) => {
            warn!(file = ?path, reason = %error, "old routes are not used, and none are kept until the next start");
            return false;
        }
    }
    snapshot::file::sweep(path);
    true
}

/// Whether routes may be kept in this file, whatever it holds. Blocks.
pub(super) fn may_be_kept_in(path: &Path) -> bool {
    match snapshot::file::load(path) {
        Err(error) if !error.may_be_replaced() => {
            warn!(file = ?path, reason = %error, "no routes are kept until the next start");
            false
        }
        Ok(_) | Err(_) => true,
    }
}

/// Writes the file every minute if a route has changed, and at the end; then lets the drain go.
pub(super) async fn keep(cache: Cache, path: Arc<Path>, drain: Drain) {
    let mut kept = Kept { cache, path, changes: 0, failing: false };
    loop {
        let stopping = tokio::select! {
            () = drain.signalled() => true,
            () = sleep(WRITE_EVERY) => false,
        };
        kept.write_if_changed().await;
        if stopping {
            return;
        }
    }
}

struct Kept {
    cache: Cache,
    path: Arc<Path>,
    /// So many were in the cache when the file was written.
    changes: u64,
    failing: bool,
}

impl Kept {
    async fn write_if_changed(&mut self) {
        // Before the table is read: what changes meanwhile is written the next time.
        let changes = self.cache.changes();
        if changes == self.changes {
            return;
        }
        let (cache, path) = (self.cache.clone(), Arc::clone(&self.path));
        let write = move || snapshot::file::save(&path, cache.known(since_1970()));
        let written = match tokio::task::spawn_blocking(write).await {
            Ok(written) => written,
            Err(_) => Err(SnapshotError::Unwritable("the writing was broken off".into())),
        };
        let path = &self.path;
        match written {
            Ok(users) => {
                self.changes = changes;
                if std::mem::take(&mut self.failing) {
                    info!(file = ?path, users, "routes are kept again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    warn!(file = ?path, reason = %error, "routes are not kept: a restart would forget the newest");
                }
            }
        }
    }
}

/// By the clock on the wall, which goes on while mailferry does not run.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
