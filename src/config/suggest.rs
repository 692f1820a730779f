//! What the operator may have meant: the nearest known key, the section it belongs to, an example to start from.
//!
//! Compares names with [`super::reference`] and writes remedies; it never looks at values.

use toml::Spanned;
use toml::de::DeValue;

use super::reference::{self, Absent, Form, SECTIONS};
use super::value::one_of;
use crate::near::nearest;

/// Message and remedy for a name that a section does not have.
pub(super) fn unknown(about: &reference::Section, name: &str, value: &DeValue<'_>) -> (String, String) {
    let shown = name.escape_debug();
    let message = if value.is_table() {
        format!("unknown section [{}.{shown}]", about.path)
    } else {
        format!("unknown key `{shown}` in {}", about.header())
    };
    let own = || about.keys.iter().map(|key| key.name);
    let below = SECTIONS.iter().filter(|section| is_section_of(about, section.name())).map(|section| section.name());
    let remedy = belongs(name)
        .or_else(|| nearest(name, below).and_then(header).map(did_you_mean))
        .or_else(|| nearest(name, own()).map(|near| did_you_mean(format!("`{near}`"))))
        .or_else(|| nearest_elsewhere(name))
        .unwrap_or_else(|| format!("known here: {}", own().collect::<Vec<_>>().join(", ")));
    (message, remedy)
}

/// The same for a name outside of all sections.
pub(super) fn unknown_at_the_top(name: &str, value: &DeValue<'_>) -> (String, String) {
    let shown = name.escape_debug();
    let is_list_of_tables = |list: &[Spanned<DeValue<'_>>]| list.iter().all(|entry| entry.get_ref().is_table());
    let is_section = value.is_table() || value.as_array().is_some_and(|list| is_list_of_tables(list));
    let message = if is_section {
        format!("unknown section [{shown}]")
    } else {
        format!("`{shown}` stands outside of any section")
    };
    let top = SECTIONS.iter().filter(|section| !section.path.contains('.')).map(|section| section.header());
    let remedy = header(name)
        .or_else(|| nearest(name, SECTIONS.iter().map(|section| section.name())).and_then(header))
        .map(did_you_mean)
        .or_else(|| belongs(name))
        .or_else(|| nearest_elsewhere(name))
        .unwrap_or_else(|| format!("the sections are {}", top.collect::<Vec<_>>().join(", ")));
    (message, remedy)
}

/// Whether an unknown name was told to be this key, so that nobody need be told that the key is missing.
pub(super) fn is_meant(about: &reference::Section, name: &str, key: &reference::Key) -> bool {
    owners(name).is_none() && nearest(name, about.keys.iter().map(|key| key.name)) == Some(key.name)
}

fn did_you_mean(name: String) -> String {
    format!("did you mean {name}?")
}

/// The header of the section of this name.
fn header(name: &str) -> Option<String> {
    SECTIONS.iter().find(|section| section.name() == name).map(|section| section.header())
}

/// Whether `name` is a section below this one.
pub(super) fn is_section_of(about: &reference::Section, name: &str) -> bool {
    let below = |path: &str| path.strip_prefix(about.path).and_then(|rest| rest.strip_prefix('.')) == Some(name);
    SECTIONS.iter().any(|section| section.form != Form::Entries && below(section.path))
}

/// An example of a key, to be written as it is.
pub(super) fn example(about: &reference::Section, name: &str) -> String {
    match about.key(name).map(|key| key.absent) {
        Some(Absent::Refused(value) | Absent::Default(value)) => format!("write {name} = {value}, for example"),
        Some(Absent::Derived(_) | Absent::Unset) | None => "correct it or leave it out".to_owned(),
    }
}

/// The keys that a section cannot do without, as examples.
pub(super) fn required(about: &reference::Section) -> String {
    let examples: Vec<_> = about.keys.iter().map(|key| key.absent).collect();
    let chosen = |variant| {
        examples.iter().any(|absent| matches!(absent, Absent::Refused(example) if example.trim_matches('"') == variant))
    };
    let required = about.keys.iter().filter(|key| key.only.is_none_or(chosen)).filter_map(|key| match key.absent {
        Absent::Refused(example) => Some(format!("{} = {example}", key.name)),
        Absent::Default(_) | Absent::Derived(_) | Absent::Unset => None,
    });
    required.collect::<Vec<_>>().join(", ")
}

fn belongs(name: &str) -> Option<String> {
    owners(name).map(|headers| format!("it belongs to {headers}"))
}

fn nearest_elsewhere(name: &str) -> Option<String> {
    let near = nearest(name, SECTIONS.iter().flat_map(|section| section.keys).map(|key| key.name))?;
    owners(near).map(|headers| format!("did you mean `{near}` in {headers}?"))
}

/// The sections that have a key of exactly this name.
fn owners(name: &str) -> Option<String> {
    let owners = SECTIONS.iter().filter(|section| section.key(name).is_some());
    let headers: Vec<_> = owners.map(|section| section.header()).collect();
    (!headers.is_empty()).then(|| one_of(&headers))
}
