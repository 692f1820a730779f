//! `protocol`, `bind_address`, `listen_port`, `ssl_mode` and the files for TLS → `[[listener]]` and `[tls]`.
//!
//! Perdition has a process for each protocol, mailferry has a listener for each. It must not look at nodes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use clap::ValueEnum;

use super::draft::{Draft, Part, list, quoted};
use super::{Source, Trouble};

/// What a process of Perdition is started as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// IMAP on port 143.
    Imap4,
    /// IMAP on port 993, with TLS on both sides unless `ssl_mode` says otherwise.
    Imap4s,
    /// POP3 on port 110.
    Pop3,
    /// POP3 on port 995, with TLS on both sides unless `ssl_mode` says otherwise.
    Pop3s,
    /// Not taken over.
    Managesieve,
}

/// Most addresses for which listeners are written.
const ADDRESSES_MAX: usize = 32;

/// All that mailferry can take over.
const ALL: [Service; 4] = [Service::Imap4, Service::Imap4s, Service::Pop3, Service::Pop3s];

impl Service {
    /// As Perdition writes it, in any case.
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "imap4" | "imap" => Self::Imap4,
            "imap4s" | "imaps" => Self::Imap4s,
            "pop3" => Self::Pop3,
            "pop3s" => Self::Pop3s,
            "managesieve" => Self::Managesieve,
            _ => return None,
        })
    }

    /// What the name of a file says, as in `perdition.imap4s.conf`.
    pub fn of_file(name: &str) -> Option<Self> {
        Self::parse(name.strip_prefix("perdition.")?.strip_suffix(".conf")?)
    }

    pub(super) fn is_imap(self) -> bool {
        matches!(self, Self::Imap4 | Self::Imap4s)
    }

    fn protocol(self) -> &'static str {
        if self.is_imap() { "imap" } else { "pop3" }
    }

    fn is_secure(self) -> bool {
        matches!(self, Self::Imap4s | Self::Pop3s)
    }

    fn port(self) -> u16 {
        match self {
            Self::Imap4 => 143,
            Self::Imap4s => 993,
            Self::Pop3 => 110,
            Self::Pop3s => 995,
            Self::Managesieve => 4190,
        }
    }
}

/// How one side of a process has TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tls {
    Off,
    /// Who wants.
    Offered,
    Demanded,
    Implicit,
}

/// `ssl_mode`, which adds up over its lines. Words that do not exist are told by [`translate`].
pub(super) fn tls(source: &Source, service: Service, side: &str) -> Tls {
    let lines = source.entries.iter().filter(|entry| entry.option.name == "ssl_mode");
    let words: Vec<String> =
        lines.flat_map(|it| it.value.split(',')).map(|it| it.trim().to_ascii_lowercase()).collect();
    let is_set = words.iter().any(|word| !word.is_empty());
    let has = |kind: &str, force: &str| {
        words.iter().any(|word| *word == format!("{kind}_{side}{force}") || *word == format!("{kind}_all{force}"))
    };
    if !is_set && service.is_secure() || has("ssl", "") {
        Tls::Implicit
    } else if has("tls", "_force") {
        Tls::Demanded
    } else if has("tls", "") {
        Tls::Offered
    } else {
        Tls::Off
    }
}

const MODES: [&str; 10] = [
    "none",
    "ssl_listen",
    "ssl_outgoing",
    "ssl_all",
    "tls_listen",
    "tls_outgoing",
    "tls_all",
    "tls_listen_force",
    "tls_outgoing_force",
    "tls_all_force",
];

/// What the processes were started as; ManageSieve left out.
pub(super) fn services(source: &Source, asked: Option<&[Service]>) -> Vec<Service> {
    let said = || source.value("protocol").and_then(Service::parse).map(|service| vec![service]);
    let all = asked.map(<[_]>::to_vec).or_else(said).unwrap_or_else(|| ALL.to_vec());
    let mut services: Vec<Service> = Vec::new();
    for service in all.into_iter().filter(|it| *it != Service::Managesieve) {
        if !services.contains(&service) {
            services.push(service);
        }
    }
    services
}

/// A port by number or by its name in /etc/services.
pub(super) fn port(text: &str) -> Option<u16> {
    match text {
        "imap" | "imap2" | "imap4" => Some(143),
        "imaps" => Some(993),
        "pop3" | "pop-3" => Some(110),
        "pop3s" => Some(995),
        digits => digits.parse().ok().filter(|port| *port != 0),
    }
}

/// `HOST[:PORT]`, with brackets around an IPv6 address. The port is a text, which may be no port.
pub(super) fn host_and_port(text: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
}

pub(super) fn translate(source: &Source, draft: &mut Draft, troubles: &mut Vec<Trouble>) {
    complain(source, troubles);
    protocol(source, draft);
    let mut doors = Vec::new();
    for service in &source.services {
        addresses(source, *service, draft).into_iter().for_each(|address| doors.push((*service, address)));
    }
    let mut is_tls_used = false;
    for (place, (service, address)) in doors.iter().enumerate() {
        is_tls_used |= door(source, draft, (place, *service, *address), is_tls_used);
    }
    if doors.is_empty() {
        draft.judge(Part::Listener(0), "no process that mailferry can take over: write your listeners");
    }
    if let Some(mode) = source.value("ssl_mode") {
        draft.note(Part::Listener(0), &super::shown("perdition: ssl_mode", mode));
    }
    certificates(source, draft, is_tls_used);
}

/// Values that keep Perdition itself from starting.
fn complain(source: &Source, troubles: &mut Vec<Trouble>) {
    let mut tell = |line, message: &str| troubles.push(Trouble { line, message: message.to_owned() });
    for entry in &source.entries {
        match entry.option.name {
            "ssl_mode" => {
                let lower = entry.value.to_ascii_lowercase();
                if lower.split(',').any(|word| !word.is_empty() && !MODES.contains(&word.trim())) {
                    tell(
                        entry.line,
                        &format!("ssl_mode has a word that it does not know; it knows {}", MODES.join(", ")),
                    );
                }
            }
            "protocol" if Service::parse(&entry.value).is_none() => {
                tell(entry.line, "protocol is none of POP3, POP3S, IMAP4, IMAP4S and MANAGESIEVE");
            }
            "listen_port" | "outgoing_port" if !entry.value.is_empty() && port(&entry.value).is_none() => {
                tell(entry.line, &format!("{} is neither a port nor the name of one for mail", entry.option.name));
            }
            _ => {}
        }
    }
}

fn protocol(source: &Source, draft: &mut Draft) {
    let part = Part::Listener(0);
    match source.value("protocol") {
        Some(_) => draft.note(part, &format!("perdition: {}", source.shown("protocol"))),
        None if source.services == ALL => draft.judge(
            part,
            "the file does not say which processes ran, so here are listeners for all; remove those that did not, or say \
             --protocol (Debian: /etc/default/perdition)",
        ),
        None => {}
    }
    if source.value("protocol").and_then(Service::parse) == Some(Service::Managesieve) {
        draft.judge(part, "mailferry does not speak ManageSieve: let Perdition go on with it");
    }
}

/// Where a process listens. What cannot be said is noted.
fn addresses(source: &Source, service: Service, draft: &mut Draft) -> Vec<SocketAddr> {
    let part = Part::Listener(0);
    let everywhere = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let own = source.value("listen_port").and_then(port).unwrap_or(service.port());
    let words = source.words("bind_address");
    if words.is_empty() {
        return vec![SocketAddr::new(everywhere, own)];
    }
    let mut addresses = Vec::new();
    if words.len() > ADDRESSES_MAX {
        draft.judge(
            part,
            &format!("bind_address has more than {ADDRESSES_MAX} addresses: write a listener for each other one"),
        );
    }
    for word in words.into_iter().take(ADDRESSES_MAX) {
        let (host, said) = host_and_port(word);
        match (host.parse::<IpAddr>(), said.map_or(Some(own), port)) {
            (Ok(host), Some(port)) => addresses.push(SocketAddr::new(host, port)),
            _ => draft.judge(
                part,
                &format!(
                    "bind_address has {}: write a listener with an IP address and a port for it",
                    word.escape_debug()
                ),
            ),
        }
    }
    addresses
}

/// Writes a listener; says whether it uses TLS.
fn door(source: &Source, draft: &mut Draft, door: (usize, Service, SocketAddr), is_tls_used: bool) -> bool {
    let (place, service, address) = door;
    let tls = tls(source, service, "listen");
    let word = match tls {
        Tls::Off => "off",
        Tls::Offered | Tls::Demanded => "starttls",
        Tls::Implicit => "implicit",
    };
    let part = Part::Listener(place);
    let written = draft.attempt(|draft| {
        for name in ["listen_port", "bind_address"].iter().filter(|name| place == 0 && source.has(name)) {
            draft.note(part, &format!("perdition: {}", source.shown(name)));
        }
        draft.listener(place, service.protocol(), &address.to_string(), word);
        if tls == Tls::Offered {
            draft.set(part, "cleartext_login", "true".to_owned());
        }
        if word != "off" && !is_tls_used {
            draft.set(Part::Tls, "certificates", certificate(CHAIN, KEY));
        }
    });
    if let Err(problem) = written {
        let shown = format!("{} on {address}", service.protocol());
        draft.judge(Part::Listener(0), &format!("there is no listener for {shown}: {problem}"));
        return false;
    }
    if matches!(tls, Tls::Off | Tls::Offered) {
        draft.judge(
            part,
            "passwords may come in clear text, as they could with Perdition; better tls = \"starttls\" without \
             cleartext_login, or \"implicit\"",
        );
    }
    if service.is_secure() && tls != Tls::Implicit {
        draft.judge(
            part,
            "this port has TLS from the first octet elsewhere, but ssl_mode says otherwise; if the process had an ssl_mode \
             of its own on its command line, write tls = \"implicit\"",
        );
    }
    word != "off"
}

/// Perdition's own places.
const CHAIN: &str = "/etc/perdition/perdition.crt.pem";
const KEY: &str = "/etc/perdition/perdition.key.pem";

fn certificate(chain: &str, key: &str) -> String {
    format!("[{{ chain = {}, key = {} }}]", quoted(chain), quoted(key))
}

fn certificates(source: &Source, draft: &mut Draft, is_tls_used: bool) {
    let named = |name: &str| source.value(name).filter(|value| !value.is_empty());
    let part = Part::Tls;
    let note = |draft: &mut Draft, name: &str, rest: &str| {
        if source.has(name) {
            draft.note(part, &format!("perdition: {}{rest}", source.shown(name)));
        }
    };
    if is_tls_used {
        let (chain, key) = (named("ssl_cert_file").unwrap_or(CHAIN), named("ssl_key_file").unwrap_or(KEY));
        let tried = draft.attempt(|draft| {
            note(draft, "ssl_cert_file", "");
            note(draft, "ssl_key_file", "");
            draft.set(part, "certificates", certificate(chain, key));
        });
        if tried.is_err() {
            note(draft, "ssl_cert_file", ": not taken over");
            note(draft, "ssl_key_file", ": not taken over");
            draft.judge(part, "set `certificates` by hand");
        }
        draft.judge(part, "mailferry's user must be allowed to read the key");
    } else {
        note(draft, "ssl_cert_file", ": no listener has TLS");
        note(draft, "ssl_key_file", ": no listener has TLS");
    }
    if source.has("ssl_ca_chain_file") {
        note(draft, "ssl_ca_chain_file", ": intermediates stand behind the certificate, in the same file");
        draft.judge(part, "cat CERTIFICATE CHAIN > mail.pem, and name mail.pem as `chain`");
    }
    for name in ["ssl_passphrase_file", "ssl_passphrase_fd"].iter().filter(|name| source.has(name)) {
        note(draft, name, ": keys have no passphrase");
        draft.judge(part, "openssl pkey -in KEY -out mail.key, with a mode that only mailferry's user can read");
    }
    if let Some(version) = source.value("ssl_listen_min_proto_version") {
        let shown = source.shown("ssl_listen_min_proto_version");
        match version.to_ascii_lowercase().as_str() {
            "tlsv1.3" if is_tls_used => {
                draft.offer(part, &shown, &[("min_version", quoted("1.3"))]);
            }
            "tlsv1.2" if is_tls_used => {
                draft.offer(part, &shown, &[("min_version", quoted("1.2"))]);
            }
            _ => draft.note(part, &format!("perdition: {shown}: the oldest version is 1.2, as `min_version` says")),
        }
    }
}

/// The words of a capability string, without those that mailferry says where they are true. As a line that is off.
pub(super) fn capabilities(key: &str, words: &[&str]) -> String {
    format!("{key} = {}", list(words.iter().copied()))
}
