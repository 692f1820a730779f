//! `[server]`, `[log]`, `[tls]` and `[[listener]]`: the side that clients see.
//!
//! What would leave a listener unprotected without being asked for, or unable to start, is refused here.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;
use tracing::Level;

use super::document::{Notes, Section};
use super::files::NamedFile;
use super::reference::{CERTIFICATES, LISTENER, LOG, SERVER, TLS};
use super::suggest;
use super::value::{self, Wrong, wrong};
use crate::logging::{self, Format};
use crate::names::ZoneName;
use crate::net::tls::{CertificateFiles, ServerSettings, Version};
use crate::proto::Protocol;
use crate::server::{ListenerSettings, ListenerTls};
use crate::session;

/// Longest text for refused logins, in octets; a reply line has 512 (RFC 2449 §4).
const AUTH_FAILED_TEXT_MAX: usize = 200;

/// `[server]`, as the parts need it.
pub(super) struct Server {
    pub(super) session: session::Settings,
    pub(super) zone: Option<ZoneName>,
    pub(super) resolve_interval: Duration,
    /// The session's, with its place.
    pub(super) login_timeout: Spanned<Duration>,
}

pub(super) fn server(root: &DeTable<'_>, notes: &Notes) -> Option<Server> {
    let server = Section::one(root, &SERVER, notes)?;
    let hostname = server.parsed("hostname", |text| value::dns_name(text).map(|()| Arc::from(text)));
    let login_timeout = server.duration("login_timeout");
    let auth_failure_delay = server.duration("auth_failure_delay");
    let auth_failed_text = server.parsed("auth_failed_text", auth_failed_text);
    let zone = server.parsed("zone", value::zone);
    let resolve_interval = server.duration("resolve_interval");
    let (login_timeout, auth_failure_delay) = (login_timeout?, auth_failure_delay?);
    if auth_failure_delay.get_ref() >= login_timeout.get_ref() {
        let span = server.span_of("auth_failure_delay").unwrap_or_else(|| login_timeout.span());
        let message = "`auth_failure_delay` is not less than `login_timeout`: no refusal would ever be heard";
        notes.problem(span, message, "shorten the delay or lengthen the timeout");
    }
    let session = session::Settings {
        hostname: hostname?.into_inner(),
        login_timeout: *login_timeout.get_ref(),
        auth_failure_delay: auth_failure_delay.into_inner(),
        auth_failed_text: auth_failed_text?.into_inner(),
        master_users: [].into(),
        usernames: usernames(),
        imap_capabilities: None,
        pop3_capabilities: None,
    };
    let zone = zone.map(Spanned::into_inner);
    Some(Server { session, zone, resolve_interval: resolve_interval?.into_inner(), login_timeout })
}

/// The rules until the file can say them.
fn usernames() -> crate::usernames::Rules {
    use crate::usernames::{Characters, DomainRule, NodeName, Rules};
    Rules {
        lower_case: true,
        domain: DomainRule::Keep,
        default_domain: None,
        domains_by_sni: Vec::new(),
        delimiter: None,
        on_node: NodeName::Typed,
        length_max: 255,
        characters: Characters::Any,
    }
}

/// The limits until the file can say them.
pub(super) fn limits() -> crate::limits::Settings {
    use std::num::NonZeroU32;
    crate::limits::Settings {
        connections: None,
        connections_per_network: None,
        unauthenticated: NonZeroU32::MAX,
        unauthenticated_per_network: NonZeroU32::MAX,
        failed_logins: const { NonZeroU32::new(5).unwrap() },
        failed_logins_per_network: None,
        failed_login_memory: Duration::from_secs(600),
        failed_login_delay_max: Duration::from_secs(15),
        sessions_per_user: None,
        sessions_per_user_and_network: None,
        exempt_networks: Vec::new(),
    }
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

pub(super) fn log(root: &DeTable<'_>, notes: &Notes) -> Option<logging::Settings> {
    let log = Section::one(root, &LOG, notes)?;
    let format = log.choice("format", &[("text", Format::Text), ("json", Format::Json)]);
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let level = log.choice("level", &levels);
    Some(logging::Settings { format: format?.into_inner(), level: level?.into_inner() })
}

/// All listeners, and what they need.
pub(super) struct Listeners {
    /// `None`: something is wrong, which was noted.
    pub(super) settings: Option<Vec<ListenerSettings>>,
    tls: TlsUse,
}

/// Whether any listener uses TLS.
enum TlsUse {
    /// The first one that does.
    By(Range<usize>),
    /// None of them.
    ByNobody,
    /// None of those that were understood, and not all were.
    Unknown,
}

pub(super) fn listeners(root: &DeTable<'_>, notes: &Notes) -> Listeners {
    let mut tls_use = TlsUse::ByNobody;
    let mut bound: Vec<Spanned<SocketAddr>> = Vec::new();
    let mut read = |section: Section<'_>| {
        let protocol = section.parsed("protocol", protocol);
        let address = section.parsed("address", socket_address);
        let tls = tls_and_cleartext(&section);
        match (&tls_use, &tls) {
            (TlsUse::By(_), _) | (_, Some((ListenerTls::Off, _))) => {}
            (_, Some((ListenerTls::Implicit | ListenerTls::StartTls, _))) => {
                tls_use = TlsUse::By(section.span_of("tls").unwrap_or_else(|| section.span()));
            }
            (_, None) => tls_use = TlsUse::Unknown,
        }
        let address = address?;
        if let Some(other) = bound.iter().find(|other| collide(*address.get_ref(), *other.get_ref())) {
            let (message, remedy) = ("two listeners want the same address", "change or remove one of them");
            notes.contradiction(address.span(), message, remedy, (other.span(), "the other one"));
        }
        bound.push(address.clone());
        let (address, (tls, cleartext_login)) = (address.into_inner(), tls?);
        Some(ListenerSettings {
            protocol: protocol?.into_inner(),
            address,
            tls,
            cleartext_login,
            proxy_protocol_from: Vec::new(),
            proxy_protocol_tls: false,
            trusted_networks: Vec::new(),
            client_ca: None,
            default_domain: None,
        })
    };
    // Collected twice, so that all are read and not only those before the first wrong one.
    let settings: Vec<_> = Section::many(root, &LISTENER, notes).into_iter().map(&mut read).collect();
    if settings.is_empty() {
        return Listeners { settings: None, tls: TlsUse::Unknown };
    }
    Listeners { settings: settings.into_iter().collect(), tls: tls_use }
}

fn protocol(text: &str) -> Result<Protocol, Wrong> {
    match text {
        "sieve" | "lmtp" => Err(wrong(format!("cannot be \"{text}\" yet"), "write \"imap\" or \"pop3\"")),
        text => value::word(text, &[("imap", Protocol::Imap), ("pop3", Protocol::Pop3)]),
    }
}

fn tls_and_cleartext(listener: &Section<'_>) -> Option<(ListenerTls, bool)> {
    let words = [("implicit", ListenerTls::Implicit), ("starttls", ListenerTls::StartTls), ("off", ListenerTls::Off)];
    let tls = listener.choice("tls", &words);
    let cleartext_login = listener.switch("cleartext_login");
    let (tls, cleartext_login) = (tls?, cleartext_login?);
    match (tls.get_ref(), cleartext_login.get_ref()) {
        (ListenerTls::Off, false) => {
            let remedy = "write tls = \"implicit\" or \"starttls\", or add cleartext_login = true";
            listener.notes().problem(tls.span(), "a clear-text password listener that was not asked for", remedy);
        }
        (ListenerTls::Implicit, true) => {
            let message = "`cleartext_login` has no meaning on a listener with implicit TLS";
            listener.notes().problem(cleartext_login.span(), message, "remove it");
        }
        _ => {}
    }
    Some((tls.into_inner(), cleartext_login.into_inner()))
}

fn socket_address(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let remedy = match text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()) {
            Some(port) => format!("write \"[::]:{port}\" for all addresses, or one of this machine's in place of [::]"),
            None => "write \"[::]:993\" or \"192.0.2.1:993\"".to_owned(),
        };
        wrong("is not an IP address and port", remedy)
    })
}

/// Whether the second bind would fail. `[::]` takes IPv4 too; port 0 is another port each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let everything = |address: SocketAddr| address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let (one_ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    let same = || one_ip == other_ip && (one.is_ipv4() || other.is_ipv4() || scope(one) == scope(other));
    let v4_everything =
        || one_ip.is_ipv4() && other_ip.is_ipv4() && (one_ip.is_unspecified() || other_ip.is_unspecified());
    one.port() == other.port() && one.port() != 0 && (everything(one) || everything(other) || v4_everything() || same())
}

/// Link-local addresses are the same only on the same interface.
fn scope(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    }
}

/// TLS towards clients, which must be there exactly when a listener uses it. The outer `None`: wrong, which was noted.
pub(super) fn tls(root: &DeTable<'_>, notes: &Notes, listeners: &Listeners) -> Option<Option<ServerSettings>> {
    let section = Section::one(root, &TLS, notes)?;
    if section.table().is_none() {
        if let TlsUse::By(listener) = &listeners.tls {
            let remedy = format!("add [tls] with {}, or write tls = \"off\"", suggest::required(&TLS));
            notes.problem(listener.clone(), "TLS without a certificate", remedy);
        }
        return Some(None);
    }
    if let TlsUse::ByNobody = listeners.tls {
        notes.problem(
            section.span(),
            "no listener uses [tls]",
            "remove it, or write tls = \"starttls\" for a listener",
        );
    }
    let certificates = section.tables("certificates", &CERTIFICATES);
    let min_version = section.choice("min_version", &[("1.2", Version::Tls12), ("1.3", Version::Tls13)]);
    // Collected twice, so that all are read and not only those before the first wrong one.
    let certificates: Vec<_> = certificates?.iter().map(certificate).collect();
    let certificates: Option<Vec<_>> = certificates.into_iter().collect();
    if let TlsUse::By(_) = listeners.tls {
        certificates.iter().flatten().for_each(|(_, file)| notes.file(file.clone()));
    }
    let certificates = certificates?.into_iter().map(|(files, _)| files).collect();
    Some(Some(ServerSettings { certificates, min_version: min_version?.into_inner() }))
}

fn certificate(section: &Section<'_>) -> Option<(CertificateFiles, NamedFile)> {
    let (chain, key) = (section.path("chain"), section.path("key"));
    let (chain, key) = (chain?, key?);
    let (chain_span, key_span) = (chain.span(), key.span());
    let files = CertificateFiles { chain: chain.into_inner(), key: key.into_inner() };
    Some((files.clone(), NamedFile::Certificate { files, chain_span, key_span }))
}
