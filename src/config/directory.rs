//! `[directory]` and `[directory.cache]`: where routes come from, and how long they are kept.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeTable;

use super::document::{Notes, Section};
use super::files::NamedFile;
use super::reference::{CACHE, DIRECTORY, shown};
use super::value::{self, Wrong, wrong};
use crate::directory::ldap::{Bind, Scope, Url};
use crate::directory::template::FilterTemplate;
use crate::directory::{Settings, SourceSettings, cache, file, ldap};
use crate::names::IslandName;

const URL_EXAMPLE: &str = "write urls = [\"ldap://ldap1.example.net\"], for example";
const FILTER_EXAMPLE: &str = "write a filter as in RFC 4515, with {user} where the name goes, as in \"(uid={user})\"";

/// Octets that a text in quotes has more in the file than in memory.
const QUOTES: usize = 2;

#[derive(Clone, Copy)]
enum Type {
    Ldap,
    File,
}

/// `islands` is what the routes of a file may name; `None` where that is not known.
pub(super) fn read(root: &DeTable<'_>, notes: &Notes, islands: Option<BTreeSet<IslandName>>) -> Option<Settings> {
    let directory = Section::one(root, &DIRECTORY, notes)?;
    let kind = directory.choice("type", &[("ldap", Type::Ldap), ("file", Type::File)]);
    let source = kind.and_then(|kind| match kind.into_inner() {
        Type::Ldap => ldap(&directory).map(SourceSettings::Ldap),
        Type::File => file(&directory, islands).map(SourceSettings::File),
    });
    let cache = directory.table().and_then(|below| cache(below, notes));
    Some(Settings { source: source?, cache: cache? })
}

fn file(directory: &Section<'_>, islands: Option<BTreeSet<IslandName>>) -> Option<file::Settings> {
    let path = directory.path("path")?;
    directory.notes().file(NamedFile::Routes { path: path.get_ref().clone(), span: path.span(), islands });
    Some(file::Settings { path: path.into_inner() })
}

fn ldap(directory: &Section<'_>) -> Option<ldap::Settings> {
    let urls = urls(directory);
    let starttls = directory.switch("starttls");
    let ca = directory.path("ca");
    if let (Some(urls), Some(starttls)) = (&urls, &starttls) {
        tls(directory, urls, *starttls.get_ref(), ca.as_ref());
    }
    let bind = bind(directory);
    let base = directory.parsed("base", base);
    let scope = directory.choice("scope", &[("base", Scope::Base), ("one", Scope::One), ("sub", Scope::Sub)]);
    let filter = filter(directory);
    let island_attribute = directory.parsed("island_attribute", attribute);
    let login_attribute = directory.parsed("login_attribute", attribute);
    let timeout = directory.duration("timeout");
    let connect_timeout = directory.duration("connect_timeout");
    let pool = directory.integer("pool");
    Some(ldap::Settings {
        urls: urls?.into_iter().map(Spanned::into_inner).collect(),
        starttls: starttls?.into_inner(),
        ca: ca.map(Spanned::into_inner),
        bind,
        base: base?.into_inner(),
        scope: scope?.into_inner(),
        filter: filter?,
        island_attribute: island_attribute?.into_inner(),
        login_attribute: login_attribute.map(Spanned::into_inner),
        timeout: timeout?.into_inner(),
        connect_timeout: connect_timeout?.into_inner(),
        pool: usize::try_from(pool?.into_inner()).ok()?,
    })
}

/// What TLS needs, and what is of no use without it.
fn tls(directory: &Section<'_>, urls: &[Spanned<Url>], starttls: bool, ca: Option<&Spanned<PathBuf>>) {
    let notes = directory.notes();
    let with_tls: Vec<_> = urls.iter().filter(|url| starttls || url.get_ref().tls).collect();
    for url in with_tls.iter().filter(|url| url.get_ref().is_ipv6()) {
        let message = "`urls` has an IPv6 address, to which TLS is not supported";
        notes.problem(url.span(), message, "write the name that the server's certificate has");
    }
    match (ca, with_tls.first()) {
        (Some(ca), with_tls) => {
            if with_tls.is_none() {
                let message = "`ca` has no meaning without TLS";
                notes.problem(ca.span(), message, "remove it, or write starttls = true or ldaps:// URLs");
            }
            notes.file(NamedFile::Authorities { path: ca.get_ref().clone(), span: ca.span() });
        }
        (None, Some(url)) if directory.span_of("ca").is_none() => {
            notes.file(NamedFile::SystemAuthorities { span: url.span() });
        }
        (None, _) => {}
    }
}

fn urls(directory: &Section<'_>) -> Option<Vec<Spanned<Url>>> {
    let url = |text: &str| {
        Url::parse(text).map_err(|error| {
            let (message, remedy) = cause_and_remedy(&error, URL_EXAMPLE);
            wrong(format!("is not an LDAP URL: {message}"), remedy)
        })
    };
    let urls = directory.parsed_list("urls", url)?;
    if urls.is_empty() {
        let span = directory.span_of("urls").unwrap_or_else(|| directory.span());
        directory.notes().problem(span, "`urls` is empty", URL_EXAMPLE);
    }
    Some(urls)
}

fn filter(directory: &Section<'_>) -> Option<FilterTemplate> {
    let text = directory.parsed("filter", |text| Ok(text.to_owned()))?;
    match FilterTemplate::parse(text.get_ref()) {
        Ok(filter) => Some(filter),
        Err(error) => {
            let (message, remedy) = cause_and_remedy(&error, FILTER_EXAMPLE);
            let span = within(&text, error.offset);
            directory.notes().problem(span, format!("`filter` is not a filter: {message}"), remedy);
            None
        }
    }
}

/// What the parsers of other parts say has the remedy behind a colon.
fn cause_and_remedy(error: &impl Display, otherwise: &str) -> (String, String) {
    let said = error.to_string();
    let (cause, remedy) = said.split_once(": ").unwrap_or((&said, otherwise));
    (cause.to_owned(), remedy.to_owned())
}

/// From an octet of a text on. Where the text has escapes, its octets are not the file's, and the whole is meant.
fn within(text: &Spanned<String>, offset: usize) -> Range<usize> {
    let Range { start, end } = text.span();
    let is_verbatim = text.get_ref().len() + QUOTES == end - start;
    if is_verbatim && text.get_ref().is_char_boundary(offset) { start + 1 + offset..end } else { start..end }
}

/// Name and password: both, or none.
fn bind(directory: &Section<'_>) -> Option<Bind> {
    let dn = directory.parsed("bind_dn", |text| value::printable(text).map(|()| text.to_owned()));
    let password_file = directory.path("bind_password_file");
    let alone = |have: &str, lack: &str| {
        if let (Some(span), None) = (directory.span_of(have), directory.span_of(lack)) {
            directory.notes().problem(
                span,
                format!("`{have}` without `{lack}`"),
                format!("add {lack}, or remove {have}"),
            );
        }
    };
    alone("bind_dn", "bind_password_file");
    alone("bind_password_file", "bind_dn");
    let (dn, password_file) = (dn?, password_file?);
    directory.notes().file(NamedFile::Password {
        of: "bind_dn",
        path: password_file.get_ref().clone(),
        span: password_file.span(),
    });
    Some(Bind { dn: dn.into_inner(), password_file: password_file.into_inner() })
}

/// The name of an entry. The empty one is an entry too, where a server begins everything.
fn base(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || text.contains('=') {
        return Ok(text.to_owned());
    }
    Err(wrong("is not the name of an entry", "write it as in \"ou=people,dc=example,dc=net\""))
}

/// An attribute description: a name or an OID, with options (RFC 4512 §2.5).
fn attribute(text: &str) -> Result<String, Wrong> {
    let (name, options) = text.split_once(';').unwrap_or((text, "x"));
    let keychars = |text: &str| text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic()) && keychars(name);
    let number = |part: &str| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit());
    let is_oid = name.contains('.') && name.split('.').all(number);
    if (is_name || is_oid) && options.split(';').all(|option| !option.is_empty() && keychars(option)) {
        return Ok(text.to_owned());
    }
    Err(wrong("is not the name of an attribute", "write one as \"mailHost\": letters, digits and hyphens"))
}

fn cache(directory: &DeTable<'_>, notes: &Notes) -> Option<cache::Settings> {
    let cache = Section::one(directory, &CACHE, notes)?;
    let capacity = cache.integer("capacity");
    let (ttl, negative_ttl, stale) = (cache.duration("ttl"), cache.duration("negative_ttl"), cache.duration("stale"));
    let file = cache.path("file");
    if let Some(file) = &file {
        notes.file(NamedFile::Snapshot { path: file.get_ref().clone(), span: file.span() });
    }
    let (ttl, stale) = (ttl?, stale?);
    if stale.get_ref() < ttl.get_ref() {
        let span = cache.span_of("stale").unwrap_or_else(|| ttl.span());
        let message = "`stale` is less than `ttl`: a route cannot be forgotten before it is old";
        notes.problem(span, message, format!("write \"{}\" or more for `stale`", shown(*ttl.get_ref())));
    }
    Some(cache::Settings {
        capacity: capacity?.into_inner(),
        ttl: ttl.into_inner(),
        negative_ttl: negative_ttl?.into_inner(),
        stale: stale.into_inner(),
        file: file.map(Spanned::into_inner),
    })
}
