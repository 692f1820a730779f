//! What the samples mean: every value arrives in the field that it is meant for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mailferry::config::{self, Settings};
use mailferry::directory::ldap::{Bind, Scope, Url};
use mailferry::directory::template::FilterTemplate;
use mailferry::directory::{self, SourceSettings, cache, file, ldap};
use mailferry::logging::{self, Format};
use mailferry::names::{IslandName, NodeName};
use mailferry::net::tls::{CertificateFiles, ServerSettings, Version};
use mailferry::proto::Protocol::{Imap, Pop3};
use mailferry::routing::{Island, Node, NodeTls};
use mailferry::server::{ListenerSettings, ListenerTls};
use mailferry::session;

use crate::samples::root;

fn sample(name: &str) -> Settings {
    let path = root().join("tests/config/valid").join(name);
    config::parse("/srv/site/proxy.toml", &std::fs::read_to_string(path).unwrap()).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn listener(protocol: mailferry::proto::Protocol, address: &str, tls: ListenerTls, clear: bool) -> ListenerSettings {
    ListenerSettings { protocol, address: address.parse().unwrap(), tls, cleartext_login: clear }
}

fn node(name: &str, host: &str, imap_port: u16, pop3_port: u16, tls_name: &str) -> Arc<Node> {
    let (name, host, tls_name) = (NodeName::new(name), host.to_owned(), tls_name.to_owned());
    Arc::new(Node { name, host, imap_port, pop3_port, tls_name })
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
            auth_failure_delay: seconds(3),
            auth_failed_text: "Authentication failed.".into(),
        },
        log: logging::Settings { format: Format::Text, level: tracing::Level::INFO },
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
        islands: vec![Island {
            name: IslandName::new("a"),
            spellings: vec![IslandName::new("a")],
            tls: NodeTls::StartTls,
            ca: None,
            connect_timeout: seconds(5),
            greeting_timeout: seconds(10),
            login_timeout: seconds(30),
            nodes: vec![node("left", "10.1.0.11", 143, 110, "10.1.0.11")],
        }],
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
    let expected = session::Settings {
        hostname: "mail.example.net".into(),
        login_timeout: seconds(90),
        auth_failure_delay: Duration::ZERO,
        auth_failed_text: "Login incorrect".into(),
    };
    assert_eq!(settings.session, expected);
    assert_eq!(settings.log, logging::Settings { format: Format::Json, level: tracing::Level::TRACE });
    let certificates = vec![
        certificate("/etc/mailferry/mail.pem", "/etc/mailferry/mail.key"),
        certificate("/srv/site/other.pem", "/srv/site/keys/other.key"),
    ];
    assert_eq!(settings.tls, Some(ServerSettings { certificates, min_version: Version::Tls13 }));
    let expected = [
        listener(Imap, "[::1]:993", ListenerTls::Implicit, false),
        listener(Pop3, "[::]:110", ListenerTls::StartTls, true),
        listener(Imap, "0.0.0.0:0", ListenerTls::StartTls, false),
        listener(Pop3, "0.0.0.0:0", ListenerTls::Implicit, false),
        listener(Imap, "192.0.2.1:993", ListenerTls::Implicit, false),
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
        file: None,
    };
    assert_eq!(settings.directory.cache, expected);
    assert_eq!(settings.islands, islands());
}

fn islands() -> [Island; 2] {
    let a = Island {
        name: IslandName::new("a"),
        spellings: ["a", "store-a.example.net", "A"].map(IslandName::new).into(),
        tls: NodeTls::Implicit,
        ca: Some("/etc/mailferry/ca.pem".into()),
        connect_timeout: seconds(1),
        greeting_timeout: seconds(2),
        login_timeout: seconds(3),
        nodes: vec![
            node("left", "10.1.0.11", 993, 995, "10.1.0.11"),
            node("right", "store_a.example.net", 1993, 1995, "a.example.net"),
        ],
    };
    let b = Island {
        name: IslandName::new("b"),
        spellings: vec![IslandName::new("b")],
        tls: NodeTls::Off,
        ca: None,
        connect_timeout: seconds(5),
        greeting_timeout: seconds(10),
        login_timeout: seconds(30),
        nodes: vec![
            node("left", "2001:db8::11", 143, 110, "2001:db8::11"),
            node("right", "2001:db8::12", 143, 110, "2001:db8::12"),
        ],
    };
    [a, b]
}
