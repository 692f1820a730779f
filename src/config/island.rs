//! `[[island]]` and its nodes: the side that mail is on.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use toml::Spanned;
use toml::de::DeTable;

use super::document::{Notes, Section};
use super::files::NamedFile;
use super::reference::{ISLAND, NODES};
use super::value::{self, Wrong, wrong};
use crate::names::{IslandName, NodeName};
use crate::routing::{Check, FailBack, Island, Node, NodeTls, OperatorState, Policy, Probe};

/// Ports of IMAP and POP3 with and without TLS from the first octet (RFC 8314 §3, RFC 3501 §2.1, RFC 1939 §3).
const IMPLICIT_PORTS: (u16, u16) = (993, 995);
const CLEAR_PORTS: (u16, u16) = (143, 110);

/// How nodes are checked.
const PROBE: Probe = Probe {
    check: Check::Greeting,
    interval: Duration::from_secs(5),
    timeout: Duration::from_secs(2),
    fall: 3,
    rise: 2,
};

/// All islands, and what they are called.
pub(super) struct Islands {
    /// `None`: something is wrong, which was noted.
    pub(super) settings: Option<Vec<Island>>,
    /// Names and matches; `None` when not all of them could be read.
    pub(super) spellings: Option<BTreeSet<IslandName>>,
}

pub(super) fn read(root: &DeTable<'_>, notes: &Notes) -> Islands {
    let mut taken = BTreeMap::new();
    let sections = Section::many(root, &ISLAND, notes);
    // Collected twice, so that all are read and not only those before the first wrong one.
    let (named, islands): (Vec<_>, Vec<_>) =
        sections.iter().enumerate().map(|(at, section)| island(section, at, &mut taken)).unzip();
    if islands.is_empty() {
        return Islands { settings: None, spellings: None };
    }
    let all_named = named.into_iter().all(|named| named);
    let spellings = all_named.then(|| taken.keys().map(|spelling| IslandName::new(spelling)).collect());
    Islands { settings: islands.into_iter().collect(), spellings }
}

/// Spellings that have a meaning already: which island, and where the file says so.
type Taken = BTreeMap<String, (usize, Range<usize>)>;

/// Whether its names could be read, and the island.
fn island(section: &Section<'_>, at: usize, taken: &mut Taken) -> (bool, Option<Island>) {
    let names = names(section, at, taken);
    let tls = node_tls(section);
    let ca = ca(section, tls);
    let connect_timeout = section.duration("connect_timeout");
    let greeting_timeout = section.duration("greeting_timeout");
    let login_timeout = section.duration("login_timeout");
    let nodes = nodes(section, tls);
    let is_named = names.is_some();
    let island = || {
        let (name, spellings) = names?;
        Some(Island {
            name,
            spellings,
            policy: Policy::Prefer,
            fail_back: FailBack::After(Duration::from_secs(60)),
            tls: tls?,
            ca,
            connect_timeout: connect_timeout?.into_inner(),
            greeting_timeout: greeting_timeout?.into_inner(),
            login_timeout: login_timeout?.into_inner(),
            hedge: Some(Duration::from_millis(250)),
            patience: Duration::from_secs(5),
            disconnect_spread: Duration::from_secs(5),
            max_login_rate: None,
            probe: PROBE,
            nodes: nodes?,
        })
    };
    (is_named, island())
}

/// The name, and all the spellings that mean this island and no other.
fn names(section: &Section<'_>, at: usize, taken: &mut Taken) -> Option<(IslandName, Vec<IslandName>)> {
    let name = section.parsed("name", name);
    let others = section.parsed_list("match", self::name);
    let mut spellings = Vec::new();
    for spelling in name.iter().chain(others.iter().flatten()) {
        if is_new(section, spelling, at, taken) {
            spellings.push(IslandName::new(spelling.get_ref()));
        }
    }
    others?;
    Some((IslandName::new(name?.get_ref()), spellings))
}

fn name(text: &str) -> Result<String, Wrong> {
    value::printable(text).map(|()| text.to_owned())
}

/// Whether no spelling like this was seen before. The same one twice for one island is harmless.
fn is_new(section: &Section<'_>, spelling: &Spanned<String>, at: usize, taken: &mut Taken) -> bool {
    match taken.get(spelling.get_ref()) {
        None => {
            taken.insert(spelling.get_ref().clone(), (at, spelling.span()));
            true
        }
        Some((island, first)) => {
            if *island != at {
                let (message, remedy) = ("this spelling means two islands", "each one must belong to one island only");
                section.notes().contradiction(spelling.span(), message, remedy, (first.clone(), "the other island"));
            }
            false
        }
    }
}

fn node_tls(section: &Section<'_>) -> Option<NodeTls> {
    let words = [("implicit", NodeTls::Implicit), ("starttls", NodeTls::StartTls), ("off", NodeTls::Off)];
    section.choice("tls", &words).map(Spanned::into_inner)
}

fn ca(section: &Section<'_>, tls: Option<NodeTls>) -> Option<PathBuf> {
    if let (None, Some(NodeTls::Implicit | NodeTls::StartTls)) = (section.span_of("ca"), tls) {
        let span = section.span_of("tls").unwrap_or_else(|| section.span());
        section.notes().file(NamedFile::SystemAuthorities { span });
    }
    let ca = section.path("ca")?;
    if tls == Some(NodeTls::Off) {
        section.notes().problem(ca.span(), "`ca` has no meaning without TLS", "remove it, or write tls = \"starttls\"");
    }
    section.notes().file(NamedFile::Authorities { path: ca.get_ref().clone(), span: ca.span() });
    Some(ca.into_inner())
}

fn nodes(island: &Section<'_>, tls: Option<NodeTls>) -> Option<Vec<Arc<Node>>> {
    let mut names: BTreeMap<String, Range<usize>> = BTreeMap::new();
    let mut read = |(place, section): (usize, Section<'_>)| {
        let name = section.parsed("name", name);
        if let Some(name) = &name {
            if let Some(first) = names.get(name.get_ref()) {
                let (message, remedy) = ("two nodes of the island have this name", "each one needs a name of its own");
                section.notes().contradiction(name.span(), message, remedy, (first.clone(), "the other node"));
            }
            names.insert(name.get_ref().clone(), name.span());
        }
        node(&section, place, name, tls)
    };
    // Collected twice, so that all are read and not only those before the first wrong one.
    let nodes: Vec<_> = island.tables("nodes", &NODES)?.into_iter().enumerate().map(&mut read).collect();
    nodes.into_iter().collect()
}

fn node(section: &Section<'_>, place: usize, name: Option<Spanned<String>>, tls: Option<NodeTls>) -> Option<Arc<Node>> {
    let host = section.parsed("host", |text| value::host(text).map(|()| text.to_owned()));
    let (imap, pop3) = if tls == Some(NodeTls::Implicit) { IMPLICIT_PORTS } else { CLEAR_PORTS };
    let imap_port = port(section, "imap_port", imap);
    let pop3_port = port(section, "pop3_port", pop3);
    let tls_name = section.parsed("tls_name", tls_name);
    if let (Some(tls_name), Some(NodeTls::Off)) = (&tls_name, tls) {
        let remedy = "remove it, or write tls = \"starttls\" for the island";
        section.notes().problem(tls_name.span(), "`tls_name` has no meaning without TLS", remedy);
    }
    let host = host?.into_inner();
    let tls_name = tls_name.map_or_else(|| host.clone(), Spanned::into_inner);
    Some(Arc::new(Node {
        name: NodeName::new(name?.get_ref()),
        host,
        imap_port,
        pop3_port,
        tls_name,
        weight: NonZeroU32::MIN,
        rank: u32::try_from(place + 1).ok()?,
        zone: None,
        state: OperatorState::InService,
    }))
}

/// The port of a node, which has no fixed default. A wrong one was noted, and the settings are dropped anyway.
fn port(section: &Section<'_>, key: &str, usual: u16) -> u16 {
    section.integer(key).and_then(|port| u16::try_from(port.into_inner()).ok()).unwrap_or(usual)
}

fn tls_name(text: &str) -> Result<String, Wrong> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(wrong("is no name that a certificate can have", "write a DNS name or an IP address")),
    }
}
