//! What differs between two configurations, in the operator's words, and what of it a running mailferry cannot take up.
//!
//! Pure. Every setting stands here by name: one that is added to a part's `Settings` and not here does not compile, so
//! that no change is ever overlooked or taken up without a word.

use std::fmt;

use super::Settings;
use crate::admin::Settings as Admin;
use crate::directory::{Settings as Directory, SourceSettings, cache::Settings as Cache, ldap::Settings as Ldap};
use crate::limits::Settings as Limits;
use crate::logging::Settings as Log;
use crate::net::tls::ServerSettings as Tls;
use crate::privileges::Settings as Privileges;
use crate::routing::{Island, Node};
use crate::server::ListenerSettings as Listener;
use crate::session::{Settings as Session, StopSettings};

/// What a restart is needed for, by section and key, and why. Everything else changes live.
pub const NEEDS_RESTART: [(&str, &str, &str); 10] = [
    ("server", "user", "who has given rights away cannot have them back"),
    ("server", "group", "who has given rights away cannot have them back"),
    ("server", "sandbox", "the kernel lets nobody out, and takes in only who has one thread"),
    ("server", "threads", "sessions stay with the threads that they began in"),
    ("admin", "socket", "whoever gives commands would lose the way to the mailferry that runs"),
    ("admin", "socket_group", "the socket belongs to a group from its beginning"),
    ("admin", "address", "whoever gives commands there would lose the way to the mailferry that runs"),
    ("admin", "tls", "nobody should find clear text where he left TLS"),
    ("admin", "state_file", "what the operator has said so far stands in the old one"),
    ("log", "format", "the log is set up once, and a log of two formats could not be read by a program"),
];

/// What has changed. Empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What holds from now on.
    pub live: Vec<Change>,
    /// What stays as it was until mailferry is started again.
    pub restart: Vec<Restart>,
}

/// A part of the configuration that is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The section, as `island.nodes`.
    pub section: &'static str,
    /// Which one of several; empty where there is only one.
    pub name: String,
    /// What has happened to it.
    pub how: How,
}

/// What has happened to a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It was not there before.
    Added,
    /// It is there no more.
    Removed,
    /// These keys of it have other values; none are named where the section is taken as a whole.
    Changed(Vec<&'static str>),
}

/// A key that a running mailferry cannot take up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The section.
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
    /// Why.
    pub reason: &'static str,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { section, name, how } = self;
        write!(f, "[{section}]{}{name}", if name.is_empty() { "" } else { " " })?;
        match how {
            How::Added => f.write_str(" added"),
            How::Removed => f.write_str(" removed"),
            How::Changed(keys) if keys.is_empty() => f.write_str(" changed"),
            How::Changed(keys) => write!(f, " changed: {}", keys.join(", ")),
        }
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.section, self.key)
    }
}

impl Changes {
    /// Whether both configurations say the same.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty()
    }

    /// Some keys of a section, without a line where there are none.
    fn changed(&mut self, section: &'static str, name: &str, keys: Vec<&'static str>) {
        let (restart, live): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|key| NEEDS_RESTART.iter().any(|it| (it.0, it.1) == (section, key)));
        let reason = |key| NEEDS_RESTART.iter().find(|it| (it.0, it.1) == (section, key)).map(|it| it.2);
        let restart = restart.into_iter().filter_map(|key| Some(Restart { section, key, reason: reason(key)? }));
        self.restart.extend(restart);
        if !live.is_empty() {
            self.live.push(Change { section, name: name.to_owned(), how: How::Changed(live) });
        }
    }

    fn note(&mut self, section: &'static str, name: String, how: How) {
        self.live.push(Change { section, name, how });
    }
}

/// The keys that differ. Names every field of the type.
macro_rules! differing {
    ($old:expr, $new:expr, $type:ident { $($field:ident => $key:expr),* $(,)? }) => {{
        let (old, new): (&$type, &$type) = ($old, $new);
        let $type { $($field: _),* } = new;
        let keys = [$((old.$field != new.$field, $key)),*];
        keys.into_iter().filter(|(differs, key)| *differs && !key.is_empty()).map(|(_, key)| key).collect::<Vec<&str>>()
    }};
}

/// What differs.
pub fn diff(old: &Settings, new: &Settings) -> Changes {
    let mut changes = Changes::default();
    let Settings {
        session: _,
        limits: _,
        log: _,
        tls: _,
        listeners: _,
        directory: _,
        islands: _,
        admin: _,
        privileges,
        sandbox,
        threads,
        zone,
        resolve_interval,
        stop,
    } = new;
    let mut server = session(&old.session, &new.session);
    server.extend(differing!(&old.privileges, privileges, Privileges { user => "user", group => "group" }));
    server.extend((old.sandbox != *sandbox).then_some("sandbox"));
    server.extend((old.threads != *threads).then_some("threads"));
    server.extend((old.zone != *zone).then_some("zone"));
    server.extend((old.resolve_interval != *resolve_interval).then_some("resolve_interval"));
    server.extend(differing!(&old.stop, stop, StopSettings { delay => "drain_delay", timeout => "drain_timeout" }));
    changes.changed("server", "", server);
    // The file's own name is no key of it.
    let mut admin = differing!(&old.admin, &new.admin, Admin {
        socket => "socket",
        socket_group => "socket_group",
        address => "address",
        tls => "tls",
        certificate => "chain",
        operator_token_file => "operator_token_file",
        read_only_token_file => "read_only_token_file",
        state_file => "state_file",
        config => "",
    });
    if old.admin.address.is_none() || new.admin.address.is_none() {
        // An address that comes or goes at a restart takes all that is said of it along.
        admin.retain(|key| !["chain", "operator_token_file", "read_only_token_file"].contains(key));
    }
    changes.changed("admin", "", admin);
    changes.changed(
        "log",
        "",
        differing!(&old.log, &new.log, Log { format => "format", level => "level", failures => "failures" }),
    );
    tls(&mut changes, old.tls.as_ref(), new.tls.as_ref());
    listeners(&mut changes, &old.listeners, &new.listeners);
    if old.session.usernames != new.session.usernames {
        changes.note("usernames", String::new(), How::Changed(Vec::new()));
    }
    changes.changed("limits", "", limits(&old.limits, &new.limits));
    directory(&mut changes, &old.directory, &new.directory);
    islands(&mut changes, &old.islands, &new.islands);
    changes
}

fn session(old: &Session, new: &Session) -> Vec<&'static str> {
    differing!(old, new, Session {
        hostname => "hostname",
        login_timeout => "login_timeout",
        hold_timeout => "hold_timeout",
        auth_failure_delay => "auth_failure_delay",
        auth_failed_text => "auth_failed_text",
        master_users => "master_users",
        // A section of its own.
        usernames => "",
        imap_capabilities => "imap_capabilities",
        pop3_capabilities => "pop3_capabilities",
    })
}

fn tls(changes: &mut Changes, old: Option<&Tls>, new: Option<&Tls>) {
    match (old, new) {
        (None, None) => {}
        (None, Some(_)) => changes.note("tls", String::new(), How::Added),
        (Some(_), None) => changes.note("tls", String::new(), How::Removed),
        (Some(old), Some(new)) => {
            let keys = differing!(old, new, Tls { certificates => "certificates", min_version => "min_version" });
            changes.changed("tls", "", keys);
        }
    }
}

fn limits(old: &Limits, new: &Limits) -> Vec<&'static str> {
    differing!(old, new, Limits {
        connections => "connections",
        connections_per_network => "connections_per_network",
        unauthenticated => "unauthenticated",
        unauthenticated_per_network => "unauthenticated_per_network",
        failed_logins => "failed_logins",
        failed_logins_per_network => "failed_logins_per_network",
        failed_login_memory => "failed_login_memory",
        failed_login_delay_max => "failed_login_delay_max",
        sessions_per_user => "sessions_per_user",
        sessions_per_user_and_network => "sessions_per_user_and_network",
        exempt_networks => "exempt_networks",
    })
}

fn directory(changes: &mut Changes, old: &Directory, new: &Directory) {
    let Directory { source, cache } = new;
    match (&old.source, source) {
        (SourceSettings::Ldap(old), SourceSettings::Ldap(new)) => {
            let keys = differing!(old, new, Ldap {
                urls => "urls",
                starttls => "starttls",
                ca => "ca",
                bind => "bind_dn",
                base => "base",
                scope => "scope",
                filter => "filter",
                island_attribute => "island_attribute",
                login_attribute => "login_attribute",
                timeout => "timeout",
                connect_timeout => "connect_timeout",
                pool => "pool",
            });
            changes.changed("directory", "", keys);
        }
        (SourceSettings::File(old), SourceSettings::File(new)) if old == new => {}
        (SourceSettings::File(_), SourceSettings::File(_)) => changes.changed("directory", "", vec!["path"]),
        (SourceSettings::Ldap(_), SourceSettings::File(_)) | (SourceSettings::File(_), SourceSettings::Ldap(_)) => {
            changes.changed("directory", "", vec!["type"]);
        }
    }
    let keys = differing!(&old.cache, cache, Cache {
        capacity => "capacity",
        ttl => "ttl",
        negative_ttl => "negative_ttl",
        stale => "stale",
        file => "file",
    });
    changes.changed("directory.cache", "", keys);
}

/// For each listener of the new configuration the old one with the same address, which keeps its socket. Where an
/// address stands several times, as port 0 may, they are paired in their order.
pub fn pair_listeners(old: &[Listener], new: &[Listener]) -> Vec<Option<usize>> {
    let mut free: Vec<_> = old.iter().enumerate().collect();
    let pair = |new: &Listener| {
        let at = free.iter().position(|(_, old)| old.address == new.address)?;
        Some(free.remove(at).0)
    };
    new.iter().map(pair).collect()
}

fn listeners(changes: &mut Changes, old: &[Listener], new: &[Listener]) {
    let pairs = pair_listeners(old, new);
    let name = |listener: &Listener| listener.address.to_string();
    for (place, gone) in old.iter().enumerate() {
        if !pairs.contains(&Some(place)) {
            changes.note("listener", name(gone), How::Removed);
        }
    }
    for (listener, pair) in new.iter().zip(pairs) {
        let Some(before) = pair.and_then(|place| old.get(place)) else {
            changes.note("listener", name(listener), How::Added);
            continue;
        };
        let keys = differing!(before, listener, Listener {
            protocol => "protocol",
            address => "address",
            tls => "tls",
            cleartext_login => "cleartext_login",
            proxy_protocol_from => "proxy_protocol_from",
            proxy_protocol_tls => "proxy_protocol_tls",
            trusted_networks => "trusted_networks",
            client_ca => "client_ca",
            default_domain => "default_domain",
        });
        changes.changed("listener", &name(listener), keys);
    }
}

fn islands(changes: &mut Changes, old: &[Island], new: &[Island]) {
    for gone in old.iter().filter(|old| !new.iter().any(|new| new.name == old.name)) {
        changes.note("island", gone.name.to_string(), How::Removed);
    }
    for island in new {
        match old.iter().find(|old| old.name == island.name) {
            None => changes.note("island", island.name.to_string(), How::Added),
            Some(before) => one_island(changes, before, island),
        }
    }
}

fn one_island(changes: &mut Changes, old: &Island, new: &Island) {
    let mut keys = differing!(old, new, Island {
        name => "name",
        spellings => "match",
        policy => "policy",
        fail_back => "fail_back",
        tls => "tls",
        forward => "forward",
        ca => "ca",
        connect_timeout => "connect_timeout",
        greeting_timeout => "greeting_timeout",
        login_timeout => "login_timeout",
        hedge => "hedge",
        patience => "patience",
        disconnect_spread => "disconnect_spread",
        max_login_rate => "max_login_rate",
        probe => "probe",
        // Each by its name.
        nodes => "",
    });
    let before: Vec<_> = old.nodes.iter().map(|node| &node.name).collect();
    let now: Vec<_> = new.nodes.iter().map(|node| &node.name).collect();
    if before != now && before.iter().all(|name| now.contains(name)) && before.len() == now.len() {
        keys.push("nodes");
    }
    changes.changed("island", new.name.as_str(), keys);
    let name = |node: &Node| format!("{} of {}", node.name, new.name);
    for gone in old.nodes.iter().filter(|old| !now.contains(&&old.name)) {
        changes.note("island.nodes", name(gone), How::Removed);
    }
    for node in &new.nodes {
        let Some(before) = old.nodes.iter().find(|old| old.name == node.name) else {
            changes.note("island.nodes", name(node), How::Added);
            continue;
        };
        let keys = differing!(before, node, Node {
            name => "name",
            host => "host",
            imap_port => "imap_port",
            pop3_port => "pop3_port",
            tls_name => "tls_name",
            weight => "weight",
            rank => "rank",
            zone => "zone",
            state => "state",
        });
        changes.changed("island.nodes", &name(node), keys);
    }
}

#[cfg(test)]
mod tests;
