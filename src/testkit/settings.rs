//! Settings of a mailferry where nothing is in the way: what a test does not care about.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::names::{IslandName, NodeName};
use crate::proto::{Channel, Protocol};
use crate::routing::{Check, FailBack, Forward, Island, Node, NodeTls, OperatorState, Policy, Probe};
use crate::session::{self, Door};
use crate::usernames::{self, Characters, DomainRule, Rules};
use crate::{limits, names};

/// Sessions that answer at once and let names be what they are.
pub fn session() -> session::Settings {
    session::Settings {
        hostname: "mail.example.net".into(),
        login_timeout: Duration::from_secs(60),
        hold_timeout: Duration::from_secs(30),
        auth_failure_delay: Duration::ZERO,
        auth_failed_text: "Authentication failed.".into(),
        master_users: [].into(),
        usernames: usernames(),
        imap_capabilities: None,
        pop3_capabilities: None,
    }
}

/// Names as they are typed.
pub fn usernames() -> Rules {
    Rules {
        lower_case: false,
        domain: DomainRule::Keep,
        default_domain: None,
        domains_by_sni: Vec::new(),
        delimiter: None,
        on_node: usernames::NodeName::Typed,
        length_max: names::UserName::MAX_LEN,
        characters: Characters::Any,
    }
}

/// Limits that nobody reaches, but for the fifth refused login of a connection.
pub fn limits() -> limits::Settings {
    limits::Settings {
        connections: None,
        connections_per_network: None,
        unauthenticated: NonZeroU32::MAX,
        unauthenticated_per_network: NonZeroU32::MAX,
        failed_logins: const { NonZeroU32::new(5).unwrap() },
        failed_logins_per_network: None,
        failed_login_memory: Duration::from_secs(600),
        failed_login_delay_max: Duration::ZERO,
        sessions_per_user: None,
        sessions_per_user_and_network: None,
        exempt_networks: Vec::new(),
    }
}

/// A listener in clear text that accepts passwords.
pub fn clear_door(protocol: Protocol) -> Door {
    Door {
        protocol,
        channel: Channel::Clear,
        cleartext_login: true,
        tls: None,
        proxy_protocol_from: Vec::new(),
        proxy_protocol_tls: false,
        trusted_networks: Vec::new(),
        default_domain: None,
    }
}

/// The island `a` with so many nodes, `node0` and so on, in clear text. The first one is preferred.
pub fn island(nodes: u32) -> Island {
    let node = |place: u32| {
        Arc::new(Node {
            name: NodeName::new(&format!("node{place}")),
            host: format!("node{place}"),
            imap_port: 143,
            pop3_port: 110,
            tls_name: format!("node{place}"),
            weight: NonZeroU32::MIN,
            rank: place,
            zone: None,
            state: OperatorState::InService,
        })
    };
    let second = Duration::from_secs(1);
    Island {
        name: IslandName::new("a"),
        spellings: vec![IslandName::new("a")],
        policy: Policy::Prefer,
        fail_back: FailBack::Now,
        tls: NodeTls::Off,
        forward: Forward::Off,
        ca: None,
        connect_timeout: 5 * second,
        greeting_timeout: 10 * second,
        login_timeout: 30 * second,
        hedge: None,
        patience: 5 * second,
        disconnect_spread: Duration::ZERO,
        max_login_rate: None,
        probe: Probe { check: Check::Greeting, interval: 5 * second, timeout: 2 * second, fall: 3, rise: 2 },
        nodes: (0..nodes).map(node).collect(),
    }
}
