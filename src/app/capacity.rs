//! How many clients there are descriptors for, with this configuration. Opens nothing.

use std::num::NonZeroU32;

use tracing::warn;

use crate::admin;
use crate::config::Settings;
use crate::directory::SourceSettings;
use crate::net::descriptors::Descriptors;
use crate::net::pump;
use crate::net::workers::Workers;

/// Descriptors that no client has, whatever the configuration: standard streams, the runtime's own, signals, files that
/// are read or written for a moment, names that are looked up.
const RESERVE: usize = 32;

/// Each thread has its queue of events twice, what wakes it, and a socket for signals.
const RESERVE_PER_THREAD: usize = 4;

/// Each listener has its socket and a spare descriptor.
const RESERVE_PER_LISTENER: usize = 2;

/// Each node's probe of each protocol has one, and each look-up of a node's name two.
const RESERVE_PER_NODE: usize = 4;

/// Each LDAP server's trial has a connection, beside its pool.
const RESERVE_PER_LDAP_URL: usize = 1;

/// Each connection to an LDAP server has its socket, and the pair of sockets between our guard and the library.
const PER_LDAP_CONNECTION: usize = 3;

/// What there are descriptors for.
#[derive(Clone, Copy)]
pub(super) struct Capacity {
    /// Clients that there are descriptors for.
    pub(super) possible: u32,
    /// Clients that there may be: no more than the operator wants.
    pub(super) clients: u32,
}

/// Raises the process's limit, and allows as many pipes as there are descriptors for. Tells the operator if there may be
/// fewer clients than he wants.
pub(super) fn reckon(settings: &Settings, workers: &Workers) -> Capacity {
    let descriptors = Descriptors::raise(reserve(settings, workers.count()));
    pump::allow_pipes(descriptors.pipes());
    Capacity { possible: descriptors.clients(), clients: clients(settings, &descriptors) }
}

/// Descriptors that are not for clients.
fn reserve(settings: &Settings, threads: usize) -> u64 {
    let nodes: usize = settings.islands.iter().map(|island| island.nodes.len()).sum();
    let ldap = match &settings.directory.source {
        SourceSettings::Ldap(ldap) => ldap.urls.len() * (ldap.pool + RESERVE_PER_LDAP_URL) * PER_LDAP_CONNECTION,
        SourceSettings::File(_) => 0,
    };
    let admin = settings.admin.address.map_or(0, |_| admin::DESCRIPTORS);
    let all = RESERVE
        + admin
        + threads * RESERVE_PER_THREAD
        + settings.listeners.len() * RESERVE_PER_LISTENER
        + nodes * RESERVE_PER_NODE
        + ldap;
    u64::try_from(all).unwrap_or(u64::MAX)
}

fn clients(settings: &Settings, descriptors: &Descriptors) -> u32 {
    let possible = descriptors.clients();
    let Some(wanted) = settings.limits.connections.map(NonZeroU32::get) else { return possible };
    if wanted > possible {
        let (limit, needed) = (descriptors.limit, descriptors.needed(wanted));
        warn!(
            wanted,
            possible,
            limit,
            needed,
            "too few file descriptors for so many connections: set LimitNOFILE={needed} in the service unit, or ulimit -n"
        );
    }
    wanted.min(possible)
}
