//! The grammar of what an IMAP client may say before its login (RFC 3501 §9, RFC 9051 §9, RFC 2971, RFC 4959).
//!
//! It is run over everything that was collected of one command each time a line ends, and decides by the type of the
//! token whether that end announces a literal: a quoted `"{5}"` is text. A collected command is its lines, each end but
//! the last written as CRLF, with the octets of the literals between them.
//! The grammar must never answer, count, or know what is offered; nothing it rejects may get into an error.

use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take, take_while, take_while_m_n, take_while1};
use nom::character::complete::{digit1, one_of};
use nom::combinator::{eof, map, opt, peek, recognize, value, verify};
use nom::error::{ErrorKind, ParseError};
use nom::multi::{many0_count, separated_list0};
use nom::sequence::{delimited, preceded, separated_pair, terminated};
use nom::{Err, IResult, Parser};

use super::reply::Bad;
use crate::proto::claim::{Fact, Facts};
use crate::proto::sasl::{self, Mechanism};
use crate::secret::Secret;

/// Longest command, in octets without its literals and its last line end. RFC 2683 §3.2.1.5 asks for 8000 at least.
pub(super) const COMMAND_MAX: usize = 8192;

/// Longest ID, in octets with its literals: 30 pairs of the sizes below are lawful (RFC 2971 §3.3), and are sent.
pub(super) const ID_MAX: usize = 36 * 1024;

/// Longest literal of a LOGIN, in octets. RFC 7888 §5 sets it for those that do not wait, once LITERAL- is announced.
pub(super) const LITERAL_MAX: usize = 4096;

/// Octets that suffice to tell which command this is.
pub(super) const HEAD_MAX: usize = TAG_MAX + 1 + NAME_MAX + 1;

/// Longest tag, in octets.
const TAG_MAX: usize = 64;
/// Longest command name, in octets.
const NAME_MAX: usize = 20;
/// Most pairs in an ID (RFC 2971 §3.3).
const ID_PAIRS_MAX: usize = 30;
/// Longest field name in an ID, in octets (RFC 2971 §3.3).
const ID_KEY_MAX: usize = 30;
/// Longest value in an ID, in octets (RFC 2971 §3.3).
const ID_VALUE_MAX: usize = 1024;
/// Digits of a literal's size that are read; more cannot be a lawful size (leading zeros aside).
const SIZE_DIGITS_MAX: usize = 10;

/// What works only behind the login. Everything else that is not understood is unknown.
const AFTER_LOGIN: [&[u8]; 34] = [
    b"APPEND",
    b"CHECK",
    b"CLOSE",
    b"COMPRESS",
    b"COPY",
    b"CREATE",
    b"DELETE",
    b"DELETEACL",
    b"ENABLE",
    b"EXAMINE",
    b"EXPUNGE",
    b"FETCH",
    b"GETACL",
    b"GETMETADATA",
    b"GETQUOTA",
    b"GETQUOTAROOT",
    b"IDLE",
    b"LIST",
    b"LSUB",
    b"MOVE",
    b"MYRIGHTS",
    b"NAMESPACE",
    b"RENAME",
    b"SEARCH",
    b"SELECT",
    b"SORT",
    b"STATUS",
    b"STORE",
    b"SUBSCRIBE",
    b"THREAD",
    b"UID",
    b"UNAUTHENTICATE",
    b"UNSELECT",
    b"UNSUBSCRIBE",
];

/// What was collected so far, understood.
pub(super) enum Parsed<'a> {
    /// No valid tag stands at its front, so nothing of it is worth more than a `* BAD`.
    Tagless,
    /// Not a command, or none that is lawful here.
    Bad(&'a [u8], Bad),
    /// The command goes on with a literal.
    NeedLiteral(&'a [u8], Header),
    /// All of it is there.
    Complete(&'a [u8], Command),
}

/// What announces a literal. Its size was compared with the limit of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// How many octets follow the line end.
    pub(super) octets: usize,
    /// Whether the client waits for a `+` before it sends them.
    pub(super) synchronising: bool,
    /// Where it stands.
    pub(super) place: Place,
}

/// Where a literal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a LOGIN.
    Credential,
    /// In an ID.
    Identity,
}

/// A lawful command.
pub(super) enum Command {
    Capability,
    Noop,
    Logout,
    StartTls,
    /// What the client says of itself is checked and forgotten, but for what a proxy says of the client behind it.
    Id(Facts),
    /// Both as the client meant them, without quotes; not yet checked by [`sasl::by_password`].
    Login {
        user: Secret,
        password: Secret,
    },
    /// `mechanism` is none of ours, if it is none; `initial` is base64, or the `=` that stands for an empty response (RFC 4959 §3).
    Authenticate {
        mechanism: Option<Mechanism>,
        initial: Option<Secret>,
    },
}

/// Why the grammar stopped.
enum Stop {
    /// Another alternative may fit.
    Mismatch,
    Bad(Bad),
    Literal(Header),
}

impl<'a> ParseError<&'a [u8]> for Stop {
    fn from_error_kind(_: &'a [u8], _: ErrorKind) -> Self {
        Self::Mismatch
    }

    fn append(_: &'a [u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

type Parse<'a, T> = IResult<&'a [u8], T, Stop>;

/// Understands what was collected of one command, without its last line end.
pub(super) fn parse(octets: &[u8]) -> Parsed<'_> {
    let Ok((rest, label)) = label(octets) else { return Parsed::Tagless };
    match terminated(command, end).parse(rest) {
        Ok((_, command)) => Parsed::Complete(label, command),
        Err(Err::Failure(Stop::Literal(header))) => Parsed::NeedLiteral(label, header),
        Err(Err::Failure(Stop::Bad(why))) => Parsed::Bad(label, why),
        Err(_) => Parsed::Bad(label, Bad::Syntax),
    }
}

/// The tag at the front of a command, however it goes on.
pub(super) fn tag_of(octets: &[u8]) -> Option<&[u8]> {
    label(octets).ok().map(|(_, label)| label)
}

/// How long a command may be with its literals, where it may be longer than [`COMMAND_MAX`] allows. `head` is its
/// beginning.
pub(super) fn whole_max(head: &[u8]) -> Option<usize> {
    let name = label(head).and_then(|(rest, _)| preceded(tag(" "), name).parse(rest));
    match name {
        Ok((_, name)) if name.eq_ignore_ascii_case(b"ID") => Some(ID_MAX),
        Ok((_, name)) if name.eq_ignore_ascii_case(b"AUTHENTICATE") => {
            Some(HEAD_MAX + NAME_MAX + 1 + sasl::RESPONSE_MAX)
        }
        _ => None,
    }
}

fn label(input: &[u8]) -> Parse<'_, &[u8]> {
    terminated(take_while_m_n(1, TAG_MAX, is_tag_octet), peek(alt((tag(" "), eof)))).parse(input)
}

fn name(input: &[u8]) -> Parse<'_, &[u8]> {
    terminated(take_while_m_n(1, NAME_MAX, |octet: u8| octet.is_ascii_alphabetic()), peek(alt((tag(" "), eof))))
        .parse(input)
}

/// Spaces at the end of a line are common enough to be let through.
fn end(input: &[u8]) -> Parse<'_, &[u8]> {
    preceded(take_while(|octet| octet == b' '), eof).parse(input)
}

fn command(input: &[u8]) -> Parse<'_, Command> {
    let (input, name) = preceded(tag(" "), name).parse(input)?;
    match name.to_ascii_uppercase().as_slice() {
        b"CAPABILITY" => Ok((input, Command::Capability)),
        b"NOOP" => Ok((input, Command::Noop)),
        b"LOGOUT" => Ok((input, Command::Logout)),
        b"STARTTLS" => Ok((input, Command::StartTls)),
        b"ID" => preceded(tag(" "), identity).parse(input),
        b"LOGIN" => login(input),
        b"AUTHENTICATE" => authenticate(input),
        name if AFTER_LOGIN.contains(&name) => Err(Err::Failure(Stop::Bad(Bad::NotNow))),
        _ => Err(Err::Failure(Stop::Bad(Bad::Unknown))),
    }
}

fn login(input: &[u8]) -> Parse<'_, Command> {
    let arguments = (preceded(tag(" "), astring), preceded(tag(" "), astring));
    map(arguments, |(user, password)| Command::Login { user, password }).parse(input)
}

fn authenticate(input: &[u8]) -> Parse<'_, Command> {
    let mechanism = map(take_while1(is_atom_octet), Mechanism::named);
    let initial = map(take_while1(is_base64_octet), |octets: &[u8]| Secret::new(octets.to_vec()));
    let arguments = (preceded(tag(" "), mechanism), opt(preceded(tag(" "), initial)));
    map(arguments, |(mechanism, initial)| Command::Authenticate { mechanism, initial }).parse(input)
}

fn identity(input: &[u8]) -> Parse<'_, Command> {
    let mut facts = Facts::default();
    let content = alt((map(id_nil, |()| None), map(id_string(ID_VALUE_MAX), Some)));
    let mut pair = separated_pair(id_string(ID_KEY_MAX), tag(" "), content);
    let mut left = ID_PAIRS_MAX;
    let noted = |input| {
        // Before it is read: each literal has the grammar run over everything once more.
        left = left.checked_sub(1).ok_or(Err::Error(Stop::Mismatch))?;
        let (input, (key, content)) = pair.parse(input)?;
        if let (Some(fact), Some(content)) = (fact(key.expose()), content) {
            facts.note(fact, content.expose());
        }
        Ok((input, ()))
    };
    let pairs = separated_list0(tag(" "), noted);
    // Python's aioimaplib writes spaces at the inner side of the parentheses.
    let list = delimited((tag("("), opt(tag(" "))), pairs, (opt(tag(" ")), tag(")")));
    let (input, ()) = alt((id_nil, value((), list))).parse(input)?;
    Ok((input, Command::Id(facts)))
}

/// The field names with which Dovecot's proxies introduce their clients. Field names have no case (RFC 2971 §3.3).
fn fact(key: &[u8]) -> Option<Fact> {
    match key.to_ascii_lowercase().as_slice() {
        b"x-originating-ip" => Some(Fact::ClientAddress),
        b"x-originating-port" => Some(Fact::ClientPort),
        b"x-connected-ip" => Some(Fact::ConnectedAddress),
        b"x-connected-port" => Some(Fact::ConnectedPort),
        b"x-proxy-ttl" => Some(Fact::Ttl),
        _ => None,
    }
}

fn id_nil(input: &[u8]) -> Parse<'_, ()> {
    value((), tag_no_case("NIL")).parse(input)
}

fn id_string(max: usize) -> impl Fn(&[u8]) -> Parse<'_, Secret> {
    move |input| {
        let literal = verify(literal(max, Place::Identity), |octets: &[u8]| !octets.contains(&0));
        let quoted = verify(quoted, move |octets: &Secret| octets.expose().len() <= max);
        alt((quoted, map(literal, |octets: &[u8]| Secret::new(octets.to_vec())))).parse(input)
    }
}

fn astring(input: &[u8]) -> Parse<'_, Secret> {
    let literal = literal(LITERAL_MAX, Place::Credential);
    alt((map(alt((take_while1(is_bare_octet), literal)), |octets: &[u8]| Secret::new(octets.to_vec())), quoted))
        .parse(input)
}

/// A quoted string, with its escapes taken away. Octets from 0x80 on pass as they are: clients send UTF-8 and Latin-1.
fn quoted(input: &[u8]) -> Parse<'_, Secret> {
    let plain = take_while1(|octet| !matches!(octet, b'"' | b'\\' | b'\r' | b'\n' | 0));
    let escaped = recognize(preceded(tag("\\"), one_of("\"\\")));
    let body = recognize(many0_count(alt((plain, escaped))));
    map(delimited(tag("\""), body, tag("\"")), unescape).parse(input)
}

fn unescape(body: &[u8]) -> Secret {
    // Room for all at once: growing would leave unwiped copies behind.
    let mut octets = Vec::with_capacity(body.len());
    let mut rest = body.iter();
    while let Some(&octet) = rest.next() {
        octets.push(if octet == b'\\' { rest.next().copied().unwrap_or(octet) } else { octet });
    }
    Secret::new(octets)
}

/// A literal, or what announces one at the end of what was collected.
fn literal(max: usize, place: Place) -> impl Fn(&[u8]) -> Parse<'_, &[u8]> {
    move |input| {
        let (input, (digits, plus)) = delimited(tag("{"), (digit1, opt(tag("+"))), tag("}")).parse(input)?;
        match size(digits).filter(|&octets| octets <= max) {
            None => Err(Err::Failure(Stop::Bad(Bad::LiteralTooLong))),
            Some(octets) if input.is_empty() => {
                Err(Err::Failure(Stop::Literal(Header { octets, synchronising: plus.is_none(), place })))
            }
            Some(octets) => preceded(tag("\r\n"), take(octets)).parse(input),
        }
    }
}

/// `None` for a size that no place allows; it is never computed, so it cannot wrap around.
fn size(digits: &[u8]) -> Option<usize> {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    let digits = digits.get(zeros..).filter(|digits| digits.len() <= SIZE_DIGITS_MAX)?;
    digits.iter().try_fold(0_usize, |sum, &digit| sum.checked_mul(10)?.checked_add(usize::from(digit - b'0')))
}

fn is_atom_octet(octet: u8) -> bool {
    octet.is_ascii_graphic() && !matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

fn is_tag_octet(octet: u8) -> bool {
    octet == b']' || is_atom_octet(octet) && octet != b'+'
}

/// An astring that is neither quoted nor a literal. The grammar has no wildcards here, but Python's imaplib and others
/// send every name bare, and `user%domain` is one.
fn is_bare_octet(octet: u8) -> bool {
    is_atom_octet(octet) || matches!(octet, b']' | b'%' | b'*')
}

fn is_base64_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=')
}
