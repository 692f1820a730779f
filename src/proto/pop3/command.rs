//! What a POP3 client may say before its login: the grammar of one line, whose line end is already cut off.
//!
//! A password has no grammar: it is the whole rest of its line (RFC 1939 §7). The types here borrow from the line and
//! have no `Debug`, since they carry passwords.

use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take_till1, take_while};
use nom::combinator::{all_consuming, map, opt, rest};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use crate::proto::claim::{Fact, Facts};
use crate::proto::sasl::Mechanism;

/// One command of the AUTHORIZATION state. Everything else, known to POP3 or not, is [`Bad`].
#[derive(PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// RFC 2449 §5.
    Capa,
    /// RFC 1939 §5.
    Quit,
    /// RFC 2595 §4.
    Stls,
    /// RFC 1939 §7: the rest of the line.
    User(&'a [u8]),
    /// RFC 1939 §7: the rest of the line, with the spaces at its ends.
    Pass(&'a [u8]),
    /// `AUTH` alone, with which old clients ask for the mechanisms. RFC 5034 does not know it.
    Mechanisms,
    /// RFC 5034 §4.
    Auth {
        /// `None` is a mechanism that is not ours.
        mechanism: Option<Mechanism>,
        /// The initial response as sent; a lone `=` is the empty one.
        initial: Option<&'a [u8]>,
    },
    /// Dovecot's: what a proxy says of its client, as `KEY=value` with spaces between.
    XClient(&'a [u8]),
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// NUL, or a CR that ends no line.
    Octets,
    /// No command, or one of a later state, or of an extension that is not announced.
    Unknown,
}

/// Reads one line.
pub(super) fn parse(line: &[u8]) -> Result<Command<'_>, Bad> {
    if line.iter().any(|octet| matches!(octet, 0 | b'\r')) {
        return Err(Bad::Octets);
    }
    all_consuming(command).parse(line).map(|(_, command)| command).map_err(|_| Bad::Unknown)
}

/// Whether the input begins like a command of HTTP or SMTP, or like a TLS handshake. The answer does not change when
/// more octets of the same line arrive, except from no to yes.
pub(super) fn is_other_protocol(octets: &[u8]) -> bool {
    const TLS_HANDSHAKE: &[u8] = &[0x16, 0x03];
    const WORDS: [&[u8]; 8] = [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"HELO", b"EHLO"];
    octets.starts_with(TLS_HANDSHAKE) || WORDS.iter().any(|word| starts_with_no_case(octets, word))
}

/// Whether the input begins with an `AUTH` that has arguments, whose line may be long.
pub(super) fn is_auth(octets: &[u8]) -> bool {
    starts_with_no_case(octets, b"AUTH ")
}

fn starts_with_no_case(octets: &[u8], word: &[u8]) -> bool {
    octets.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
}

fn command(line: &[u8]) -> IResult<&[u8], Command<'_>> {
    alt((
        map(bare("CAPA"), |_| Command::Capa),
        map(bare("QUIT"), |_| Command::Quit),
        map(bare("STLS"), |_| Command::Stls),
        map(preceded(tag_no_case("USER "), rest), Command::User),
        map(preceded(tag_no_case("PASS "), rest), Command::Pass),
        map(bare("AUTH"), |_| Command::Mechanisms),
        auth,
        map(preceded(tag_no_case("XCLIENT "), rest), Command::XClient),
    ))
    .parse(line)
}

/// A command without arguments. Spaces behind it are forgiven.
fn bare<'a>(
    keyword: &'static str,
) -> impl Parser<&'a [u8], Output = &'a [u8], Error = nom::error::Error<&'a [u8]>> + use<'a> {
    all_consuming(terminated(tag_no_case(keyword), spaces))
}

fn auth(line: &[u8]) -> IResult<&[u8], Command<'_>> {
    let (line, name) = preceded(tag_no_case("AUTH "), word).parse(line)?;
    let (line, initial) = opt(preceded(tag(" "), word)).parse(line)?;
    let (line, _) = spaces(line)?;
    Ok((line, Command::Auth { mechanism: Mechanism::named(name), initial }))
}

/// What the arguments of XCLIENT say. What we do not know is ignored.
pub(super) fn facts(arguments: &[u8]) -> Facts {
    let mut facts = Facts::default();
    for argument in arguments.split(|&octet| octet == b' ') {
        let mut halves = argument.splitn(2, |&octet| octet == b'=');
        if let (Some(fact), Some(content)) = (halves.next().and_then(fact), halves.next()) {
            facts.note(fact, content);
        }
    }
    facts
}

fn fact(key: &[u8]) -> Option<Fact> {
    match key.to_ascii_uppercase().as_slice() {
        b"ADDR" => Some(Fact::ClientAddress),
        b"PORT" => Some(Fact::ClientPort),
        b"DESTADDR" => Some(Fact::ConnectedAddress),
        b"DESTPORT" => Some(Fact::ConnectedPort),
        b"TTL" => Some(Fact::Ttl),
        _ => None,
    }
}

fn word(line: &[u8]) -> IResult<&[u8], &[u8]> {
    take_till1(|octet| octet == b' ')(line)
}

fn spaces(line: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while(|octet| octet == b' ')(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_have_no_case_and_passwords_no_grammar() {
        let plain = |initial| Command::Auth { mechanism: Some(Mechanism::Plain), initial };
        let cases: [(&[u8], Command<'_>); 18] = [
            (b"capa", Command::Capa),
            (b"CAPA  ", Command::Capa),
            (b"Quit", Command::Quit),
            (b"STLS", Command::Stls),
            (b"user bob", Command::User(b"bob")),
            (b"USER ", Command::User(b"")),
            (b"USER  bob ", Command::User(b" bob ")),
            (b"PASS \xff\"\\%{5} ", Command::Pass(b"\xff\"\\%{5} ")),
            (b"PASS  ", Command::Pass(b" ")),
            (b"AUTH", Command::Mechanisms),
            (b"AUTH ", Command::Mechanisms),
            (b"auth plain", plain(None)),
            (b"AUTH PLAIN =", plain(Some(b"="))),
            (b"AUTH PLAIN YQ== ", plain(Some(b"YQ=="))),
            (b"AUTH PLAIN *", plain(Some(b"*"))),
            (b"AUTH LOGIN", Command::Auth { mechanism: Some(Mechanism::Login), initial: None }),
            (b"xclient ADDR=::1  TTL=3", Command::XClient(b"ADDR=::1  TTL=3")),
            (b"AUTH CRAM-MD5", Command::Auth { mechanism: None, initial: None }),
        ];
        for (line, expected) in cases {
            assert!(parse(line).is_ok_and(|command| command == expected), "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn what_is_not_a_command_of_the_authorization_state_is_bad() {
        for line in ["", " ", "USER", "PASS", "USERbob", " USER bob", "CAPA x", "QUIT now", "STLS x", "NOOP", "STAT"] {
            assert!(parse(line.as_bytes()) == Err(Bad::Unknown), "{line:?}");
        }
        for line in ["UTF8", "LANG *", "APOP bob x", "XCLIENT", "XOIP 1.2.3.4", "USER\tbob", "AUTH PLAIN a b"] {
            assert!(parse(line.as_bytes()) == Err(Bad::Unknown), "{line:?}");
        }
        for line in ["PASS a\0b", "PASS a\rb", "CAPA\r", "\0"] {
            assert!(parse(line.as_bytes()) == Err(Bad::Octets), "{line:?}");
        }
    }

    #[test]
    fn other_protocols_are_known_by_their_first_octets() {
        for other in
            [&b"GET / HTTP/1.1"[..], b"post /x", b"CONNECT x:25 HTTP/1.1", b"HELO x", b"ehlo\r\n", b"\x16\x03\x01\x02"]
        {
            assert!(is_other_protocol(other), "{:?}", other.escape_ascii().to_string());
        }
        for pop3 in [&b"GET"[..], b"GETX", b"\x16", b"USER GET ", b"", b"QUIT"] {
            assert!(!is_other_protocol(pop3), "{:?}", pop3.escape_ascii().to_string());
        }
    }
}
