//! What came of a reload, in the words of the operator's socket. Pure, and never the reason of a reload's failure: what is
//! told here has happened.

use std::path::Path;

use super::ReloadError;
use crate::admin::view::{Changed, FileProblem, NeedsRestart, Reloaded};
use crate::config::diff::{Change, Changes, How, Restart};
use crate::config::{Place, Report};

/// An error: the file has no problem of its own, and could not be taken up for this reason.
pub(super) fn told(path: &Path, outcome: Result<Changes, ReloadError>) -> Result<Reloaded, String> {
    let file = path.display().to_string();
    match outcome {
        Ok(Changes { live, restart }) => Ok(Reloaded {
            done: true,
            file,
            changes: live.into_iter().map(changed).collect(),
            restart: restart.into_iter().map(needs_restart).collect(),
            problems: Vec::new(),
        }),
        Err(ReloadError::File(report)) => {
            Ok(Reloaded { done: false, file, changes: Vec::new(), restart: Vec::new(), problems: problems(&report) })
        }
        Err(failure @ (ReloadError::Parts(_) | ReloadError::Stopping | ReloadError::BrokenOff)) => {
            Err(format!("not reloaded, everything is as it was: {failure}"))
        }
    }
}

fn changed(Change { section, name, how }: Change) -> Changed {
    let what = match how {
        How::Added => "added".to_owned(),
        How::Removed => "removed".to_owned(),
        How::Changed(keys) if keys.is_empty() => "changed".to_owned(),
        How::Changed(keys) => format!("changed: {}", keys.join(", ")),
    };
    Changed { section: section.to_owned(), name, what }
}

fn needs_restart(Restart { section, key, reason }: Restart) -> NeedsRestart {
    NeedsRestart { key: format!("{section}.{key}"), reason: reason.to_owned() }
}

fn problems(report: &Report) -> Vec<FileProblem> {
    let problem = |(Place { line, column }, problem, remedy): (Place, &str, &str)| FileProblem {
        file: report.name().to_owned(),
        line,
        column,
        problem: problem.to_owned(),
        remedy: remedy.to_owned(),
    };
    report.problems().map(problem).collect()
}
