//! `mailferry ready`: for health checks that have a program and no HTTP.

use std::process::ExitCode;

use serde_json::Value;

use super::client::Asking;
use super::print::say;

/// A mailferry that wants no new clients answers 503, which is a failure as any other.
pub(super) fn ready(asking: &Asking) -> Result<ExitCode, ExitCode> {
    asking.get("/readyz", &[], |_: Value| say("ready"))
}
