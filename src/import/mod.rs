//! Other proxies' configurations → a proxy.toml to begin with. Text in, text out; only `command` touches files.
//!
//! Each option that is read leaves a line: the keys that say the same, or a comment with the reason why there are
//! none and what to do. `judge:` marks what only the operator can decide. [`perdition()`] never prints a password, and
//! prints nothing that `mailferry check` would call wrong but for files that are not there: every key is tried on the
//! reader of proxy.toml before it is written (`draft`), so no rule for values stands here a second time.

pub mod command;
mod directory;
mod draft;
mod ldap_url;
mod lines;
mod listeners;
mod nodes;
pub mod options;
mod rest;
mod usernames;

use draft::{Draft, Part};
use lines::Entry;
pub use lines::Trouble;
pub use listeners::Service;

/// Largest configuration that is read, in octets. Perdition's sample has 18 000.
pub const MAX_LEN: usize = 256 * 1024;

/// Most lines with options that are read. There are 69 options.
const LINES_MAX: usize = 1000;

/// What came of a configuration.
#[derive(Debug)]
pub struct Imported {
    /// A proxy.toml.
    pub toml: String,
    /// Lines that were not understood, in their order; they stand in the text as comments too.
    pub troubles: Vec<Trouble>,
}

impl Imported {
    /// How many places wait for a decision.
    pub fn judgements(&self) -> usize {
        self.toml.lines().filter(|line| line.starts_with("# judge: ")).count()
    }
}

/// Why a text is no configuration at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoConfiguration {
    /// More than [`MAX_LEN`].
    #[error("larger than {MAX_LEN} octets: this is no perdition.conf")]
    TooLarge,
    /// More lines with something in them than a configuration has.
    #[error("more than {LINES_MAX} lines with options: this is no perdition.conf")]
    TooManyLines,
    /// It has a NUL.
    #[error("not a text: it has octets that no configuration has")]
    Binary,
}

/// Everything that the file says, as the translators ask for it.
struct Source {
    entries: Vec<Entry>,
    services: Vec<Service>,
}

impl Source {
    /// The value that counts: Perdition takes the last.
    fn value(&self, name: &str) -> Option<&str> {
        self.entries.iter().rfind(|entry| entry.option.name == name).map(|entry| entry.value.as_str())
    }

    /// Whether a switch is on.
    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The words of a list.
    fn words(&self, name: &str) -> Vec<&str> {
        self.value(name).unwrap_or("").split(',').map(str::trim).filter(|word| !word.is_empty()).collect()
    }

    /// `OPTION VALUE`, as it was given, without passwords and control characters.
    fn shown(&self, name: &str) -> String {
        self.value(name).map_or_else(|| format!("{name} (not set)"), |value| shown(name, value))
    }
}

/// Longest value that is repeated in a comment, in characters.
const SHOWN_MAX: usize = 200;

fn shown(name: &str, value: &str) -> String {
    let value = if name == "map_library_opt" { directory::without_password(value) } else { value.to_owned() };
    let escaped: String = value.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    format!("{name} {}", escaped.replace("\\\"", "\"").replace("\\'", "'")).trim_end().to_owned()
}

/// Translates the text of a perdition.conf. `services` are what its processes were started as; without it, what the
/// file says, or all four that mailferry can take over.
///
/// # Errors
/// Where it is no text of bearable length. Lines that are wrong are [`Imported::troubles`].
pub fn perdition(octets: &[u8], services: Option<&[Service]>) -> Result<Imported, NoConfiguration> {
    if octets.len() > MAX_LEN {
        return Err(NoConfiguration::TooLarge);
    }
    if octets.contains(&0) {
        return Err(NoConfiguration::Binary);
    }
    let read = lines::read(&String::from_utf8_lossy(octets)).ok_or(NoConfiguration::TooManyLines)?;
    let (entries, mut troubles) = read;
    let mut source = Source { entries, services: Vec::new() };
    source.services = listeners::services(&source, services);
    let mut draft = Draft::new();
    draft.note(
        Part::Head,
        "Made from the configuration of Perdition by `mailferry import`. See to every line with `judge:`.",
    );
    listeners::translate(&source, &mut draft, &mut troubles);
    rest::translate(&source, &mut draft);
    usernames::translate(&source, &mut draft);
    nodes::translate(&source, &mut draft);
    directory::translate(&source, &mut draft);
    rest::mention(&source, &mut draft);
    troubles.sort_by_key(|trouble| trouble.line);
    for trouble in &troubles {
        draft.note(Part::Head, &format!("perdition: line {}: {}", trouble.line, trouble.message));
    }
    Ok(Imported { toml: draft.text(), troubles })
}
