//! The newtypes that every part speaks in: who logs in, where to, and which session it is.
//!
//! A user name is octets, not text: clients send UTF-8, Latin-1 and worse, and the node decides. It is therefore
//! never converted, only *shown*, with everything escaped that could forge a log line.
//! This file must not know how any protocol is spoken, nor any other module.

use std::fmt;
use std::sync::Arc;

/// The name a client logs in with, or the one mailferry uses on a node: 1 to [`UserName::MAX_LEN`] octets, none of
/// which is NUL, CR or LF.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<[u8]>);

impl UserName {
    /// Longest accepted name, in octets. RFC 4616 §2 lets an authcid have 255.
    pub const MAX_LEN: usize = 255;

    /// `None` when the octets cannot be a user name (empty, too long, or holding NUL, CR or LF).
    pub fn new(octets: &[u8]) -> Option<Self> {
        let lawful =
            (1..=Self::MAX_LEN).contains(&octets.len()) && !octets.iter().any(|o| matches!(o, 0 | b'\r' | b'\n'));
        lawful.then(|| Self(octets.into()))
    }

    /// The octets as the client sent them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What stands before the first `@`, or the whole name.
    pub fn local(&self) -> &[u8] {
        self.0.split(|&o| o == b'@').next().unwrap_or_default()
    }

    /// What stands behind the first `@`, or nothing.
    pub fn domain(&self) -> &[u8] {
        self.0.get(self.local().len() + 1..).unwrap_or_default()
    }
}

/// A name's octets in lower case. What is no UTF-8 is in a charset that nobody knows: only its ASCII letters are sure to
/// be letters. The result may be longer (İ, Ⱥ).
pub fn lower_case(octets: &[u8]) -> Vec<u8> {
    if octets.is_ascii() {
        return octets.to_ascii_lowercase();
    }
    match str::from_utf8(octets) {
        Ok(text) => text.chars().flat_map(char::to_lowercase).collect::<String>().into_bytes(),
        Err(_) => octets.to_ascii_lowercase(),
    }
}

/// Printable UTF-8 as it is; controls, invalid octets and whatever could end or forge a log field, escaped.
impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' | '\\' => write!(f, "\\{c}")?,
                    c if c.is_control() || is_invisible(c) => write!(f, "{}", c.escape_unicode())?,
                    c => write!(f, "{c}")?,
                }
            }
            for octet in chunk.invalid() {
                write!(f, "\\x{octet:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Characters that change how the text around them is read: bidirectional controls, zero-width marks, line separators.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

macro_rules! short_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// From the configuration or the directory, which are trusted to be text.
            pub fn new(name: &str) -> Self {
                Self(name.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.escape_debug())
            }
        }
    };
}

short_name!(
    /// What the directory calls an island, before it was matched with a configured one.
    IslandName
);
short_name!(
    /// A node of an island: `left`, `right`, or whatever the operator calls it.
    NodeName
);
short_name!(
    /// A place whose machines are near to each other: a room, a data centre.
    ZoneName
);

/// A protocol with a login phase that mailferry reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 3501 and RFC 9051.
    Imap,
    /// RFC 1939, with RFC 2449 and RFC 5034.
    Pop3,
}

impl Protocol {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Imap, Self::Pop3];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
        })
    }
}

/// Names one session in the log: start of the process in seconds and a running number, both in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// Which run of mailferry: the process's start, in seconds since 1970.
    pub run: u32,
    /// Which session of that run, counted from 1.
    pub number: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.run, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_is_bounded_and_free_of_line_ends() {
        for bad in [&b""[..], b"a\0b", b"a\rb", b"a\nb", &[b'x'; 256]] {
            assert!(UserName::new(bad).is_none(), "{bad:?}");
        }
        for good in [&b"x"[..], b"a b", b"\xff\xfe", &[b'x'; 255]] {
            assert_eq!(UserName::new(good).unwrap().as_bytes(), good);
        }
    }

    #[test]
    fn local_part_and_domain_split_at_the_first_at_sign() {
        let cases: [(&str, &str, &str); 4] =
            [("bob", "bob", ""), ("bob@x.net", "bob", "x.net"), ("a@b@c", "a", "b@c"), ("@d", "", "d")];
        for (name, local, domain) in cases {
            let name = UserName::new(name.as_bytes()).unwrap();
            assert_eq!((name.local(), name.domain()), (local.as_bytes(), domain.as_bytes()));
        }
    }

    #[test]
    fn what_could_forge_a_log_line_is_escaped() {
        let cases: [(&[u8], &str); 5] = [
            (b"bob", "bob"),
            ("j\u{fc}rgen".as_bytes(), "j\u{fc}rgen"),
            (b"a\x1b[2Jb\x07", "a\\u{1b}[2Jb\\u{7}"),
            (b"\xff\"\\", "\\xff\\\"\\\\"),
            ("x\u{202e}y".as_bytes(), "x\\u{202e}y"),
        ];
        for (octets, shown) in cases {
            assert_eq!(UserName::new(octets).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn session_ids_are_short_hexadecimal() {
        assert_eq!(SessionId { run: 0x6540_0000, number: 255 }.to_string(), "65400000-ff");
    }
}
