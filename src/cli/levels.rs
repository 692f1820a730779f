//! `mailferry logs-level`: what is logged, changed while mailferry runs.

use std::process::ExitCode;

use super::client::Asking;
use super::print::list;
use crate::admin::view::{LevelOrder, Levels};

pub(super) fn level(order: Option<&str>, asking: &Asking) -> Result<ExitCode, ExitCode> {
    let Some(order) = order else { return asking.get("/v1/levels", &[], show) };
    let (module, level) = order.split_once('=').map_or((None, order), |(module, level)| (Some(module), level));
    let order = LevelOrder { module: module.map(str::to_owned), level: level.to_owned() };
    asking.post("/v1/levels", &order, show)
}

fn show(levels: Levels) {
    let modules = levels.modules.iter().map(|(module, level)| (module.as_str(), level.clone()));
    list(&std::iter::once(("all", levels.level.clone())).chain(modules).collect::<Vec<_>>());
}
