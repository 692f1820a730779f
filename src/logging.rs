//! The log: one event a line, to standard error, which systemd or a container runtime collects.
//!
//! Libraries are heard from `warn` up whatever the level is: some of them print whole protocol messages below that,
//! and no secret may reach the log at any level. ldap3 is not heard at all: what matters of it, `directory` says itself.
//! rustls is heard of defects only: any stranger can cause its warnings, as often as he likes. So only our own modules
//! have levels that can be changed while mailferry runs.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// Our modules that log, as the operator calls them: each name is a target of its own behind `mailferry::`.
pub const MODULES: [&str; 10] =
    ["admin", "app", "cli", "directory", "limits", "net", "probe", "routing", "server", "session"];

/// Most modules with a level of their own.
const LEVELS_MAX: usize = 64;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The form of a line.
    pub format: Format,
    /// The least important level that is logged.
    pub level: Level,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text, in colour on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// The least important levels that are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Of all modules that have none of their own.
    pub level: Level,
    /// Of modules, by their path: `session` or `session::relay`.
    pub modules: BTreeMap<String, Level>,
}

/// Why a level was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// There is no such module.
    #[error("{0}: no module of this name writes to the log")]
    Unknown(String),
    /// There are as many levels as there may be.
    #[error("more than {LEVELS_MAX} modules with levels of their own: set the level of all, which forgets them")]
    TooMany,
    /// The log is not ours.
    #[error("this process does not write its log itself")]
    NotOurs,
}

/// The log of this process.
struct Log {
    filter: reload::Handle<Targets, Registry>,
    levels: Mutex<Levels>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Starts logging for the whole process; a second call does nothing.
pub fn start(settings: &Settings) {
    let levels = Levels { level: settings.level, modules: BTreeMap::new() };
    let (filter, handle) = reload::Layer::new(targets(&levels));
    let lines = fmt::layer().with_writer(stderr).with_target(false);
    let layer = match settings.format {
        Format::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    // An error means that somebody has started the log before, which is what we want.
    if tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().is_ok() {
        let _ = LOG.set(Log { filter: handle, levels: Mutex::new(levels) });
    }
}

/// The levels now.
///
/// # Errors
/// [`LevelError::NotOurs`]
pub fn levels() -> Result<Levels, LevelError> {
    LOG.get().map(|log| log.levels().clone()).ok_or(LevelError::NotOurs)
}

/// Changes the level of a module, or of all, which forgets those of modules. Lasts until the next start.
///
/// # Errors
/// See [`LevelError`]; nothing is changed then.
pub fn set_level(module: Option<&str>, level: Level) -> Result<Levels, LevelError> {
    let log = LOG.get().ok_or(LevelError::NotOurs)?;
    let mut levels = log.levels();
    let changed = levels.with(module, level)?;
    log.filter.reload(targets(&changed)).map_err(|_| LevelError::NotOurs)?;
    *levels = changed.clone();
    Ok(changed)
}

impl Log {
    fn levels(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Levels {
    fn with(&self, module: Option<&str>, level: Level) -> Result<Self, LevelError> {
        let Some(module) = module else { return Ok(Self { level, modules: BTreeMap::new() }) };
        let path = module.strip_prefix("mailferry::").unwrap_or(module);
        let is_path =
            path.bytes().all(|octet| octet.is_ascii_lowercase() || matches!(octet, b'_' | b':' | b'0'..=b'9'));
        if !is_path || path.len() > 64 || !MODULES.contains(&path.split("::").next().unwrap_or_default()) {
            return Err(LevelError::Unknown(module.to_owned()));
        }
        let mut changed = self.clone();
        changed.modules.insert(path.to_owned(), level);
        if changed.modules.len() > LEVELS_MAX { Err(LevelError::TooMany) } else { Ok(changed) }
    }
}

fn targets(levels: &Levels) -> Targets {
    let ours = Targets::new()
        .with_target("mailferry", levels.level)
        .with_target("ldap3", LevelFilter::OFF)
        .with_target("rustls", LevelFilter::ERROR)
        .with_default(LevelFilter::WARN.min(levels.level.into()));
    let add = |targets: Targets, (module, level): (&String, &Level)| {
        targets.with_target(format!("mailferry::{module}"), *level)
    };
    levels.modules.iter().fold(ours, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels() -> Levels {
        Levels { level: Level::INFO, modules: BTreeMap::new() }
    }

    #[test]
    fn a_module_has_its_own_level_and_all_others_the_common_one() {
        let changed = levels().with(Some("session"), Level::TRACE).unwrap();
        let changed = changed.with(Some("mailferry::session::relay"), Level::WARN).unwrap();
        let targets = targets(&changed);
        let cases = [
            ("mailferry::session", Level::TRACE, true),
            ("mailferry::session::connect", Level::TRACE, true),
            ("mailferry::session::relay", Level::INFO, false),
            ("mailferry::probe", Level::DEBUG, false),
            ("mailferry::probe", Level::INFO, true),
            ("hyper::proto", Level::INFO, false),
            ("ldap3", Level::ERROR, false),
        ];
        for (target, level, is_heard) in cases {
            assert_eq!(targets.would_enable(target, &level), is_heard, "{target} {level}");
        }
        assert_eq!(changed.with(None, Level::DEBUG).unwrap().modules.len(), 0, "all of them");
    }

    #[test]
    fn libraries_are_never_heard_below_warnings() {
        let trace = levels().with(None, Level::TRACE).unwrap();
        assert!(!targets(&trace).would_enable("rustls", &Level::WARN));
        assert!(!targets(&trace).would_enable("hyper", &Level::INFO));
        for foreign in ["ldap3", "rustls", "", "session=x", "sessions", "hyper", "Session", "mailferry"] {
            assert!(matches!(levels().with(Some(foreign), Level::TRACE), Err(LevelError::Unknown(_))), "{foreign}");
        }
    }

    #[test]
    fn there_are_not_endlessly_many_levels() {
        let many = (0..LEVELS_MAX)
            .fold(levels(), |levels, number| levels.with(Some(&format!("net::m{number}")), Level::DEBUG).unwrap());
        assert_eq!(many.with(Some("net::more"), Level::DEBUG), Err(LevelError::TooMany));
    }
}
