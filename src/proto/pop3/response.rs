//! What a POP3 node says: status lines, capabilities, continuations and the codes in refusals.
//!
//! Nothing here decides what to do about it, and no text of a node is kept but that of its decision about a login.

use crate::proto::{Extensions, NodeRefusal, RefusalKind};

/// The first line of an answer (RFC 1939 §3).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Status<'a> {
    /// `+OK` and what follows its space.
    Ok(&'a [u8]),
    /// `-ERR` and what follows its space.
    Err(&'a [u8]),
    /// `+`, `+ ` or `+ text`, and what follows the space: the node waits for a SASL response (RFC 5034 §4). Some leave
    /// the space out.
    Continue(&'a [u8]),
}

/// Reads a line; `None` is no answer of a POP3 server. The status is in upper case (RFC 1939 §3).
pub(super) fn status(line: &[u8]) -> Option<Status<'_>> {
    let (word, text) = match line.iter().position(|&octet| octet == b' ') {
        Some(space) => (line.get(..space)?, line.get(space + 1..)?),
        None => (line, &b""[..]),
    };
    match word {
        b"+OK" => Some(Status::Ok(text)),
        b"-ERR" => Some(Status::Err(text)),
        b"+" => Some(Status::Continue(text)),
        _ => None,
    }
}

/// Whether a greeting asks to be told of the client. Dovecot says so to whom it trusts.
pub(super) fn wants_introduction(greeting: &[u8]) -> bool {
    let code = b"[XCLIENT]";
    greeting.windows(code.len()).any(|octets| octets == code)
}

/// What a node announced that it can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// `USER` (RFC 2449 §6.2).
    pub(super) user: bool,
    /// The lines of the list, and `AUTH=…` for each mechanism of `SASL` (RFC 5034 §3) in place of that line.
    pub(super) words: Extensions,
}

impl Capabilities {
    /// A node that does not know CAPA is older than it: it had USER, and says nothing of what else it has.
    pub(super) fn without_capa() -> Self {
        Self { user: true, words: Extensions::default() }
    }

    /// Adds one line of the list.
    pub(super) fn add(&mut self, line: &[u8]) {
        let mut words = line.split(|&octet| octet == b' ');
        let name = words.next().unwrap_or_default();
        if name.eq_ignore_ascii_case(b"SASL") {
            words.filter(|word| !word.is_empty()).for_each(|word| self.words.add(&[b"AUTH=", word].concat()));
        } else {
            self.user |= name.eq_ignore_ascii_case(b"USER");
            self.words.add(line.trim_ascii_end());
        }
    }

    /// Whether `SASL` listed a mechanism, whose name is in upper case.
    pub(super) fn has_mechanism(&self, name: &str) -> bool {
        self.words.has(&format!("AUTH={name}"))
    }
}

/// What a node's `-ERR` to a login means, and its text for the client. A node that gives no code means the password
/// (DBMail); it gets the code, because that is what an unknown user hears, and clients should not be able to tell one
/// from the other.
pub(super) fn refusal(text: &[u8]) -> NodeRefusal {
    let coded = if code(text).is_none() && !text.is_empty() { [b"[AUTH] ", text].concat() } else { text.to_vec() };
    NodeRefusal { kind: kind(text), text: one_line(&coded, NodeRefusal::TEXT_MAX), challenge: None }
}

/// The octets that may stand in one line, at most `max` of them.
pub(super) fn one_line(text: &[u8], max: usize) -> Vec<u8> {
    text.iter().copied().filter(|octet| !matches!(octet, 0 | b'\r' | b'\n')).take(max).collect()
}

/// Reads the response code (RFC 2449 §8, RFC 3206).
fn kind(text: &[u8]) -> RefusalKind {
    let Some(code) = code(text) else { return RefusalKind::WrongPassword };
    let is = |name: &[u8]| {
        code.len() >= name.len()
            && code.iter().zip(name).all(|(a, b)| a.eq_ignore_ascii_case(b))
            && matches!(code.get(name.len()), None | Some(b'/'))
    };
    if is(b"AUTH") {
        RefusalKind::WrongPassword
    } else if is(b"SYS/TEMP") {
        // The node has trouble of its own; its neighbour may have none.
        RefusalKind::Temporary
    } else {
        // IN-USE: another session holds the maildrop. A neighbour that does not see the lock would let two sessions delete.
        // LOGIN-DELAY: the user comes too often; asking the next node would only help to break that rule.
        // SYS/PERM and codes that we do not know: the node's words are final.
        RefusalKind::Other
    }
}

/// The code at the front of a text. Some nodes write `[99]`, which is a number for their operator and no code.
fn code(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"[")?;
    let end = inner.iter().position(|&octet| octet == b']')?;
    let code = inner.get(..end)?;
    let lawful = code.first()?.is_ascii_alphabetic() && code.iter().all(u8::is_ascii_graphic);
    lawful.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_its_first_word() {
        let cases: [(&[u8], Option<Status<'_>>); 12] = [
            (b"+OK", Some(Status::Ok(b""))),
            (b"+OK  two  spaces ", Some(Status::Ok(b" two  spaces "))),
            (b"-ERR", Some(Status::Err(b""))),
            (b"-ERR [AUTH] no", Some(Status::Err(b"[AUTH] no"))),
            (b"+", Some(Status::Continue(b""))),
            (b"+ ", Some(Status::Continue(b""))),
            (b"+ DQo=", Some(Status::Continue(b"DQo="))),
            (b"+OKAY", None),
            (b"+ok", None),
            (b"* OK hello", None),
            (b"-ERROR", None),
            (b"", None),
        ];
        for (line, expected) in cases {
            assert_eq!(status(line), expected, "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn the_code_tells_what_a_refusal_means() {
        let cases = [
            ("[AUTH] no", RefusalKind::WrongPassword),
            ("[auth] no", RefusalKind::WrongPassword),
            ("no", RefusalKind::WrongPassword),
            ("", RefusalKind::WrongPassword),
            ("[99] no", RefusalKind::WrongPassword),
            ("[] no", RefusalKind::WrongPassword),
            ("[SYS/TEMP no", RefusalKind::WrongPassword),
            ("no [SYS/TEMP]", RefusalKind::WrongPassword),
            ("[no code] no", RefusalKind::WrongPassword),
            ("[SYS/TEMP] later", RefusalKind::Temporary),
            ("[sys/temp/disk] later", RefusalKind::Temporary),
            ("[SYS/TEMPEST] hm", RefusalKind::Other),
            ("[AUTHOR] hm", RefusalKind::Other),
            ("[SYS] hm", RefusalKind::Other),
            ("[SYS/PERM] never", RefusalKind::Other),
            ("[IN-USE] locked", RefusalKind::Other),
            ("[in-use/by-you] locked", RefusalKind::Other),
            ("[INUSE] hm", RefusalKind::Other),
            ("[LOGIN-DELAY] too soon", RefusalKind::Other),
        ];
        for (text, expected) in cases {
            assert_eq!(kind(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_refusal_is_one_line_and_capped() {
        assert_eq!(refusal(b"[AUTH] a\0b\rc").text, b"[AUTH] abc");
        assert_eq!(refusal(&[b'x'; 8000]).text.len(), NodeRefusal::TEXT_MAX);
    }

    #[test]
    fn capabilities_are_read_without_case() {
        let mut capabilities = Capabilities::default();
        for line in ["TOP", "SASL LOGIN  CRAM-MD5", "USERS", "PLAIN", "", "IMPLEMENTATION SASL PLAIN USER"] {
            capabilities.add(line.as_bytes());
        }
        assert!(!capabilities.user && !capabilities.has_mechanism("PLAIN") && capabilities.has_mechanism("LOGIN"));
        capabilities.add(b"sasl cram-md5 plain");
        capabilities.add(b"User ");
        assert!(capabilities.user && capabilities.has_mechanism("PLAIN"));
        let words: Vec<_> = capabilities.words.iter().collect();
        let expected = [
            "AUTH=CRAM-MD5",
            "AUTH=LOGIN",
            "AUTH=PLAIN",
            "IMPLEMENTATION SASL PLAIN USER",
            "PLAIN",
            "TOP",
            "USER",
            "USERS",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn a_greeting_that_wants_to_hear_of_the_client_says_so() {
        for (greeting, wants) in [
            ("+OK [XCLIENT] Dovecot ready.", true),
            ("+OK [XCLIENT]", true),
            ("+OK XCLIENT", false),
            ("+OK [XCLIENT", false),
            ("", false),
        ] {
            assert_eq!(wants_introduction(greeting.as_bytes()), wants, "{greeting:?}");
        }
    }
}
