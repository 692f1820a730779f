//! The filter template: the only way in which a user's name gets into an LDAP filter.
//!
//! A template is an RFC 4515 filter with `{user}`, `{local}` and `{domain}` in the place of, or within, assertion
//! values. It is checked when it is parsed, so that every rendering is a lawful filter. Whatever octets a name has, a
//! rendering holds the template's own parentheses and asterisks and no others: a name is data, never syntax.
//!
//! Braces always mean a placeholder. A filter that needs a literal brace writes it as RFC 4515 has it: `\7b`, `\7d`.
//! This file must not know LDAP servers, nor where the template comes from.

mod check;

use std::fmt::Write as _;
use std::sync::Arc;

use crate::names::UserName;

/// A parsed filter template. Equal when the texts are equal.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterTemplate {
    text: Arc<str>,
    parts: Arc<[Part]>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Name(Placeholder),
}

/// Which part of the name is inserted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Placeholder {
    User,
    Local,
    Domain,
}

impl Placeholder {
    /// `{local}` of `@x` and `{domain}` of `x` render as nothing; a whole name never does.
    fn may_be_empty(self) -> bool {
        self != Self::User
    }
}

/// Why a text is not a filter template, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct TemplateError {
    /// Octets of the template before the trouble.
    pub offset: usize,
    /// The trouble and its remedy.
    pub problem: TemplateProblem,
}

/// The kinds of trouble in a filter template. The texts are for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateProblem {
    /// Such a placeholder does not exist.
    #[error("unknown placeholder {{{0}}}: use {{user}}, {{local}} or {{domain}}, and \\7b and \\7d for literal braces")]
    UnknownPlaceholder(String),
    /// `{` without `}`.
    #[error("this brace is never closed: write {{user}}, {{local}} or {{domain}}, or \\7b for a literal brace")]
    UnclosedBrace,
    /// `}` without `{`.
    #[error("this brace was never opened: write {{user}}, {{local}} or {{domain}}, or \\7d for a literal brace")]
    UnopenedBrace,
    /// The filter would find the same entries for every user.
    #[error("no placeholder: the user's name must come in, e.g. (uid={{user}})")]
    NoPlaceholder,
    /// `(` without `)`.
    #[error("this parenthesis is never closed: add a )")]
    UnclosedParenthesis,
    /// `)` without `(`.
    #[error("this parenthesis was never opened: remove it, or write \\29 for a literal one")]
    UnopenedParenthesis,
    /// A name in the place of an attribute.
    #[error("a placeholder can only stand in a value, behind the = sign, e.g. (uid={{user}})")]
    PlaceholderOutsideValue,
    /// With an empty name part, `*{domain}` would become `*`, which every entry has.
    #[error(
        "this placeholder may be empty, and would then leave a bare *: write text beside it, e.g. *@{{domain}}, or no *"
    )]
    EmptyBesideAsterisk,
    /// `\` without two hexadecimal digits (RFC 4515 §3).
    #[error("a \\ must be followed by two hexadecimal digits: write \\5c for a literal backslash")]
    BadEscape,
    /// A raw control character.
    #[error("a control character cannot stand in a filter: write it as \\ and two hexadecimal digits")]
    ControlCharacter,
    /// Deeper than anybody needs.
    #[error("the filter is nested deeper than {} levels: flatten it", check::MAX_DEPTH)]
    TooDeep,
    /// Anything else that RFC 4515 does not allow.
    #[error("not an LDAP filter (RFC 4515): {0}")]
    NotAFilter(&'static str),
}

impl FilterTemplate {
    /// Parses and checks a template.
    ///
    /// # Errors
    /// When a rendering would not be a lawful filter (RFC 4515 §3), or would not depend on the user.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let parts = split(text)?;
        check::grammar(text, &parts)?;
        let parts: Arc<[Part]> = parts.into_iter().map(|(_, part)| part).collect();
        let template = Self { text: text.into(), parts };
        // The library that will parse each rendering has the last word, now and not at a login.
        let rendered = template.render_octets(b"x", b"x", b"");
        if ldap3::parse_filter(&rendered).is_err() {
            let problem = TemplateProblem::NotAFilter("check attribute names, operators and asterisks");
            return Err(TemplateError { offset: 0, problem });
        }
        Ok(template)
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The filter that finds this user. A `{domain}` of a name without one renders as nothing.
    pub fn render(&self, user: &UserName) -> String {
        self.render_octets(user.as_bytes(), user.local(), user.domain())
    }

    fn render_octets(&self, user: &[u8], local: &[u8], domain: &[u8]) -> String {
        let mut filter = String::with_capacity(self.text.len() + user.len());
        for part in &*self.parts {
            match part {
                Part::Literal(text) => filter.push_str(text),
                Part::Name(Placeholder::User) => escape_into(&mut filter, user),
                Part::Name(Placeholder::Local) => escape_into(&mut filter, local),
                Part::Name(Placeholder::Domain) => escape_into(&mut filter, domain),
            }
        }
        filter
    }
}

/// RFC 4515 §3 demands it of NUL, parentheses, asterisk and backslash. Controls and all that is not ASCII are escaped
/// too, so that octets which are not UTF-8 survive in a `String`.
fn escape_into(filter: &mut String, octets: &[u8]) {
    for &octet in octets {
        match octet {
            b'*' | b'(' | b')' | b'\\' => push_escaped(filter, octet),
            b' '..=b'~' => filter.push(char::from(octet)),
            _ => push_escaped(filter, octet),
        }
    }
}

fn push_escaped(filter: &mut String, octet: u8) {
    // Writing to a String cannot fail.
    let _ = write!(filter, "\\{octet:02x}");
}

/// Cuts the text at its placeholders; each part with its offset.
fn split(text: &str) -> Result<Vec<(usize, Part)>, TemplateError> {
    let error = |offset, problem| Err(TemplateError { offset, problem });
    let mut parts = Vec::new();
    let mut named = false;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let literal = rest.split(['{', '}']).next().unwrap_or(rest);
        if !literal.is_empty() {
            parts.push((at, Part::Literal(literal.to_owned())));
            at += literal.len();
            continue;
        }
        let Some(inside) = rest.strip_prefix('{') else {
            return error(at, TemplateProblem::UnopenedBrace);
        };
        let end = inside.find(['{', '}', '(', ')']);
        let name = match end.and_then(|end| inside.split_at_checked(end)) {
            Some((name, rest)) if rest.starts_with('}') => name,
            _ => return error(at, TemplateProblem::UnclosedBrace),
        };
        let placeholder = match name {
            "user" => Placeholder::User,
            "local" => Placeholder::Local,
            "domain" => Placeholder::Domain,
            other => return error(at, TemplateProblem::UnknownPlaceholder(other.escape_debug().to_string())),
        };
        parts.push((at, Part::Name(placeholder)));
        named = true;
        at += name.len() + 2;
    }
    if named { Ok(parts) } else { error(0, TemplateProblem::NoPlaceholder) }
}

/// Asserts that a name is data: whatever octets it has, the filter is the one of every other name. Template and name are
/// what stands before and behind the first line end.
#[cfg(feature = "testkit")]
pub fn rendering_is_sound(octets: &[u8]) {
    let end = octets.iter().position(|octet| *octet == b'\n').unwrap_or(octets.len());
    let (template, name) = octets.split_at(end);
    let Some(name) = name.get(1..).and_then(UserName::new) else { return };
    let Ok(Ok(template)) = std::str::from_utf8(template).map(FilterTemplate::parse) else { return };
    let plain = template.render_octets(b"x", b"x", if name.domain().is_empty() { b"" } else { b"x" });
    let (rendered, plain) = (shape(&template.render(&name)), shape(&plain));
    assert!(rendered.is_some(), "not a filter");
    assert!(rendered == plain, "a name that changes the filter: {rendered:?} instead of {plain:?}");
}

/// The tree of a filter, without the octets in its leaves.
#[cfg(feature = "testkit")]
fn shape(filter: &str) -> Option<Vec<String>> {
    use ldap3::asn1::{ASNTag as _, PL, StructureTag};
    fn walk(tag: StructureTag, path: &str, shape: &mut Vec<String>) {
        let path = format!("{path}/{:?}.{}", tag.class, tag.id);
        match tag.payload {
            PL::P(_) => shape.push(path),
            PL::C(tags) => {
                shape.push(format!("{path}: {}", tags.len()));
                tags.into_iter().for_each(|tag| walk(tag, &path, shape));
            }
        }
    }
    let mut shape = Vec::new();
    walk(ldap3::parse_filter(filter).ok()?.into_structure(), "", &mut shape);
    Some(shape)
}

#[cfg(test)]
mod tests;
