//! What an LDAP server's reply means: a route, no such user, an error in the data, or a server that is of no use.
//!
//! The one place that judges replies. Pure: no sockets, no clock. Never a panic, whatever the server sent: the crate's
//! own entry parser is not used, because it asserts.

use std::sync::Arc;

use ldap3::asn1::StructureTag;

use super::Settings;
use crate::directory::{LookupError, Route};
use crate::names::{IslandName, UserName};

/// Longest island name accepted, in octets.
const MAX_ISLAND_LEN: usize = 255;
/// Most characters of a server's own text that are shown.
const MAX_TOLD: usize = 200;

/// Result codes of RFC 4511 appendix A.2 that mean something of their own here.
mod code {
    pub(super) const SUCCESS: u32 = 0;
    pub(super) const SIZE_LIMIT_EXCEEDED: u32 = 4;
    pub(super) const REFERRAL: u32 = 10;
    pub(super) const NO_SUCH_OBJECT: u32 = 32;
    pub(super) const BUSY: u32 = 51;
    pub(super) const UNAVAILABLE: u32 = 52;
}

/// A whole reply to a search, as it came.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) entries: Vec<Entry>,
    /// How many search continuations came (RFC 4511 §4.5.3).
    pub(super) continuations: usize,
    /// The result code.
    pub(super) code: u32,
    /// The whole result, in words. From the server: not to be trusted with a log line.
    pub(super) text: String,
}

/// One entry that was found.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    dn: Vec<u8>,
    attributes: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
}

/// Why a reply is no answer.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// This search was refused; others may fare better. A client's choice of name must not take a server out.
    ThisSearch(String),
    /// The server can answer nobody.
    Everybody(String),
}

impl Entry {
    /// `None` when it is not a SearchResultEntry (RFC 4511 §4.5.2).
    pub(super) fn parse(tag: StructureTag) -> Option<Self> {
        let mut fields = tag.expect_constructed()?.into_iter();
        let dn = fields.next()?.expect_primitive()?;
        let attributes = fields.next()?.expect_constructed()?.into_iter().map(parse_attribute);
        Some(Self { dn, attributes: attributes.collect::<Option<_>>()? })
    }

    /// The values of one attribute. Names are compared without regard to case (RFC 4512 §2.5); options are part of
    /// the name, so that `mailHost;x-old` is not `mailHost`.
    fn values(&self, attribute: &str) -> Vec<&[u8]> {
        let wanted = |name: &[u8]| name.eq_ignore_ascii_case(attribute.as_bytes());
        let found = self.attributes.iter().filter(|(name, _)| wanted(name));
        found.flat_map(|(_, values)| values.iter().map(Vec::as_slice)).collect()
    }

    fn dn(&self) -> String {
        told(&String::from_utf8_lossy(&self.dn))
    }
}

fn parse_attribute(tag: StructureTag) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut fields = tag.expect_constructed()?.into_iter();
    let name = fields.next()?.expect_primitive()?;
    let values = fields.next()?.expect_constructed()?.into_iter().map(StructureTag::expect_primitive);
    Some((name, values.collect::<Option<_>>()?))
}

/// The directory's answer, or why this server has none.
///
/// A missing base (noSuchObject) is never "no such user": it is an operator's error, or a replica that is still empty,
/// and says nothing of any user. So the next server is asked, and old routes go on serving.
pub(super) fn judge(reply: &Reply, settings: &Settings) -> Result<Result<Route, LookupError>, Refusal> {
    match reply.code {
        code::SUCCESS => {}
        code::SIZE_LIMIT_EXCEEDED => return Ok(several(&reply.entries)),
        code::REFERRAL => return Ok(ambiguous(referral(settings))),
        code::NO_SUCH_OBJECT => {
            // What a server also says of a base that it keeps from whoever asks (RFC 4511 appendix A.2).
            let trouble = "does not exist there, or may not be seen by this bind";
            return Err(Refusal::Everybody(format!("the base {:?} {trouble}", settings.base)));
        }
        code::BUSY | code::UNAVAILABLE => return Err(Refusal::Everybody(told(&reply.text))),
        _ => return Err(Refusal::ThisSearch(told(&reply.text))),
    }
    if reply.continuations > 0 {
        return Ok(ambiguous(referral(settings)));
    }
    Ok(match reply.entries.as_slice() {
        [] => Err(LookupError::NotFound),
        [entry] => route(entry, settings),
        entries => several(entries),
    })
}

/// Text of a server, fit for one line of a log.
pub(super) fn told(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_TOLD).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_TOLD).is_some() {
        shown.push('…');
    }
    shown
}

fn route(entry: &Entry, settings: &Settings) -> Result<Route, LookupError> {
    let island = match std::str::from_utf8(only_value(entry, &settings.island_attribute)?) {
        Ok(island) if (1..=MAX_ISLAND_LEN).contains(&island.len()) && !island.contains(char::is_control) => {
            IslandName::new(island)
        }
        _ => {
            let wanted = format!("UTF-8 text of 1 to {MAX_ISLAND_LEN} octets without control characters");
            return ambiguous(format!("the {} of {} is not {wanted}", settings.island_attribute, entry.dn()));
        }
    };
    let Some(attribute) = &settings.login_attribute else {
        return Ok(Route { island, login: None });
    };
    match UserName::new(only_value(entry, attribute)?) {
        Some(login) => Ok(Route { island, login: Some(login) }),
        None => {
            let wanted = format!("a user name of 1 to {} octets without NUL, CR, LF", UserName::MAX_LEN);
            ambiguous(format!("the {attribute} of {} is not {wanted}", entry.dn()))
        }
    }
}

fn only_value<'a>(entry: &'a Entry, attribute: &str) -> Result<&'a [u8], LookupError> {
    match entry.values(attribute).as_slice() {
        [value] => Ok(value),
        [] => ambiguous(format!("{} has no value of {attribute} that we may read", entry.dn())),
        values => ambiguous(format!("{} has {} values of {attribute}, not one", entry.dn(), values.len())),
    }
}

/// Not all of them, when the server was told to stop.
fn several<T>(entries: &[Entry]) -> Result<T, LookupError> {
    let names: Vec<_> = entries.iter().map(Entry::dn).collect();
    let colon = if names.is_empty() { "" } else { ": " };
    ambiguous(format!("more than one entry matches the filter{colon}{}", names.join(", ")))
}

fn referral(settings: &Settings) -> String {
    format!("a referral to another server, which is never followed: set a base below {:?}", settings.base)
}

fn ambiguous<T>(reason: String) -> Result<T, LookupError> {
    Err(LookupError::Ambiguous(Arc::from(reason)))
}

#[cfg(test)]
mod tests;
