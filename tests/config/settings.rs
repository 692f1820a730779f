//! What the samples mean: every value arrives in the field that it is meant for.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mailferry::config::Settings;
use mailferry::directory::ldap::{Bind, Scope, Url};
use mailferry::directory::template::FilterTemplate;
use mailferry::directory::{self, SourceSettings, cache, file, ldap};
use mailferry::logging::{self, Format};
use mailferry::names::{IslandName, NodeName, UserName, ZoneName};
use mailferry::net::tls::{CertificateFiles, ServerSettings, Version};
use mailferry::proto::Protocol::{Imap, Pop3};
use mailferry::routing::{Check, FailBack, Forward, Island, Node, NodeTls, OperatorState, Policy, Probe};
use mailferry::server::{ListenerSettings, ListenerTls};
use mailferry::usernames::{Characters, DomainRule, NodeName as OnNode, Rules};
use mailferry::{admin, limits, privileges, session};

use crate::samples::root;
use crate::searched;

fn sample(name: &str) -> Settings {
    let path = root().join("tests/config/valid").join(name);
    searched::parse("/srv/site/proxy.toml", &std::fs::read_to_string(path).unwrap()).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn networks<const N: usize>(networks: [&str; N]) -> Vec<ipnet::IpNet> {
    networks.map(|network| network.parse().unwrap()).into()
}

fn listener(protocol: mailferry::proto::Protocol, address: &str, tls: ListenerTls, clear: bool) -> ListenerSettings {
    ListenerSettings {
        protocol,
        address: address.parse().unwrap(),
        tls,
        cleartext_login: clear,
        proxy_protocol_from: Vec::new(),
        proxy_protocol_tls: false,
        trusted_networks: Vec::new(),
        client_ca: None,
        default_domain: None,
    }
}

/// With the ports of clear text and STARTTLS, and all defaults, for `..`.
fn node(name: &str, host: &str, rank: u32) -> Node {
    Node {
        name: NodeName::new(name),
        host: host.to_owned(),
        imap_port: 143,
        pop3_port: 110,
        tls_name: host.to_owned(),
        weight: NonZeroU32::MIN,
        rank,
        zone: None,
        state: OperatorState::InService,
    }
}

/// With one node and all defaults, for `..`.
fn island(name: &str, node: Node) -> Island {
    Island {
        name: IslandName::new(name),
        spellings: vec![IslandName::new(name)],
        policy: Policy::Prefer,
        fail_back: FailBack::After(seconds(60)),
        tls: NodeTls::StartTls,
        forward: Forward::Off,
        ca: None,
        connect_timeout: seconds(5),
        greeting_timeout: seconds(10),
        login_timeout: seconds(20),
        hedge: Some(Duration::from_millis(250)),
        patience: seconds(5),
        disconnect_spread: seconds(5),
        max_login_rate: None,
        probe: probe(Check::Greeting),
        nodes: vec![Arc::new(node)],
    }
}

fn probe(check: Check) -> Probe {
    Probe { check, interval: seconds(5), timeout: seconds(2), fall: 3, rise: 2 }
}

fn certificate(chain: &str, key: &str) -> CertificateFiles {
    CertificateFiles { chain: chain.into(), key: key.into() }
}

#[test]
fn a_minimal_site_gets_the_defaults() {
    let expected = Settings {
        session: session::Settings {
            hostname: "mail.example.net".into(),
            login_timeout: seconds(60),
            hold_timeout: seconds(30),
            auth_failure_delay: seconds(3),
            auth_failed_text: "Authentication failed.".into(),
            master_users: [].into(),
            usernames: Rules {
                lower_case: true,
                domain: DomainRule::Keep,
                default_domain: None,
                domains_by_sni: Vec::new(),
                delimiter: None,
                on_node: OnNode::Typed,
                length_max: 255,
                characters: Characters::Any,
            },
            imap_capabilities: None,
            pop3_capabilities: None,
        },
        limits: limits::Settings {
            connections: None,
            connections_per_network: NonZeroU32::new(1000),
            unauthenticated: count(4096),
            unauthenticated_per_network: count(512),
            failed_logins: count(5),
            failed_logins_per_network: NonZeroU32::new(300),
            failed_login_memory: seconds(600),
            failed_login_delay_max: seconds(15),
            sessions_per_user: None,
            sessions_per_user_and_network: None,
            exempt_networks: Vec::new(),
        },
        admin: admin::Settings {
            socket: Some(admin::Socket { path: "/run/mailferry/admin.sock".into(), is_demanded: false }),
            tls: true,
            state_file: "/var/lib/mailferry/operator.json".into(),
            config: "/srv/site/proxy.toml".to_owned(),
            ..admin::Settings::default()
        },
        log: logging::Settings { format: Format::Text, level: tracing::Level::INFO, failures: logging::Failures::All },
        tls: Some(ServerSettings {
            certificates: vec![certificate("/etc/mailferry/mail.pem", "/etc/mailferry/mail.key")],
            min_version: Version::Tls12,
        }),
        listeners: vec![listener(Imap, "[::]:993", ListenerTls::Implicit, false)],
        directory: directory::Settings {
            source: SourceSettings::Ldap(ldap::Settings {
                urls: vec![Url::parse("ldap://ldap.example.net").unwrap()],
                starttls: true,
                ca: None,
                bind: None,
                base: "ou=people,dc=example,dc=net".to_owned(),
                scope: Scope::Sub,
                filter: FilterTemplate::parse("(&(objectClass=inetOrgPerson)(|(uid={user})(mail={user})))").unwrap(),
                island_attribute: "mailHost".to_owned(),
                login_attribute: None,
                timeout: seconds(2),
                connect_timeout: seconds(2),
                pool: 2,
            }),
            cache: cache::Settings {
                capacity: 200_000,
                ttl: seconds(300),
                negative_ttl: seconds(30),
                stale: seconds(86_400),
                file: None,
            },
        },
        islands: vec![island("a", node("left", "10.1.0.11", 1))],
        privileges: privileges::Settings::default(),
        sandbox: true,
        threads: None,
        zone: None,
        resolve_interval: seconds(30),
        stop: session::StopSettings { delay: Duration::ZERO, timeout: seconds(20) },
    };
    assert_eq!(sample("minimal_ldap.toml"), expected);
}

#[test]
fn a_site_with_a_file_needs_neither_ldap_nor_tls() {
    let settings = sample("minimal_file.toml");
    let path = PathBuf::from("/etc/mailferry/routes");
    assert_eq!(settings.directory.source, SourceSettings::File(file::Settings { path }));
    assert_eq!(settings.listeners, [listener(Imap, "127.0.0.1:143", ListenerTls::Off, true)]);
    assert_eq!(settings.tls, None);
    assert_eq!(settings.islands[0].tls, NodeTls::Off);
}

#[test]
fn every_value_arrives_where_it_is_meant_for() {
    let settings = sample("everything.toml");
    let admin = admin::Settings {
        socket: Some(admin::Socket { path: "/srv/site/admin.sock".into(), is_demanded: true }),
        socket_group: Some("operators".to_owned()),
        address: Some("[::1]:8443".parse().unwrap()),
        tls: true,
        certificate: Some(certificate("/srv/site/admin.pem", "/srv/site/admin.key")),
        operator_token_file: Some("/srv/site/operator.token".into()),
        read_only_token_file: Some("/srv/site/read-only.token".into()),
        state_file: "/srv/mailferry/nodes.json".into(),
        config: "/srv/site/proxy.toml".to_owned(),
    };
    assert_eq!(settings.admin, admin);
    let expected = session::Settings {
        hostname: "mail.example.net".into(),
        login_timeout: seconds(90),
        hold_timeout: seconds(30),
        auth_failure_delay: Duration::ZERO,
        auth_failed_text: "Login incorrect".into(),
        master_users: ["master", "jürgen@example.net"].map(|name| UserName::new(name.as_bytes()).unwrap()).into(),
        usernames: Rules {
            lower_case: false,
            domain: DomainRule::Add,
            default_domain: None,
            domains_by_sni: [("mail.example.org", "example.org"), ("mail.example.com", "Example.com")]
                .map(|(sni, domain)| (sni.into(), domain.into()))
                .into(),
            delimiter: Some("_at_".into()),
            on_node: OnNode::LookedUp,
            length_max: 64,
            characters: Characters::Text,
        },
        imap_capabilities: Some(Arc::new([&b"NAMESPACE"[..], b"AUTH=XOAUTH2", b"X-A.B!"].into_iter().collect())),
        pop3_capabilities: Some(Arc::new([&b"EXPIRE NEVER"[..], b"AUTH=OAUTHBEARER"].into_iter().collect())),
    };
    assert_eq!(settings.session, expected);
    assert_eq!(settings.limits, every_limit());
    assert_eq!(
        settings.log,
        logging::Settings { format: Format::Json, level: tracing::Level::TRACE, failures: logging::Failures::All }
    );
    let certificates = vec![
        certificate("/etc/mailferry/mail.pem", "/etc/mailferry/mail.key"),
        certificate("/srv/site/other.pem", "/srv/site/keys/other.key"),
    ];
    assert_eq!(settings.tls, Some(ServerSettings { certificates, min_version: Version::Tls13 }));
    let expected = [
        ListenerSettings {
            client_ca: Some("/srv/site/clients.pem".into()),
            ..listener(Imap, "[::1]:993", ListenerTls::Implicit, false)
        },
        ListenerSettings {
            proxy_protocol_from: networks(["192.0.2.0/28", "2001:db8::7/128"]),
            proxy_protocol_tls: true,
            trusted_networks: networks(["198.51.100.9/32", "2001:db8:1::/48", "0.0.0.0/0"]),
            default_domain: Some("pop.example.net".into()),
            ..listener(Pop3, "[::]:110", ListenerTls::StartTls, true)
        },
        listener(Imap, "0.0.0.0:0", ListenerTls::StartTls, false),
        listener(Pop3, "0.0.0.0:0", ListenerTls::Implicit, false),
        listener(Imap, "192.0.2.1:993", ListenerTls::Implicit, false),
        ListenerSettings {
            proxy_protocol_from: networks(["192.0.2.0/28"]),
            proxy_protocol_tls: true,
            default_domain: Some("pop.example.net".into()),
            ..listener(Pop3, "192.0.2.1:1110", ListenerTls::Off, false)
        },
    ];
    assert_eq!(settings.listeners, expected);
    let expected = SourceSettings::Ldap(ldap::Settings {
        urls: ["ldap://ldap1.example.net:3389", "ldaps://ldap2.example.net"].map(|url| Url::parse(url).unwrap()).into(),
        starttls: false,
        ca: Some("/etc/mailferry/ca.pem".into()),
        bind: Some(Bind {
            dn: "cn=mailferry,ou=services,dc=example,dc=net".to_owned(),
            password_file: "/etc/mailferry/ldap.secret".into(),
        }),
        base: "ou=people,dc=example,dc=net".to_owned(),
        scope: Scope::One,
        filter: FilterTemplate::parse("(uid={local})").unwrap(),
        island_attribute: "1.3.6.1.4.1.4203.666.1".to_owned(),
        login_attribute: Some("uid;lang-en".to_owned()),
        timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_millis(1500),
        pool: 16,
    });
    assert_eq!(settings.directory.source, expected);
    let expected = cache::Settings {
        capacity: 1_000_000,
        ttl: seconds(600),
        negative_ttl: Duration::ZERO,
        stale: seconds(600),
        file: Some("/srv/site/routes.kept".into()),
    };
    assert_eq!(settings.directory.cache, expected);
    assert_eq!(settings.written_folders(), ["/srv/site", "/srv/mailferry"].map(PathBuf::from), "each once");
    assert_eq!((settings.zone.clone(), settings.resolve_interval), (Some(ZoneName::new("hall 1")), seconds(7)));
    assert_eq!(settings.stop, session::StopSettings { delay: seconds(9), timeout: seconds(120) });
    let name = |text: &str| Some(text.to_owned());
    let expected = privileges::Settings { user: name("mail ferry"), group: name("mail") };
    assert_eq!((settings.privileges, settings.sandbox, settings.threads), (expected, false, Some(count(3))));
    assert_eq!(settings.islands, islands());
}

fn every_limit() -> limits::Settings {
    limits::Settings {
        connections: NonZeroU32::new(5000),
        connections_per_network: NonZeroU32::new(4000),
        unauthenticated: count(3000),
        unauthenticated_per_network: count(2000),
        failed_logins: count(7),
        failed_logins_per_network: None,
        failed_login_memory: seconds(3600),
        failed_login_delay_max: Duration::ZERO,
        sessions_per_user: NonZeroU32::new(30),
        sessions_per_user_and_network: NonZeroU32::new(30),
        exempt_networks: networks(["203.0.113.0/24", "::1/128"]),
    }
}

fn islands() -> [Island; 4] {
    let a = Island {
        spellings: ["a", "store-a.example.net", "A"].map(IslandName::new).into(),
        policy: Policy::Sticky,
        fail_back: FailBack::Manual,
        tls: NodeTls::Implicit,
        forward: Forward::Id,
        ca: Some("/etc/mailferry/ca.pem".into()),
        connect_timeout: seconds(1),
        greeting_timeout: seconds(2),
        login_timeout: seconds(3),
        hedge: None,
        patience: seconds(4),
        disconnect_spread: Duration::ZERO,
        max_login_rate: NonZeroU32::new(50),
        probe: Probe {
            check: Check::Login {
                user: UserName::new(b"probe@example.net").unwrap(),
                password_file: "/srv/site/probe.secret".into(),
            },
            interval: seconds(6),
            timeout: seconds(8),
            fall: 1,
            rise: 100,
        },
        nodes: vec![
            Arc::new(Node {
                imap_port: 993,
                pop3_port: 995,
                weight: NonZeroU32::new(3).unwrap(),
                zone: Some(ZoneName::new("hall 1")),
                ..node("left", "10.1.0.11", 1)
            }),
            Arc::new(Node {
                imap_port: 1993,
                pop3_port: 1995,
                tls_name: "a.example.net".to_owned(),
                ..node("right", "store_a.example.net", 2)
            }),
        ],
        ..island("a", node("", "", 0))
    };
    let b = Island {
        fail_back: FailBack::After(seconds(5400)),
        tls: NodeTls::Off,
        forward: Forward::Proxy,
        connect_timeout: seconds(1),
        greeting_timeout: seconds(2),
        hedge: Some(Duration::from_millis(2999)),
        patience: seconds(89),
        probe: probe(Check::Command),
        nodes: vec![
            Arc::new(Node { state: OperatorState::Draining, ..node("left", "2001:db8::11", 2) }),
            Arc::new(node("right", "2001:db8::12", 2)),
            Arc::new(Node { state: OperatorState::Maintenance, ..node("spare", "2001:db8::13", 3) }),
        ],
        ..island("b", node("", "", 0))
    };
    let weight = NonZeroU32::new(1000).unwrap();
    // A node that returned has the fewest sessions, so nothing is given back.
    let c = Island {
        policy: Policy::Balance,
        fail_back: FailBack::Now,
        ..island("c", Node { weight, ..node("only", "c.example.net", 1) })
    };
    let d = Island { fail_back: FailBack::Now, ..island("d", node("only", "d.example.net", 1)) };
    [a, b, c, d]
}
