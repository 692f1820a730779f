//! `mailferry route`: where a login would go, by a configuration and its directory. Asks no node and no running mailferry.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;

use super::print::{aligned, complain, say};
use super::{EXIT_NOT_FOUND, EXIT_UNAVAILABLE, EXIT_USAGE, load, runtime, start_failed};
use crate::config::reference::shown;
use crate::directory::{Found, Located, LookupError};
use crate::names::{Protocol, UserName, ZoneName};
use crate::routing::{Candidate, FailBack, Island, Islands, OperatorState, Policy, Table};
use crate::usernames::Names;
use crate::{app, logging};

pub(super) fn route(
    user: &str,
    listener: Option<SocketAddr>,
    path: &Path,
    is_json: bool,
) -> Result<ExitCode, ExitCode> {
    let settings = load(path)?;
    let door = settings.listeners.iter().find(|it| Some(it.address) == listener);
    if let (Some(address), None) = (listener, door) {
        complain(&format!("{address}: no listener has this address"));
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    logging::start(&settings.log);
    let Some(name) = UserName::new(user.as_bytes()) else {
        complain("a user name has 1 to 255 octets and no line end");
        return Ok(ExitCode::from(EXIT_NOT_FOUND));
    };
    let Some(names) =
        settings.session.usernames.apply(&name, door.and_then(|door| door.default_domain.as_deref()), None)
    else {
        complain(&format!("{name}: the rules of [usernames] allow no such name"));
        return Ok(ExitCode::from(EXIT_NOT_FOUND));
    };
    let islands = Islands::new(settings.islands.clone(), settings.zone.as_ref(), Instant::now().into_std());
    let answer = runtime()?.block_on(async {
        let directory = app::open_directory(&settings).map_err(|error| start_failed(&error))?;
        Ok::<_, ExitCode>(directory.locate(&names.looked_up).await)
    })?;
    match answer {
        Ok(located) if is_json => Ok(as_json(&name, &names, &located, &islands)),
        Ok(located) => Ok(explain(&name, &names, &located, &islands, settings.zone.as_ref())),
        Err(error) => {
            complain(&format!("{}: {error}", names.looked_up));
            let unknown = matches!(error, LookupError::NotFound);
            Ok(ExitCode::from(if unknown { EXIT_NOT_FOUND } else { EXIT_UNAVAILABLE }))
        }
    }
}

fn explain(user: &UserName, names: &Names, located: &Located, islands: &Islands, zone: Option<&ZoneName>) -> ExitCode {
    let login = located.route.login.as_ref().unwrap_or(&names.on_node);
    say(&format!("user       {user}"));
    if names.looked_up != *user {
        say(&format!("looked up  {}", names.looked_up));
    }
    say(&format!("island     {}", located.route.island));
    say(&format!("log in as  {login}"));
    if let Found::Asked(source) = &located.found {
        say(&format!("answered   {source}"));
    }
    let Some(table) = islands.find(&located.route.island) else {
        complain(&format!("island \"{}\" is not in the configuration; logins fail", located.route.island));
        return ExitCode::from(EXIT_UNAVAILABLE);
    };
    say(&format!("policy     {}", policy(table.island())));
    if let Some(zone) = zone {
        say(&format!("zone       {zone}"));
    }
    for (place, line) in nodes(table, login).iter().enumerate() {
        say(&format!("{:<10} {line}", if place == 0 { "nodes" } else { "" }));
    }
    ExitCode::SUCCESS
}

/// The same for programs.
fn as_json(user: &UserName, names: &Names, located: &Located, islands: &Islands) -> ExitCode {
    let login = located.route.login.as_ref().unwrap_or(&names.on_node);
    let table = islands.find(&located.route.island);
    let answered = match &located.found {
        Found::Asked(source) => Some(source.to_string()),
        Found::Cached { .. } | Found::Stale { .. } => None,
    };
    let nodes = table.map(|table| {
        let plan = table.plan(Protocol::Imap, login, true, Instant::now().into_std()).candidates;
        let node = |candidate: &Candidate| {
            let (node, reason) = (candidate.port.node(), candidate.reason.to_string());
            let (name, zone) = (node.name.to_string(), node.zone.as_ref().map(ZoneName::to_string));
            json!({
                "name": name, "host": node.host, "imap_port": node.imap_port, "pop3_port": node.pop3_port,
                "reason": reason, "rank": node.rank, "weight": node.weight, "zone": zone,
            })
        };
        plan.iter().map(node).collect::<Vec<_>>()
    });
    let said = json!({
        "user": user.to_string(),
        "looked_up": names.looked_up.to_string(),
        "island": located.route.island.to_string(),
        "log_in_as": login.to_string(),
        "answered": answered,
        "policy": table.map(|table| policy(table.island())),
        "nodes": nodes,
    });
    say(&said.to_string());
    if table.is_some() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_UNAVAILABLE) }
}

/// What decides the order of the nodes.
fn policy(island: &Island) -> String {
    let name = match island.policy {
        Policy::Prefer => "prefer",
        Policy::Balance => return "balance".to_owned(),
        Policy::Sticky => "sticky",
    };
    match island.fail_back {
        FailBack::Now => format!("{name}, fail_back now"),
        FailBack::After(time) => format!("{name}, fail_back after {}", shown(time)),
        FailBack::Manual => format!("{name}, fail_back manual"),
    }
}

/// A line for each node of the plan, then for those that are not in it.
fn nodes(table: &Arc<Table>, login: &UserName) -> Vec<String> {
    let plan = table.plan(Protocol::Imap, login, true, Instant::now().into_std()).candidates;
    let planned = plan
        .iter()
        .enumerate()
        .map(|(place, candidate)| (format!("{}.", place + 1), candidate.port.node(), candidate.reason.to_string()));
    let left_out = table.island().nodes.iter().filter_map(|node| {
        let state = match node.state {
            OperatorState::InService => return None,
            OperatorState::Draining => "draining",
            OperatorState::Maintenance => "maintenance",
        };
        Some(("-".to_owned(), node, state.to_owned()))
    });
    // Ranks that are only the places in the file say nothing.
    let is_ranked = (1..).zip(&table.island().nodes).any(|(place, node)| node.rank != place);
    let rows = planned.chain(left_out).map(|(place, node, reason)| {
        let rank = is_ranked.then(|| format!("rank {}", node.rank));
        let weight = (node.weight > NonZeroU32::MIN).then(|| format!("weight {}", node.weight));
        let zone = node.zone.as_ref().map(|zone| format!("zone {zone}"));
        let marks = [Some(reason), rank, weight, zone].into_iter().flatten().collect::<Vec<_>>();
        let ports = (format!("imap {}", node.imap_port), format!("pop3 {}", node.pop3_port));
        [place, node.name.to_string(), node.host.clone(), ports.0, ports.1, marks.join(", ")]
    });
    aligned(&rows.collect::<Vec<_>>())
}
