//! One TOML value → what a key holds, or what is wrong with it and what would be right.
//!
//! Here are the forms that several sections share: durations, numbers, words, names of hosts. A message is the rest of
//! a sentence that begins with the key's name. This file knows neither where a value stands nor whose it is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::pki_types::ServerName;
use toml::de::DeValue;

use super::reference::shown;
use crate::names::{UserName, ZoneName};

/// Longest DNS name in octets, and longest part of one (RFC 1035 §2.3.4).
const DNS_NAME_MAX: usize = 253;
const DNS_LABEL_MAX: usize = 63;

/// What is wrong with a value.
#[derive(Debug)]
pub(super) struct Wrong {
    /// Continues "`key` …".
    pub(super) message: String,
    /// What would be right; empty where only the key's own example can say it.
    pub(super) remedy: String,
}

pub(super) fn wrong(message: impl Into<String>, remedy: impl Into<String>) -> Wrong {
    Wrong { message: message.into(), remedy: remedy.into() }
}

/// A value of another kind than the key holds; the remedy is the key's own example.
pub(super) fn other_kind(value: &DeValue<'_>, wanted: &str) -> Wrong {
    let found = match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    wrong(format!("must be {wanted}, not {found}"), "")
}

pub(super) fn text(value: &DeValue<'_>) -> Result<String, Wrong> {
    value.as_str().map(str::to_owned).ok_or_else(|| other_kind(value, "a text in quotes"))
}

pub(super) fn switch(value: &DeValue<'_>) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| other_kind(value, "true or false, without quotes"))
}

pub(super) fn integer(value: &DeValue<'_>, least: u64, most: u64) -> Result<u64, Wrong> {
    let number = value.as_integer().ok_or_else(|| other_kind(value, "a number without quotes"))?;
    match u64::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(wrong("is out of range", format!("write a number from {least} to {most}"))),
    }
}

pub(super) fn duration(value: &DeValue<'_>, least: Duration, most: Duration) -> Result<Duration, Wrong> {
    let text = match value {
        DeValue::String(text) => text.trim(),
        DeValue::Integer(number) if is_figure(number.as_str()) => return Err(without_unit(number.as_str())),
        DeValue::Float(number) if is_figure(number.as_str()) => return Err(without_unit(number.as_str())),
        other => return Err(other_kind(other, "a duration in quotes")),
    };
    duration_text(text, least, most)
}

pub(super) fn duration_text(text: &str, least: Duration, most: Duration) -> Result<Duration, Wrong> {
    if text != "0" && is_figure(text) {
        return Err(without_unit(text));
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration < least => Err(wrong("is too short", format!("write \"{}\" or more", shown(least)))),
        Ok(duration) if duration > most => Err(wrong("is too long", format!("write \"{}\" or less", shown(most)))),
        Ok(duration) => Ok(duration),
        Err(_) => Err(wrong(
            "is not a duration",
            "write a number and a unit, as in \"500ms\", \"2s\", \"5m\", \"1h\" or \"1d\"",
        )),
    }
}

fn without_unit(number: &str) -> Wrong {
    wrong("has no unit", format!("write \"{number}s\" for seconds, or with ms, m, h or d"))
}

fn is_figure(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.') && text.starts_with(|c: char| c.is_ascii_digit())
}

/// One of the words, or an error that lists them.
pub(super) fn word<T: Copy>(word: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
    let known = words.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning);
    known.ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(known, _)| format!("\"{known}\"")).collect();
        wrong(format!("cannot be \"{}\"", word.escape_debug()), format!("write {}", one_of(&known)))
    })
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn one_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// A DNS name of letters, digits and hyphens (RFC 1123 §2.1), which an address is not.
pub(super) fn dns_name(text: &str) -> Result<(), Wrong> {
    let label = |label: &str| {
        (1..=DNS_LABEL_MAX).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= DNS_NAME_MAX && text.split('.').all(label) && text.parse::<IpAddr>().is_err() {
        return Ok(());
    }
    Err(wrong("is not a DNS name", "write a name as \"mail.example.net\": letters, digits, hyphens and dots"))
}

/// The domain of user names.
pub(super) fn domain(text: &str) -> Result<Arc<str>, Wrong> {
    dns_name(text).map(|()| text.into()).map_err(|_| {
        let remedy = "write a name as \"example.net\": letters, digits, hyphens and dots, without `@`";
        wrong("is not the name of a domain", remedy)
    })
}

/// A DNS name or an address, without a port.
pub(super) fn host(text: &str) -> Result<(), Wrong> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(wrong(
            "is neither a host name nor an IP address",
            "write \"mail.example.net\", \"10.1.0.11\" or \"2001:db8::11\", without a port",
        )),
    }
}

/// A network, or one address as the smallest of them. IPv4 stands as IPv4, as clients' addresses are compared.
pub(super) fn network(text: &str) -> Result<IpNet, Wrong> {
    let example = "write one as \"192.0.2.0/24\" or \"2001:db8::/32\", or one address";
    let parsed = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network: IpNet = parsed.map_err(|_| wrong("is not a network", example))?;
    if network.trunc() != network {
        return Err(wrong("has address bits behind its prefix", format!("write \"{}\"", network.trunc())));
    }
    if network.addr().to_canonical() != network.addr() {
        return Err(wrong("is an IPv4 network written as IPv6", "write it as \"192.0.2.0/24\""));
    }
    Ok(network)
}

/// A user's name. Clients may have control characters in theirs; in a file nobody writes them on purpose.
pub(super) fn user_name(text: &str) -> Result<UserName, Wrong> {
    printable(text)?;
    let too_long = || wrong("is longer than any login name", format!("write at most {} octets", UserName::MAX_LEN));
    UserName::new(text.as_bytes()).ok_or_else(too_long)
}

/// The name of a place. There is no list of them to compare it with.
pub(super) fn zone(text: &str) -> Result<ZoneName, Wrong> {
    printable(text).map(|()| ZoneName::new(text))
}

/// Text that a name or a path can be: something, without control characters.
pub(super) fn printable(text: &str) -> Result<(), Wrong> {
    if text.is_empty() {
        return Err(wrong("is empty", ""));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(wrong(format!("has the control character {}", c.escape_unicode()), "remove it")),
        None => Ok(()),
    }
}
