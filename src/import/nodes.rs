//! `outgoing_server`, `outgoing_port` and how TLS is spoken to nodes → an `[[island]]`.
//!
//! Perdition's map names a host for each user, mailferry's directory names an island, of which the file must tell: which
//! hosts there are stands in the map, so the operator must write the other islands. It must not look at listeners.

use super::Source;
use super::draft::{Draft, Part, list, quoted};
use super::listeners::{Tls, host_and_port, port, tls};

const PART: Part = Part::Island;

pub(super) fn translate(source: &Source, draft: &mut Draft) {
    draft.judge(
        PART,
        "each host that the map names is an island, or a node of one; write an [[island]] for each, with the host as its \
         `name` or in its `match`, and both nodes of a pair in one island",
    );
    encryption(source, draft);
    servers(source, draft);
    if source.has("login_disabled") {
        draft.note(PART, "perdition: login_disabled: not taken over");
        draft.judge(PART, "mailferry with no node in service does not start: start it when users may log in");
    }
}

/// One way for all nodes: the safest that a process had.
fn encryption(source: &Source, draft: &mut Draft) {
    let ways: Vec<Tls> = source.services.iter().map(|service| tls(source, *service, "outgoing")).collect();
    let safest = ways.iter().copied().max().unwrap_or(Tls::Off);
    let word = match safest {
        Tls::Off => "off",
        Tls::Offered | Tls::Demanded => "starttls",
        Tls::Implicit => "implicit",
    };
    draft.set(PART, "tls", quoted(word));
    if ways.iter().any(|way| *way != safest) {
        draft.judge(
            PART,
            "Perdition's processes reached nodes in different ways; this is the safest, now for all of them",
        );
    }
    match safest {
        Tls::Off => draft.judge(PART, "passwords go to nodes in clear text, as they did; better tls = \"starttls\""),
        Tls::Offered => {
            draft.judge(PART, "Perdition went without STARTTLS where a node had none; mailferry demands it");
        }
        Tls::Demanded | Tls::Implicit => {}
    }
    let shown = |name: &str| format!("perdition: {}", source.shown(name));
    if safest == Tls::Off {
        for name in ["ssl_ca_file", "ssl_ca_path", "ssl_no_cn_verify"].iter().filter(|name| source.has(name)) {
            draft.note(PART, &format!("{}: no node has TLS", shown(name)));
        }
        return;
    }
    if let Some(path) = source.value("ssl_ca_file").filter(|path| !path.is_empty()) {
        draft.offer(PART, &source.shown("ssl_ca_file"), &[("ca", quoted(path))]);
    } else if source.has("ssl_ca_file") {
        draft.note(PART, &format!("{}: the system's authorities, as without it", shown("ssl_ca_file")));
    }
    if source.has("ssl_ca_path") {
        draft.note(PART, &format!("{}: `ca` is one file", shown("ssl_ca_path")));
        draft.judge(PART, "cat the certificates of the folder into one file, and name it as `ca`");
    }
    if source.has("ssl_no_cn_verify") {
        draft.note(PART, "perdition: ssl_no_cn_verify: gone: the name is always verified");
        draft.judge(PART, "give each node as `tls_name` the name that its certificate has");
    }
}

/// The island of those whom the map did not know, or of all.
fn servers(source: &Source, draft: &mut Draft) {
    let shown = source.shown("outgoing_server");
    let words = source.words("outgoing_server");
    let own_port = source.value("outgoing_port").and_then(port);
    let mut nodes = Vec::new();
    for (place, word) in words.iter().enumerate() {
        let (host, said) = host_and_port(word);
        let port = match said {
            Some(said) => port(said).or_else(|| {
                draft
                    .judge(PART, &format!("the port of {} is none that is known: set it by hand", word.escape_debug()));
                None
            }),
            None => own_port,
        };
        if port.is_some_and(|port| is_anybodys(source, port)) {
            draft.judge(PART, &format!("{}: which of the two ports is it?", word.escape_debug()));
        }
        nodes.push(format!("    {{ name = \"node{}\", host = {}{} }},", place + 1, quoted(host), ports(source, port)));
    }
    if words.is_empty() {
        let port = ports(source, own_port);
        draft.judge(PART, "this node is an example");
        let node = format!("[{{ name = \"node1\", host = \"node1.example.net\"{port} }}]");
        if own_port.is_some_and(|port| is_anybodys(source, port)) {
            draft.judge(PART, "outgoing_port: which of the two ports is it?");
        }
        if own_port.is_some() {
            draft.offer(PART, &source.shown("outgoing_port"), &[("nodes", node)]);
        }
        return;
    }
    // As the map may spell them too.
    let mut spellings: Vec<&str> = Vec::new();
    for word in &words {
        for spelling in [*word, host_and_port(word).0] {
            if !spellings.contains(&spelling) {
                spellings.push(spelling);
            }
        }
    }
    let nodes = format!("[\n{}\n]", nodes.join("\n"));
    let mut keys = vec![("name", quoted("default")), ("match", list(spellings)), ("nodes", nodes)];
    if words.len() > 1 {
        keys.insert(2, ("policy", quoted("balance")));
    }
    if source.has("outgoing_port") {
        draft.note(PART, &format!("perdition: {}", source.shown("outgoing_port")));
    }
    let is_taken = draft.offer(PART, &shown, &keys);
    if is_taken && words.len() > 1 {
        draft.judge(PART, "these servers are one island only if all of them have the same mail");
    }
    draft.judge(
        PART,
        "nobody comes to this island by default: whom the directory does not know is refused; Perdition sent them here, \
         so give them this island in the directory",
    );
}

/// A port of neither protocol, where both are spoken.
fn is_anybodys(source: &Source, port: u16) -> bool {
    let is_both = source.services.iter().any(|it| it.is_imap()) && source.services.iter().any(|it| !it.is_imap());
    is_both && !matches!(port, 143 | 993 | 110 | 995)
}

/// The port's key, for the protocol whose port it can be.
fn ports(source: &Source, port: Option<u16>) -> String {
    let Some(port) = port else { return String::new() };
    let key = match port {
        143 | 993 => "imap_port",
        110 | 995 => "pop3_port",
        _ if is_anybodys(source, port) => return format!(", imap_port = {port}, pop3_port = {port}"),
        _ if source.services.iter().any(|it| it.is_imap()) => "imap_port",
        _ => "pop3_port",
    };
    format!(", {key} = {port}")
}
