//! Reload: file → settings → what differs → parts → swap, and what is said of it.
//!
//! Whatever can fail comes before the swap and changes nothing. Two reloads never run at once: the second one waits.
//! Whoever drops a reload's future before the swap has changed nothing, and afterwards everything.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Mutex, MutexGuard};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::certificates::Watch;
use super::files::Prints;
use super::parts::{self, Made};
use super::running::Running;
use super::{StartError, notify};
use crate::admin;
use crate::config::diff::{Changes, diff};
use crate::config::{self, Report, Settings};
use crate::metrics::{Done, Upkeep};
use crate::net::listen::Passed;
use crate::session::Context;

/// Why a new configuration was not taken up. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file has problems.
    #[error("the configuration has problems:\n{0}")]
    File(Report),
    /// Something that the file names cannot be used.
    #[error("{0}")]
    Parts(#[from] StartError),
    /// mailferry stops.
    #[error("mailferry stops")]
    Stopping,
    /// A defect of mailferry.
    #[error("the new configuration could not be prepared")]
    BrokenOff,
}

/// Changes a running mailferry's configuration. A clone changes the same.
#[derive(Clone)]
pub struct Reloader(Arc<Shared>);

struct Shared {
    context: Arc<Context>,
    running: Mutex<Option<Running>>,
    /// Held from the reading of the file to the swap, so that an older file never comes behind a newer one.
    reading: Mutex<()>,
    watch: Mutex<Watch>,
}

impl Reloader {
    pub(super) fn new(running: Running) -> Self {
        Self(Arc::new(Shared {
            context: Arc::clone(&running.context),
            running: Mutex::new(Some(running)),
            reading: Mutex::default(),
            watch: Mutex::default(),
        }))
    }

    /// Reads the file and takes it up. Logs what has changed and what needs a restart, or every problem; tells systemd
    /// when it begins and ends.
    ///
    /// # Errors
    /// The file has problems, or something that it names cannot be used. Everything is as it was then.
    pub async fn reload(&self, path: &Path) -> Result<Changes, ReloadError> {
        let _alone = self.0.reading.lock().await;
        let _reloading = notify::reloading();
        info!(file = ?path, "reloading the configuration");
        let path = PathBuf::from(path);
        let done = match spawn_blocking(move || config::load(&path)).await {
            Ok(Ok(settings)) => self.take_up(settings).await,
            Ok(Err(report)) => Err(ReloadError::File(report)),
            Err(_) => Err(ReloadError::BrokenOff),
        };
        match &done {
            Ok(changes) => tell(changes),
            Err(error) => complain(error),
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.upkeep().reloaded(if done.is_ok() { Done::Success } else { Done::Failure }, now.as_secs());
        done
    }

    /// Takes up settings, without a word in the log or to systemd.
    ///
    /// # Errors
    /// Something that they name cannot be used. Everything is as it was then.
    pub async fn take_up(&self, settings: Settings) -> Result<Changes, ReloadError> {
        self.become_of(|_| Some(settings)).await.map(|changes| changes.map(|(changes, _)| changes).unwrap_or_default())
    }

    /// What is counted of reloads.
    pub(super) fn upkeep(&self) -> &Upkeep {
        &self.0.context.upkeep
    }

    /// Where it listens now, in the order of the configuration; nowhere, if it stops.
    pub async fn addresses(&self) -> Vec<SocketAddr> {
        self.0.running.lock().await.as_ref().map(Running::addresses).unwrap_or_default()
    }

    /// Looks whether files with certificates have changed, and reads them then. Happens every five seconds by itself; what
    /// comes of it is in the log.
    pub async fn look_at_certificates(&self) {
        self.0.watch.lock().await.look(self).await;
    }

    /// What runs, held: no reload swaps anything meanwhile. `None` inside: mailferry stops.
    pub(super) async fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.running.lock().await
    }

    /// What the present configuration was made of. `None`: mailferry stops.
    pub(super) async fn made(&self) -> Option<Arc<Made>> {
        Some(Arc::clone(&self.0.running.lock().await.as_ref()?.made))
    }

    /// Reads the files with certificates again, if the configuration is still made of these. Says which are others.
    pub(super) async fn read_again(&self, of: &Arc<Made>) -> Result<Vec<PathBuf>, ReloadError> {
        let again = |made: &Arc<Made>| Arc::ptr_eq(made, of).then(|| made.settings.clone());
        Ok(self.become_of(again).await?.map(|(_, files)| files).unwrap_or_default())
    }

    /// The one way from a configuration to the next. `choose` sees the present one, and may leave it as it is.
    async fn become_of(
        &self,
        choose: impl FnOnce(&Arc<Made>) -> Option<Settings>,
    ) -> Result<Option<(Changes, Vec<PathBuf>)>, ReloadError> {
        let mut guard = self.0.running.lock().await;
        let running = guard.as_mut().ok_or(ReloadError::Stopping)?;
        let old = Arc::clone(&running.made);
        let Some(mut settings) = choose(&old) else { return Ok(None) };
        let changes = diff(&old.settings, &settings);
        stay(&old.settings, &mut settings);
        let before = Arc::clone(&old);
        let workers = running.workers.clone();
        let prepared = move || parts::prepare(settings, Some(&before), &mut Passed::default(), &workers);
        let prepared = spawn_blocking(prepared).await;
        let parts = prepared.map_err(|_| ReloadError::BrokenOff)??;
        let files = Prints::differing(&parts.made.prints, &old.prints).map(Path::to_owned).collect();
        let closed = running.become_of(parts);
        for closing in closed {
            closing.stop().await;
        }
        Ok(Some((changes, files)))
    }

    /// Ends every reload to come, and gives away what runs.
    pub(super) async fn end(&self) -> Option<Running> {
        self.0.running.lock().await.take()
    }
}

/// What a running mailferry cannot take up stays as it is, so that the next reload says so again.
fn stay(old: &Settings, new: &mut Settings) {
    new.log.format = old.log.format;
    new.privileges = old.privileges.clone();
    (new.sandbox, new.threads) = (old.sandbox, old.threads);
    let (before, now) = (old.admin.clone(), std::mem::replace(&mut new.admin, old.admin.clone()));
    if before.address.is_some() && now.address.is_some() {
        let admin::Settings { certificate, operator_token_file, read_only_token_file, .. } = now;
        new.admin = admin::Settings { certificate, operator_token_file, read_only_token_file, ..before };
    }
}

fn tell(changes: &Changes) {
    for change in &changes.live {
        info!(%change, "the configuration has changed");
    }
    for key in &changes.restart {
        warn!(%key, reason = key.reason, "the configuration has changed: this needs a restart and is as it was");
    }
    let (live, restart) = (changes.live.len(), changes.restart.len());
    info!(changes = live, need_restart = restart, "reloaded");
}

fn complain(failure: &ReloadError) {
    match failure {
        ReloadError::File(report) => {
            let file = report.name();
            for (place, problem, remedy) in report.problems() {
                error!(file, line = place.line, column = place.column, problem, remedy, "problem of the configuration");
            }
        }
        ReloadError::Parts(_) | ReloadError::Stopping | ReloadError::BrokenOff => {
            error!(reason = %failure, "problem of the configuration");
        }
    }
    error!("not reloaded: everything is as it was");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diff::NEEDS_RESTART;
    use crate::config::parse;

    /// None of its keys has its default.
    const SITE: &str = include_str!("../../tests/config/valid/everything.toml");

    #[test]
    fn what_needs_a_restart_is_told_by_each_reload_until_then() {
        let replaced = [
            ("user = \"mail ferry\"", "user = \"other\""),
            ("group = \"mail\"", "group = \"other\""),
            ("sandbox = false", "sandbox = true"),
            ("threads = 3", "threads = 4"),
            ("socket = \"admin.sock\"", "socket = \"other.sock\""),
            ("socket_group = \"operators\"", "socket_group = \"others\""),
            ("address = \"[::1]:8443\"", "address = \"[::1]:8444\""),
            ("tls = \"on\"\nchain = \"admin.pem\"\nkey = \"admin.key\"\n", "tls = \"off\"\n"),
            ("state_file = \"/srv/", "state_file = \"/var/"),
            ("format = \"json\"", "format = \"text\""),
        ];
        assert_eq!(replaced.len(), NEEDS_RESTART.len());
        let read = |text: &str| parse("/srv/proxy.toml", text).unwrap_or_else(|report| panic!("{report}"));
        let old = read(SITE);
        for ((section, key, _), (from, to)) in NEEDS_RESTART.iter().zip(replaced) {
            assert!(SITE.contains(from), "{from}");
            let mut new = read(&SITE.replacen(from, to, 1));
            let told = diff(&old, &new).restart;
            assert!(told.iter().any(|it| (it.section, it.key) == (*section, *key)), "{section}.{key}: {told:?}");
            stay(&old, &mut new);
            assert_eq!(diff(&old, &new).restart, [], "what runs is as it was: {section}.{key}");
        }
    }
}
