//! The grammar of RFC 4515 §3, walked once when a template is parsed, to say *where* it is wrong.
//!
//! Placeholders are masked by octets that cannot stand in a filter, at their own offsets, so that the walk sees the
//! operator's syntax only. It builds nothing: the LDAP library parses each rendering again.

use super::{Part, TemplateError, TemplateProblem};

/// Deepest nesting of parentheses. The walk, and the library's, are recursive.
pub(super) const MAX_DEPTH: usize = 32;

/// Stands for a placeholder that always renders to something.
const FILLED: u8 = 1;
/// Stands for a placeholder that may render to nothing.
const PERHAPS_EMPTY: u8 = 2;

/// Is every rendering of these parts a filter?
pub(super) fn grammar(text: &str, parts: &[(usize, Part)]) -> Result<(), TemplateError> {
    if let Some(offset) = text.bytes().position(|octet| octet.is_ascii_control()) {
        return Err(TemplateError { offset, problem: TemplateProblem::ControlCharacter });
    }
    let mut walk = Walk { octets: mask(text, parts), at: 0 };
    walk.filter(1)?;
    match walk.peek() {
        None => Ok(()),
        Some(b')') => Err(walk.error(TemplateProblem::UnopenedParenthesis)),
        Some(_) => Err(walk.error(TemplateProblem::NotAFilter("one filter only: put (&…) or (|…) around several"))),
    }
}

fn mask(text: &str, parts: &[(usize, Part)]) -> Vec<u8> {
    let mut octets = text.as_bytes().to_vec();
    let ends = parts.iter().skip(1).map(|(offset, _)| *offset).chain([text.len()]);
    for ((start, part), end) in parts.iter().zip(ends) {
        let Part::Name(placeholder) = part else { continue };
        let mark = if placeholder.may_be_empty() { PERHAPS_EMPTY } else { FILLED };
        if let Some(span) = octets.get_mut(*start..end) {
            span.fill(mark);
        }
    }
    octets
}

struct Walk {
    octets: Vec<u8>,
    at: usize,
}

impl Walk {
    /// `filter = LPAREN filtercomp RPAREN`
    fn filter(&mut self, depth: usize) -> Result<(), TemplateError> {
        let opened = self.at;
        match self.peek() {
            Some(b'(') if depth > MAX_DEPTH => return Err(self.error(TemplateProblem::TooDeep)),
            Some(b'(') => self.at += 1,
            Some(b')') => return Err(self.error(TemplateProblem::UnopenedParenthesis)),
            Some(b' ') => return Err(self.error(TemplateProblem::NotAFilter("remove this space"))),
            _ => return Err(self.error(TemplateProblem::NotAFilter("a filter begins with (, e.g. (uid={user})"))),
        }
        match self.peek() {
            Some(b'&' | b'|') => {
                self.at += 1;
                while !matches!(self.peek(), Some(b')') | None) {
                    self.filter(depth + 1)?;
                }
            }
            Some(b'!') => {
                self.at += 1;
                self.filter(depth + 1)?;
            }
            _ => self.item(opened)?,
        }
        self.close(opened)
    }

    fn close(&mut self, opened: usize) -> Result<(), TemplateError> {
        match self.peek() {
            Some(b')') => {
                self.at += 1;
                Ok(())
            }
            None => Err(TemplateError { offset: opened, problem: TemplateProblem::UnclosedParenthesis }),
            Some(_) => Err(self.error(TemplateProblem::NotAFilter("expected a ) here"))),
        }
    }

    /// `item = attr filtertype assertionvalue` and its kin.
    fn item(&mut self, opened: usize) -> Result<(), TemplateError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b';' | b':' | b'_')) {
            self.at += 1;
        }
        match self.peek() {
            Some(FILLED | PERHAPS_EMPTY) => return Err(self.error(TemplateProblem::PlaceholderOutsideValue)),
            None => return Err(TemplateError { offset: opened, problem: TemplateProblem::UnclosedParenthesis }),
            _ if self.at == start => {
                return Err(self.error(TemplateProblem::NotAFilter("expected an attribute's name here")));
            }
            Some(b'~' | b'<' | b'>') => self.at += 1,
            Some(_) => {}
        }
        if self.peek() != Some(b'=') {
            return Err(self.error(TemplateProblem::NotAFilter("expected = behind the attribute's name")));
        }
        self.at += 1;
        self.value(opened)
    }

    /// The octets up to the `)`, in components that asterisks separate.
    fn value(&mut self, opened: usize) -> Result<(), TemplateError> {
        let mut asterisks = false;
        // Where the component has a placeholder that may be empty, as long as nothing else is in it.
        let mut hollow: Option<usize> = None;
        let mut solid = false;
        loop {
            match self.peek() {
                None => return Err(TemplateError { offset: opened, problem: TemplateProblem::UnclosedParenthesis }),
                Some(b'(') => {
                    return Err(self.error(TemplateProblem::NotAFilter("a ( in a value is written as \\28")));
                }
                Some(end @ (b'*' | b')')) => {
                    asterisks |= end == b'*';
                    if let Some(offset) = hollow.filter(|_| asterisks && !solid) {
                        return Err(TemplateError { offset, problem: TemplateProblem::EmptyBesideAsterisk });
                    }
                    if end == b')' {
                        return Ok(());
                    }
                    (hollow, solid) = (None, false);
                    self.at += 1;
                }
                Some(b'\\') => {
                    self.escape()?;
                    solid = true;
                }
                Some(PERHAPS_EMPTY) => {
                    hollow = hollow.or(Some(self.at));
                    self.at += 1;
                }
                Some(_) => {
                    solid = true;
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self) -> Result<(), TemplateError> {
        match self.octets.get(self.at + 1..self.at + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {
                self.at += 3;
                Ok(())
            }
            _ => Err(self.error(TemplateProblem::BadEscape)),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    fn error(&self, problem: TemplateProblem) -> TemplateError {
        TemplateError { offset: self.at, problem }
    }
}
