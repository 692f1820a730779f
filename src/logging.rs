//! The log: one event a line, to standard error, which systemd or a container runtime collects.
//!
//! Libraries are heard from `warn` up whatever the level is: some of them print whole protocol messages below that,
//! and no secret may reach the log at any level. ldap3 is not heard at all: what matters of it, `directory` says itself.
//! rustls is heard of defects only: any stranger can cause its warnings, as often as he likes.

use std::io::{IsTerminal, stderr};
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The form of a line.
    pub format: Format,
    /// The least important level that is logged.
    pub level: tracing::Level,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text, in colour on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// The running log's filter.
static FILTER: OnceLock<Handle<Targets, Registry>> = OnceLock::new();

/// Starts logging for the whole process; a second call does nothing.
pub fn start(settings: &Settings) {
    let (filter, handle) = reload::Layer::new(filter(settings.level));
    let lines = fmt::layer().with_writer(stderr).with_target(false);
    let layer = match settings.format {
        Format::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    // An error means that somebody has started the log before, which is what we want.
    if tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// Logs this level from now on. Does nothing where [`start`] has not started the log.
pub fn change_level(level: tracing::Level) {
    // An error means that the log is gone.
    let _ = FILTER.get().map(|handle| handle.reload(filter(level)));
}

fn filter(level: tracing::Level) -> Targets {
    Targets::new()
        .with_target("mailferry", level)
        .with_target("ldap3", LevelFilter::OFF)
        .with_target("rustls", LevelFilter::ERROR)
        .with_default(LevelFilter::WARN.min(level.into()))
}
