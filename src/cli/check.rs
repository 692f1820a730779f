//! `mailferry check`: every problem of a configuration, and nothing else.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::print::{complain, say};
use super::{EXIT_CONFIG, load};
use crate::config::{self, Report, Settings};

pub(super) fn check(path: &Path, is_json: bool) -> Result<ExitCode, ExitCode> {
    if is_json {
        let checked = config::load(path);
        say(&as_json(path, &checked).to_string());
        return Ok(checked.map_or(ExitCode::from(EXIT_CONFIG), |_| ExitCode::SUCCESS));
    }
    let settings = load(path)?;
    let (listeners, islands, nodes) = counts(&settings);
    config::warnings(&settings).iter().for_each(|warning| complain(&format!("warning: {warning}")));
    say(&format!("{}: no problems; listeners: {listeners}, islands: {islands}, nodes: {nodes}", path.display()));
    Ok(ExitCode::SUCCESS)
}

fn counts(settings: &Settings) -> (usize, usize, usize) {
    let nodes = settings.islands.iter().map(|island| island.nodes.len()).sum();
    (settings.listeners.len(), settings.islands.len(), nodes)
}

/// The same for programs.
fn as_json(path: &Path, checked: &Result<Settings, Report>) -> Value {
    let problem = |(place, message, remedy): (config::Place, &str, &str)| json!({ "line": place.line, "column": place.column, "message": message, "remedy": remedy });
    let problems = checked.as_ref().err().map(|report| report.problems().map(problem).collect::<Vec<_>>());
    let settings = checked.as_ref().ok();
    let (listeners, islands, nodes) = settings.map_or((0, 0, 0), counts);
    json!({
        "file": path.display().to_string(),
        "problems": problems.unwrap_or_default(),
        "warnings": settings.map(config::warnings).unwrap_or_default(),
        "listeners": listeners,
        "islands": islands,
        "nodes": nodes,
    })
}
