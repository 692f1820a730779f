//! What is wrong with a file, as a person reads it: place, message, the line itself, the remedy.
//!
//! The first line of each problem has the form `FILE:LINE:COLUMN: message`, for editors and grep. Lines and columns
//! count from 1, columns in characters. Never shown: what stands behind a key whose name speaks of a password. It has
//! no place in this file, and a report may well end in a ticket.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Parts of key names whose values are not shown, except where the key ends in `_file`.
const SECRET_WORDS: [&str; 4] = ["password", "passwd", "passphrase", "secret"];

/// One problem.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    /// The offending octets; `None` when something is missing altogether.
    pub(super) span: Option<Range<usize>>,
    /// What is wrong.
    pub(super) message: String,
    /// What would be right.
    pub(super) remedy: String,
    /// The other place of a contradiction, and what is there.
    pub(super) other: Option<(Range<usize>, &'static str)>,
}

/// All problems of one file, in the order of the file. Shown without colour.
#[derive(Clone, PartialEq)]
pub struct Report {
    name: String,
    text: String,
    /// With their places in the text as it was: what is masked may have more characters.
    problems: Vec<(Place, Problem)>,
}

/// Where a problem is. Both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Report {
    pub(super) fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.as_ref().map(|span| (span.start, span.end)));
        problems.dedup();
        let start = |problem: &Problem| problem.span.as_ref().map_or(0, |span| span.start);
        let problems = problems.into_iter().map(|problem| (place(text, start(&problem)), problem)).collect();
        Self { name: name.to_owned(), text: masked(text), problems }
    }

    /// A file that could not even be read.
    pub(super) fn unreadable(name: &str, error: &std::io::Error) -> Self {
        let remedy = "the file must exist, and the user that mailferry runs as must be allowed to read it";
        let problem =
            Problem { span: None, message: format!("cannot be read: {error}"), remedy: remedy.to_owned(), other: None };
        Self::new(name, "", vec![problem])
    }

    /// The file, as it was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Place, message and remedy of each problem.
    pub fn problems(&self) -> impl Iterator<Item = (Place, &str, &str)> {
        self.problems.iter().map(|(place, problem)| (*place, problem.message.as_str(), problem.remedy.as_str()))
    }

    /// The whole report. The caller knows whether it goes to a terminal, and so whether it is coloured.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let shown: Vec<_> =
            self.problems.iter().map(|(place, problem)| self.render_one(*place, problem, &renderer)).collect();
        shown.join("\n\n") + "\n"
    }

    fn render_one(&self, Place { line, column }: Place, problem: &Problem, renderer: &Renderer) -> String {
        let title = format!("{}:{line}:{column}: {}", self.name, problem.message);
        let group = Group::with_title(Level::ERROR.no_name().primary_title(title));
        let Some(span) = &problem.span else {
            let remedy = (!problem.remedy.is_empty()).then(|| Level::HELP.message(problem.remedy.as_str()));
            return renderer.render(&[group.elements(remedy)]);
        };
        let mut snippet = Snippet::source(self.text.as_str())
            .annotation(AnnotationKind::Primary.span(span.clone()).label(problem.remedy.as_str()));
        if let Some((other, what)) = &problem.other {
            snippet = snippet.annotation(AnnotationKind::Context.span(other.clone()).label(*what));
        }
        renderer.render(&[group.element(snippet)])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Report {}

/// The place of an octet.
fn place(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    Place {
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
    }
}

/// The same text, with as many characters in the same places, but without passwords.
fn masked(text: &str) -> String {
    text.split_inclusive('\n').map(masked_line).collect()
}

fn masked_line(line: &str) -> String {
    let secret_at = SECRET_WORDS.iter().filter_map(|word| secret_value(line, word)).min();
    let Some((clear, secret)) = secret_at.and_then(|at| line.split_at_checked(at)) else {
        return line.to_owned();
    };
    // One star for each octet, because problems are found by octet.
    let hide = |c: char| std::iter::repeat_n(if matches!(c, '\r' | '\n') { c } else { '*' }, c.len_utf8());
    clear.chars().chain(secret.chars().flat_map(hide)).collect()
}

/// Where the value begins in a line that has `word` in a key, as an octet. Comments count too: keys are commented out.
fn secret_value(line: &str, word: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    lower.match_indices(word).find_map(|(at, _)| {
        let behind = lower.get(at..)?;
        let name_len = behind.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'')))?;
        let (name, rest) = behind.split_at_checked(name_len)?;
        let is_key = rest.trim_start().starts_with('=') && !name.trim_end_matches(['"', '\'']).ends_with("_file");
        let equals = at + name_len + rest.find('=')?;
        is_key.then_some(equals + 1)
    })
}
