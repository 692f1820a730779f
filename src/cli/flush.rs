//! `mailferry flush`: the cache in front of the directory forgets.

use std::process::ExitCode;

use super::client::Asking;
use super::print::say;
use crate::admin::view::{FlushOrder, Flushed};

pub(super) fn flush(user: Option<String>, asking: &Asking) -> Result<ExitCode, ExitCode> {
    let whom = user.clone().unwrap_or_else(|| "the cache".to_owned());
    asking.post("/v1/flush", &FlushOrder { user }, |Flushed { flushed }| {
        say(&format!("{whom}: {}", if flushed { "forgotten" } else { "nothing was there" }));
    })
}
