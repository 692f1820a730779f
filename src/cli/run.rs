//! `mailferry run`: serves until a signal.

use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::{load, runtime, start_failed};
use crate::app::{App, notify};
use crate::logging;

pub(super) fn run(path: &Path) -> Result<ExitCode, ExitCode> {
    let settings = load(path)?;
    logging::start(&settings.log);
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let listen_for = |kind| signal(kind).map_err(|error| start_failed(&error));
        let (mut terminate, mut interrupt) =
            (listen_for(SignalKind::terminate())?, listen_for(SignalKind::interrupt())?);
        let mut hangup = listen_for(SignalKind::hangup())?;
        let app = App::start(settings).map_err(|error| start_failed(&error))?;
        notify::ready();
        let reloads = async {
            while hangup.recv().await.is_some() {
                // What came of it is in the log.
                let _ = app.reloader().reload(path).await;
            }
            std::future::pending::<()>().await;
        };
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = reloads => "SIGHUP",
        };
        notify::stopping();
        info!(signal = name, "stopping");
        app.stop().await;
        info!("stopped");
        Ok(ExitCode::SUCCESS)
    });
    // A name look-up that hangs in the system's resolver is not waited for.
    runtime.shutdown_background();
    done
}
