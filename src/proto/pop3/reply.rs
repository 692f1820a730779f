//! Every text that mailferry says to a POP3 client.
//!
//! No octet of a client ever comes in here; what comes from the configuration or a node is freed of line ends and cut to
//! the length of an answer, but for a node's challenge, which is base64 and bounded where it is read. Temporary trouble
//! always carries its code: without one, clients ask for a new password.

#![warn(clippy::wildcard_enum_match_arm)]

use crate::proto::sasl::Mechanism;
use crate::proto::{Declined, Farewell, NodeAcceptance, NodeRefusal, Offer, Refusal};

/// Longest first line of an answer, in octets with its CRLF (RFC 2449 §4).
const ANSWER_MAX: usize = 512;

pub(super) const BEGIN_TLS: &[u8] = b"+OK begin TLS now\r\n";
pub(super) const SEND_PASSWORD: &[u8] = b"+OK send the password\r\n";
pub(super) const GOODBYE: &[u8] = b"+OK goodbye\r\n";
pub(super) const INTRODUCED: &[u8] = b"+OK noted\r\n";

pub(super) const UNKNOWN_COMMAND: &[u8] = b"-ERR unknown command, or not before the login\r\n";
pub(super) const BAD_OCTETS: &[u8] = b"-ERR NUL or CR inside a line\r\n";
pub(super) const LINE_TOO_LONG: &[u8] = b"-ERR line too long\r\n";
pub(super) const NO_USER: &[u8] = b"-ERR USER comes first\r\n";
pub(super) const XCLIENT_TOO_LATE: &[u8] = b"-ERR XCLIENT comes first, and once\r\n";
pub(super) const NO_STLS: &[u8] = b"-ERR no STLS here\r\n";
pub(super) const BAD_BASE64: &[u8] = b"-ERR this is not base64\r\n";
pub(super) const CANCELLED: &[u8] = b"-ERR cancelled\r\n";
pub(super) const TOO_MANY_BAD_COMMANDS: &[u8] = b"-ERR too many bad commands\r\n";
pub(super) const OTHER_PROTOCOL: &[u8] = b"-ERR this is a POP3 server\r\n";

/// The first line. It must not hold `<…@…>`, which would offer APOP (RFC 1939 §7). A proxy that may introduce its client
/// is told so as Dovecot does.
pub(super) fn greeting(offer: &Offer) -> Vec<u8> {
    let hostname: String = offer.hostname.chars().filter(|c| !matches!(c, '<' | '>' | '@')).collect();
    answer(if offer.is_trusted { "+OK [XCLIENT]" } else { "+OK" }, format!("{hostname} ready").as_bytes())
}

/// The answer to CAPA (RFC 2449 §5). Without the two codes' names clients do not look at our codes.
pub(super) fn capabilities(offer: &Offer) -> Vec<u8> {
    let mut list = b"+OK\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n".to_vec();
    if offer.passwords_allowed() {
        list.extend_from_slice(b"USER\r\nSASL");
        for mechanism in Mechanism::offered(offer) {
            list.push(b' ');
            list.extend_from_slice(mechanism.name().as_bytes());
        }
        list.extend_from_slice(b"\r\n");
    }
    if offer.starttls() {
        list.extend_from_slice(b"STLS\r\n");
    }
    for line in offer.extensions.iter().filter(|line| is_repeated(line)) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b"\r\n");
    }
    list.extend_from_slice(b".\r\n");
    list
}

/// Whether a line of the nodes is about what a client can do behind the login, and no more: nobody needs to know what
/// runs on them, and APOP, UTF8 and LANG would have to work before it.
fn is_repeated(line: &str) -> bool {
    matches!(line.split(' ').next(), Some("TOP" | "UIDL" | "EXPIRE" | "LOGIN-DELAY"))
}

/// The answer to AUTH without an argument.
pub(super) fn mechanisms(offer: &Offer) -> Vec<u8> {
    let names = Mechanism::offered(offer).map(|mechanism| format!("{}\r\n", mechanism.name()));
    format!("+OK\r\n{}.\r\n", names.collect::<String>()).into_bytes()
}

/// A SASL challenge, already in base64. The space is part of an empty one too (RFC 5034 §4).
pub(super) fn challenge(base64: &[u8]) -> Vec<u8> {
    [b"+ ", base64, b"\r\n"].concat()
}

/// What a wrong password hears.
pub(super) fn auth_failed(offer: &Offer) -> Vec<u8> {
    answer("-ERR [AUTH]", offer.auth_failed_text.as_bytes())
}

/// The answer to a login that no node is asked about.
pub(super) fn declined(offer: &Offer, why: Declined) -> Vec<u8> {
    match why {
        Declined::Credentials => auth_failed(offer),
        Declined::ForeignAuthzid => answer("-ERR [AUTH]", b"nobody may log in for somebody else"),
        Declined::Privacy if offer.starttls() => answer("-ERR [SYS/PERM]", b"use STLS first"),
        Declined::Privacy => answer("-ERR [SYS/PERM]", b"no passwords without TLS, which is not offered here"),
        Declined::Mechanism => answer("-ERR", b"unknown mechanism"),
    }
}

pub(super) fn refusal(offer: &Offer, refusal: Refusal) -> Vec<u8> {
    match refusal {
        Refusal::AuthenticationFailed => auth_failed(offer),
        Refusal::Unavailable => answer("-ERR [SYS/TEMP]", b"the mail store is out of reach, try again later"),
        Refusal::ServerBug => answer("-ERR [SYS/PERM]", b"internal error"),
        Refusal::TooManySessions => answer("-ERR [IN-USE]", b"too many sessions of this user"),
        Refusal::TooManyFailures => answer("-ERR [SYS/TEMP]", b"too many failed logins, try again later"),
    }
}

pub(super) fn refused_by_node(offer: &Offer, refused: &NodeRefusal) -> Vec<u8> {
    if refused.text.is_empty() { auth_failed(offer) } else { answer("-ERR", &refused.text) }
}

pub(super) fn accepted_by_node(accepted: &NodeAcceptance) -> Vec<u8> {
    answer("+OK", &accepted.text)
}

pub(super) fn farewell(farewell: Farewell) -> Vec<u8> {
    let text = match farewell {
        Farewell::Timeout => "this took too long",
        Farewell::TooManyFailures => "too many failed logins, try again later",
        Farewell::Shutdown => "the server is going down, try again",
        Farewell::TooManyConnections => "too many connections, try again later",
    };
    answer("-ERR [SYS/TEMP]", text.as_bytes())
}

/// One line: the status, a space and the text if there is one, nothing that could end the line early.
fn answer(status: &str, text: &[u8]) -> Vec<u8> {
    let mut line = status.as_bytes().to_vec();
    if !text.is_empty() {
        line.push(b' ');
        line.extend(text.iter().filter(|octet| !matches!(octet, 0 | b'\r' | b'\n')));
    }
    line.truncate(ANSWER_MAX - 2);
    line.extend_from_slice(b"\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Channel;

    fn offer(channel: Channel, auth_failed_text: &str) -> Offer {
        Offer {
            hostname: "<1.2@mail.example.net>".into(),
            auth_failed_text: auth_failed_text.into(),
            channel,
            cleartext_login: false,
            extensions: Default::default(),
            master_users: [].into(),
            is_trusted: false,
        }
    }

    #[test]
    fn r_pop_01_an_answer_is_one_line_of_at_most_512_octets() {
        let long = "x".repeat(600);
        let offer = offer(Channel::Tls, &long);
        let text = b"two\r\nlines\0".repeat(100);
        for line in [
            auth_failed(&offer),
            refused_by_node(
                &offer,
                &NodeRefusal { kind: crate::proto::RefusalKind::Other, text: text.clone(), challenge: None },
            ),
            accepted_by_node(&NodeAcceptance { text, ..NodeAcceptance::default() }),
        ] {
            assert_eq!(line.len(), ANSWER_MAX);
            assert!(line.ends_with(b"\r\n"));
            assert!(!line[..line.len() - 2].iter().any(|octet| b"\r\n\0".contains(octet)));
        }
    }

    #[test]
    fn the_greeting_offers_no_apop() {
        assert_eq!(greeting(&offer(Channel::Tls, "")), b"+OK 1.2mail.example.net ready\r\n");
    }

    #[test]
    fn an_empty_text_leaves_no_space() {
        assert_eq!(accepted_by_node(&NodeAcceptance::default()), b"+OK\r\n");
        assert_eq!(auth_failed(&offer(Channel::Tls, "")), b"-ERR [AUTH]\r\n");
    }
}
