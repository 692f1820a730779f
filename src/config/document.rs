//! The file as TOML, read section by section, with every problem noted and none of them final.
//!
//! A reader asks a [`Section`] for its keys by name and gets `None` where the file is wrong; the problem is in
//! [`Notes`] by then. Names, kinds' limits and defaults come from [`super::reference`], so that a key which is not
//! listed there cannot be read, and a listed one that nobody asks for fails the tests. Nothing here knows what a
//! section is for, and nothing touches a file.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::files::NamedFile;
use super::reference::{self, Absent, Form, Key, Kind};
use super::report::Problem;
use super::suggest;
use super::value::{self, Wrong, wrong};

/// The key whose value decides which keys with [`Key::only`] a section may have.
const VARIANT_KEY: &str = "type";

/// What was noticed so far. Shared by all readers, hence the cells.
pub(super) struct Notes {
    problems: RefCell<Vec<Problem>>,
    files: RefCell<Vec<NamedFile>>,
    name: String,
    /// What relative paths are relative to: the folder of the file.
    folder: PathBuf,
}

/// A section of the file, or the lack of an optional one.
pub(super) struct Section<'a> {
    about: &'static reference::Section,
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
    notes: &'a Notes,
}

impl Notes {
    pub(super) fn new(name: &str) -> Self {
        let folder = Path::new(name).parent().unwrap_or(Path::new("")).to_owned();
        Self { problems: RefCell::default(), files: RefCell::default(), name: name.to_owned(), folder }
    }

    /// The file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A problem at a place.
    pub(super) fn problem(&self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(Problem { span: Some(span), message: message.into(), remedy: remedy.into(), other: None });
    }

    /// A contradiction between two places.
    pub(super) fn contradiction(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<String>,
        other: (Range<usize>, &'static str),
    ) {
        let other = Some(other);
        self.push(Problem { span: Some(span), message: message.into(), remedy: remedy.into(), other });
    }

    /// Something that is nowhere in the file.
    pub(super) fn missing(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(Problem { span: None, message: message.into(), remedy: remedy.into(), other: None });
    }

    pub(super) fn push(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// A file that mailferry will read, to be looked into by [`super::load`].
    pub(super) fn file(&self, file: NamedFile) {
        self.files.borrow_mut().push(file);
    }

    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<NamedFile>) {
        (self.problems.into_inner(), self.files.into_inner())
    }
}

impl<'a> Section<'a> {
    /// A section that stands at most once. `None`: it is missing or no section at all, which was noted.
    pub(super) fn one(parent: &'a DeTable<'a>, about: &'static reference::Section, notes: &'a Notes) -> Option<Self> {
        let Some(value) = parent.get(about.name()) else {
            if about.form == Form::Required {
                notes.missing(
                    format!("{} is missing", about.header()),
                    format!("add it, with {}", suggest::required(about)),
                );
                return None;
            }
            return Some(Self { about, table: None, span: 0..0, notes });
        };
        match value.get_ref() {
            DeValue::Table(table) => Some(Self { about, table: Some(table), span: value.span(), notes }.checked()),
            other => {
                let header = about.header();
                let found = if other.is_array() {
                    "stands there more than once, or in double brackets"
                } else {
                    "is no section"
                };
                notes.problem(
                    value.span(),
                    format!("{header} {found}"),
                    format!("write {header} once, and its keys below it"),
                );
                None
            }
        }
    }

    /// A section that stands once or more. Empty: missing or no such section, which was noted.
    pub(super) fn many(parent: &'a DeTable<'a>, about: &'static reference::Section, notes: &'a Notes) -> Vec<Self> {
        let header = about.header();
        match parent.get(about.name()) {
            None => {
                notes.missing(
                    format!("{header} is missing"),
                    format!("add at least one, with {}", suggest::required(about)),
                );
                Vec::new()
            }
            Some(value) => {
                let entries = value.get_ref().as_array();
                let tables = entries.and_then(|entries| Self::entries(entries, about, notes));
                tables.filter(|tables| !tables.is_empty()).unwrap_or_else(|| {
                    let remedy = format!("write {header} for each one, with its keys below it");
                    notes.problem(value.span(), format!("{header} must be in double brackets"), remedy);
                    Vec::new()
                })
            }
        }
    }

    /// The entries of a list of tables; `None` when one of them is no table.
    fn entries(
        entries: &'a [Spanned<DeValue<'a>>],
        about: &'static reference::Section,
        notes: &'a Notes,
    ) -> Option<Vec<Self>> {
        let section = |entry: &'a Spanned<DeValue<'a>>| {
            let table = entry.get_ref().as_table()?;
            Some(Self { about, table: Some(table), span: entry.span(), notes }.checked())
        };
        entries.iter().map(section).collect()
    }

    /// Notes keys that do not belong here, and those that are missing.
    fn checked(self) -> Self {
        let variant = self.variant();
        for (name, value) in self.table.into_iter().flatten() {
            match self.about.key(name.get_ref()) {
                Some(Key { only: Some(only), .. }) if variant.is_some_and(|variant| variant != *only) => {
                    let message = format!("`{}` is a key of {VARIANT_KEY} = \"{only}\"", name.get_ref());
                    self.notes.problem(name.span(), message, format!("remove it, or write {VARIANT_KEY} = \"{only}\""));
                }
                Some(_) => {}
                None if suggest::is_section_of(self.about, name.get_ref()) => {}
                None => {
                    let (message, remedy) = suggest::unknown(self.about, name.get_ref(), value.get_ref());
                    self.notes.problem(name.span(), message, remedy);
                }
            }
        }
        let is_misspelt = |key: &Key| {
            let names = self.table.into_iter().flatten().map(|(name, _)| name.get_ref());
            names.into_iter().any(|name| self.about.key(name).is_none() && suggest::is_meant(self.about, name, key))
        };
        for key in self.about.keys {
            let wanted = key.only.is_none() || key.only == variant;
            let Absent::Refused(example) = key.absent else { continue };
            if wanted && self.value(key.name).is_none() && !is_misspelt(key) {
                let message = format!("`{}` is missing in {}", key.name, self.about.header());
                self.notes.problem(self.span.clone(), message, format!("add {} = {example}", key.name));
            }
        }
        self
    }

    fn variant(&self) -> Option<&'static str> {
        let written = self.value(VARIANT_KEY)?.get_ref().as_str()?;
        match self.about.key(VARIANT_KEY)?.kind {
            Kind::Choice(words) => words.iter().copied().find(|word| *word == written),
            _ => None,
        }
    }

    /// Where it begins: the header, or the whole of an inline table.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Where the value of a key stands, if it does.
    pub(super) fn span_of(&self, name: &str) -> Option<Range<usize>> {
        self.value(name).map(Spanned::span)
    }

    /// The section below this one, for [`Self::one`].
    pub(super) fn table(&self) -> Option<&'a DeTable<'a>> {
        self.table
    }

    /// Notes a key that could have no effect where it stands, if it does. `without` ends the message.
    pub(super) fn refuse(&self, name: &str, without: &str, remedy: &str) {
        if let Some(span) = self.span_of(name) {
            self.notes.problem(span, format!("`{name}` has no meaning {without}"), remedy);
        }
    }

    pub(super) fn notes(&self) -> &'a Notes {
        self.notes
    }

    fn value(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.and_then(|table| table.get(name))
    }

    // ── the values of keys; `None`: absent without a default, or wrong, which was noted ─────────────────────────────

    /// A text that is a `T`. `parse` must not repeat the text in its error.
    pub(super) fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<Spanned<T>> {
        self.read(name, |value, _| parse(&value::text(value)?))
    }

    /// Each text of a list, with its place.
    pub(super) fn parsed_list<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<Spanned<T>>> {
        let entry = |entry: &Spanned<DeValue<'_>>| {
            let parsed = value::text(entry.get_ref()).and_then(|text| parse(&text));
            Spanned::new(entry.span(), parsed)
        };
        let entries = self.read(name, |value, _| match value.as_array() {
            Some(entries) => Ok(entries.iter().map(entry).collect::<Vec<_>>()),
            None => Err(value::other_kind(value, "a list of texts")),
        })?;
        let noted = entries.into_inner().into_iter().map(|entry| {
            let span = entry.span();
            self.note(name, span.clone(), entry.into_inner()).map(|parsed| Spanned::new(span, parsed))
        });
        // Collected twice, so that every wrong entry is noted and not only the first.
        noted.collect::<Vec<_>>().into_iter().collect()
    }

    pub(super) fn switch(&self, name: &str) -> Option<Spanned<bool>> {
        self.read(name, |value, _| value::switch(value))
    }

    pub(super) fn choice<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Option<Spanned<T>> {
        self.parsed(name, |text| value::word(text, words))
    }

    pub(super) fn duration(&self, name: &str) -> Option<Spanned<Duration>> {
        self.read(name, |value, kind| match kind {
            Kind::Duration(least, most) => value::duration(value, least, most),
            _ => Err(unlisted()),
        })
    }

    /// A duration; nothing where the file says "off".
    pub(super) fn duration_or_off(&self, name: &str) -> Option<Spanned<Option<Duration>>> {
        self.read(name, |value, kind| match kind {
            Kind::DurationOrOff(..) if value.as_str() == Some("off") => Ok(None),
            Kind::DurationOrOff(least, most) => {
                value::duration(value, least, most).map(Some).map_err(|Wrong { message, remedy }| {
                    let or_off = if remedy.is_empty() { "" } else { ", or \"off\"" };
                    wrong(message, remedy + or_off)
                })
            }
            _ => Err(unlisted()),
        })
    }

    pub(super) fn integer(&self, name: &str) -> Option<Spanned<u64>> {
        self.read(name, |value, kind| match kind {
            Kind::Integer(least, most) => value::integer(value, least, most),
            _ => Err(unlisted()),
        })
    }

    /// A whole number; nothing where the file says the word that stands for it.
    pub(super) fn integer_or(&self, name: &str) -> Option<Spanned<Option<u64>>> {
        self.read(name, |value, kind| match kind {
            Kind::IntegerOr(word, ..) if value.as_str() == Some(word) => Ok(None),
            Kind::IntegerOr(word, least, most) => {
                value::integer(value, least, most).map(Some).map_err(|Wrong { message, remedy }| {
                    let or_word = if remedy.is_empty() { String::new() } else { format!(", or \"{word}\"") };
                    wrong(message, remedy + &or_word)
                })
            }
            _ => Err(unlisted()),
        })
    }

    /// The same where nothing is counted that is none. The outer `None`: wrong, which was noted; the inner one: the word.
    pub(super) fn count_or(&self, name: &str) -> Option<Option<NonZeroU32>> {
        match self.integer_or(name)?.into_inner() {
            None => Some(None),
            Some(number) => NonZeroU32::new(u32::try_from(number).ok()?).map(Some),
        }
    }

    /// A path; relative ones are relative to the folder of the file.
    pub(super) fn path(&self, name: &str) -> Option<Spanned<PathBuf>> {
        self.parsed(name, |text| value::printable(text).map(|()| self.notes.folder.join(text)))
    }

    /// The tables of a list; at least one. There is no default for such a list.
    pub(super) fn tables(&self, name: &str, about: &'static reference::Section) -> Option<Vec<Self>> {
        let value = self.value(name)?;
        let tables = match value.get_ref().as_array() {
            Some(entries) if entries.is_empty() => Err(wrong("is empty", "")),
            Some(entries) => Self::entries(entries, about, self.notes)
                .ok_or_else(|| wrong("must be a list of tables, each in curly brackets", "")),
            None => Err(value::other_kind(value.get_ref(), "a list of tables")),
        };
        self.note(name, value.span(), tables)
    }

    /// The value of a key, or its default.
    fn read<T>(&self, name: &str, convert: impl FnOnce(&DeValue<'_>, Kind) -> Result<T, Wrong>) -> Option<Spanned<T>> {
        let Some(Key { kind, absent, .. }) = self.about.key(name) else {
            return self.note(name, self.span(), Err(unlisted()));
        };
        let (span, value) = match (self.value(name), absent) {
            (Some(value), _) => (value.span(), convert(value.get_ref(), *kind)),
            (None, Absent::Default(default)) => match DeValue::parse(default) {
                Ok(default) => (self.span(), convert(default.get_ref(), *kind)),
                Err(_) => (self.span(), Err(unlisted())),
            },
            (None, Absent::Refused(_) | Absent::Derived(_) | Absent::Unset) => return None,
        };
        self.note(name, span.clone(), value).map(|value| Spanned::new(span, value))
    }

    fn note<T>(&self, name: &str, span: Range<usize>, value: Result<T, Wrong>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(Wrong { message, remedy }) => {
                let remedy = if remedy.is_empty() { suggest::example(self.about, name) } else { remedy };
                self.notes.problem(span, format!("`{name}` {message}"), remedy);
                None
            }
        }
    }
}

/// The reader and the reference disagree, which the tests rule out.
fn unlisted() -> Wrong {
    wrong("is read in another way than it is documented", "this is an error in mailferry, not in the file")
}

/// Notes names that stand outside of all sections, and sections that nobody knows.
pub(super) fn check_top(table: &DeTable<'_>, notes: &Notes) {
    for (name, value) in table {
        let known = reference::SECTIONS.iter().any(|section| section.path == name.get_ref());
        if !known {
            let (message, remedy) = suggest::unknown_at_the_top(name.get_ref(), value.get_ref());
            notes.problem(name.span(), message, remedy);
        }
    }
}
