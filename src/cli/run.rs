//! `mailferry run`: serves until a signal.

use std::path::Path;
use std::process::ExitCode;

use tracing::{info, warn};

use super::{EXIT_CUT, load, no_threads, runtime, start_failed};
use crate::app::{App, Passed, Signals, notify, take_over};
use crate::config::Settings;
use crate::logging;
use crate::net::descriptors::Descriptors;
use crate::net::workers::Workers;
use crate::privileges::{self, Identity};
use crate::sandbox::{self, Files, Report};

/// There must be one thread until it calls `threads_may_begin`.
pub(super) fn run(path: &Path, takes_over: bool, threads_may_begin: impl FnOnce()) -> Result<ExitCode, ExitCode> {
    let settings = load(path)?;
    logging::start(&settings.log);
    // Before rights are given away: what systemd has opened needs none, and another process hands over to the user who asks.
    let passed = Passed::from_environment();
    let old = if takes_over { take_over::reach(&settings.admin).map_err(|error| start_failed(&error))? } else { None };
    // Before anything is bound or read for good, so that a later reload can do no less than the start.
    shut_in(&settings)?;
    threads_may_begin();
    // The system's default for the soft limit is less than many threads need.
    Descriptors::raise(0);
    let workers = Workers::start(settings.threads).map_err(|error| no_threads(&error))?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(|error| start_failed(&error))?;
        let approached = tokio::select! {
            biased;
            why = signals.end() => {
                info!(signal = %why, "not started");
                return Ok(ExitCode::SUCCESS);
            }
            approached = App::approach(settings, workers, passed, old) => approached,
        };
        let approached = approached.map_err(|error| start_failed(&error))?;
        // A signal that comes now is for whoever serves then: this process, or nobody.
        let mut app = approached.serve().await.map_err(|error| start_failed(&error))?;
        notify::ready();
        let why = app.serve(path, &mut signals).await;
        let stopped = app.end(why, &mut signals).await;
        Ok(if stopped.is_in_order() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CUT) })
    });
    // A name look-up that hangs in the system's resolver is not waited for.
    runtime.shutdown_background();
    done
}

/// Gives away what serving does not need, while there is one thread: what it has not, those that it starts have not.
fn shut_in(settings: &Settings) -> Result<(), ExitCode> {
    let failed = |error: privileges::PrivilegeError| start_failed(&error);
    privileges::alone().map_err(failed)?;
    privileges::gain_no_more().map_err(failed)?;
    match privileges::become_user(&settings.privileges).map_err(failed)? {
        Identity::Became(it) => {
            info!(user = ?it.name, uid = it.uid, gid = it.gid, groups = ?it.groups, "no longer root");
        }
        Identity::Root => warn!("this process stays root: set `user` in [server], or start it as another user"),
        Identity::Unchanged => {}
    }
    let report = if settings.sandbox { sandbox::enter(&settings.written_folders()) } else { Report::off() };
    if let Files::Restricted { absent, .. } = &report.files {
        // Whoever misses one warns.
        for folder in absent {
            info!(
                ?folder,
                "a folder for files that mailferry writes is not there: none is written in it until the next start"
            );
        }
    }
    info!(sandbox = %report, "rights");
    Ok(())
}
