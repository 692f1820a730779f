//! Stands between an LDAP server and the library that speaks with it: only messages that the library can take pass.
//!
//! The library believes every length, builds what is nested by recursion (some kilobytes of brackets are the end of
//! the process), asserts the shape of what it reads, and logs a line for each message that nobody asked for. So a server
//! that has gone mad, or is somebody else's, is cut off before it gets that far. What an answer *means* is not judged
//! here. Nothing of a peer gets into a fault's text.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tracing::warn;
use zeroize::Zeroize;

/// Longest message from a server, in octets. One that is too long costs all searches their connection, so this is far
/// beyond what an entry's two attributes can be by mistake.
const MESSAGE_MAX: usize = 4 * 1024 * 1024;
/// Deepest nesting; an entry needs six levels.
const DEPTH_MAX: usize = 16;
/// Most parts of one message: each costs the library some fifty octets, however short it is.
const PARTS_MAX: u32 = 50_000;
/// Most messages for one request, which may have [`MESSAGE_MAX`] octets together. A server was asked for two entries at
/// most; its referrals count too.
const MESSAGES_MAX: u32 = 1000;
/// So many requests may be in flight at most; what was not used for earlier ones is forgotten beyond them.
const REQUESTS_MAX: u32 = 64;
/// Octets that are moved at once.
const CHUNK: usize = 16 * 1024;

/// BER tags of RFC 4511, with their class and form.
mod tag {
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const OCTET_STRING: u8 = 0x04;
    pub(super) const ENUMERATED: u8 = 0x0a;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const CONSTRUCTED: u8 = 0x20;
    pub(super) const NUMBER: u8 = 0x1f;
    pub(super) const BIND_RESPONSE: u8 = 0x61;
    pub(super) const SEARCH_REQUEST: u8 = 0x63;
    pub(super) const SEARCH_ENTRY: u8 = 0x64;
    pub(super) const SEARCH_DONE: u8 = 0x65;
    pub(super) const SEARCH_REFERENCE: u8 = 0x73;
    pub(super) const EXTENDED_RESPONSE: u8 = 0x78;
    pub(super) const INTERMEDIATE_RESPONSE: u8 = 0x79;
    pub(super) const CONTROLS: u8 = 0xa0;
    /// Active Directory puts the name of its notice of disconnection here.
    pub(super) const MISPLACED_NAME: u8 = 0x8a;
}

/// The request for StartTLS (RFC 4511 §4.14.1), as message 1.
const STARTTLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// Why a server is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("what it sends is no LDAP")]
    NotLdap,
    #[error("a message of more than {MESSAGE_MAX} octets")]
    TooLong,
    #[error("a message with more than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("a message of more than {PARTS_MAX} parts")]
    TooManyParts,
    #[error("more messages than anybody has asked for")]
    TooMany,
}

/// One element of BER.
struct Part<'a> {
    tag: u8,
    content: &'a [u8],
}

impl Part<'_> {
    fn is_constructed(&self) -> bool {
        self.tag & tag::CONSTRUCTED != 0
    }

    fn is_text(&self) -> bool {
        !self.is_constructed() && str::from_utf8(self.content).is_ok()
    }
}

/// The elements of octets that are all there.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn next(&mut self) -> Result<Option<Part<'a>>, Fault> {
        let Some((&tag, rest)) = self.0.split_first() else { return Ok(None) };
        // Numbers beyond 30 have octets of their own, and LDAP has none.
        if tag & tag::NUMBER == tag::NUMBER {
            return Err(Fault::NotLdap);
        }
        let (used, len) = length(rest)?.ok_or(Fault::NotLdap)?;
        let behind = rest.get(used..).unwrap_or_default();
        let (content, rest) = behind.split_at_checked(len).ok_or(Fault::NotLdap)?;
        self.0 = rest;
        Ok(Some(Part { tag, content }))
    }

    fn expect(&mut self, tag: u8) -> Result<&'a [u8], Fault> {
        self.next()?.filter(|part| part.tag == tag).map(|part| part.content).ok_or(Fault::NotLdap)
    }

    fn number(&mut self, tag: u8) -> Result<u32, Fault> {
        let octets = self.expect(tag)?;
        if !(1..=4).contains(&octets.len()) {
            return Err(Fault::NotLdap);
        }
        Ok(octets.iter().fold(0, |number, &octet| number << 8 | u32::from(octet)))
    }

    fn text(&mut self) -> Result<&'a str, Fault> {
        str::from_utf8(self.expect(tag::OCTET_STRING)?).map_err(|_| Fault::NotLdap)
    }
}

/// How many octets a length has, and the length. `None`: not all of it is there. Only the definite form is lawful
/// (RFC 4511 §5.1).
fn length(octets: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let Some((&first, rest)) = octets.split_first() else { return Ok(None) };
    let count = usize::from(first & 0x7f);
    match first {
        0..=0x7f => return Ok(Some((1, usize::from(first)))),
        0x80 => return Err(Fault::NotLdap),
        0x85.. => return Err(Fault::TooLong),
        0x81..=0x84 => {}
    }
    let Some(octets) = rest.get(..count) else { return Ok(None) };
    let len = octets.iter().fold(0_usize, |len, &octet| len << 8 | usize::from(octet));
    if len > MESSAGE_MAX { Err(Fault::TooLong) } else { Ok(Some((1 + count, len))) }
}

/// How long the message is that begins here; `None` where that is not known yet.
fn message_len(octets: &[u8]) -> Result<Option<usize>, Fault> {
    match octets.split_first() {
        None => Ok(None),
        Some((&tag::SEQUENCE, rest)) => Ok(length(rest)?.map(|(used, len)| 1 + used + len)),
        Some(_) => Err(Fault::NotLdap),
    }
}

/// What a message is: its id and its operation, if the library can take it.
fn check(message: &[u8]) -> Result<(u32, Part<'_>), Fault> {
    walk(message, 0, &mut 0)?;
    let mut fields = Parts(Parts(message).expect(tag::SEQUENCE)?);
    let id = fields.number(tag::INTEGER)?;
    let operation = fields.next()?.ok_or(Fault::NotLdap)?;
    match operation.tag {
        tag::SEARCH_ENTRY | tag::SEARCH_REFERENCE | tag::INTERMEDIATE_RESPONSE => {}
        tag::BIND_RESPONSE | tag::SEARCH_DONE | tag::EXTENDED_RESPONSE => {
            result(operation.content)?;
        }
        _ => return Err(Fault::NotLdap),
    }
    match fields.next()? {
        None | Some(Part { tag: tag::MISPLACED_NAME, .. }) => {}
        Some(Part { tag: tag::CONTROLS, content }) => controls(content)?,
        Some(_) => return Err(Fault::NotLdap),
    }
    if fields.next()?.is_some() { Err(Fault::NotLdap) } else { Ok((id, operation)) }
}

/// Depth and number of everything.
fn walk(octets: &[u8], depth: usize, count: &mut u32) -> Result<(), Fault> {
    if depth > DEPTH_MAX {
        return Err(Fault::TooDeep);
    }
    let mut parts = Parts(octets);
    while let Some(part) = parts.next()? {
        *count += 1;
        if *count > PARTS_MAX {
            return Err(Fault::TooManyParts);
        }
        if part.is_constructed() {
            walk(part.content, depth + 1, count)?;
        }
    }
    Ok(())
}

/// An LDAPResult (RFC 4511 §4.1.9), perhaps with what binds and extended operations add: its code and its text.
fn result(content: &[u8]) -> Result<(u32, &str), Fault> {
    let mut fields = Parts(content);
    let code = fields.number(tag::ENUMERATED)?;
    let _matched = fields.text()?;
    let text = fields.text()?;
    while let Some(field) = fields.next()? {
        let is_lawful = match field.tag & tag::NUMBER {
            3 => field.is_constructed() && are_texts(field.content)?,
            7 | 11 => !field.is_constructed(),
            10 => field.is_text(),
            _ => true,
        };
        if !is_lawful {
            return Err(Fault::NotLdap);
        }
    }
    Ok((code, text))
}

fn controls(content: &[u8]) -> Result<(), Fault> {
    let mut controls = Parts(content);
    while let Some(control) = controls.next()? {
        if control.tag != tag::SEQUENCE {
            return Err(Fault::NotLdap);
        }
        let mut fields = Parts(control.content);
        fields.text()?;
        let mut next = fields.next()?;
        if let Some(criticality) = next.as_ref().filter(|field| field.tag & tag::NUMBER == 1) {
            if criticality.is_constructed() || criticality.content.is_empty() {
                return Err(Fault::NotLdap);
            }
            next = fields.next()?;
        }
        if next.is_some_and(|value| value.tag != tag::OCTET_STRING) {
            return Err(Fault::NotLdap);
        }
    }
    Ok(())
}

fn are_texts(content: &[u8]) -> Result<bool, Fault> {
    let mut parts = Parts(content);
    while let Some(part) = parts.next()? {
        if !part.is_text() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What both directions of a relay know.
struct Asked {
    /// Messages and octets that may still come.
    messages: AtomicU32,
    octets: AtomicUsize,
    /// Whether there was a search. Before the first one nobody waits for entries, behind it nobody for binds.
    is_searching: AtomicBool,
}

impl Asked {
    /// Before the first request, one notice may come.
    fn nothing() -> Self {
        let (messages, octets) = (AtomicU32::new(1), AtomicUsize::new(CHUNK));
        Self { messages, octets, is_searching: AtomicBool::new(false) }
    }

    /// One more request. Both directions are one task, so nothing comes between a load and its store.
    fn raise(&self) {
        let messages = self.messages.load(Ordering::Relaxed) + MESSAGES_MAX;
        self.messages.store(messages.min(REQUESTS_MAX * MESSAGES_MAX), Ordering::Relaxed);
        let octets = self.octets.load(Ordering::Relaxed) + MESSAGE_MAX;
        self.octets.store(octets.min(REQUESTS_MAX as usize * MESSAGE_MAX), Ordering::Relaxed);
    }

    fn lower(&self, octets: usize) -> Result<(), Fault> {
        let messages = self.messages.load(Ordering::Relaxed).checked_sub(1).ok_or(Fault::TooMany)?;
        self.messages.store(messages, Ordering::Relaxed);
        let octets = self.octets.load(Ordering::Relaxed).checked_sub(octets).ok_or(Fault::TooMany)?;
        self.octets.store(octets, Ordering::Relaxed);
        Ok(())
    }
}

/// Moves octets between the two until one of them is done, or the server breaks the rules.
pub(super) async fn relay(server: impl AsyncRead + AsyncWrite, library: UnixStream, url: String) {
    let (from_server, to_server) = tokio::io::split(server);
    let (from_library, to_library) = library.into_split();
    let asked = Asked::nothing();
    // Either end is the end of both; what fails here, the library hears as the end of its connection.
    let fault = tokio::select! {
        () = requests(from_library, to_server, &asked) => None,
        fault = replies(from_server, to_library, &asked) => fault,
    };
    if let Some(reason) = fault {
        warn!(url, %reason, "LDAP connection cut");
    }
}

async fn requests(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, asked: &Asked) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let octets = chunk.get_mut(..count).unwrap_or_default();
        if begins_search(octets) {
            asked.is_searching.store(true, Ordering::Relaxed);
        }
        asked.raise();
        let sent = match to.write_all(octets).await {
            Ok(()) => to.flush().await,
            Err(error) => Err(error),
        };
        // The bind password was in there.
        octets.zeroize();
        if sent.is_err() {
            return;
        }
    }
}

/// Of the library's requests, which it writes one by one and begins with their head.
fn begins_search(octets: &[u8]) -> bool {
    let behind_length = |octets: &[u8]| Some(length(octets).ok()??.0);
    let operation = || {
        let rest = octets.strip_prefix(&[tag::SEQUENCE])?;
        let fields = rest.get(behind_length(rest)?..)?;
        let id = fields.strip_prefix(&[tag::INTEGER])?;
        id.get(1 + usize::from(*id.first()?)).copied()
    };
    operation() == Some(tag::SEARCH_REQUEST)
}

async fn replies(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, asked: &Asked) -> Option<Fault> {
    let mut unread = Vec::new();
    loop {
        match next_message(&mut from, &mut unread).await {
            Ok(Some(message)) => {
                if let Err(fault) = admit(&message, asked) {
                    return Some(fault);
                }
                to.write_all(&message).await.ok()?;
            }
            Ok(None) => return None,
            Err(fault) => return Some(fault),
        }
    }
}

/// Whether somebody may wait for such a message.
fn admit(message: &[u8], asked: &Asked) -> Result<(), Fault> {
    let (id, operation) = check(message)?;
    let for_searches = !matches!(operation.tag, tag::BIND_RESPONSE | tag::EXTENDED_RESPONSE);
    // Message 0 is a notice to everybody (RFC 4511 §4.4).
    if id != 0 && for_searches != asked.is_searching.load(Ordering::Relaxed) {
        return Err(Fault::NotLdap);
    }
    asked.lower(message.len())
}

/// The next whole message, or nothing at the end. `unread` holds what came behind the one before.
async fn next_message(from: &mut (impl AsyncRead + Unpin), unread: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Fault> {
    loop {
        if let Some(len) = message_len(unread)?
            && unread.len() >= len
        {
            let rest = unread.split_off(len);
            return Ok(Some(std::mem::replace(unread, rest)));
        }
        unread.reserve(CHUNK);
        match from.take(CHUNK as u64).read_buf(unread).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
    }
}

/// Asks for TLS, and says why there will be none. Nothing may stand behind the server's agreement: it would count as
/// said under TLS.
pub(super) async fn agree_on_tls(server: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), String> {
    server.write_all(STARTTLS).await.map_err(|error| error.to_string())?;
    let mut unread = Vec::new();
    let message = next_message(server, &mut unread).await.map_err(|fault| fault.to_string())?;
    let message = message.ok_or("the connection was closed")?;
    let (_, operation) = check(&message).map_err(|fault| fault.to_string())?;
    if operation.tag != tag::EXTENDED_RESPONSE {
        return Err(Fault::NotLdap.to_string());
    }
    match result(operation.content) {
        Ok((0, _)) if unread.is_empty() => Ok(()),
        Ok((0, _)) => Err("clear text behind the agreement".to_owned()),
        Ok((code, text)) => Err(format!("LDAP operation result {code}: {}", super::answer::told(text))),
        Err(fault) => Err(fault.to_string()),
    }
}

#[cfg(feature = "testkit")]
mod proof;
#[cfg(feature = "testkit")]
pub use proof::guarding_is_sound;

#[cfg(test)]
mod tests;
