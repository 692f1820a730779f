//! `mailferry reload`: the running mailferry reads its configuration again, and says what came of it.

use std::process::ExitCode;

use super::EXIT_CONFIG;
use super::client::Asking;
use super::print::{complain, say};
use crate::admin::view::{Changed, FileProblem, NeedsRestart, Reloaded};

pub(super) fn reload(asking: &Asking) -> Result<ExitCode, ExitCode> {
    asking.order(
        "/v1/reload",
        |reloaded: &Reloaded| show(reloaded),
        |reloaded| match reloaded.done {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(EXIT_CONFIG),
        },
    )
}

fn show(Reloaded { done, file, changes, restart, problems }: &Reloaded) {
    for FileProblem { file, line, column, problem, remedy } in problems {
        complain(&format!("{file}:{line}:{column}: {problem}"));
        if !remedy.is_empty() {
            complain(&format!("  help: {remedy}"));
        }
    }
    if !done {
        complain(&format!("{file}: not reloaded: everything is as it was"));
        return;
    }
    for Changed { section, name, what } in changes {
        let space = if name.is_empty() { "" } else { " " };
        say(&format!("[{section}]{space}{name} {what}"));
    }
    for NeedsRestart { key, reason } in restart {
        complain(&format!("warning: {key} needs a restart and is as it was: {reason}"));
    }
    say(&format!("{file}: reloaded; changes: {}, need a restart: {}", changes.len(), restart.len()));
}
