//! `[log]`, `[tls]` and `[[listener]]`: the side that clients see.
//!
//! What would leave a listener unprotected without being asked for, or unable to start, is refused here.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeTable;
use tracing::Level;

use super::document::{Notes, Section};
use super::files::NamedFile;
use super::reference::{CERTIFICATES, LISTENER, LOG, TLS};
use super::suggest;
use super::value::{self, Wrong, wrong};
use crate::logging::{self, Failures, Format};
use crate::net::tls::{CertificateFiles, ServerSettings, Version};
use crate::proto::Protocol;
use crate::server::{ListenerSettings, ListenerTls};

pub(super) fn log(root: &DeTable<'_>, notes: &Notes) -> Option<logging::Settings> {
    let log = Section::one(root, &LOG, notes)?;
    let format =
        log.choice("format", &[("text", Format::Text), ("json", Format::Json), ("journald", Format::Journald)]);
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let level = log.choice("level", &levels);
    let failures = log.choice("failures", &[("all", Failures::All), ("summary", Failures::Summary)]);
    let (format, level, failures) = (format?.into_inner(), level?.into_inner(), failures?.into_inner());
    Some(logging::Settings { format, level, failures })
}

/// All listeners, and what they need.
pub(super) struct Listeners {
    /// `None`: something is wrong, which was noted.
    pub(super) settings: Option<Vec<ListenerSettings>>,
    /// One for each listener that the file has.
    pub(super) domains: Vec<Domain>,
    tls: TlsUse,
}

/// Where a listener says the domain of names without one.
pub(super) struct Domain {
    /// The listener.
    pub(super) listener: Range<usize>,
    /// The value of `default_domain`, if it has one.
    pub(super) written: Option<Range<usize>>,
    /// Whether the name of a server can be known that the client asked for.
    pub(super) may_have_sni: bool,
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
    let mut domains = Vec::new();
    let mut read = |section: Section<'_>| {
        let protocol = section.parsed("protocol", protocol);
        let address = section.parsed("address", socket_address);
        let proxy_protocol_from = networks(&section, "proxy_protocol_from");
        let has_balancers = proxy_protocol_from.as_ref().is_none_or(|networks| !networks.is_empty());
        let protection = protection(&section, has_balancers);
        match (&tls_use, protection.as_ref().map(|it| it.tls)) {
            (TlsUse::By(_), _) | (_, Some(ListenerTls::Off)) => {}
            (_, Some(ListenerTls::Implicit | ListenerTls::StartTls)) => {
                tls_use = TlsUse::By(section.span_of("tls").unwrap_or_else(|| section.span()));
            }
            (_, None) => tls_use = TlsUse::Unknown,
        }
        let trusted_networks = networks(&section, "trusted_networks");
        let default_domain = section.parsed("default_domain", value::domain);
        domains.push(Domain {
            listener: section.span(),
            written: section.span_of("default_domain"),
            may_have_sni: protection.as_ref().is_none_or(|it| it.tls != ListenerTls::Off || it.proxy_protocol_tls),
        });
        let address = address?;
        if let Some(other) = bound.iter().find(|other| collide(*address.get_ref(), *other.get_ref())) {
            let (message, remedy) = ("two listeners want the same address", "change or remove one of them");
            notes.contradiction(address.span(), message, remedy, (other.span(), "the other one"));
        }
        bound.push(address.clone());
        let Protection { tls, cleartext_login, proxy_protocol_tls, client_ca } = protection?;
        Some(ListenerSettings {
            protocol: protocol?.into_inner(),
            address: address.into_inner(),
            tls,
            cleartext_login,
            proxy_protocol_from: proxy_protocol_from?,
            proxy_protocol_tls,
            trusted_networks: trusted_networks?,
            client_ca,
            default_domain: default_domain.map(Spanned::into_inner),
        })
    };
    // Collected twice, so that all are read and not only those before the first wrong one.
    let settings: Vec<_> = Section::many(root, &LISTENER, notes).into_iter().map(&mut read).collect();
    if settings.is_empty() {
        return Listeners { settings: None, domains, tls: TlsUse::Unknown };
    }
    Listeners { settings: settings.into_iter().collect(), domains, tls: tls_use }
}

/// A list of networks.
pub(super) fn networks(section: &Section<'_>, name: &str) -> Option<Vec<IpNet>> {
    Some(section.parsed_list(name, value::network)?.into_iter().map(Spanned::into_inner).collect())
}

fn protocol(text: &str) -> Result<Protocol, Wrong> {
    match text {
        "sieve" | "lmtp" => Err(wrong(format!("cannot be \"{text}\" yet"), "write \"imap\" or \"pop3\"")),
        text => value::word(text, &[("imap", Protocol::Imap), ("pop3", Protocol::Pop3)]),
    }
}

/// How a listener keeps passwords from strangers.
struct Protection {
    tls: ListenerTls,
    cleartext_login: bool,
    proxy_protocol_tls: bool,
    client_ca: Option<PathBuf>,
}

fn protection(listener: &Section<'_>, has_balancers: bool) -> Option<Protection> {
    let words = [("implicit", ListenerTls::Implicit), ("starttls", ListenerTls::StartTls), ("off", ListenerTls::Off)];
    let tls = listener.choice("tls", &words);
    let cleartext_login = listener.switch("cleartext_login");
    let proxy_protocol_tls = listener.switch("proxy_protocol_tls");
    let client_ca = listener.path("client_ca");
    let (tls, cleartext_login, proxy_protocol_tls) = (tls?, cleartext_login?, proxy_protocol_tls?);
    match (tls.get_ref(), cleartext_login.get_ref()) {
        (ListenerTls::Off, false) if !proxy_protocol_tls.get_ref() => {
            let remedy = "write tls = \"implicit\" or \"starttls\", or add cleartext_login = true";
            listener.notes().problem(tls.span(), "a clear-text password listener that was not asked for", remedy);
        }
        (ListenerTls::Implicit, true) => {
            let message = "`cleartext_login` has no meaning on a listener with implicit TLS";
            listener.notes().problem(cleartext_login.span(), message, "remove it");
        }
        _ => {}
    }
    if *proxy_protocol_tls.get_ref() {
        refuse_unproven_tls(listener, *tls.get_ref(), has_balancers);
    }
    if let Some(client_ca) = &client_ca {
        listener.notes().file(NamedFile::Authorities { path: client_ca.get_ref().clone(), span: client_ca.span() });
        let is_optional = *cleartext_login.get_ref() || *proxy_protocol_tls.get_ref();
        refuse_idle_client_ca(listener, *tls.get_ref(), client_ca.span(), is_optional);
    }
    Some(Protection {
        tls: tls.into_inner(),
        cleartext_login: cleartext_login.into_inner(),
        proxy_protocol_tls: proxy_protocol_tls.into_inner(),
        client_ca: client_ca.map(Spanned::into_inner),
    })
}

/// A balancer's word counts only where balancers are known, and where there is no TLS that proves more.
fn refuse_unproven_tls(listener: &Section<'_>, tls: ListenerTls, has_balancers: bool) {
    if !has_balancers {
        let remedy = "add proxy_protocol_from with the networks of the balancers, or remove it";
        listener.refuse("proxy_protocol_tls", "without `proxy_protocol_from`", remedy);
    }
    if tls == ListenerTls::Implicit {
        let remedy = "remove it, or write tls = \"off\" or \"starttls\"";
        listener.refuse("proxy_protocol_tls", "on a listener with implicit TLS", remedy);
    }
}

/// A certificate is asked for in the TLS handshake, so nobody may log in without one.
fn refuse_idle_client_ca(listener: &Section<'_>, tls: ListenerTls, client_ca: Range<usize>, is_optional: bool) {
    if tls == ListenerTls::Off {
        listener.refuse("client_ca", "without TLS", "remove it, or write tls = \"implicit\" or \"starttls\"");
    } else if is_optional {
        let message = "`client_ca` demands nothing: clients may log in here without a TLS handshake";
        listener.notes().problem(client_ca, message, "remove it, or cleartext_login and proxy_protocol_tls");
    }
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

/// Operators' address is none of the listeners'.
pub(super) fn keep_off(listeners: &Listeners, address: Option<&Spanned<SocketAddr>>, notes: &Notes) {
    let (Some(address), Some(settings)) = (address, &listeners.settings) else { return };
    if settings.iter().any(|it| collide(it.address, *address.get_ref())) {
        notes.problem(address.span(), "a listener has this address", "name another port");
    }
}

/// TLS towards clients, which must be there when a listener uses it, and must not when neither a listener does nor the
/// operators' address. The outer `None`: wrong, which was noted.
pub(super) fn tls(
    root: &DeTable<'_>,
    notes: &Notes,
    listeners: &Listeners,
    is_used_elsewhere: bool,
) -> Option<Option<ServerSettings>> {
    let section = Section::one(root, &TLS, notes)?;
    if section.table().is_none() {
        if let TlsUse::By(listener) = &listeners.tls {
            let remedy = format!("add [tls] with {}, or write tls = \"off\"", suggest::required(&TLS));
            notes.problem(listener.clone(), "TLS without a certificate", remedy);
        }
        return Some(None);
    }
    let is_used = is_used_elsewhere || matches!(listeners.tls, TlsUse::By(_));
    if !is_used && matches!(listeners.tls, TlsUse::ByNobody) {
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
    if is_used {
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
