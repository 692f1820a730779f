//! What the log says: one line for each login, exactly one end record for each session, nothing secret.

use crate::node::{FakeNode, PROMPTLY, WRONG};
use crate::site::{Door, Site, log_so_far};

/// The lines about one user, as JSON text.
fn lines(user: &str, message: &str) -> Vec<String> {
    let (user, message) = (format!("\"user\":\"{user}\""), format!("\"message\":\"{message}\""));
    log_so_far().lines().filter(|line| line.contains(&user) && line.contains(&message)).map(str::to_owned).collect()
}

fn has(line: &str, fields: &[&str]) {
    for field in fields {
        assert!(line.contains(field), "{field} is not in {line}");
    }
}

#[tokio::test]
async fn every_login_leaves_a_line_and_every_session_one_end_record() {
    let node = FakeNode::imap().await;
    let mut spec = crate::site::Spec::new(&[node.port]);
    spec.users = "logged-user a\n";
    let site = Site::start(spec).await;
    let mut client = site.greeted(Door::ImapTls).await;
    client.command("a", &format!("LOGIN logged-user {WRONG}")).await;
    client.command("b", "LOGIN logged-user logged-Pa55").await;
    client.command("c", "LOGOUT").await;
    client.closed().await;
    drop(client);
    site.end(&["logged-Pa55", WRONG]).await;
    let logins = lines("logged-user", "login");
    assert_eq!(logins.len(), 2, "{logins:?}");
    let common = ["\"island\":\"a\"", "\"node\":\"left\"", "\"protocol\":\"imap\"", "\"client\":\"127.0.0.1:"];
    has(&logins[0], &["\"outcome\":\"wrong-password\"", "\"route\":\"asked\"", "\"mechanism\":\"LOGIN\""]);
    has(&logins[1], &["\"outcome\":\"accepted\"", "\"route\":\"cached\"", "\"attempts\":1", "\"tls\":\"TLSv1_3\""]);
    let ends = lines("logged-user", "session ended");
    assert_eq!(ends.len(), 1, "{ends:?}");
    has(
        &ends[0],
        &[
            "\"code\":\"NR\"",
            "\"who\":\"node\"",
            "\"stage\":\"relay\"",
            "\"why\":\"closed\"",
            "\"to_node\":10",
            "\"total_ms\":",
        ],
    );
    for line in [&logins[0], &logins[1], &ends[0]] {
        has(line, &common);
    }
}

#[tokio::test]
async fn sessions_that_never_log_in_leave_an_end_record_too() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut clients = Vec::new();
    for door in crate::site::DOORS {
        clients.push((door, site.greeted(door).await));
    }
    let from: Vec<_> = clients.iter().map(|(door, client)| (*door, client.from)).collect();
    drop(clients);
    site.end(&[]).await;
    for (door, from) in from {
        assert_eq!(from.lines("session ended").len(), 1, "{door:?}");
    }
}

#[tokio::test]
async fn stopping_ends_relayed_sessions_as_the_operators_doing() {
    let node = FakeNode::imap().await;
    let mut spec = crate::site::Spec::new(&[node.port]);
    spec.users = "stopped-user a\n";
    let site = Site::start(spec).await;
    let mut client = site.greeted(Door::ImapTls).await;
    client.command("a", "LOGIN stopped-user stop-Pa55").await;
    // In the middle of a command it is not quiet, however long it takes.
    client.send("b NO").await;
    node.hears("b NO").await;
    let mut waiting = site.greeted(Door::ImapTls).await;
    site.end(&["stop-Pa55"]).await;
    client.closed().await;
    assert!(waiting.line().await.starts_with("* BYE [UNAVAILABLE] "));
    node.all_closed(PROMPTLY).await;
    let ends = lines("stopped-user", "session ended");
    assert_eq!(ends.len(), 1);
    has(&ends[0], &["\"code\":\"OR\"", "\"who\":\"operator\"", "\"stage\":\"relay\"", "\"why\":\"shutdown\""]);
}

#[tokio::test]
async fn r_log_02_control_octets_in_user_names_cannot_forge_log_lines() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    client.command("a", "LOGIN \"x\x1b[2Jforged\" forged-Pa55").await;
    site.end(&["forged-Pa55"]).await;
    let log = log_so_far();
    assert!(!log.contains('\x1b'), "an escape octet is in the log");
    assert!(log.contains("x\\\\u{1b}[2Jforged"), "the name is not in the log");
}
