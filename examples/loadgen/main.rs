//! loadgen: logs in to a mail proxy at a fixed rate, and tells how many logins were lost and how long the others took.
//!
//! The engine does the work, `arguments` and `report` are what a person sees. Never prints a password.

mod arguments;
mod engine;
mod events;
mod report;

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use tokio::time::Instant;

use arguments::Arguments;
use engine::Held;
use report::Report;

/// Some login was lost.
const EXIT_LOST: u8 = 1;
/// There was nothing to measure: an argument, a file or an event's command was wrong.
const EXIT_TROUBLE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(EXIT_LOST),
        Err(words) => {
            let _ = writeln!(stderr(), "loadgen: {words}");
            ExitCode::from(EXIT_TROUBLE)
        }
    }
}

/// How many logins were lost.
async fn run(arguments: &Arguments) -> Result<usize, String> {
    let load = Arc::new(arguments.load()?);
    let held = Held::open(&load, arguments.hold).await;
    let start = Instant::now();
    let events = events::run(arguments.events(), start);
    let visits = Arc::clone(&load).run(start).await;
    events.await?;
    let report = Report { title: arguments.title(&load), visits, phases: arguments.phases(), held: held.close(start) };
    let text = if arguments.json { report.json() } else { report.text() };
    let written = match &arguments.rows {
        None => stdout().write_all(text.as_bytes()),
        Some(name) => {
            stderr().write_all(text.as_bytes()).and_then(|()| stdout().write_all(report.rows(name).as_bytes()))
        }
    };
    written.map_err(|error| error.to_string())?;
    Ok(report.lost())
}
