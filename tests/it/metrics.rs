//! `/metrics`: what logins, nodes, reloads and limits leave there, read by a strict reader.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailferry::config::Settings;
use mailferry::directory::template::FilterTemplate;
use mailferry::directory::{SourceSettings, ldap};
use mailferry::limits;
use mailferry::metrics::{Outcome, Word, families};
use mailferry::names::IslandName;
use mailferry::routing::Island;
use mailferry::testkit::exposition::Exposition;
use mailferry::testkit::settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Client, DEADLINE};
use crate::node::{Conn, FakeNode, PROBES_IMAP_FAREWELL, WRONG, imap_mailbox};
use crate::site::{Door, Site, Spec};

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";

/// The page, with its type.
pub async fn get(socket: &Path, accept: &str) -> (String, String) {
    let question = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(question.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("no close in time").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
    (kind.to_owned(), body.to_owned())
}

/// Gives an order, which is carried out.
async fn order(site: &Site, path: &str, body: &str) {
    let head = "Host: x\r\nContent-Type: application/json\r\nContent-Length";
    let order = format!("POST {path} HTTP/1.1\r\n{head}: {}\r\n\r\n{body}", body.len());
    let mut stream = UnixStream::connect(site.socket()).await.unwrap();
    stream.write_all(order.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("no close in time").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Both pages of this moment say the same, as far as their formats let them; one of them.
async fn page(site: &Site) -> Exposition {
    let (kind, text) = get(&site.socket(), "").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let page = Exposition::read(&text, false).unwrap_or_else(|why| panic!("{why}"));
    let (kind, text) = get(&site.socket(), OPEN_METRICS).await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let open = Exposition::read(&text, true).unwrap_or_else(|why| panic!("{why}"));
    assert!(open.samples.len() >= page.samples.len(), "{} {}", open.samples.len(), page.samples.len());
    assert_eq!(open.families.len(), page.families.len());
    page
}

/// The page, as soon as this is so.
async fn page_where(site: &Site, is_so: impl Fn(&Exposition) -> bool) -> Exposition {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let page = page(site).await;
        if is_so(&page) {
            return page;
        }
        assert!(Instant::now() < deadline, "it does not come to be: {:#?}", page.samples);
        sleep(Duration::from_millis(10)).await;
    }
}

/// A node that answers a login as the password wants it.
async fn moody(mut conn: Conn) {
    conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] node ready\r\n").await;
    while let Some(line) = conn.line().await {
        if line == PROBES_IMAP_FAREWELL {
            return conn.send("* BYE see you\r\nf6 OK done\r\n").await;
        }
        let Some((tag, response)) = line.split_once(" AUTHENTICATE PLAIN ") else { return };
        let is_right = conn.plain(response);
        let password = conn.seen.logins.with(|logins| logins.last().unwrap().1.clone());
        let refusal = match &*String::from_utf8(password).unwrap() {
            "in-use-Pa55" => "[INUSE] Another one has it.",
            "later-Pa55" => "[UNAVAILABLE] Not now.",
            "expired-Pa55" => "[EXPIRED] Too old.",
            "silent-Pa55" => return conn.closed().await,
            _ if is_right => {
                conn.send(format!("{tag} OK [CAPABILITY IMAP4rev1 IDLE] Logged in\r\n")).await;
                return imap_mailbox(conn).await;
            }
            _ => "[AUTHENTICATIONFAILED] Not this one.",
        };
        conn.send(format!("{tag} NO {refusal}\r\n")).await;
    }
}

/// What the client is told of a login on a connection of its own, which is closed then.
async fn told(site: &Site, door: Door, commands: &[&str]) -> String {
    let mut client = site.greeted(door).await;
    let mut answer = String::new();
    for (number, command) in commands.iter().enumerate() {
        answer = client.command(&format!("a{number}"), command).await;
    }
    answer
}

fn with(mut settings: Settings, change: impl FnOnce(&mut Settings)) -> Settings {
    change(&mut settings);
    settings
}

fn spec(nodes: &[u16]) -> Spec {
    Spec { has_socket: true, ..Spec::new(nodes) }
}

#[tokio::test]
async fn every_outcome_of_a_login_is_counted_under_its_own_word() {
    let (node, pop3) = (FakeNode::start(moody).await, FakeNode::pop3().await);
    let mut session = settings::session();
    session.usernames.length_max = 12;
    session.hold_timeout = Duration::from_millis(10);
    let site = Site::start(Spec {
        pop3_port: Some(pop3.port),
        session,
        limits: limits::Settings { sessions_per_user: NonZeroU32::new(1), ..settings::limits() },
        listen: |it| it.trusted_networks = vec!["127.0.0.0/8".parse().unwrap()],
        users: "alice a\ncarol a\npop a\nbob b\nlost nowhere\n",
        ..spec(&[node.port])
    })
    .await;
    let before = page(&site).await;
    assert_eq!(before.sum("mailferry_logins_total", &[]), 0.0);
    assert_eq!(before.all("mailferry_logins_total", &[("outcome", "accepted"), ("island", "a")]).len(), 2);

    let mut alice = site.greeted(Door::ImapTls).await;
    assert!(alice.command("a", "LOGIN alice right-Pa55").await.starts_with("a OK"));
    let mut pop = site.greeted(Door::Pop3Clear).await;
    assert_eq!(pop.ask("USER pop").await.split(' ').next(), Some("+OK"));
    assert_eq!(pop.ask("PASS right-Pa55").await.split(' ').next(), Some("+OK"));
    let foreign = format!("AUTHENTICATE PLAIN {}", STANDARD.encode("bob\0alice\0right-Pa55"));
    let (wrong, clear) = (format!("LOGIN carol {WRONG}"), Door::ImapClear);
    for (door, commands, begin) in [
        (clear, &["LOGIN alice right-Pa55"][..], "a0 NO [LIMIT]"),
        (clear, &[&wrong], "a0 NO [AUTHENTICATIONFAILED]"),
        (clear, &["LOGIN carol expired-Pa55"], "a0 NO [EXPIRED]"),
        (clear, &["LOGIN carol in-use-Pa55"], "a0 NO [INUSE]"),
        (clear, &["LOGIN carol later-Pa55"], "a0 NO [UNAVAILABLE]"),
        (clear, &["LOGIN bob right-Pa55"], "a0 NO [UNAVAILABLE]"),
        (clear, &["LOGIN averyverylongname right-Pa55"], "a0 NO [AUTHENTICATIONFAILED]"),
        (clear, &["LOGIN nobody right-Pa55"], "a0 NO [AUTHENTICATIONFAILED]"),
        (clear, &["LOGIN nobody right-Pa55"], "a0 NO [AUTHENTICATIONFAILED]"),
        (clear, &["LOGIN lost right-Pa55"], "a0 NO [UNAVAILABLE]"),
        (clear, &["ID (\"x-proxy-ttl\" \"1\")", "LOGIN carol right-Pa55"], "a1 NO"),
        (clear, &["AUTHENTICATE CRAM-MD5"], "a0 NO"),
        (clear, &["LOGIN \"\" right-Pa55"], "a0 NO"),
        (clear, &[&foreign], "a0 NO"),
        (Door::ImapStartTls, &["LOGIN carol right-Pa55"], "a0 NO [PRIVACYREQUIRED]"),
    ] {
        let answer = told(&site, door, commands).await;
        assert!(answer.starts_with(begin), "{commands:?}: {answer}");
    }
    order(&site, "/v1/hold", "{\"user\":\"carol\"}").await;
    assert!(told(&site, clear, &["LOGIN carol right-Pa55"]).await.starts_with("a0 NO [UNAVAILABLE]"));
    order(&site, "/v1/release", "{\"user\":\"carol\"}").await;
    let mut gone = site.greeted(clear).await;
    let tried = node.logins().len();
    gone.send("a LOGIN carol silent-Pa55\r\n").await;
    while node.logins().len() == tried {
        tokio::task::yield_now().await;
    }
    drop(gone);
    page_where(&site, |page| page.sum("mailferry_logins_total", &[("outcome", "abandoned")]) == 1.0).await;

    // The same name five times, and a network that has been refused once too often.
    let mut guesser = site.greeted(clear).await;
    for tag in ["a", "b", "c", "d", "e"] {
        assert!(guesser.command(tag, &wrong).await.starts_with(&format!("{tag} NO")));
    }
    guesser.until_closed().await;
    let hasty = with(site.settings(), |it| {
        it.session.login_timeout = Duration::from_secs(1);
        it.islands[1].patience = Duration::from_secs(60);
    });
    site.reloader().take_up(hasty).await.unwrap();
    let answer = told(&site, clear, &["LOGIN bob right-Pa55"]).await;
    assert!(answer.starts_with("a0 NO [UNAVAILABLE]"), "{answer}");
    let strict = with(site.settings(), |it| it.limits.failed_logins_per_network = NonZeroU32::new(1));
    site.reloader().take_up(strict).await.unwrap();
    let answer = told(&site, clear, &[&wrong]).await;
    assert!(answer.starts_with("a0 NO [LIMIT]"), "{answer}");

    let (_, text) = get(&site.socket(), "").await;
    for secret in ["alice", "carol", "lost", "nobody", "127.0.0.1", "Pa55", "averyverylongname"] {
        assert!(!text.contains(secret), "{secret}");
    }
    // A file with users can always be asked: an LDAP server can be dead.
    let port = FakeNode::dead().await;
    let url = format!("ldap://127.0.0.1:{port}");
    let dead = with(site.settings(), |it| it.directory.source = SourceSettings::Ldap(ldap_at(&url)));
    site.reloader().take_up(dead).await.unwrap();
    assert!(told(&site, clear, &["LOGIN carol right-Pa55"]).await.starts_with("a0 NO [UNAVAILABLE]"));
    let page = page_where(&site, |page| {
        page.sum("mailferry_connections", &[]) == 2.0 && page.sum("mailferry_directory_server_up", &[]) == 0.0
    })
    .await;

    let counted = |protocol, island, outcome, stage| {
        page.sum(
            "mailferry_logins_total",
            &[("protocol", protocol), ("island", island), ("outcome", outcome), ("stage", stage)],
        )
    };
    let expected = [
        ("imap", "a", "accepted", "replay", 1.0),
        ("pop3", "a", "accepted", "replay", 1.0),
        ("imap", "a", "too-many-sessions", "replay", 1.0),
        ("imap", "a", "wrong-password", "replay", 6.0),
        ("imap", "a", "refused", "replay", 1.0),
        ("imap", "a", "in-use", "replay", 1.0),
        ("imap", "a", "node-unavailable", "replay", 1.0),
        ("imap", "b", "node-failed", "connect", 1.0),
        ("imap", "b", "timeout", "connect", 1.0),
        ("imap", "", "forbidden-name", "directory", 1.0),
        ("imap", "", "unknown-user", "directory", 2.0),
        ("imap", "", "ambiguous-route", "directory", 1.0),
        ("imap", "", "directory-unavailable", "directory", 1.0),
        ("imap", "", "held", "directory", 1.0),
        ("imap", "", "loop", "directory", 1.0),
        ("imap", "", "too-many-failures", "directory", 1.0),
        ("imap", "a", "abandoned", "replay", 1.0),
        ("imap", "", "unknown-mechanism", "login", 1.0),
        ("imap", "", "malformed", "login", 1.0),
        ("imap", "", "foreign-authzid", "login", 1.0),
        ("imap", "", "privacy-required", "login", 1.0),
    ];
    for (protocol, island, outcome, stage, count) in expected {
        assert_eq!(counted(protocol, island, outcome, stage), count, "{protocol} {island} {outcome} {stage}");
    }
    let sum: f64 = expected.iter().map(|(.., count)| count).sum();
    assert_eq!(page.sum("mailferry_logins_total", &[]), sum, "nothing is counted that was not");
    for outcome in Outcome::ALL {
        let is_tried = expected.iter().any(|(_, _, word, ..)| *word == outcome.word());
        assert!(is_tried, "{outcome} is not tried");
    }
    for (name, labels, number) in [
        ("mailferry_node_logins_total", &[("island", "a"), ("result", "accepted")][..], 3.0),
        ("mailferry_node_logins_total", &[("island", "a"), ("result", "refused")], 7.0),
        ("mailferry_node_logins_total", &[("island", "a"), ("result", "failed")], 2.0),
        ("mailferry_limit_hits_total", &[("limit", "sessions_per_user")], 1.0),
        ("mailferry_limit_hits_total", &[("limit", "failed_logins")], 1.0),
        ("mailferry_limit_hits_total", &[("limit", "failed_logins_per_network")], 1.0),
        ("mailferry_limit_hits_total", &[], 3.0),
        ("mailferry_login_duration_seconds_count", &[("island", "a")], 2.0),
        ("mailferry_tls_handshake_duration_seconds_count", &[("protocol", "imap")], 1.0),
        ("mailferry_directory_searches_failed_total", &[("server", &url)], 1.0),
        ("mailferry_directory_lookup_duration_seconds_count", &[("result", "directory-unavailable")], 1.0),
        ("mailferry_directory_lookup_duration_seconds_count", &[("result", "unknown-user")], 2.0),
        ("mailferry_connections", &[("state", "authenticated")], 2.0),
        ("mailferry_sessions", &[("island", "a"), ("node", "left"), ("protocol", "pop3")], 1.0),
        ("mailferry_sessions", &[], 2.0),
        ("mailferry_connections_ended_total", &[("who", "proxy"), ("why", "refused-logins"), ("stage", "login")], 2.0),
        ("mailferry_connections_ended_total", &[("protocol", "pop3")], 0.0),
    ] {
        assert_eq!(page.sum(name, labels), number, "{name} {labels:?}");
    }
    let accepted = page.sum("mailferry_connections_accepted_total", &[]);
    assert_eq!(page.sum("mailferry_connections_ended_total", &[]), accepted - 2.0);
    assert!(page.sum("mailferry_wait_duration_seconds_count", &[("island", "b")]) == 1.0, "cut by the timeout");
    for family in families::all() {
        let is_there = family.samples().iter().all(|name| !page.all(name, &[]).is_empty());
        // No node is probed here.
        assert!(is_there || family.name == "mailferry_probe_greeting_seconds", "{}", family.name);
    }
    assert_eq!(page.sum("mailferry_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    site.end(&["right-Pa55", WRONG]).await;
}

fn ldap_at(url: &str) -> ldap::Settings {
    ldap::Settings {
        urls: vec![ldap::Url::parse(url).unwrap()],
        starttls: false,
        ca: None,
        bind: None,
        base: "dc=example,dc=net".into(),
        scope: ldap::Scope::Sub,
        filter: FilterTemplate::parse("(uid={user})").unwrap(),
        island_attribute: "mailHost".into(),
        login_attribute: None,
        timeout: DEADLINE,
        connect_timeout: DEADLINE,
        pool: 1,
    }
}

#[tokio::test]
async fn the_cache_says_what_it_had() {
    let node = FakeNode::imap().await;
    let site = Site::start(spec(&[node.port])).await;
    for user in ["alice", "alice", "nobody", "nobody", "nobody"] {
        told(&site, Door::ImapClear, &[&format!("LOGIN {user} right-Pa55")]).await;
    }
    // A refusal on a route from the cache is a doubt.
    told(&site, Door::ImapClear, &[&format!("LOGIN alice {WRONG}")]).await;
    let page = page(&site).await;
    let of = |result| page.sum("mailferry_cache_lookups_total", &[("result", result)]);
    assert_eq!(["hit", "miss", "negative", "stale", "doubt"].map(of), [2.0, 2.0, 2.0, 0.0, 1.0]);
    assert_eq!(
        (page.sum("mailferry_cache_users", &[]), page.sum("mailferry_cache_capacity_users", &[])),
        (1.0, 1000.0)
    );
    assert_eq!(page.sum("mailferry_directory_lookup_duration_seconds_count", &[]), 7.0);
    // The doubt is none: two logins that were accepted, one that was refused.
    assert_eq!(page.sum("mailferry_replay_duration_seconds_count", &[]), 3.0);
    site.end(&["right-Pa55"]).await;
}

#[tokio::test]
async fn octets_are_counted_once_while_a_session_lives_and_when_it_has_ended() {
    let node = FakeNode::imap().await;
    let site = Site::start(spec(&[node.port])).await;
    let mut client = site.greeted(Door::ImapClear).await;
    assert!(client.command("a", "LOGIN alice right-Pa55").await.starts_with("a OK"));
    let labels = [("island", "a"), ("node", "left"), ("protocol", "imap")];
    let moved = |page: &Exposition| {
        let [a, b, c] = labels;
        let of = |direction| page.sum("mailferry_relay_bytes_total", &[a, b, c, ("direction", direction)]);
        (of("to_node"), of("to_client"), page.sum("mailferry_sessions", &labels))
    };
    let begun = page_where(&site, |page| moved(page).1 > 0.0).await;
    let (_, first, _) = moved(&begun);
    // "b NOOP" and its answer.
    assert!(client.command("b", "NOOP").await.starts_with("b OK"));
    page_where(&site, |page| moved(page) == (8.0, first + 11.0, 1.0)).await;
    // "c LOGOUT", a goodbye and an answer.
    assert!(client.command("c", "LOGOUT").await.starts_with("c OK"));
    client.until_closed().await;
    let ended = page_where(&site, |page| moved(page).2 == 0.0).await;
    page_where(&site, |page| moved(page) == (18.0, first + 11.0 + 15.0 + 11.0, 0.0)).await;
    assert!(moved(&ended).0 >= 8.0 && moved(&ended).1 >= first + 11.0, "never less than before");
    assert_eq!(ended.sum("mailferry_relay_bytes_total", &[("island", "b")]), 0.0);
    site.end(&["right-Pa55"]).await;
}

#[tokio::test]
async fn a_slow_node_is_a_hedge_and_a_dead_one_a_retry() {
    let silent = FakeNode::start(|mut conn: Conn| async move { conn.closed().await }).await;
    let right = FakeNode::imap().await;
    let site = Site::start(Spec {
        a: vec![silent.port, right.port],
        b: vec![FakeNode::dead().await, right.port],
        // Nobody waits for a dead one.
        tune: |island| island.hedge = (island.name == IslandName::new("a")).then_some(Duration::from_millis(10)),
        ..spec(&[])
    })
    .await;
    assert!(told(&site, Door::ImapClear, &["LOGIN alice right-Pa55"]).await.starts_with("a0 OK"));
    assert!(told(&site, Door::ImapClear, &["LOGIN bob right-Pa55"]).await.starts_with("a0 OK"));
    let page = page(&site).await;
    let of = |name, island| page.sum(name, &[("island", island)]);
    let both = |name| (of(name, "a"), of(name, "b"));
    assert_eq!(both("mailferry_hedges_total"), (1.0, 0.0));
    assert_eq!(both("mailferry_retries_total"), (0.0, 1.0));
    assert_eq!(both("mailferry_connect_duration_seconds_count"), (1.0, 1.0));
    assert_eq!(both("mailferry_replay_duration_seconds_count"), (1.0, 1.0));
    assert_eq!(both("mailferry_wait_duration_seconds_count"), (0.0, 0.0));
    assert!(of("mailferry_connect_duration_seconds_sum", "a") >= 0.01, "the hedge is within");
    let failed = [("island", "b"), ("node", "left"), ("protocol", "imap"), ("result", "failed")];
    assert_eq!(page.sum("mailferry_node_logins_total", &failed), 1.0);
    // Whoever finds a node dead has it probed.
    let page = page_where(&site, |page| page.sum("mailferry_probes_total", &failed) > 0.0).await;
    let dead = [("island", "b"), ("node", "left"), ("protocol", "imap")];
    assert_eq!(page.sum("mailferry_node_state", &dead), 1.0, "one state at a time");
    site.end(&["right-Pa55"]).await;
}

#[tokio::test]
async fn a_login_that_waits_for_a_node_is_counted_and_so_is_the_state_of_the_node() {
    let site = Site::start(Spec { patience: Duration::from_millis(50), ..spec(&[FakeNode::dead().await]) }).await;
    assert!(told(&site, Door::ImapClear, &["LOGIN alice right-Pa55"]).await.starts_with("a0 NO [UNAVAILABLE]"));
    let waited = page(&site).await;
    assert_eq!(waited.sum("mailferry_wait_duration_seconds_count", &[("island", "a")]), 1.0);
    assert!(waited.sum("mailferry_wait_duration_seconds_sum", &[("island", "a")]) > 0.0);
    let imap = [("island", "a"), ("node", "left"), ("protocol", "imap")];
    for _ in 0..3 {
        told(&site, Door::ImapClear, &["LOGIN alice right-Pa55"]).await;
    }
    let page = page_where(&site, |page| page.sum("mailferry_node_in_service", &imap) == 0.0).await;
    assert!(page.sum("mailferry_log_warnings_suppressed_total", &[]) > 0.0, "four warnings of one kind at once");
    let [island, node, protocol] = imap;
    assert_eq!(page.sum("mailferry_node_state", &[island, node, protocol, ("state", "in-service")]), 0.0);
    assert_eq!(page.sum("mailferry_node_in_service", &[("island", "b")]), 2.0);
    assert_eq!(page.sum("mailferry_node_operator_state", &[("state", "in-service")]), 2.0);
    site.end(&["right-Pa55"]).await;
}

#[tokio::test]
async fn probes_that_pass_are_counted_with_the_time_to_the_greeting() {
    let node = FakeNode::imap().await;
    let mut often = spec(&[node.port]);
    often.probe.interval = Duration::from_millis(10);
    let site = Site::start(often).await;
    let left = [("island", "a"), ("node", "left"), ("protocol", "imap")];
    page_where(&site, |page| {
        let [island, node, protocol] = left;
        page.sum("mailferry_probes_total", &[island, node, protocol, ("result", "passed")]) > 1.0
            && page.sum("mailferry_probe_greeting_seconds", &left) > 0.0
    })
    .await;
    site.end(&[]).await;
}

#[tokio::test]
async fn what_a_reload_removes_vanishes_and_what_stays_keeps_its_numbers() {
    let node = FakeNode::imap().await;
    let site = Site::start(Spec { b: vec![node.port], ..spec(&[node.port]) }).await;
    let mut alice = site.greeted(Door::ImapClear).await;
    assert!(alice.command("a", "LOGIN alice right-Pa55").await.starts_with("a OK"));
    let mut bob = site.greeted(Door::ImapClear).await;
    assert!(bob.command("a", "LOGIN bob right-Pa55").await.starts_with("a OK"));
    let before = page_where(&site, |page| page.sum("mailferry_sessions", &[]) == 2.0).await;
    let smaller = with(site.settings(), |it| {
        it.islands.pop();
        // Another table for the same nodes.
        it.islands[0].patience = Duration::from_millis(1);
        it.islands.push(Island {
            name: IslandName::new("new"),
            spellings: vec![IslandName::new("new")],
            ..it.islands[0].clone()
        });
    });
    site.reloader().take_up(smaller).await.unwrap();
    assert!(bob.command("b", "NOOP").await.starts_with("b OK"), "its session lives on");
    let after = page(&site).await;
    let of = |page: &Exposition, island: &str| -> BTreeMap<String, f64> {
        let all = page.samples.iter().filter(|it| it.labels.get("island").is_some_and(|is| is == island));
        all.map(|it| (format!("{} {:?}", it.name, it.labels), it.value)).collect()
    };
    assert!(!of(&before, "b").is_empty() && of(&after, "b").is_empty(), "{:?}", of(&after, "b"));
    assert_eq!(of(&after, "a"), of(&before, "a"));
    assert_eq!(of(&after, "new").len(), of(&before, "a").len());
    assert!(after.sum("mailferry_logins_total", &[("island", "a")]) == 1.0);
    assert_eq!(after.sum("mailferry_logins_total", &[("island", "new")]), 0.0);
    site.end(&["right-Pa55"]).await;
}

#[tokio::test]
async fn reloads_and_certificates_are_told() {
    let node = FakeNode::imap().await;
    let site = Site::start(spec(&[node.port])).await;
    let first = page(&site).await;
    let expiry = rcgen::date_time_ymd(4096, 1, 1).unix_timestamp() as f64;
    let chain = site.chain().display().to_string();
    let name = "mailferry_certificate_expiry_timestamp_seconds";
    assert_eq!(first.sum(name, &[("certificate", &chain)]), expiry);
    assert_eq!(first.sum("mailferry_config_last_reload_successful", &[]), 1.0);
    let began = first.sum("process_start_time_seconds", &[]);
    assert_eq!(first.sum("mailferry_config_last_reload_success_timestamp_seconds", &[]), began);
    // There is no such file.
    assert!(site.reloader().reload(Path::new("/nonexistent/proxy.toml")).await.is_err());
    std::fs::write(site.chain(), "no certificate").unwrap();
    site.reloader().look_at_certificates().await;
    let second = page(&site).await;
    let of = |page: &Exposition, name, result| page.sum(name, &[("result", result)]);
    assert_eq!(of(&second, "mailferry_reloads_total", "failure"), 1.0);
    assert_eq!(of(&second, "mailferry_certificate_reloads_total", "failure"), 1.0);
    assert_eq!(second.sum("mailferry_config_last_reload_successful", &[]), 0.0);
    assert_eq!(second.sum("mailferry_config_last_reload_success_timestamp_seconds", &[]), began);
    assert_eq!(second.sum(name, &[("certificate", &chain)]), expiry, "that which is used");
    site.new_certificate(|params| params.not_after = rcgen::date_time_ymd(2031, 2, 28));
    site.reloader().look_at_certificates().await;
    let third = page(&site).await;
    assert_eq!(of(&third, "mailferry_certificate_reloads_total", "success"), 1.0);
    let renewed = rcgen::date_time_ymd(2031, 2, 28).unix_timestamp() as f64;
    assert_eq!(third.sum(name, &[("certificate", &chain)]), renewed);
    site.end(&[]).await;
}

#[tokio::test]
async fn who_must_make_place_is_counted_by_the_limit_that_was_reached() {
    let one = NonZeroU32::new(1).unwrap();
    let cases: [(limits::Settings, &str); 3] = [
        (limits::Settings { unauthenticated: one, ..settings::limits() }, "unauthenticated"),
        (limits::Settings { unauthenticated_per_network: one, ..settings::limits() }, "unauthenticated_per_network"),
        (limits::Settings { connections: Some(one), ..settings::limits() }, "connections"),
    ];
    for (limits, limit) in cases {
        let site = Site::start(Spec { limits, ..spec(&[1]) }).await;
        let old = site.greeted(Door::ImapClear).await;
        let _new: Client = site.greeted(Door::ImapClear).await;
        old.until_closed().await;
        let page = page_where(&site, |page| page.sum("mailferry_connections", &[]) == 1.0).await;
        assert_eq!(page.sum("mailferry_limit_hits_total", &[("limit", limit)]), 1.0, "{limit}");
        assert_eq!(page.sum("mailferry_limit_hits_total", &[]), 1.0, "{limit}");
        let gone = [("who", "proxy"), ("why", "too-many-connections")];
        assert_eq!(page.sum("mailferry_connections_ended_total", &gone), 1.0);
        site.end(&[]).await;
    }
}

#[tokio::test]
async fn a_balancer_that_only_looks_is_no_connection_that_ended() {
    let site =
        Site::start(Spec { listen: |it| it.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()], ..spec(&[1]) })
            .await;
    drop(Client::clear(site.address(Door::Pop3Clear)).await);
    let page =
        page_where(&site, |page| page.sum("mailferry_balancer_checks_total", &[("protocol", "pop3")]) == 1.0).await;
    assert_eq!(page.sum("mailferry_connections_ended_total", &[]), 0.0);
    assert_eq!(page.sum("mailferry_connections_accepted_total", &[]), 1.0);
    site.end(&[]).await;
}
