//! Probes on the wire: nodes that die are found without a login, nodes that return are found again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mailferry::names::UserName;
use mailferry::proto::Protocol;
use mailferry::routing::{Check, FailBack, Probe};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::client::DEADLINE;
use crate::node::{Conn, FakeNode, friendly_imap, friendly_pop3};
use crate::site::{Door, Site, Spec, log_lines, logged};

const PASSWORD: &str = "probe-Pa55";

/// Longer than a test takes.
const NEVER: Duration = Duration::from_secs(60);

fn quick(check: Check, fall: u32, rise: u32) -> Probe {
    Probe { check, interval: Duration::from_millis(20), timeout: NEVER, fall, rise }
}

/// A site whose island a is watched closely. The other protocol's probes find nobody.
async fn spec(name: &str, protocol: Protocol, nodes: &[u16], probe: Probe) -> Spec {
    let mut spec = Spec { name: name.to_owned(), probe, greeting_timeout: NEVER, ..Spec::new(nodes) };
    let elsewhere = Some(FakeNode::dead().await);
    match protocol {
        Protocol::Imap => spec.pop3_port = elsewhere,
        Protocol::Pop3 => spec.imap_port = elsewhere,
    }
    spec
}

fn login(dir: &tempfile::TempDir) -> (Check, PathBuf) {
    let password_file = dir.path().join("probe");
    let user = UserName::new(b"prober").unwrap();
    (Check::Login { user, password_file: password_file.clone() }, password_file)
}

/// What is logged of the node `left` when its state changes, in order.
fn changes(island: &str, protocol: Protocol) -> [String; 4] {
    ["\"node state\"".into(), format!("\"island\":\"{island}\""), format!("\"protocol\":\"{protocol}\""), LEFT.into()]
}

const LEFT: &str = "\"node\":\"left\"";

/// Waits for so many changes of state, and returns what they were to.
async fn states(island: &str, protocol: Protocol, count: usize) -> Vec<String> {
    let parts = changes(island, protocol);
    let lines = logged(&parts.each_ref().map(String::as_str), count).await;
    let state = |line: &String| line.split("\"state\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    lines.iter().map(state).collect()
}

/// What the node does with a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Dead,
    Frozen,
    Friendly,
}

#[tokio::test]
async fn a_node_that_dies_is_found_without_a_login_and_spared_until_it_returns() {
    for protocol in Protocol::ALL {
        let island = format!("dying-{protocol}");
        let (moods, mood) = watch::channel(Mood::Dead);
        let (frozen, mut freezes) = mpsc::unbounded_channel();
        let left = FakeNode::start(move |conn: Conn| {
            let (mut mood, frozen) = (mood.clone(), frozen.clone());
            async move {
                let now = *mood.borrow_and_update();
                match (now, protocol) {
                    (Mood::Dead, _) => {}
                    (Mood::Frozen, _) => {
                        frozen.send(()).unwrap();
                        let _ = mood.changed().await;
                    }
                    (Mood::Friendly, Protocol::Imap) => friendly_imap(conn).await,
                    (Mood::Friendly, Protocol::Pop3) => friendly_pop3(conn).await,
                }
            }
        })
        .await;
        let right = match protocol {
            Protocol::Imap => FakeNode::imap().await,
            Protocol::Pop3 => FakeNode::pop3().await,
        };
        let spec = spec(&island, protocol, &[left.port, right.port], quick(Check::Greeting, 3, 3)).await;
        let site = Site::start(Spec { tune: |island| island.fail_back = FailBack::Now, ..spec }).await;
        assert_eq!(states(&island, protocol, 2).await, ["suspect", "down"]);
        assert!(left.connections() >= 3, "down after {} failures", left.connections());
        assert!(right.logins().is_empty());

        // From here on one probe hangs, so that whoever dials the node now is a login.
        moods.send_replace(Mood::Frozen);
        timeout(DEADLINE, freezes.recv()).await.expect("nobody probes").unwrap();
        let dialled = left.connections();
        for logins in 1..=3 {
            log_in(&site, protocol).await;
            assert_eq!((left.connections(), right.logins().len()), (dialled, logins));
        }

        moods.send_replace(Mood::Friendly);
        assert_eq!(states(&island, protocol, 4).await[2..], ["probation", "in service"]);
        assert!(left.connections() >= dialled + 3, "in service after {} passes", left.connections() - dialled);
        log_in(&site, protocol).await;
        assert_eq!(left.logins().len(), 1, "it has not got its users back");

        // Probes come and go; the log has a line for each change and no more.
        let probed = left.connections();
        while left.connections() < probed + 3 {
            left.next_connection().await;
        }
        assert_eq!(states(&island, protocol, 4).await.len(), 4);
        site.end(&[PASSWORD]).await;
    }
}

async fn log_in(site: &Site, protocol: Protocol) {
    match protocol {
        Protocol::Imap => {
            let mut client = site.greeted(Door::ImapTls).await;
            assert!(client.command("a", &format!("LOGIN alice {PASSWORD}")).await.starts_with("a OK "));
        }
        Protocol::Pop3 => {
            let mut client = site.greeted(Door::Pop3Tls).await;
            client.ask("USER alice").await;
            assert!(client.ask(&format!("PASS {PASSWORD}")).await.starts_with("+OK"));
        }
    }
}

#[tokio::test]
async fn a_node_that_greets_badly_is_found_down() {
    let endless = ["* OK ", "+OK "].map(|start| start.to_owned() + &"x".repeat(20_000));
    let too_much = "the node answered more than the limits allow";
    let garbage = "the node answered something that is not this protocol";
    for (number, (protocol, says, reason)) in [
        (Protocol::Imap, "* PREAUTH hello\r\n", "the node greeted with PREAUTH"),
        (Protocol::Imap, "* BYE busy\r\n", "the node said goodbye"),
        (Protocol::Imap, "220 smtp\r\n", garbage),
        (Protocol::Imap, "+OK pop3\r\n", garbage),
        (Protocol::Imap, &endless[0], too_much),
        (Protocol::Imap, &("* OK hello\r\n".to_owned() + &"* OK more\r\n".repeat(7000)), too_much),
        (Protocol::Imap, "", "closed before the login"),
        (Protocol::Pop3, "-ERR [SYS/TEMP] full\r\n", "the node said goodbye"),
        (Protocol::Pop3, "* OK imap\r\n", garbage),
        (Protocol::Pop3, &endless[1], too_much),
        (Protocol::Pop3, &("+OK\r\n+OK\r\n".to_owned() + &"MORE\r\n".repeat(12_000)), too_much),
        (Protocol::Pop3, "+OK\r\n+OK\r\nTOP\r\n", "closed before the login"),
    ]
    .into_iter()
    .enumerate()
    {
        let says: Arc<str> = says.into();
        let node = FakeNode::start(move |mut conn: Conn| {
            let says = Arc::clone(&says);
            async move {
                conn.send(says.as_bytes()).await;
                conn.half_close().await;
                conn.closed().await;
            }
        })
        .await;
        is_found_down(&format!("bad-{number}"), protocol, node.port, quick(Check::Greeting, 1, 1), reason).await;
    }
}

#[tokio::test]
async fn a_node_that_says_nothing_or_too_little_in_time_or_is_not_there_is_found_down() {
    let late = "the probe took longer than probe.timeout";
    let silent = FakeNode::start(|mut conn: Conn| async move { conn.closed().await }).await;
    let slow = FakeNode::start(|mut conn: Conn| async move {
        for octet in b"* OK hello".iter().chain(&[b'x'; 1000]) {
            conn.send([*octet]).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let stuck = FakeNode::start(|mut conn: Conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1] and then nothing, as DBMail does without its database\r\n").await;
        conn.closed().await;
    })
    .await;
    for (name, port, check, reason) in [
        ("silent", silent.port, Check::Greeting, late),
        ("slow", slow.port, Check::Greeting, late),
        ("stuck", stuck.port, Check::Command, late),
        ("absent", FakeNode::dead().await, Check::Greeting, "cannot connect: "),
    ] {
        let probe = Probe { timeout: Duration::from_millis(200), ..quick(check, 1, 1) };
        is_found_down(name, Protocol::Imap, port, probe, reason).await;
    }
}

async fn is_found_down(island: &str, protocol: Protocol, port: u16, probe: Probe, reason: &str) {
    let site = Site::start(spec(island, protocol, &[port], probe).await).await;
    assert_eq!(states(island, protocol, 1).await, ["down"], "{island}");
    let parts = changes(island, protocol);
    let line = log_lines(&parts.each_ref().map(String::as_str)).remove(0);
    assert!(line.contains(&format!("\"reason\":\"{reason}")), "{reason}: {line}");
    assert!(line.contains("\"in_service\":0"), "{line}");
    site.end(&[]).await;
}

/// A node that takes every command, answers a login as it is told, and reports each conversation when it is over. While
/// it is told nothing, it hangs up at once.
async fn reporting(
    protocol: Protocol,
    answer: watch::Receiver<Option<&'static str>>,
) -> (FakeNode, mpsc::UnboundedReceiver<Vec<String>>) {
    let (report, reports) = mpsc::unbounded_channel();
    let node = FakeNode::start(move |conn: Conn| {
        let (answer, report) = (answer.clone(), report.clone());
        async move {
            let answer = *answer.borrow();
            let Some(answer) = answer else { return };
            let heard = match protocol {
                Protocol::Imap => imap(conn, answer).await,
                Protocol::Pop3 => pop3(conn, answer).await,
            };
            // The test may be over.
            let _ = report.send(heard);
        }
    })
    .await;
    (node, reports)
}

async fn imap(mut conn: Conn, answer: &str) -> Vec<String> {
    conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n").await;
    let mut heard = Vec::new();
    while let Some(line) = conn.line().await {
        let (tag, command) = line.split_once(' ').unwrap();
        let says = if command.starts_with("AUTHENTICATE") { answer } else { "OK [CAPABILITY IMAP4rev1] done" };
        conn.send(format!("{tag} {says}\r\n")).await;
        heard.push(line);
    }
    heard
}

async fn pop3(mut conn: Conn, answer: &str) -> Vec<String> {
    conn.send("+OK ready\r\n").await;
    let mut heard = Vec::new();
    while let Some(line) = conn.line().await {
        match line.as_str() {
            "CAPA" => conn.send("+OK\r\nSASL PLAIN\r\n.\r\n").await,
            "QUIT" => conn.send("+OK bye\r\n").await,
            _ => conn.send(format!("{answer}\r\n")).await,
        }
        heard.push(line);
    }
    heard
}

async fn next(reports: &mut mpsc::UnboundedReceiver<Vec<String>>) -> Vec<String> {
    timeout(DEADLINE, reports.recv()).await.expect("nobody probes").unwrap()
}

#[tokio::test]
async fn each_check_brings_a_node_back_and_says_no_more_than_it_must() {
    let dir = tempfile::tempdir().unwrap();
    let (login, file) = login(&dir);
    std::fs::write(file, format!("{PASSWORD}\n")).unwrap();
    for (number, (protocol, check, expected)) in [
        (Protocol::Imap, Check::Greeting, &[][..]),
        (Protocol::Imap, Check::Command, &["f5 NOOP", "f6 LOGOUT"]),
        (Protocol::Imap, login.clone(), &["f3 AUTHENTICATE PLAIN AHByb2JlcgBwcm9iZS1QYTU1", "f6 LOGOUT"]),
        (Protocol::Pop3, Check::Greeting, &["CAPA"]),
        (Protocol::Pop3, Check::Command, &["CAPA", "CAPA", "QUIT"]),
        (Protocol::Pop3, login.clone(), &["CAPA", "AUTH PLAIN AHByb2JlcgBwcm9iZS1QYTU1", "QUIT"]),
    ]
    .into_iter()
    .enumerate()
    {
        let island = format!("checked-{number}");
        let (answers, answer) = watch::channel(None);
        let (node, mut reports) = reporting(protocol, answer).await;
        let site = Site::start(spec(&island, protocol, &[node.port], quick(check, 1, 1)).await).await;
        assert_eq!(states(&island, protocol, 1).await, ["down"]);
        answers.send_replace(Some(if protocol == Protocol::Imap { "OK [CAPABILITY X] in" } else { "+OK in" }));
        assert_eq!(states(&island, protocol, 2).await[1..], ["in service"]);
        assert_eq!(next(&mut reports).await, expected);
        site.end(&[PASSWORD]).await;
    }
}

#[tokio::test]
async fn a_refused_probe_login_is_the_operators_fault_and_a_temporary_refusal_the_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let (login, file) = login(&dir);
    std::fs::write(file, PASSWORD).unwrap();
    let wrong = "NO [AUTHENTICATIONFAILED] no";
    let (answers, answer) = watch::channel(Some(wrong));
    let (node, mut reports) = reporting(Protocol::Imap, answer).await;
    let island = "refusing";
    let site = Site::start(spec(island, Protocol::Imap, &[node.port], quick(login, 1, 1)).await).await;
    for _ in 0..3 {
        next(&mut reports).await;
    }
    let refused = ["probe login refused", "\"island\":\"refusing\"", "\"node\":\"left\"", "AUTHENTICATIONFAILED"];
    assert_eq!(log_lines(&refused).len(), 1, "{:?}", log_lines(&refused));
    let parts = changes(island, Protocol::Imap);
    assert!(log_lines(&parts.each_ref().map(String::as_str)).is_empty(), "the node pays for the operator's mistake");

    answers.send_replace(Some("NO [UNAVAILABLE] no database"));
    assert_eq!(states(island, Protocol::Imap, 1).await, ["down"]);
    // The password is right, and the refusal before is forgotten.
    answers.send_replace(Some("NO [INUSE] later"));
    assert_eq!(states(island, Protocol::Imap, 2).await[1..], ["in service"]);
    answers.send_replace(Some(wrong));
    assert_eq!(logged(&refused, 2).await.len(), 2);
    site.end(&[PASSWORD]).await;
}

#[tokio::test]
async fn without_its_password_a_probe_goes_as_far_as_the_greeting_and_the_operator_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let (login, file) = login(&dir);
    let (_answers, answer) = watch::channel(Some("OK [CAPABILITY X] in"));
    let (node, mut reports) = reporting(Protocol::Imap, answer).await;
    let site = Site::start(spec("unread", Protocol::Imap, &[node.port], quick(login, 1, 1)).await).await;
    for _ in 0..3 {
        assert!(next(&mut reports).await.is_empty());
    }
    let impossible = ["probe login impossible", "\"island\":\"unread\"", "cannot be read", "\"protocol\":\"imap\""];
    assert_eq!(log_lines(&impossible).len(), 1);
    // It is read at each probe.
    std::fs::write(&file, PASSWORD).unwrap();
    while next(&mut reports).await.len() == 1 {}
    std::fs::remove_file(&file).unwrap();
    assert_eq!(logged(&impossible, 2).await.len(), 2);
    site.end(&[PASSWORD]).await;
}
