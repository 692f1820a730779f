//! What a POP3 node says: status lines, capabilities, continuations and the codes in refusals.
//!
//! Nothing here decides what to do about it, and no text of a node is kept but that of its decision about a login.

use crate::proto::{NodeRefusal, RefusalKind};

/// The first line of an answer (RFC 1939 §3).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Status<'a> {
    /// `+OK` and what follows its space.
    Ok(&'a [u8]),
    /// `-ERR` and what follows its space.
    Err(&'a [u8]),
    /// `+`, `+ ` or `+ text`: the node waits for a SASL response (RFC 5034 §4). Some leave the space out.
    Continue,
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
        b"+" => Some(Status::Continue),
        _ => None,
    }
}

/// The ways to log in with a password that a node announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// `SASL … PLAIN …` (RFC 5034 §3).
    pub(super) plain: bool,
    /// `USER` (RFC 2449 §6.2).
    pub(super) user: bool,
}

impl Capabilities {
    /// A node that does not know CAPA is older than it, and had nothing but USER.
    pub(super) const WITHOUT_CAPA: Self = Self { plain: false, user: true };

    /// Adds one line of the list.
    pub(super) fn add(&mut self, line: &[u8]) {
        let mut words = line.split(|&octet| octet == b' ');
        match words.next() {
            Some(name) if name.eq_ignore_ascii_case(b"USER") => self.user = true,
            Some(name) if name.eq_ignore_ascii_case(b"SASL") => {
                self.plain |= words.any(|mechanism| mechanism.eq_ignore_ascii_case(b"PLAIN"));
            }
            _ => {}
        }
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
            (b"+", Some(Status::Continue)),
            (b"+ ", Some(Status::Continue)),
            (b"+ DQo=", Some(Status::Continue)),
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
        for line in ["TOP", "SASL LOGIN CRAM-MD5", "USERS", "PLAIN", "", "IMPLEMENTATION SASL PLAIN USER"] {
            capabilities.add(line.as_bytes());
        }
        assert_eq!(capabilities, Capabilities::default());
        capabilities.add(b"sasl cram-md5 plain");
        capabilities.add(b"User");
        assert_eq!(capabilities, Capabilities { plain: true, user: true });
    }
}
