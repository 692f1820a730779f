//! What is wrong with a file before it is even TOML, in words that help someone who never read the standard.
//!
//! The parser recovers from errors, but what it makes of the rest may be nonsense: behind an unclosed bracket every
//! other complaint would be about keys that only seem to be missing. So the rest is read on only behind errors that
//! spoil nothing but one value, and of an unclosed bracket nothing but itself is told.

use std::ops::Range;
use std::string::FromUtf8Error;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::report::{Problem, Report};

/// Messages of the parser that are told in another way.
const DUPLICATE: &str = "duplicate key";
const UNQUOTED: &str = "string values must be quoted";
const UNCLOSED: [&str; 2] = ["unclosed array", "unclosed inline table"];

/// An error of the TOML parser.
pub(super) struct SyntaxError {
    pub(super) problem: Problem,
    /// Whether everything beyond its line was understood.
    pub(super) is_local: bool,
}

/// The document as far as it could be understood, and what could not.
pub(super) fn parse(text: &str) -> (DeTable<'_>, Vec<SyntaxError>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let values = values(table.get_ref());
    let is_unclosed = errors.iter().any(|error| UNCLOSED.iter().any(|unclosed| error.message().starts_with(unclosed)));
    let bracket = if is_unclosed { unclosed_bracket(&values, &errors) } else { None };
    let errors = match bracket {
        Some(bracket) => vec![bracket],
        None => errors.iter().map(|error| SyntaxError::new(error, text, &values)).collect(),
    };
    (table.into_inner(), errors)
}

/// The bracket that everything behind it was read into: the innermost around the first thing that did not fit.
fn unclosed_bracket(values: &[Value], errors: &[Error]) -> Option<SyntaxError> {
    let first_error = errors.iter().filter_map(Error::span).map(|span| span.start).min()?;
    let around = |value: &&Value| !value.is_scalar && value.span.start < first_error && first_error <= value.span.end;
    let start = values.iter().filter(around).map(|value| value.span.start).max()?;
    let (message, remedy) = ("this bracket is not closed".to_owned(), "close it where the value ends".to_owned());
    let problem = Problem { span: Some(start..start + 1), message, remedy, other: None };
    Some(SyntaxError { problem, is_local: false })
}

/// A value that the parser recovered.
struct Value {
    span: Range<usize>,
    is_scalar: bool,
}

fn values(table: &DeTable<'_>) -> Vec<Value> {
    let mut waiting: Vec<&Spanned<DeValue<'_>>> = table.values().collect();
    let mut values = Vec::new();
    while let Some(value) = waiting.pop() {
        let is_scalar = match value.get_ref() {
            DeValue::Array(entries) => {
                waiting.extend(entries.iter());
                false
            }
            DeValue::Table(table) => {
                waiting.extend(table.values());
                false
            }
            _ => true,
        };
        values.push(Value { span: value.span(), is_scalar });
    }
    values
}

impl SyntaxError {
    fn new(error: &Error, text: &str, values: &[Value]) -> Self {
        let span = error.span().unwrap_or(0..0);
        let (message, expected) = match error.message().split_once(", expected ") {
            Some((message, expected)) => (message, Some(expected)),
            None => (error.message(), None),
        };
        let value =
            values.iter().find(|value| value.is_scalar && value.span.start <= span.start && span.end <= value.span.end);
        let value_text = value.and_then(|value| text.get(value.span.clone()));
        let (message, remedy) = match (message, expected) {
            (DUPLICATE, _) => (message, "it stands above already: keep one of them".to_owned()),
            (UNQUOTED, _) if value_text.is_some_and(|value| value.trim().is_empty()) => {
                ("there is no value", "write one behind the `=`".to_owned())
            }
            (UNQUOTED, _) => (message, "put it in double quotes".to_owned()),
            (message, Some(expected)) if expected != "nothing" => (message, format!("expected {expected}")),
            (message, _) => (message, "names, addresses and durations stand in double quotes".to_owned()),
        };
        let is_local = message == DUPLICATE || value_text.is_some_and(|value| !value.contains('\n'));
        let problem = Problem { span: Some(span), message: message.to_owned(), remedy, other: None };
        Self { problem, is_local }
    }

    /// Whether a problem lies in the line that this error spoils.
    pub(super) fn same_line(&self, text: &str, problem: &Problem) -> bool {
        let line = |problem: &Problem| {
            let start = problem.span.as_ref()?.start;
            Some(text.get(..start)?.matches('\n').count())
        };
        line(&self.problem).is_some() && line(&self.problem) == line(problem)
    }
}

/// A file that is not even text.
pub(super) fn not_utf8(name: &str, error: &FromUtf8Error) -> Report {
    let text = String::from_utf8_lossy(error.as_bytes());
    let start = error.utf8_error().valid_up_to();
    let span = Some(start..start + char::REPLACEMENT_CHARACTER.len_utf8());
    let (message, remedy) = ("the file is not UTF-8 from here on".to_owned(), "save it as UTF-8".to_owned());
    Report::new(name, &text, vec![Problem { span, message, remedy, other: None }])
}
