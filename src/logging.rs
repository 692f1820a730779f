//! The log: one event a line, to standard error, which systemd or a container runtime collects, or to systemd's journal
//! itself (`journald`). What repeats without end is summed up (`floods`).
//!
//! Libraries are heard from `warn` up whatever the level is: some of them print whole protocol messages below that,
//! and no secret may reach the log at any level. ldap3 is not heard at all: what matters of it, `directory` says itself.
//! rustls is heard of defects only: any stranger can cause its warnings, as often as he likes. So only our own modules
//! have levels that can be changed while mailferry runs.

mod floods;
mod journald;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, stderr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::time::{Instant, sleep};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use self::floods::{Floods, PERIOD, Sum};
use self::journald::Journal;

/// Our modules that log, as the operator calls them: each name is a target of its own behind `mailferry::`.
pub const MODULES: [&str; 11] =
    ["admin", "app", "cli", "directory", "limits", "logging", "net", "probe", "routing", "server", "session"];

/// Most modules with a level of their own.
const LEVELS_MAX: usize = 64;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The form of a line.
    pub format: Format,
    /// The least important level that is logged.
    pub level: Level,
    /// What is logged of logins that fail.
    pub failures: Failures,
}

/// What is logged of logins that fail. The end record of a session is always written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failures {
    /// Each has its line.
    All,
    /// Those of one outcome at one node are summed up when there are many.
    Summary,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text, in colour on a terminal.
    Text,
    /// One JSON object a line.
    Json,
    /// Fields in systemd's journal.
    Journald,
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
    floods: Arc<Floods>,
}

/// What writes lines, for those that are to be written.
struct Summing {
    lines: Box<dyn Layer<Registry> + Send + Sync>,
    floods: Arc<Floods>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Starts logging for the whole process; a second call does nothing. Where there is no journal, the log is text, and says
/// why first.
pub fn start(settings: &Settings) {
    let levels = Levels { level: settings.level, modules: BTreeMap::new() };
    let (filter, handle) = reload::Layer::new(targets(&levels));
    let (lines, trouble) = lines(settings.format, Path::new(journald::SOCKET));
    let floods = Arc::new(Floods::new(settings.failures));
    let summing = Summing { lines, floods: Arc::clone(&floods) };
    // An error means that somebody has started the log before, which is what we want.
    if tracing_subscriber::registry().with(summing.with_filter(filter)).try_init().is_ok() {
        let _ = LOG.set(Log { filter: handle, levels: Mutex::new(levels), floods });
    }
    if let Some(reason) = trouble {
        warn!(
            socket = journald::SOCKET,
            %reason,
            "systemd's journal cannot be reached, and the log is text: in a container, mount the socket; elsewhere, set \
             log.format to \"text\" or \"json\""
        );
    }
}

fn lines(format: Format, journal: &Path) -> (Box<dyn Layer<Registry> + Send + Sync>, Option<io::Error>) {
    let lines = || fmt::layer().with_writer(stderr).with_target(false);
    let text = || lines().with_ansi(stderr().is_terminal()).boxed();
    match format {
        Format::Text => (text(), None),
        Format::Json => {
            (lines().json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(), None)
        }
        Format::Journald => match Journal::open(journal) {
            Ok(journal) => (journal.boxed(), None),
            Err(reason) => (text(), Some(reason)),
        },
    }
}

impl Layer<Registry> for Summing {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, Registry>) {
        self.lines.on_new_span(attributes, id, context);
    }

    fn on_record(&self, span: &Id, values: &Record<'_>, context: Context<'_, Registry>) {
        self.lines.on_record(span, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, Registry>) {
        if self.floods.admit(event, || Instant::now().into_std()) {
            self.lines.on_event(event, context);
        }
    }
}

/// Tells of lines that were not written because there were too many of them. Never returns, and does nothing where the log
/// is not ours.
pub async fn keep_summing() {
    loop {
        sleep(PERIOD / 6).await;
        let Some(log) = LOG.get() else { continue };
        log.floods.sums(Instant::now().into_std()).into_iter().for_each(say);
    }
}

fn say(sum: Sum) {
    let Sum { line, about, left_out, within, last, is_over } = sum;
    let (about, last) = ((!about.is_empty()).then_some(about), (!last.is_empty()).then_some(last));
    let seconds = within.as_secs();
    if is_over {
        info!(line, about, left_out, seconds, last, "a line is no longer repeated");
    } else {
        warn!(line, about, left_out, seconds, last, "a line is repeated, and most of them were left out");
    }
}

/// What is logged of logins that fail from now on.
pub fn set_failures(failures: Failures) {
    if let Some(log) = LOG.get() {
        log.floods.set(failures);
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
mod tests;
