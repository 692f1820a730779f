//! The lines of perdition.conf → options with their values. The rules are those of Perdition's reader, as tried on
//! version 2.2: `#` ends a line, `\` takes the next character as it is and joins lines at a line's end (of comments
//! too), quotes of both kinds keep everything but themselves (and `\` within double ones).
//!
//! A line that is wrong is told by its number and never by its value, which may be a password.

use super::options::{self, Known, Takes};

/// Longest name that is repeated, in characters.
const NAME_MAX: usize = 40;

/// Longest value, in octets. The longest that is useful is an LDAP URL.
const VALUE_MAX: usize = 4096;

/// One option.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) option: &'static Known,
    pub(super) value: String,
}

/// A line that was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what is known about the remedy.
    pub message: String,
}

/// `None`: more than [`super::LINES_MAX`] lines with options.
pub(super) fn read(text: &str) -> Option<(Vec<Entry>, Vec<Trouble>)> {
    let (mut entries, mut troubles) = (Vec::new(), Vec::new());
    let lines = logical(text);
    if lines.len() > super::LINES_MAX {
        return None;
    }
    for (line, words) in lines {
        match words.ok_or_else(|| "a quote is opened and never closed".to_owned()).and_then(|words| entry(line, &words))
        {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => {}
            Err(message) => troubles.push(Trouble { line, message }),
        }
    }
    Some((entries, troubles))
}

/// Key and value of a line without its quotes. The space that parted them was neither quoted nor escaped.
struct Words {
    key: String,
    value: String,
}

/// Lines with the number of their first one, comments and empty ones left out. `None`: a quote that is not closed.
fn logical(text: &str) -> Vec<(usize, Option<Words>)> {
    let mut found = Vec::new();
    let mut number = 1;
    let mut characters = text.chars().peekable();
    while characters.peek().is_some() {
        let first = number;
        let mut line = Reading::default();
        for c in characters.by_ref() {
            number += usize::from(c == '\n');
            if !line.goes_on_after(c) {
                break;
            }
        }
        if let Some(words) = line.finish() {
            found.push((first, words));
        }
    }
    found
}

/// A line as far as it was read.
#[derive(Default)]
struct Reading {
    key: String,
    /// Present behind the first space.
    value: Option<String>,
    quote: Option<char>,
    is_escaped: bool,
    is_comment: bool,
    /// Spaces that count only if something follows.
    spaces: String,
}

impl Reading {
    /// Takes a character; `false` behind the end of the line.
    fn goes_on_after(&mut self, c: char) -> bool {
        if std::mem::take(&mut self.is_escaped) {
            if c != '\n' && !self.is_comment {
                self.push(c);
            }
            return true;
        }
        match (self.quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => self.quote = None,
            (None | Some('"'), '\\') => self.is_escaped = true,
            // A quote over more than one line is no quote but a slip.
            (_, '\n') => return false,
            _ if self.is_comment => {}
            (None, '#') => self.is_comment = true,
            (None, '\'' | '"') => {
                self.quote = Some(c);
                self.begin();
            }
            (None, ' ' | '\t' | '\r') => self.space(c),
            _ => self.push(c),
        }
        true
    }

    fn space(&mut self, c: char) {
        match &self.value {
            None if self.key.is_empty() => {}
            None => self.value = Some(String::new()),
            Some(value) if value.is_empty() => {}
            Some(_) => self.spaces.push(c),
        }
    }

    /// What was waiting counts now.
    fn begin(&mut self) {
        if let Some(value) = &mut self.value {
            *value += &std::mem::take(&mut self.spaces);
        }
    }

    fn push(&mut self, c: char) {
        self.begin();
        self.value.as_mut().unwrap_or(&mut self.key).push(c);
    }

    fn finish(self) -> Option<Option<Words>> {
        if self.quote.is_some() && !self.is_comment {
            return Some(None);
        }
        let words = Words { key: self.key, value: self.value.unwrap_or_default() };
        (!words.key.is_empty()).then_some(Some(words))
    }
}

/// `None` for options that Perdition ignores in a file.
fn entry(line: usize, words: &Words) -> Result<Option<Entry>, String> {
    // As on its command line too.
    let key = words.key.trim_start_matches('-');
    let (name, value) = match key.split_once('=') {
        Some((name, value)) if words.value.is_empty() => (name, value),
        Some((name, value)) => (name, &*format!("{value} {}", words.value)),
        None => (key, &*words.value),
    };
    let Some(option) = options::find(name) else {
        let shown: String = name.chars().take(NAME_MAX).flat_map(char::escape_debug).collect();
        let near = options::nearest(name).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        return Err(format!("unknown option {shown}{near}"));
    };
    let name = option.name;
    if value.len() > VALUE_MAX {
        return Err(format!("the value of {name} is longer than {VALUE_MAX} octets"));
    }
    if value.contains(char::REPLACEMENT_CHARACTER) {
        return Err(format!("the value of {name} is not UTF-8"));
    }
    match option.takes {
        Takes::Nothing if !value.is_empty() => return Err(format!("{name} takes no value: remove it, or the line")),
        Takes::Number if !value.bytes().all(|octet| octet.is_ascii_digit()) => {
            return Err(format!("the value of {name} is not a number"));
        }
        Takes::Nothing | Takes::Number | Takes::Text => {}
    }
    Ok(Some(Entry { line, option, value: value.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of one text: each option as `NAME=VALUE`, each trouble as `LINE!`.
    fn of(text: &str) -> Vec<String> {
        let (entries, troubles) = read(text).unwrap();
        let entries = entries.iter().map(|entry| format!("{}={}", entry.option.name, entry.value));
        entries.chain(troubles.iter().map(|trouble| format!("{}!", trouble.line))).collect()
    }

    /// Each as Perdition 2.2 shows it when it starts with `debug`.
    #[test]
    fn lines_are_read_as_perdition_reads_them() {
        for (text, read) in [
            (r#"ok_line "a\\b""#, r"ok_line=a\b"),
            (r#"ok_line "a#b" c#d"#, "ok_line=a#b c"),
            (r"ok_line 'a\b#c'", r"ok_line=a\b#c"),
            (r"ok_line x\#y", "ok_line=x#y"),
            (r#"ok_line "a\"b""#, "ok_line=a\"b"),
            ("ok_line a b   ", "ok_line=a b"),
            ("ok_line\ttab\ts", "ok_line=tab\ts"),
            ("timeout=77", "timeout=77"),
            (r#"ok_line a"b"c"#, "ok_line=abc"),
            (r#"ok_line "it's""#, "ok_line=it's"),
            ("\"ok_line\" quoted", "ok_line=quoted"),
            ("ok_line = x", "ok_line== x"),
            ("timeout \"\"", "timeout="),
            ("ok_line multi\\\nnext", "ok_line=multinext"),
            ("imap_capability IMAP4   IMAP4REV1 \"LITERAL+\"", "imap_capability=IMAP4   IMAP4REV1 LITERAL+"),
            ("group mail # comment", "group=mail"),
            ("q", "quiet="),
            ("l 110", "listen_port=110"),
            ("query_key \\\\U,\\\\u\\\n,x", "query_key=\\U,\\u,x"),
        ] {
            assert_eq!(of(text), [read], "{text}");
            assert_eq!(of(&format!("# comment\n\n{text}\r\n#end")), [read], "{text}");
        }
        assert_eq!(of("# c \\\nok_line after\nquiet"), ["quiet="], "a comment goes on behind a backslash");
    }

    #[test]
    fn the_forms_of_the_command_line_are_read_too() {
        for text in ["--timeout=5", "--timeout 5", "-t 5", "t 5", "  timeout 5"] {
            assert_eq!(of(text), ["timeout=5"], "{text}");
        }
        assert_eq!(of("--ok_line=a b"), ["ok_line=a b"]);
    }

    #[test]
    fn a_line_that_is_wrong_is_told_with_its_number_and_without_its_value() {
        for wrong in [
            "nonsense swordfish",
            "timeout swordfish",
            "timeout 79x",
            "quiet FALSE",
            "ok_line \"swordfish",
            "'swordfish",
            "ok_line \u{fffd}",
            "t44",
            "=x",
            "-",
            "ok_lin x",
        ] {
            let (entries, troubles) = read(&format!("debug\n{wrong}\nquiet")).unwrap();
            assert_eq!(entries.len(), 2, "{wrong}");
            assert_eq!((troubles.len(), troubles[0].line), (1, 2), "{wrong}");
            assert!(!troubles[0].message.contains("swordfish"), "{troubles:?}");
        }
        assert!(read("ok_lin x").unwrap().1[0].message.ends_with("did you mean ok_line?"));
        let long = read(&"x\u{1b}".repeat(10_000)).unwrap().1;
        assert!(long[0].message.len() < 400 && !long[0].message.contains('\u{1b}'), "{}", long[0].message.len());
    }
}
