//! The lines of a session as docs/logs.md shows them, and that it explains each of their fields.

use super::*;
use crate::directory::Route;
use crate::proto::Credentials;
use crate::routing::{Islands, NodePort};
use crate::secret::Secret;
use crate::testkit::log::Log;
use crate::testkit::settings;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/logs.md");

fn record(log: &Log) -> (Record, NodePort) {
    let islands = Islands::new(vec![settings::island(2)], None, Instant::now().into_std());
    let port = islands.find(&IslandName::new("a")).unwrap().ports(Protocol::Imap).next().unwrap();
    let client = "203.0.113.20:50312".parse().unwrap();
    let registry = Registry::default();
    let mut record = Record::new(SessionId { run: 0x6b02_e93e, number: 31 }, Protocol::Imap, client, &registry);
    record.secured(Some("TLSv1_3"));
    assert_eq!(log.text(), "");
    (record, port)
}

fn login(name: &[u8]) -> LoginRequest {
    LoginRequest {
        user: UserName::new(name).unwrap(),
        master: UserName::new(b"helpdesk"),
        credentials: Credentials::Password(Secret::new(b"example-Pa55".to_vec())),
        mechanism: "PLAIN",
    }
}

/// A login that a second node has taken, and the session's end.
async fn session(log: &Log) -> Vec<String> {
    let listening = log.start();
    let (mut record, port) = record(log);
    tokio::time::advance(Duration::from_millis(84)).await;
    record.login_begins(&login(b"Alice"), Instant::now());
    let alice = UserName::new(b"alice").unwrap();
    record.looks_up(&Names { looked_up: alice.clone(), on_node: alice });
    record.enter(Stage::Directory);
    let found = Found::Cached { age: Duration::from_secs(7) };
    let route = Route { island: IslandName::new("a"), login: None };
    record.looked_up(&Ok(Located { route, found: found.clone() }), Duration::from_millis(3));
    let nodes = &port.table().island().nodes;
    record.routed(&found, port.table());
    record.dialling(false);
    record.node_failed(&nodes[1], &Failure::ConnectTimeout);
    record.dialling(false);
    record.asking(&nodes[0]);
    tokio::time::advance(Duration::from_millis(212)).await;
    log.take();
    record.login_succeeded();
    let mut lines = vec![log.take()];
    let mut relay = record.relay(port.seat());
    tokio::time::advance(Duration::from_secs(1741)).await;
    relay.moved(48_211, 1_904_377, true);
    relay.finish(End::new(Who::Client, Why::Closed));
    log.take();
    drop(relay);
    lines.push(log.take());
    drop(listening);
    lines
}

/// The fields of a line, but for its level and message.
fn fields(line: &str) -> Vec<String> {
    let words = line.split(' ').filter_map(|word| word.split_once('='));
    words
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_documentation_shows_lines_as_they_are() {
    let lines = session(&Log::default()).await;
    let docs = std::fs::read_to_string(DOCS).unwrap();
    let mut right = docs.clone();
    for (name, line) in ["login", "end"].into_iter().zip(&lines) {
        let (begin, end) = (format!("<!-- a line of {name}: written by a test -->\n"), "<!-- end of the line -->\n");
        let (before, rest) = right.split_once(&begin).expect("the line's beginning is not marked");
        let (_, after) = rest.split_once(end).expect("the line's end is not marked");
        right = format!("{before}{begin}\n```text\n{line}\n```\n\n{end}{after}");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(DOCS, right).unwrap();
        return;
    }
    assert!(docs == right, "docs/logs.md is out of date; UPDATE_DOCS=1 cargo test rewrites it");
}

#[tokio::test(start_paused = true)]
async fn the_documentation_explains_every_field() {
    let docs = std::fs::read_to_string(DOCS).unwrap();
    let lines = session(&Log::default()).await;
    let log = Log::default();
    let _listening = log.start();
    let (mut refused, _) = record(&log);
    refused.login_begins(&login(b"alice"), Instant::now());
    log.take();
    refused.login_failed(&Failure::ConnectTimeout, Some(7));
    let failed = log.take();
    refused.tls_failed(&io::Error::other("x"));
    refused.finish(End::new(Who::Client, Why::TlsFailed));
    let sections = [("## The login's line", [&lines[0], &failed]), ("## The end record", [&lines[1], &log.take()])];
    for (title, lines) in sections {
        let section = docs.split(title).nth(1).expect(title).split("\n## ").next().unwrap();
        for field in lines.iter().flat_map(|line| fields(line)) {
            let is_explained = section.lines().any(|line| {
                line.starts_with('|') && line.split('|').nth(1).is_some_and(|it| it.contains(&format!("`{field}`")))
            });
            assert!(is_explained, "docs/logs.md, {title}: nothing of {field}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_session_has_one_end_record_with_its_code_also_if_it_dies() {
    let log = Log::default();
    let _listening = log.start();
    let ends = [
        ("code=CL who=client stage=login why=logout", Stage::Login, Some(End::new(Who::Client, Why::Logout))),
        (
            "code=OD who=operator stage=directory why=shutdown",
            Stage::Directory,
            Some(End::new(Who::Operator, Why::Shutdown)),
        ),
        ("code=PA who=proxy stage=replay why=defect", Stage::Replay, None),
    ];
    for (expected, stage, end) in ends {
        let (mut record, _) = record(&Log::default());
        record.enter(stage);
        log.take();
        match end {
            Some(end) => record.finish(end),
            None => drop(record),
        }
        let said = log.take();
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("session ended")).collect();
        assert_eq!(lines.len(), 1, "{said}");
        assert!(lines[0].contains(expected), "{said}");
    }
}
