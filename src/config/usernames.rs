//! `[usernames]`: how typed names become those that are looked up.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;

use super::document::{Notes, Section};
use super::listener::Domain;
use super::reference::{SNI_DOMAINS, USERNAMES};
use super::value::{self, Wrong, wrong};
use crate::usernames::{Characters, DomainRule, NodeName, Rules};

/// Longest delimiter, in characters.
const DELIMITER_MAX: usize = 8;

/// `listeners` say domains too.
pub(super) fn read(root: &DeTable<'_>, notes: &Notes, listeners: &[Domain]) -> Option<Rules> {
    let usernames = Section::one(root, &USERNAMES, notes)?;
    let lower_case = usernames.switch("lower_case");
    let words = [("keep", DomainRule::Keep), ("strip", DomainRule::Strip), ("add", DomainRule::Add)];
    let domain = usernames.choice("domain", &words);
    let default_domain = usernames.parsed("default_domain", value::domain);
    let domains_by_sni = usernames.span_of("sni_domains").map(|_| domains_by_sni(&usernames));
    let delimiter = usernames.parsed("delimiter", delimiter);
    let words = [("typed", NodeName::Typed), ("looked-up", NodeName::LookedUp)];
    let on_node = usernames.choice("on_node", &words);
    let length_max = usernames.integer("max_length");
    let words = [("any", Characters::Any), ("text", Characters::Text), ("ascii", Characters::Ascii)];
    let characters = usernames.choice("characters", &words);
    match domain.as_ref().map(Spanned::get_ref) {
        Some(DomainRule::Add) => refuse_missing_domain(&usernames, listeners),
        Some(DomainRule::Keep | DomainRule::Strip) => refuse_idle_domains(&usernames, listeners),
        None => {}
    }
    Some(Rules {
        lower_case: lower_case?.into_inner(),
        domain: domain?.into_inner(),
        default_domain: default_domain.map(Spanned::into_inner),
        domains_by_sni: domains_by_sni.unwrap_or_else(|| Some(Vec::new()))?,
        delimiter: delimiter.map(Spanned::into_inner),
        on_node: on_node?.into_inner(),
        length_max: usize::try_from(length_max?.into_inner()).ok()?,
        characters: characters?.into_inner(),
    })
}

/// Domains that nobody would ever add.
fn refuse_idle_domains(usernames: &Section<'_>, listeners: &[Domain]) {
    for name in ["default_domain", "sni_domains"] {
        usernames.refuse(name, "without domain = \"add\"", "remove it, or write domain = \"add\"");
    }
    for written in listeners.iter().filter_map(|listener| listener.written.clone()) {
        let message = "`default_domain` has no meaning without domain = \"add\" in [usernames]";
        usernames.notes().problem(written, message, "remove it, or write domain = \"add\" there");
    }
}

/// Every listener must have a domain to add, at least for clients that ask for one of the names.
fn refuse_missing_domain(usernames: &Section<'_>, listeners: &[Domain]) {
    if usernames.span_of("default_domain").is_some() {
        return;
    }
    let by_sni = usernames.span_of("sni_domains").is_some();
    let lacks = |it: &&Domain| it.written.is_none() && !(by_sni && it.may_have_sni);
    if let Some(listener) = listeners.iter().find(lacks) {
        let span = usernames.span_of("domain").unwrap_or_else(|| usernames.span());
        let message = "`domain` is \"add\", and nobody says which one";
        let remedy = "add default_domain = \"example.net\" here, or to each listener";
        usernames.notes().contradiction(span, message, remedy, (listener.listener.clone(), "this one has none"));
    }
}

/// A server name, then the domain that it means.
type SniDomain = (Arc<str>, Arc<str>);

fn domains_by_sni(usernames: &Section<'_>) -> Option<Vec<SniDomain>> {
    let mut seen: Vec<(Arc<str>, Range<usize>)> = Vec::new();
    let mut read = |entry: &Section<'_>| {
        let sni = entry.parsed("sni", |text| value::dns_name(text).map(|()| Arc::from(text.to_ascii_lowercase())));
        let domain = entry.parsed("domain", value::domain);
        let sni = sni?;
        if let Some((_, other)) = seen.iter().find(|(other, _)| other == sni.get_ref()) {
            let (message, remedy) = ("this server name means two domains", "keep one of them");
            usernames.notes().contradiction(sni.span(), message, remedy, (other.clone(), "the other one"));
        }
        seen.push((Arc::clone(sni.get_ref()), sni.span()));
        Some((sni.into_inner(), domain?.into_inner()))
    };
    // Collected twice, so that all are read and not only those before the first wrong one.
    let entries: Vec<_> = usernames.tables("sni_domains", &SNI_DOMAINS)?.iter().map(&mut read).collect();
    entries.into_iter().collect()
}

/// Names of domains have letters, digits, hyphens and dots, so among these the place of the delimiter would be a guess.
fn delimiter(text: &str) -> Result<Arc<str>, Wrong> {
    let example = "write 1 to 8 characters as \"%\"";
    if text.is_empty() || text.len() > DELIMITER_MAX || !text.bytes().all(|octet| octet.is_ascii_graphic()) {
        Err(wrong("is no delimiter", example))
    } else if text.contains('@') {
        Err(wrong("has an `@`, which needs no other word for it", "remove the key, or write another one"))
    } else if text.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.')) {
        Err(wrong("has only characters that domains have too", example))
    } else {
        Ok(text.into())
    }
}
