//! `mailferry check`: every problem of a configuration, and nothing else.

use std::path::Path;
use std::process::ExitCode;

use super::load;
use super::print::{complain, say};
use crate::config;

pub(super) fn check(path: &Path) -> Result<ExitCode, ExitCode> {
    let settings = load(path)?;
    let (listeners, islands) = (settings.listeners.len(), settings.islands.len());
    let nodes: usize = settings.islands.iter().map(|island| island.nodes.len()).sum();
    config::warnings(&settings).iter().for_each(|warning| complain(&format!("warning: {warning}")));
    say(&format!("{}: no problems; listeners: {listeners}, islands: {islands}, nodes: {nodes}", path.display()));
    Ok(ExitCode::SUCCESS)
}
