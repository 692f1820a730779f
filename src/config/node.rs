//! The entries of `nodes`, and what makes no sense of them under the island's policy and TLS.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use toml::Spanned;

use super::document::Section;
use super::reference::NODES;
use super::value::{self, Wrong, wrong};
use crate::names::NodeName;
use crate::routing::{Node, NodeTls, OperatorState, Policy};

/// Ports of IMAP and POP3 with and without TLS from the first octet (RFC 8314 §3, RFC 3501 §2.1, RFC 1939 §3).
const IMPLICIT_PORTS: (u16, u16) = (993, 995);
const CLEAR_PORTS: (u16, u16) = (143, 110);

/// What the island says that its nodes depend on; `None` where that is wrong.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    pub(super) tls: Option<NodeTls>,
    pub(super) policy: Option<Policy>,
}

pub(super) fn read(island: &Section<'_>, manner: Manner) -> Option<Vec<Arc<Node>>> {
    let mut names: BTreeMap<String, Range<usize>> = BTreeMap::new();
    let mut read = |(place, section): (usize, &Section<'_>)| {
        let name = section.parsed("name", |text| value::printable(text).map(|()| text.to_owned()));
        if let Some(name) = &name {
            if let Some(first) = names.get(name.get_ref()) {
                let (message, remedy) = ("two nodes of the island have this name", "each one needs a name of its own");
                section.notes().contradiction(name.span(), message, remedy, (first.clone(), "the other node"));
            }
            names.insert(name.get_ref().clone(), name.span());
        }
        node(section, place, name, manner)
    };
    let sections = island.tables("nodes", &NODES)?;
    // Collected twice, so that all are read and not only those before the first wrong one.
    let nodes: Vec<_> = sections.iter().enumerate().map(&mut read).collect();
    let nodes: Vec<_> = nodes.into_iter().collect::<Option<_>>()?;
    refuse_idle(&nodes, &sections);
    Some(nodes)
}

/// An island needs a node that takes logins.
fn refuse_idle(nodes: &[Arc<Node>], sections: &[Section<'_>]) {
    if nodes.iter().any(|node| node.state == OperatorState::InService) {
        return;
    }
    if let Some((section, span)) = sections.iter().find_map(|section| Some((section, section.span_of("state")?))) {
        let message = "no node of the island is in service: none of its users could log in";
        section.notes().problem(span, message, "leave one \"in-service\" at least, or remove the island");
    }
}

fn node(section: &Section<'_>, place: usize, name: Option<Spanned<String>>, manner: Manner) -> Option<Arc<Node>> {
    let Manner { tls, policy } = manner;
    let host = section.parsed("host", |text| value::host(text).map(|()| text.to_owned()));
    let (imap, pop3) = if tls == Some(NodeTls::Implicit) { IMPLICIT_PORTS } else { CLEAR_PORTS };
    let imap_port = port(section, "imap_port", imap);
    let pop3_port = port(section, "pop3_port", pop3);
    let tls_name = section.parsed("tls_name", tls_name);
    if let (Some(tls_name), Some(NodeTls::Off)) = (&tls_name, tls) {
        let remedy = "remove it, or write tls = \"starttls\" for the island";
        section.notes().problem(tls_name.span(), "`tls_name` has no meaning without TLS", remedy);
    }
    match policy {
        Some(Policy::Prefer) => {
            let remedy = "remove it, or write policy = \"balance\" or \"sticky\" for the island";
            section.refuse("weight", "with policy = \"prefer\"", remedy);
        }
        Some(Policy::Balance | Policy::Sticky) => {
            let remedy = "remove it, or write policy = \"prefer\" for the island";
            section.refuse("rank", "without policy = \"prefer\"", remedy);
        }
        None => {}
    }
    let weight = section.integer("weight").and_then(|weight| NonZeroU32::new(number(&weight)?));
    let rank = match section.span_of("rank") {
        Some(_) => section.integer("rank").and_then(|rank| number(&rank)),
        None => u32::try_from(place + 1).ok(),
    };
    let zone = section.parsed("zone", value::zone);
    let states = [
        ("in-service", OperatorState::InService),
        ("draining", OperatorState::Draining),
        ("maintenance", OperatorState::Maintenance),
    ];
    let state = section.choice("state", &states);
    let host = host?.into_inner();
    let tls_name = tls_name.map_or_else(|| host.clone(), Spanned::into_inner);
    Some(Arc::new(Node {
        name: NodeName::new(name?.get_ref()),
        host,
        imap_port,
        pop3_port,
        tls_name,
        weight: weight?,
        rank: rank?,
        zone: zone.map(Spanned::into_inner),
        state: state?.into_inner(),
    }))
}

/// The port of a node, which has no fixed default. A wrong one was noted, and the settings are dropped anyway.
fn port(section: &Section<'_>, key: &str, usual: u16) -> u16 {
    section.integer(key).and_then(|port| u16::try_from(port.into_inner()).ok()).unwrap_or(usual)
}

fn number(integer: &Spanned<u64>) -> Option<u32> {
    u32::try_from(*integer.get_ref()).ok()
}

fn tls_name(text: &str) -> Result<String, Wrong> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(wrong("is no name that a certificate can have", "write a DNS name or an IP address")),
    }
}
