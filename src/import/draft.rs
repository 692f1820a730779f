//! A proxy.toml in the making, which the reader of proxy.toml accepts at every moment.
//!
//! It begins as a file that is accepted, and a change which makes it one that is not is taken back. So whatever was
//! read elsewhere, what comes out is a configuration. It must not know where its keys come from.

use crate::config;

/// Longest line of a comment, in characters.
const WIDTH: usize = 110;

/// A section; comments without keys stand under none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Above everything.
    Head,
    Server,
    Log,
    Tls,
    Listener(usize),
    Usernames,
    Limits,
    Directory,
    Island,
    /// Below everything.
    Foot,
}

impl Part {
    fn header(self) -> &'static str {
        match self {
            Self::Head | Self::Foot => "",
            Self::Server => "[server]",
            Self::Log => "[log]",
            Self::Tls => "[tls]",
            Self::Listener(_) => "[[listener]]",
            Self::Usernames => "[usernames]",
            Self::Limits => "[limits]",
            Self::Directory => "[directory]",
            Self::Island => "[[island]]",
        }
    }
}

#[derive(Clone)]
enum Line {
    Comment(String),
    Key(&'static str, String),
}

#[derive(Clone)]
pub(super) struct Draft {
    /// In the order of the file.
    parts: Vec<(Part, Vec<Line>)>,
}

impl Draft {
    /// The least that is accepted; all of it is to be replaced.
    pub(super) fn new() -> Self {
        let mut draft = Self { parts: Vec::new() };
        draft.set(Part::Server, "hostname", quoted("mail.example.net"));
        draft.listener(0, "imap", "[::]:143", "off");
        draft.set(Part::Directory, "type", quoted("file"));
        draft.set(Part::Directory, "path", quoted("/etc/mailferry/routes"));
        draft.set(Part::Island, "name", quoted("a"));
        draft.set(Part::Island, "tls", quoted("off"));
        draft.set(Part::Island, "nodes", "[{ name = \"node1\", host = \"node1.example.net\" }]".to_owned());
        draft
    }

    /// The keys of a listener. Without TLS it takes passwords, or it would be refused.
    pub(super) fn listener(&mut self, place: usize, protocol: &str, address: &str, tls: &str) {
        let part = Part::Listener(place);
        self.set(part, "protocol", quoted(protocol));
        self.set(part, "address", quoted(address));
        self.set(part, "tls", quoted(tls));
        if tls == "off" {
            self.set(part, "cleartext_login", "true".to_owned());
        } else {
            self.remove(part, "cleartext_login");
        }
    }

    /// A comment in a section, wrapped. What it says already is not said twice.
    pub(super) fn note(&mut self, part: Part, text: &str) {
        let lines = self.lines(part);
        if !lines.iter().any(|line| matches!(line, Line::Comment(old) if old == text)) {
            lines.push(Line::Comment(text.to_owned()));
        }
    }

    /// Sets a key, or replaces its value. `value` is TOML.
    pub(super) fn set(&mut self, part: Part, key: &'static str, value: String) {
        let lines = self.lines(part);
        for line in lines.iter_mut() {
            if let Line::Key(name, old) = line
                && *name == key
            {
                *old = value;
                return;
            }
        }
        lines.push(Line::Key(key, value));
    }

    pub(super) fn remove(&mut self, part: Part, key: &str) {
        self.lines(part).retain(|line| !matches!(line, Line::Key(name, _) if *name == key));
    }

    /// Makes a change, unless the result would be refused.
    ///
    /// # Errors
    /// The first problem that `mailferry check` would tell; the draft is as it was.
    pub(super) fn attempt(&mut self, change: impl FnOnce(&mut Self)) -> Result<(), String> {
        let before = self.clone();
        change(self);
        let Err(report) = config::parse("proxy.toml", &self.text()) else { return Ok(()) };
        *self = before;
        let problem = report.problems().next().map(|(_, message, _)| message.to_owned());
        Err(problem.unwrap_or_else(|| "it is refused".to_owned()))
    }

    /// The option's line and the keys that say the same; where they are refused, what the operator must decide.
    pub(super) fn offer(&mut self, part: Part, shown: &str, keys: &[(&'static str, String)]) -> bool {
        let tried = self.attempt(|draft| {
            draft.note(part, &format!("perdition: {shown}"));
            for (key, value) in keys {
                // Below its option's line, unless it is the first of its section.
                if *key != "name" {
                    draft.remove(part, key);
                }
                draft.set(part, key, value.clone());
            }
        });
        if let Err(problem) = &tried {
            let names = keys.iter().map(|(key, _)| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            self.note(part, &format!("perdition: {shown}: not taken over"));
            self.judge(part, &format!("set {names} by hand: {}", problem.escape_debug()));
        }
        tried.is_ok()
    }

    /// What only the operator can decide.
    pub(super) fn judge(&mut self, part: Part, text: &str) {
        self.note(part, &format!("judge: {text}"));
    }

    /// The whole file.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (part, lines) in self.parts.iter().filter(|(_, lines)| !lines.is_empty()) {
            if !text.is_empty() {
                text.push('\n');
            }
            if lines.iter().any(|line| matches!(line, Line::Key(..))) {
                text += part.header();
                text.push('\n');
            }
            for line in lines {
                match line {
                    Line::Comment(words) => text += &comment(words),
                    Line::Key(name, value) => text += &format!("{name} = {value}\n"),
                }
            }
        }
        text
    }

    fn lines(&mut self, part: Part) -> &mut Vec<Line> {
        let at = match self.parts.binary_search_by_key(&part, |(part, _)| *part) {
            Ok(at) => at,
            Err(at) => {
                self.parts.insert(at, (part, Vec::new()));
                at
            }
        };
        &mut self.parts[at].1
    }
}

/// Lines that begin with `#`; what goes on stands further right. A line of the text that is no sentence stays whole.
fn comment(words: &str) -> String {
    let mut text = String::new();
    for (place, line) in words.split('\n').enumerate() {
        let mut length = 0;
        text.push('#');
        if place > 0 {
            text += "  ";
        }
        for word in line.split(' ') {
            if length > 0 && length + word.chars().count() > WIDTH {
                text += "\n#    ";
                length = 4;
            }
            text.push(' ');
            // TOML allows no control characters in comments.
            text.extend(word.chars().map(|c| if c.is_control() { '?' } else { c }));
            length += word.chars().count() + 1;
        }
        text.push('\n');
    }
    text
}

/// A text as TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// A list of texts as TOML.
pub(super) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", texts.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
}
