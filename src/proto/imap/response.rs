//! What a node says: where one response ends, what kind it is, its response code, its capabilities.
//!
//! A login needs of each response its first words and, of a status, the code at the front of its text. Nothing else is
//! looked at, and it is passed on as it came: a grammar for all of IMAP would cost a login more than all that we do
//! ourselves.

use crate::proto::{Extensions, NodeFault, NodeRefusal, RefusalKind};

/// Longest line of a node, in octets, without its line end.
pub(super) const LINE_MAX: usize = 8 * 1024;

/// Most octets of one response with its literals, and of all responses before the tagged one.
pub(super) const RESPONSES_MAX: usize = 64 * 1024;

/// Means that the client may log in as another user on the same connection (RFC 8437): on a node that was chosen for
/// the first one, and past all that mailferry counts.
const UNAUTHENTICATE: &[u8] = b"UNAUTHENTICATE";

/// One response, understood as far as a login needs it. Texts come without CR, LF and NUL.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// `+`, with what follows it.
    Continuation(Vec<u8>),
    /// `* OK`, with what follows it.
    Ok(Vec<u8>),
    /// `* BYE`.
    Bye,
    /// `* PREAUTH`.
    Preauth,
    /// `* CAPABILITY`, with the list that follows it.
    Capability(Vec<u8>),
    /// Any other untagged response.
    Data,
    /// Our tag and `OK`, with what follows it.
    Accepted(Vec<u8>),
    /// Our tag and `NO`, with what follows it.
    Refused(Vec<u8>),
    /// Our tag and `BAD`.
    Bad,
}

/// How long the response at the front of `octets` is, with its literals and its last line end. `None` if it is not all
/// there yet.
pub(super) fn length(octets: &[u8]) -> Result<Option<usize>, NodeFault> {
    let mut end = 0;
    loop {
        let rest = octets.get(end..).unwrap_or_default();
        let window = rest.get(..LINE_MAX + 2).unwrap_or(rest);
        let Some(line) = window.iter().position(|&octet| octet == b'\n').and_then(|lf| window.get(..lf)) else {
            return if window.len() > LINE_MAX + 1 { Err(NodeFault::TooLong) } else { Ok(None) };
        };
        if trimmed(line).len() > LINE_MAX {
            return Err(NodeFault::TooLong);
        }
        let is_text = end == 0 && !is_data(line);
        end += line.len() + 1;
        let literal = if is_text { None } else { announced(trimmed(line)) };
        let Some(octets_announced) = literal else { return Ok(Some(end)) };
        end = end.saturating_add(octets_announced);
        if end > RESPONSES_MAX {
            return Err(NodeFault::TooLong);
        }
        if end > octets.len() {
            return Ok(None);
        }
    }
}

/// Understands one whole response, as measured by [`length`]. Anything that is tagged must carry `tag`.
pub(super) fn parse(response: &[u8], tag: &[u8]) -> Result<Response, NodeFault> {
    let line = response.strip_suffix(b"\n").map_or(response, trimmed);
    if line == b"+" || line.starts_with(b"+ ") {
        return Ok(Response::Continuation(line.get(2..).unwrap_or_default().to_vec()));
    }
    if is_data(line) {
        return data(response, line);
    }
    if line.starts_with(b"* ") && holds_line_end(line) {
        return Err(NodeFault::Garbage);
    }
    let is_tagged = !line.starts_with(b"* ");
    let behind =
        if is_tagged { line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(b" ")) } else { line.get(2..) };
    let behind = behind.ok_or(NodeFault::Garbage)?;
    let word = behind.split(|&octet| octet == b' ').next().unwrap_or_default();
    let text = behind.get(word.len() + 1..).unwrap_or_default();
    match (Status::named(word).ok_or(NodeFault::Garbage)?, is_tagged) {
        (Status::Ok, false) => Ok(Response::Ok(clean(text))),
        (Status::Ok, true) => Ok(Response::Accepted(clean(text))),
        (Status::No, true) => Ok(Response::Refused(clean(text))),
        (Status::Bad, true) => Ok(Response::Bad),
        (Status::No | Status::Bad, false) => Ok(Response::Data),
        (Status::Bye, false) => Ok(Response::Bye),
        (Status::Preauth, false) => Ok(Response::Preauth),
        (Status::Bye | Status::Preauth, true) => Err(NodeFault::Garbage),
    }
}

/// The word of a status response (RFC 3501 §7.1).
#[derive(Clone, Copy)]
enum Status {
    Ok,
    No,
    Bad,
    Bye,
    Preauth,
}

impl Status {
    fn named(word: &[u8]) -> Option<Self> {
        let statuses: [(&[u8], Self); 5] = [
            (b"OK", Self::Ok),
            (b"NO", Self::No),
            (b"BAD", Self::Bad),
            (b"BYE", Self::Bye),
            (b"PREAUTH", Self::Preauth),
        ];
        statuses.into_iter().find_map(|(name, status)| word.eq_ignore_ascii_case(name).then_some(status))
    }
}

fn data(response: &[u8], line: &[u8]) -> Result<Response, NodeFault> {
    // Literals may hold a CR; where there is none, nobody may see another line end than we do.
    if response.iter().filter(|&&octet| octet == b'\n').count() == 1 && holds_line_end(line) {
        return Err(NodeFault::Garbage);
    }
    match word_behind(line, b"* ") {
        word if word.eq_ignore_ascii_case(b"CAPABILITY") => {
            let list = line.get(b"* CAPABILITY ".len()..).unwrap_or_default();
            Ok(Response::Capability(list.trim_ascii().to_vec()))
        }
        word if word.is_empty() || !word.iter().all(u8::is_ascii_graphic) => Err(NodeFault::Garbage),
        _ => Ok(Response::Data),
    }
}

/// Whether a line is untagged and no status response: only such a line can hold literals.
fn is_data(line: &[u8]) -> bool {
    line.starts_with(b"* ") && Status::named(trimmed(word_behind(line, b"* "))).is_none()
}

fn word_behind<'a>(line: &'a [u8], start: &[u8]) -> &'a [u8] {
    line.strip_prefix(start).and_then(|rest| rest.split(|&octet| octet == b' ').next()).unwrap_or_default()
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The size of the literal that a line announces at its end, saturating.
fn announced(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}")?;
    let digits = line.get(line.iter().rposition(|&octet| octet == b'{')? + 1..)?;
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum: usize, digit| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'))))
}

/// Whether somebody else could see the end of the line earlier.
fn holds_line_end(line: &[u8]) -> bool {
    line.iter().any(|octet| matches!(octet, b'\r' | 0))
}

fn clean(text: &[u8]) -> Vec<u8> {
    let lawful = |octet: &u8| !matches!(octet, b'\r' | b'\n' | 0);
    // Most often in one copy.
    if text.iter().all(lawful) { text.to_vec() } else { text.iter().copied().filter(lawful).collect() }
}

// ── response codes ──────────────────────────────────────────────────────────────────────────────────────────────────

/// A response code at the front of a text.
struct Code<'a> {
    name: &'a [u8],
    arguments: &'a [u8],
    /// The text behind it.
    text: &'a [u8],
}

fn code(text: &[u8]) -> Option<Code<'_>> {
    let inside = text.strip_prefix(b"[")?;
    let end = inside.iter().position(|&octet| octet == b']')?;
    let (inside, behind) = (inside.get(..end)?, inside.get(end + 1..)?);
    let name = inside.split(|&octet| octet == b' ').next()?;
    let arguments = inside.get(name.len()..)?.trim_ascii();
    let lawful = name.first()?.is_ascii_alphabetic() && name.iter().all(|o| o.is_ascii_alphanumeric() || *o == b'-');
    lawful.then(|| Code { name, arguments, text: behind.strip_prefix(b" ").unwrap_or(behind) })
}

fn code_named<'a>(text: &'a [u8], name: &str) -> Option<Code<'a>> {
    code(text).filter(|code| code.name.eq_ignore_ascii_case(name.as_bytes()))
}

/// The list in a `[CAPABILITY …]` at the front of a text.
pub(super) fn capability_code(text: &[u8]) -> Option<&[u8]> {
    code_named(text, "CAPABILITY").map(|code| code.arguments)
}

/// A text without the codes at its front that are not for the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Freed {
    /// What the client may read of the list in a `[CAPABILITY …]`, if it is one.
    pub(super) capabilities: Option<Vec<u8>>,
    /// Whether there was a `[REFERRAL …]` (RFC 2221). Never passed on: the client would take its password there.
    pub(super) is_referral: bool,
    /// What is left. As long as it was, if there was none of the two.
    pub(super) text: Vec<u8>,
}

/// Takes those codes away, however many there are: one could stand behind another, and be the first for the client.
pub(super) fn freed(text: &[u8]) -> Freed {
    let (mut capabilities, mut is_referral, mut rest) = (None, false, text);
    // Blanks before a code are not lawful, and there are clients that do not mind.
    while let Some(code) = code(rest.trim_ascii_start()) {
        if code.name.eq_ignore_ascii_case(b"CAPABILITY") {
            capabilities = Some(announceable(code.arguments)).filter(|list| !list.is_empty()).or(capabilities);
        } else if code.name.eq_ignore_ascii_case(b"REFERRAL") {
            is_referral = true;
        } else {
            break;
        }
        rest = code.text;
    }
    Freed { capabilities, is_referral, text: rest.to_vec() }
}

/// Whether one whole untagged response is a status that would send the client elsewhere.
pub(super) fn is_untagged_referral(response: &[u8]) -> bool {
    let text = response.splitn(3, |&octet| octet == b' ').nth(2).unwrap_or_default();
    !is_data(trimmed(response.strip_suffix(b"\n").unwrap_or(response))) && freed(text).is_referral
}

/// Whether a text says that the node has trouble of its own with what it was told.
pub(super) fn is_server_bug(text: &[u8]) -> bool {
    code_named(text, "SERVERBUG").is_some()
}

/// What a refusal means, and its text for the client. A node that gives no code means the password (DBMail); it gets
/// the code, because that is what an unknown user hears, and clients should not be able to tell one from the other.
pub(super) fn refusal(mut text: Vec<u8>) -> NodeRefusal {
    let kind = code(&text).map_or(RefusalKind::WrongPassword, |code| kind(&code));
    if code(&text).is_none() && !text.is_empty() {
        text.splice(..0, *b"[AUTHENTICATIONFAILED] ");
    }
    text.truncate(NodeRefusal::TEXT_MAX);
    NodeRefusal { kind, text, challenge: None }
}

fn kind(code: &Code<'_>) -> RefusalKind {
    match code.name.to_ascii_uppercase().as_slice() {
        // The last one says nothing about the reason.
        b"AUTHENTICATIONFAILED" | b"ALERT" => RefusalKind::WrongPassword,
        b"UNAVAILABLE" | b"SERVERBUG" => RefusalKind::Temporary,
        b"INUSE" => RefusalKind::InUse,
        b"AUTHORIZATIONFAILED"
        | b"CANNOT"
        | b"CLIENTBUG"
        | b"CONTACTADMIN"
        | b"CORRUPTION"
        | b"EXPIRED"
        | b"LIMIT"
        | b"NOPERM"
        | b"OVERQUOTA"
        | b"PRIVACYREQUIRED" => RefusalKind::Other,
        // Codes for a login are one atom. `[TRY RFC]` and the like are jokes of old servers.
        _ if code.arguments.is_empty() => RefusalKind::Other,
        _ => RefusalKind::WrongPassword,
    }
}

// ── capabilities ────────────────────────────────────────────────────────────────────────────────────────────────────

/// Whether a list holds a word.
pub(super) fn lists(list: &[u8], word: &str) -> bool {
    list.split(|&octet| octet == b' ').any(|listed| listed.eq_ignore_ascii_case(word.as_bytes()))
}

/// The words of a list.
pub(super) fn words(list: &[u8]) -> Extensions {
    list.split(|&octet| octet == b' ').collect()
}

/// What the client may read of a capability list, with one space between words: all but [`UNAUTHENTICATE`], and but
/// words that could not stand in a response code.
pub(super) fn announceable(list: &[u8]) -> Vec<u8> {
    let words = list.split(|&octet| octet == b' ').filter(|word| {
        let lawful = !word.is_empty() && word.iter().all(|octet| octet.is_ascii_graphic() && *octet != b']');
        lawful && !word.eq_ignore_ascii_case(UNAUTHENTICATE)
    });
    let mut announceable = Vec::with_capacity(list.len());
    for word in words {
        if !announceable.is_empty() {
            announceable.push(b' ');
        }
        announceable.extend_from_slice(word);
    }
    announceable
}

#[cfg(test)]
mod tests;
