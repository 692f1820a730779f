//! `mailferry status`: the whole on one screen.

use std::process::ExitCode;

use super::client::Asking;
use super::print::{list, seconds, table};
use crate::admin::view::{Cache, Predecessor, Status};

pub(super) fn status(asking: &Asking) -> Result<ExitCode, ExitCode> {
    asking.get_of_all(
        "/v1/status",
        &[],
        |status: &Status| &status.unreached,
        |status: Status| {
            let per_second = status.logins_last_minute as f64 / 60.0;
            list(&[
                ("version", status.version),
                ("process", status.pid.to_string()),
                ("since", format!("{} ({})", status.since, seconds(status.uptime_s))),
                ("config", status.config),
                ("state file", status.state_file),
                ("ready", if status.ready { "yes" } else { "no: it stops, and wants no new clients" }.to_owned()),
                ("sessions", status.sessions.to_string()),
                ("logins", format!("{} in the last minute ({per_second:.1}/s)", status.logins_last_minute)),
                ("cache", format!("{} of {} users", status.cache.users, status.cache.capacity)),
                ("look-ups", lookups(&status.cache)),
                ("user", status.rights.user),
                ("files", status.rights.files),
                ("calls", status.rights.calls),
            ]);
            if status.held > 0 {
                let logins = status.held_logins;
                list(&[("held", format!("{} users, for whom {logins} logins wait; see mailferry holds", status.held))]);
            }
            for Predecessor { process, version, sessions, ends_in_s } in status.predecessors {
                let end = ends_in_s.map_or_else(String::new, |left| format!(", cut in {}", seconds(left)));
                let text = format!("process {process} (version {version}) drains: {sessions} sessions{end}");
                list(&[("predecessor", text)]);
            }
            super::print::say("");
            let row = |server: crate::admin::view::DirectoryServer| {
                let state = if server.available { "available" } else { "unavailable" };
                [server.name, state.to_owned(), server.reason.unwrap_or_default()]
            };
            table(["DIRECTORY", "STATE", "REASON"], status.directory.into_iter().map(row).collect());
            super::print::say("");
            let row = |island: crate::admin::view::IslandBrief| {
                [island.name, format!("{} of {}", island.in_service, island.nodes), island.sessions.to_string()]
            };
            table(["ISLAND", "NODES IN SERVICE", "SESSIONS"], status.islands.into_iter().map(row).collect());
        },
    )
}

/// The cache's at most, so that nobody reads 100 % while the directory is asked.
fn lookups(cache: &Cache) -> String {
    let Cache { lookups_last_minute: all, served_last_minute: served, .. } = *cache;
    let hits = (served * 100).checked_div(all).map_or_else(String::new, |rate| format!(", {rate} % from the cache"));
    format!("{all} in the last minute{hits}")
}
