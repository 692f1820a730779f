//! `[limits]`: how much is too much.

use std::num::NonZeroU32;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use super::document::{Notes, Section};
use super::listener::networks;
use super::reference::{LIMITS, shown};
use super::server::Server;
use crate::limits::Settings;

/// `server` is what refusals are measured with; `None` where that is not known.
pub(super) fn read(root: &DeTable<'_>, notes: &Notes, server: Option<&Server>) -> Option<Settings> {
    let limits = Section::one(root, &LIMITS, notes)?;
    let connections = limits.count_or("connections");
    let connections_per_network = limits.count_or("connections_per_network");
    let unauthenticated = count(&limits, "unauthenticated");
    let unauthenticated_per_network = count(&limits, "unauthenticated_per_network");
    let failed_logins = count(&limits, "failed_logins");
    let failed_logins_per_network = limits.count_or("failed_logins_per_network");
    let failed_login_memory = limits.duration("failed_login_memory");
    let failed_login_delay_max = limits.duration("failed_login_delay_max");
    let sessions_per_user = limits.count_or("sessions_per_user");
    let sessions_per_user_and_network = limits.count_or("sessions_per_user_and_network");
    let exempt_networks = networks(&limits, "exempt_networks");
    let ordered = [
        ("connections_per_network", connections_per_network, "connections", connections),
        ("unauthenticated", unauthenticated.map(Some), "connections", connections),
        (
            "unauthenticated_per_network",
            unauthenticated_per_network.map(Some),
            "unauthenticated",
            unauthenticated.map(Some),
        ),
        (
            "unauthenticated_per_network",
            unauthenticated_per_network.map(Some),
            "connections_per_network",
            connections_per_network,
        ),
        ("sessions_per_user_and_network", sessions_per_user_and_network, "sessions_per_user", sessions_per_user),
    ];
    for (part, few, whole, many) in ordered {
        if let (Some(Some(few)), Some(Some(many))) = (few, many) {
            refuse_more(&limits, (part, few), (whole, many));
        }
    }
    if let (Some(delay), Some(server)) = (&failed_login_delay_max, server) {
        refuse_unheard(&limits, delay, server);
    }
    Some(Settings {
        connections: connections?,
        connections_per_network: connections_per_network?,
        unauthenticated: unauthenticated?,
        unauthenticated_per_network: unauthenticated_per_network?,
        failed_logins: failed_logins?,
        failed_logins_per_network: failed_logins_per_network?,
        failed_login_memory: failed_login_memory?.into_inner(),
        failed_login_delay_max: failed_login_delay_max?.into_inner(),
        sessions_per_user: sessions_per_user?,
        sessions_per_user_and_network: sessions_per_user_and_network?,
        exempt_networks: exempt_networks?,
    })
}

fn count(limits: &Section<'_>, name: &str) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(limits.integer(name)?.into_inner()).ok()?)
}

/// A limit that another one makes idle. Where the file leaves one of them to its default, the other's place is told.
fn refuse_more(limits: &Section<'_>, (part, few): (&str, NonZeroU32), (whole, many): (&str, NonZeroU32)) {
    if few > many {
        let place = limits.span_of(part).or_else(|| limits.span_of(whole));
        let message = format!("`{part}` is {few}, more than `{whole}`, which is {many}");
        let remedy = format!("write {part} = {many} or less, or more for `{whole}`");
        limits.notes().problem(place.unwrap_or_else(|| limits.span()), message, remedy);
    }
}

/// A refusal that comes after the whole time of a login. That the other delay alone is too long was told.
fn refuse_unheard(limits: &Section<'_>, delay: &Spanned<Duration>, server: &Server) {
    let (other, whole) = (server.auth_failure_delay, &server.login_timeout);
    if other < *whole.get_ref() && other + *delay.get_ref() >= *whole.get_ref() {
        let span = limits.span_of("failed_login_delay_max").unwrap_or_else(|| whole.span());
        let message = "`failed_login_delay_max` and `auth_failure_delay` together are not less than `login_timeout` in \
                       [server]: no refusal would be heard";
        let most = shown(*whole.get_ref() - other);
        let remedy = format!("write less than \"{most}\" for `failed_login_delay_max`, or lengthen the timeout");
        limits.notes().problem(span, message, remedy);
    }
}
