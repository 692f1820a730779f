//! What differs, as a table: one change a row, and what is said of it.

use super::*;
use crate::config::parse;

/// Two of everything that there may be several of.
const SITE: &str = r#"
[server]
hostname = "mail.example.net"
login_timeout = "60s"
[log]
format = "text"
level = "info"
[tls]
certificates = [{ chain = "mail.pem", key = "mail.key" }]
[[listener]]
protocol = "imap"
address = "127.0.0.1:1993"
[[listener]]
protocol = "pop3"
address = "127.0.0.1:1110"
tls = "starttls"
[usernames]
lower_case = true
[limits]
unauthenticated = 1000
[directory]
type = "file"
path = "users"
[directory.cache]
ttl = "5m"
[[island]]
name = "a"
tls = "off"
patience = "5s"
nodes = [{ name = "left", host = "10.1.0.11" }, { name = "right", host = "10.1.0.12" }]
[[island]]
name = "b"
tls = "off"
nodes = [{ name = "left", host = "10.2.0.11" }]
"#;

fn settings(text: &str) -> Settings {
    parse("proxy.toml", text).unwrap_or_else(|report| panic!("{report}"))
}

/// What is said when these texts are replaced, in the first place where each stands.
fn said(replaced: &[(&str, &str)]) -> Vec<String> {
    let text = replaced.iter().fold(SITE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    let changes = diff(&settings(SITE), &settings(&text));
    let restart = changes.restart.iter().map(|it| format!("{it} needs a restart"));
    changes.live.iter().map(ToString::to_string).chain(restart).collect()
}

/// What is replaced, and what is said of it.
type Row = (&'static [(&'static str, &'static str)], &'static [&'static str]);

#[test]
fn what_differs_is_said_in_the_words_of_the_file() {
    let rows: [Row; 30] = [
        (&[], &[]),
        (&[("mail.example.net", "mx.example.net")], &["[server] changed: hostname"]),
        (&[("\"60s\"", "\"50s\"")], &["[server] changed: login_timeout"]),
        (
            &[("[log]", "zone = \"hall\"\nresolve_interval = \"9s\"\n[log]")],
            &["[server] changed: zone, resolve_interval"],
        ),
        (
            &[("[log]", "drain_delay = \"9s\"\ndrain_timeout = \"9s\"\n[log]")],
            &["[server] changed: drain_delay, drain_timeout"],
        ),
        (&[("\"info\"", "\"debug\"")], &["[log] changed: level"]),
        (&[("[log]", "[log]\nfailures = \"summary\"")], &["[log] changed: failures"]),
        (&[("\"text\"", "\"json\"")], &["[log] format needs a restart"]),
        (&[("[log]", "threads = 3\n[log]")], &["[server] threads needs a restart"]),
        (
            &[("\"text\"", "\"json\""), ("\"info\"", "\"warn\"")],
            &["[log] changed: level", "[log] format needs a restart"],
        ),
        (&[("mail.pem", "new.pem")], &["[tls] changed: certificates"]),
        (&[("[[listener]]", "min_version = \"1.3\"\n[[listener]]")], &["[tls] changed: min_version"]),
        (
            &[("127.0.0.1:1993", "127.0.0.1:1994")],
            &["[listener] 127.0.0.1:1993 removed", "[listener] 127.0.0.1:1994 added"],
        ),
        (&[("\"imap\"", "\"pop3\"")], &["[listener] 127.0.0.1:1993 changed: protocol"]),
        (
            &[("\"starttls\"", "\"implicit\"\ntrusted_networks = [\"10.0.0.0/8\"]")],
            &["[listener] 127.0.0.1:1110 changed: tls, trusted_networks"],
        ),
        (&[("lower_case = true", "lower_case = false")], &["[usernames] changed"]),
        (&[("lower_case = true", "domain = \"strip\"")], &["[usernames] changed"]),
        (&[("patience", "policy = \"balance\"\npatience")], &["[island] a changed: policy, fail_back"]),
        (
            &[("\"starttls\"", "\"starttls\"\nproxy_protocol_from = [\"10.0.0.1\"]\nproxy_protocol_tls = true")],
            &["[listener] 127.0.0.1:1110 changed: proxy_protocol_from, proxy_protocol_tls"],
        ),
        (&[("unauthenticated = 1000", "unauthenticated = 999")], &["[limits] changed: unauthenticated"]),
        (&[("\"users\"", "\"others\"")], &["[directory] changed: path"]),
        (
            &[(
                "type = \"file\"\npath = \"users\"",
                "type = \"ldap\"\nurls = [\"ldap://ldap.example.net\"]\nbase = \"dc=example\"\nfilter = \
                 \"(uid={user})\"\nisland_attribute = \"mailHost\"",
            )],
            &["[directory] changed: type"],
        ),
        (&[("\"5m\"", "\"6m\"")], &["[directory.cache] changed: ttl"]),
        (&[("patience = \"5s\"", "patience = \"6s\"")], &["[island] a changed: patience"]),
        (&[("patience", "probe.interval = \"7s\"\npatience")], &["[island] a changed: probe"]),
        (&[("name = \"b\"", "name = \"c\"")], &["[island] b removed", "[island] c added"]),
        (&[("10.1.0.12", "10.1.0.13")], &["[island.nodes] right of a changed: host, tls_name"]),
        (&[(", { name = \"right\", host = \"10.1.0.12\" }", "")], &["[island.nodes] right of a removed"]),
        (
            &[("\"10.2.0.11\" }", "\"10.2.0.11\" }, { name = \"x\", host = \"10.2.0.12\", state = \"draining\" }")],
            &["[island.nodes] x of b added"],
        ),
        (
            &[("\"10.1.0.12\" }", "\"10.1.0.12\", state = \"draining\" }")],
            &["[island.nodes] right of a changed: state"],
        ),
    ];
    for (replaced, expected) in rows {
        assert_eq!(said(replaced), expected, "{replaced:?}");
    }
}

#[test]
fn the_order_of_nodes_is_something_and_that_of_islands_and_listeners_is_not() {
    let (left, right) = ("{ name = \"left\", host = \"10.1.0.11\" }", "{ name = \"right\", host = \"10.1.0.12\" }");
    let turned = said(&[(left, "@"), (right, left), ("@", right)]);
    assert!(turned[0].starts_with("[island] a changed: nodes"), "{turned:?}");
    let both = settings(SITE);
    let mut turned = both.clone();
    turned.islands.reverse();
    turned.listeners.reverse();
    assert!(diff(&both, &turned).is_empty());
    assert_eq!(pair_listeners(&both.listeners, &turned.listeners), [Some(1), Some(0)]);
}

#[test]
fn listeners_of_one_address_are_paired_in_their_order() {
    let listener = settings(SITE).listeners.remove(0);
    let other = Listener { address: "127.0.0.1:9".parse().unwrap(), ..listener.clone() };
    let old = [listener.clone(), other.clone(), listener.clone()];
    assert_eq!(pair_listeners(&old, &[listener.clone(), listener.clone(), listener]), [Some(0), Some(2), None]);
    assert_eq!(pair_listeners(&[], &[other]), [None]);
}
