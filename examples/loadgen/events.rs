//! Shell commands at given times of the run. A command that fails fails the run: nothing was measured then.

use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};

/// What is run, and when.
pub(crate) struct Event {
    /// From the beginning of the load.
    pub(crate) at: Duration,
    /// For `sh -c`.
    pub(crate) command: String,
}

/// Starts them at their times, beside the load. The future that it returns waits for all to end.
pub(crate) fn run(events: Vec<Event>, start: Instant) -> impl Future<Output = Result<(), String>> {
    let mut tasks = JoinSet::new();
    for event in events {
        tasks.spawn(async move {
            sleep_until(start + event.at).await;
            let ended = spawn_blocking(move || shell(&event.command)).await;
            ended.unwrap_or_else(|error| Err(error.to_string()))
        });
    }
    async { tasks.join_all().await.into_iter().collect() }
}

fn shell(command: &str) -> Result<(), String> {
    let status = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{command}`: {status}")),
        Err(error) => Err(format!("`{command}`: {error}")),
    }
}
