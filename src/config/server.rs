//! `[server]`: what all listeners share.
//!
//! Words that only mailferry itself may say are refused here: a list that promised them would lie.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use super::document::{Notes, Section};
use super::files::NamedFile;
use super::reference::SERVER;
use super::value::{self, Wrong, wrong};
use crate::names::{UserName, ZoneName};
use crate::privileges;
use crate::proto::Extensions;
use crate::session;
use crate::usernames::Rules;

/// Longest text for refused logins, in octets; a reply line has 512 (RFC 2449 §4).
const AUTH_FAILED_TEXT_MAX: usize = 200;

/// Most words of a list of capabilities, and the longest: as many as [`Extensions`] keeps.
const CAPABILITIES_MAX: usize = 128;
const CAPABILITY_MAX: usize = 64;

/// What mailferry says itself where it is true, in IMAP's list and as the first words of POP3's lines.
const OWN_IMAP: [&str; 9] = [
    "IMAP4REV1",
    "STARTTLS",
    "LOGINDISABLED",
    "SASL-IR",
    "ID",
    "LITERAL+",
    "LITERAL-",
    "UNAUTHENTICATE",
    "LOGIN-REFERRALS",
];
const OWN_POP3: [&str; 11] = [
    "USER",
    "SASL",
    "STLS",
    "APOP",
    "RESP-CODES",
    "AUTH-RESP-CODE",
    "PIPELINING",
    "IMPLEMENTATION",
    "XCLIENT",
    "UTF8",
    "LANG",
];

/// Mechanisms that only nodes can judge; all others are mailferry's own, or bind to one server and cannot be proxied.
const NODES_MECHANISMS: [&str; 2] = ["AUTH=XOAUTH2", "AUTH=OAUTHBEARER"];

/// `[server]`, as the parts need it.
pub(super) struct Server {
    hostname: Arc<str>,
    auth_failed_text: Arc<str>,
    master_users: Arc<[UserName]>,
    imap_capabilities: Option<Arc<Extensions>>,
    pop3_capabilities: Option<Arc<Extensions>>,
    pub(super) privileges: privileges::Settings,
    pub(super) sandbox: bool,
    pub(super) threads: Option<NonZeroU32>,
    pub(super) zone: Option<ZoneName>,
    pub(super) resolve_interval: Duration,
    pub(super) stop: session::StopSettings,
    pub(super) login_timeout: Spanned<Duration>,
    hold_timeout: Duration,
    pub(super) auth_failure_delay: Duration,
}

pub(super) fn read(root: &DeTable<'_>, notes: &Notes) -> Option<Server> {
    let server = Section::one(root, &SERVER, notes)?;
    let hostname = server.parsed("hostname", |text| value::dns_name(text).map(|()| Arc::from(text)));
    let login_timeout = server.duration("login_timeout");
    let hold_timeout = server.duration("hold_timeout");
    let auth_failure_delay = server.duration("auth_failure_delay");
    let auth_failed_text = server.parsed("auth_failed_text", auth_failed_text);
    let master_users = server.parsed_list("master_users", value::user_name);
    let imap_capabilities = capabilities(&server, "imap_capabilities", imap_capability);
    let pop3_capabilities = capabilities(&server, "pop3_capabilities", pop3_capability);
    let privileges = privileges(&server);
    let sandbox = server.switch("sandbox");
    let threads = server.count_or("threads");
    let zone = server.parsed("zone", value::zone);
    let resolve_interval = server.duration("resolve_interval");
    let (drain_delay, drain_timeout) = (server.duration("drain_delay"), server.duration("drain_timeout"));
    let (login_timeout, hold_timeout, auth_failure_delay) = (login_timeout?, hold_timeout?, auth_failure_delay?);
    // The default is for the default, and is cut where the login's own time is shorter.
    if let Some(span) = server.span_of("hold_timeout").filter(|_| hold_timeout.get_ref() >= login_timeout.get_ref()) {
        let message = "`hold_timeout` is not less than `login_timeout`: nobody who is held so long could still log in";
        notes.problem(span, message, "shorten it or lengthen `login_timeout`");
    }
    if auth_failure_delay.get_ref() >= login_timeout.get_ref() {
        let span = server.span_of("auth_failure_delay").unwrap_or_else(|| login_timeout.span());
        let message = "`auth_failure_delay` is not less than `login_timeout`: no refusal would ever be heard";
        notes.problem(span, message, "shorten the delay or lengthen the timeout");
    }
    Some(Server {
        hostname: hostname?.into_inner(),
        auth_failed_text: auth_failed_text?.into_inner(),
        master_users: master_users?.into_iter().map(Spanned::into_inner).collect(),
        imap_capabilities,
        pop3_capabilities,
        privileges,
        sandbox: sandbox?.into_inner(),
        threads: threads?,
        zone: zone.map(Spanned::into_inner),
        resolve_interval: resolve_interval?.into_inner(),
        stop: session::StopSettings { delay: drain_delay?.into_inner(), timeout: drain_timeout?.into_inner() },
        login_timeout,
        hold_timeout: hold_timeout.into_inner(),
        auth_failure_delay: auth_failure_delay.into_inner(),
    })
}

impl Server {
    /// What sessions share, with the rules from `[usernames]`.
    pub(super) fn session(self, usernames: Rules) -> session::Settings {
        session::Settings {
            hostname: self.hostname,
            login_timeout: self.login_timeout.into_inner(),
            hold_timeout: self.hold_timeout,
            auth_failure_delay: self.auth_failure_delay,
            auth_failed_text: self.auth_failed_text,
            master_users: self.master_users,
            usernames,
            imap_capabilities: self.imap_capabilities,
            pop3_capabilities: self.pop3_capabilities,
        }
    }
}

/// Whether there are such is found out by [`super::load`].
fn privileges(server: &Section<'_>) -> privileges::Settings {
    let name = |text: &str| value::printable(text).map(|()| text.to_owned());
    let (user, group) = (server.parsed("user", name), server.parsed("group", name));
    if server.span_of("user").is_none() {
        server.refuse("group", "without `user`", "add `user`, or remove it");
        return privileges::Settings::default();
    }
    let (at, group_at) = (user.as_ref().map(Spanned::span), group.as_ref().map(Spanned::span));
    let settings = privileges::Settings { user: user.map(Spanned::into_inner), group: group.map(Spanned::into_inner) };
    if let Some(span) = at {
        let group_span = group_at.unwrap_or_else(|| span.clone());
        server.notes().file(NamedFile::User { settings: settings.clone(), span, group_span });
    }
    settings
}

/// Goes to clients behind a response code, so it must be neither a second line nor a second code (RFC 3501 §7.1).
fn auth_failed_text(text: &str) -> Result<Arc<str>, Wrong> {
    let remedy = "write one line of printable ASCII, as in \"Authentication failed.\"";
    if text.len() > AUTH_FAILED_TEXT_MAX {
        Err(wrong(format!("is longer than {AUTH_FAILED_TEXT_MAX} characters"), remedy))
    } else if text.trim().is_empty() {
        Err(wrong("is empty", remedy))
    } else if !text.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        Err(wrong("has characters that are not printable ASCII", remedy))
    } else if text.starts_with('[') {
        Err(wrong("begins with `[`, which clients take for a response code", "begin with a letter"))
    } else {
        Ok(text.into())
    }
}

/// A list of capabilities. `None`: the nodes say it, or something is wrong, which was noted.
fn capabilities(server: &Section<'_>, name: &str, parse: fn(&str) -> Result<String, Wrong>) -> Option<Arc<Extensions>> {
    let words = server.parsed_list(name, parse)?;
    if let Some(beyond) = words.get(CAPABILITIES_MAX) {
        let message = format!("`{name}` has more than {CAPABILITIES_MAX} words");
        server.notes().problem(beyond.span(), message, "remove the rest");
    }
    Some(Arc::new(words.iter().map(|word| word.get_ref().as_bytes()).collect()))
}

/// An atom (RFC 3501 §9: `capability`).
fn imap_capability(text: &str) -> Result<String, Wrong> {
    let is_atom = |octet: u8| octet.is_ascii_graphic() && !b"(){%*\"\\]".contains(&octet);
    capability(text, text, &OWN_IMAP, is_atom, "write one word as \"NAMESPACE\"")
}

/// A line of CAPA's answer (RFC 2449 §3).
fn pop3_capability(text: &str) -> Result<String, Wrong> {
    let first = text.split(' ').next().unwrap_or_default();
    let is_printable = |octet: u8| matches!(octet, b' '..=b'~');
    if first.is_empty() || text.ends_with(' ') {
        return Err(wrong("is no capability", "write a line as \"EXPIRE NEVER\""));
    }
    capability(text, first, &OWN_POP3, is_printable, "write a line as \"EXPIRE NEVER\"")
}

fn capability(
    text: &str,
    word: &str,
    own: &[&str],
    is_lawful: impl Fn(u8) -> bool,
    example: &str,
) -> Result<String, Wrong> {
    let word = word.to_ascii_uppercase();
    if text.is_empty() || !text.bytes().all(is_lawful) {
        Err(wrong("is no capability", example))
    } else if text.len() > CAPABILITY_MAX {
        Err(wrong(format!("is longer than {CAPABILITY_MAX} characters"), example))
    } else if NODES_MECHANISMS.contains(&word.as_str()) && text.len() == word.len() {
        Ok(text.to_owned())
    } else if word.starts_with("AUTH=") {
        let remedy = "remove it; only AUTH=XOAUTH2 and AUTH=OAUTHBEARER depend on the nodes";
        Err(wrong(format!("cannot have {word}, a mechanism that is mailferry's own or cannot be proxied"), remedy))
    } else if own.contains(&word.as_str()) {
        Err(wrong(format!("cannot have {word}, which mailferry says or leaves out by itself"), "remove it"))
    } else {
        Ok(text.to_owned())
    }
}
