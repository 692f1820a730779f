//! `mailferry islands`: every island with its nodes side by side.

use std::process::ExitCode;

use super::client::Asking;
use super::print::{aligned, say, seconds};
use crate::admin::view::{Island, Islands, Node, Port};

pub(super) fn islands(asking: &Asking) -> Result<ExitCode, ExitCode> {
    asking.get("/v1/islands", &[], |islands: Islands| {
        for (place, island) in islands.islands.into_iter().enumerate() {
            if place > 0 {
                say("");
            }
            show(&island);
        }
    })
}

/// A column for each node.
fn show(island: &Island) {
    say(&format!("{} ({})", island.name, island.policy));
    let row = |name: &str, cell: &dyn Fn(&Node) -> String| {
        let mut row = vec![format!("  {name}")];
        row.extend(island.nodes.iter().map(cell));
        row
    };
    let mut rows = vec![
        row("node", &|node| node.name.clone()),
        row("host", &|node| node.host.clone()),
        row("operator", &operator),
        row("sessions", &|node| node.sessions.to_string()),
    ];
    let protocols = island.nodes.first().map_or(0, |node| node.protocols.len());
    for place in 0..protocols {
        let of = |node: &Node, cell: &dyn Fn(&Port) -> String| node.protocols.get(place).map(cell).unwrap_or_default();
        let name = island.nodes.first().map(|node| of(node, &|port| port.protocol.clone())).unwrap_or_default();
        rows.push(row(&name, &|node| of(node, &state)));
        let reason = |port: &Port| port.reason.clone().unwrap_or_default();
        if island.nodes.iter().any(|node| !of(node, &reason).is_empty()) {
            rows.push(row("  reason", &|node| of(node, &reason)));
        }
        let greeting = |port: &Port| port.greeting_ms.map(|time| format!("{time} ms")).unwrap_or_default();
        if island.nodes.iter().any(|node| !of(node, &greeting).is_empty()) {
            rows.push(row("  greeting", &|node| of(node, &greeting)));
        }
    }
    aligned(&rows).iter().for_each(|line| say(line));
}

fn operator(node: &Node) -> String {
    if node.operator == node.configured {
        node.operator.clone()
    } else {
        format!("{} (configured: {})", node.operator, node.configured)
    }
}

fn state(port: &Port) -> String {
    let held_back = if port.held_back { ", held back" } else { "" };
    format!("{} for {}{held_back}", port.state, seconds(port.since_s))
}
