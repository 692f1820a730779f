//! A measurement: named figures. Printed as a table or as JSON, and appended to a file for a page of many.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{Write as _, stdout};
use std::path::PathBuf;

use clap::Args;

use crate::json::{list, object, text};

/// Troubles that are shown one by one.
const SHOWN_MAX: usize = 20;

#[derive(Args)]
pub(crate) struct Output {
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Append the figures to this file, as lines of who, what, figure, sessions, value, separated by tabs.
    #[arg(long, value_name = "FILE", requires_all = ["who", "what"])]
    pub(crate) append: Option<PathBuf>,
    /// Who was measured, for --append.
    #[arg(long, value_name = "NAME")]
    pub(crate) who: Option<String>,
    /// What was measured, for --append.
    #[arg(long, value_name = "NAME")]
    pub(crate) what: Option<String>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: Cow<'static, str>,
    /// With so many sessions open, where that matters.
    pub(crate) sessions: Option<u64>,
    pub(crate) value: f64,
    /// As it is written behind the value.
    pub(crate) unit: &'static str,
}

/// What came out.
pub(crate) struct Measured {
    pub(crate) title: String,
    pub(crate) figures: Vec<Figure>,
    /// What went wrong, in the words that the clients heard.
    pub(crate) troubles: Vec<String>,
}

impl Measured {
    pub(crate) fn new(title: String) -> Self {
        Self { title, figures: Vec::new(), troubles: Vec::new() }
    }

    /// Adds a figure; one that is not known is left out.
    pub(crate) fn add(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Option<f64>>,
        unit: &'static str,
    ) {
        self.add_at(name, None, value, unit);
    }

    pub(crate) fn add_at(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        sessions: impl Into<Option<u64>>,
        value: impl Into<Option<f64>>,
        unit: &'static str,
    ) {
        let Some(value) = value.into().filter(|value| value.is_finite()) else { return };
        self.figures.push(Figure { name: name.into(), sessions: sessions.into(), value, unit });
    }

    /// Prints and appends it. What had troubles is not appended: it is no measurement. How many there were.
    pub(crate) fn write(&self, output: &Output) -> Result<usize, String> {
        let text = if output.json { self.json() } else { self.text() };
        stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())?;
        if let (Some(file), Some(who), Some(what)) = (&output.append, &output.who, &output.what)
            && self.troubles.is_empty()
        {
            let opened = OpenOptions::new().create(true).append(true).open(file);
            let written = opened.and_then(|mut file| file.write_all(self.lines(who, what).as_bytes()));
            written.map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(self.troubles.len())
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for Figure { name, sessions, value, unit } in &self.figures {
            let at = sessions.map_or_else(String::new, |sessions| format!("  with {sessions} sessions"));
            let _ = writeln!(text, "  {name:<24}{:>14} {unit}{at}", shown(*value));
        }
        if !self.troubles.is_empty() {
            let _ = writeln!(text, "  troubles: {}", self.troubles.len());
        }
        for words in self.troubles.iter().take(SHOWN_MAX) {
            let _ = writeln!(text, "    {words}");
        }
        text
    }

    fn json(&self) -> String {
        let figures = self.figures.iter().map(|Figure { name, sessions, value, unit }| {
            let sessions = sessions.map_or_else(|| "null".to_owned(), |sessions| sessions.to_string());
            let value = value.to_string();
            object([("name", text(name)), ("sessions", sessions), ("value", value), ("unit", text(unit))])
        });
        let troubles = list(self.troubles.iter().map(|words| text(words)));
        object([("title", text(&self.title)), ("figures", list(figures)), ("troubles", troubles)]) + "\n"
    }

    fn lines(&self, who: &str, what: &str) -> String {
        let mut lines = String::new();
        for Figure { name, sessions, value, .. } in &self.figures {
            let sessions = sessions.map_or_else(|| "-".to_owned(), |sessions| sessions.to_string());
            let _ = writeln!(lines, "{who}\t{what}\t{name}\t{sessions}\t{value}");
        }
        lines
    }
}

/// Three digits that count, and no fewer than stand before the point.
pub(crate) fn shown(value: f64) -> String {
    let size = value.abs();
    let digits = [100.0, 10.0, 1.0].iter().position(|&least| size >= least).unwrap_or(3);
    if value == 0.0 { "0".to_owned() } else { format!("{value:.digits$}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        let mut measured = Measured::new("a \"title\"".into());
        measured.add("cpu", 1.5, "ms");
        measured.add_at("pss", 1000, 7.0, "KiB");
        measured.add("none", None, "ms");
        measured.add("no number", f64::NAN, "ms");
        measured
    }

    #[test]
    fn figures_that_are_known_are_told_in_all_forms() {
        let mut measured = measured();
        assert_eq!(measured.lines("me", "it"), "me\tit\tcpu\t-\t1.5\nme\tit\tpss\t1000\t7\n");
        assert_eq!(
            measured.json(),
            "{\"title\":\"a \\\"title\\\"\",\"figures\":[{\"name\":\"cpu\",\"sessions\":null,\"value\":1.5,\"unit\":\"ms\"},\
             {\"name\":\"pss\",\"sessions\":1000,\"value\":7,\"unit\":\"KiB\"}],\"troubles\":[]}\n"
        );
        measured.troubles.push("it broke".into());
        let text = measured.text();
        for part in ["cpu", "1.50 ms", "7.00 KiB  with 1000 sessions", "troubles: 1", "it broke"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn three_digits_count() {
        let values =
            [(0.0, "0"), (1234.5, "1234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123")];
        for (value, expected) in values {
            assert_eq!(shown(value), expected);
        }
    }
}
