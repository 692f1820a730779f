//! What clients hear when something is wrong, and which node gets the login then.

use std::time::Duration;

use mailferry::routing::NodeTls;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::client::{DEADLINE, Origin};
use crate::node::{Conn, FakeNode, PROMPTLY, REFUSAL, WRONG};
use crate::site::{Door, Site, Spec, log_len, log_since, log_so_far};

const LOGIN: &str = "LOGIN alice fail-Pa55";

#[tokio::test]
async fn a_node_that_refuses_the_connection_is_followed_by_the_next() {
    let right = FakeNode::imap().await;
    let site = Site::with(&[FakeNode::dead().await, right.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a OK "));
    assert_eq!(right.logins().len(), 1);
    site.end(&["fail-Pa55"]).await;
}

#[tokio::test]
async fn a_node_that_does_not_greet_in_time_is_followed_by_the_next_and_sees_no_password() {
    let silent = FakeNode::start(|mut conn: Conn| async move { conn.closed().await }).await;
    let right = FakeNode::imap().await;
    // Patient, because the other one has no more time, and may need it.
    let patient = Spec { patience: DEADLINE, ..Spec::new(&[silent.port, right.port]) };
    let spec = Spec { greeting_timeout: Duration::from_millis(200), ..patient };
    let site = Site::start(spec).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a OK "));
    assert!(silent.seen.octets.get().is_empty());
    silent.all_closed(PROMPTLY).await;
    site.end(&["fail-Pa55"]).await;
}

#[tokio::test]
async fn a_node_that_fails_tls_is_followed_by_the_next() {
    let no_tls = FakeNode::start(|mut conn: Conn| async move {
        conn.send("HTTP/1.0 400 what?\r\n\r\n").await;
        conn.closed().await;
    })
    .await;
    let other = FakeNode::start(|mut conn: Conn| async move { conn.closed().await }).await;
    let site = Site::start(Spec {
        node_tls: NodeTls::Implicit,
        greeting_timeout: Duration::from_millis(200),
        ..Spec::new(&[no_tls.port, other.port])
    })
    .await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a NO [UNAVAILABLE] "));
    // A probe may have looked as well.
    assert!(no_tls.connections() >= 1 && other.connections() >= 1);
    site.end(&["fail-Pa55"]).await;
}

#[tokio::test]
async fn what_a_failing_node_says_decides_whether_the_next_one_is_asked() {
    // What the left node says instead of a greeting or an answer; whether the right one gets the login.
    let greetings = [
        ("* BYE [UNAVAILABLE] going down\r\n", true),
        ("* PREAUTH hello\r\n", true),
        ("220 smtp\r\n", true),
        ("", true),
    ];
    let answers = [
        ("TAG NO [UNAVAILABLE] try later\r\n", true),
        ("* BYE bad day\r\n", true),
        ("", true),
        ("TAG NO [REFERRAL imap://elsewhere/] go there\r\n", true),
        ("TAG NO [AUTHENTICATIONFAILED] no\r\n", false),
        ("TAG NO [EXPIRED] too old\r\n", false),
        ("TAG NO nope\r\n", false),
        ("TAG BAD what?\r\n", false),
    ];
    let greetings = greetings.map(|(says, next)| (says, None, next));
    let answers =
        answers.map(|(says, next)| ("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n", Some(says), next));
    for (greeting, answer, next) in greetings.into_iter().chain(answers) {
        let left = FakeNode::start(move |mut conn: Conn| async move {
            conn.send(greeting).await;
            let Some(answer) = answer else { return };
            let Some(line) = conn.line().await else { return };
            conn.send(answer.replace("TAG", line.split(' ').next().unwrap())).await;
        })
        .await;
        let right = FakeNode::imap().await;
        let site = Site::with(&[left.port, right.port]).await;
        let mut client = site.greeted(Door::ImapTls).await;
        let heard = client.command("a", LOGIN).await;
        assert_eq!(right.logins().len(), usize::from(next), "{greeting:?} {answer:?}: {heard}");
        match answer {
            _ if next => assert!(heard.starts_with("a OK "), "{greeting:?} {answer:?}: {heard}"),
            Some(bad) if bad.contains("BAD") => assert!(heard.starts_with("a NO [SERVERBUG] "), "{heard}"),
            // Who gives no code means the password.
            Some("TAG NO nope\r\n") => assert_eq!(heard, "a NO [AUTHENTICATIONFAILED] nope"),
            Some(verbatim) => assert_eq!(format!("{heard}\r\n"), verbatim.replace("TAG", "a")),
            None => unreachable!("no greeting is final"),
        }
        site.end(&["fail-Pa55"]).await;
    }
}

#[tokio::test]
async fn with_no_node_left_the_failure_is_temporary_and_the_connection_stays_open() {
    let site = Site::with(&[FakeNode::dead().await, FakeNode::dead().await]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    for _ in 0..8 {
        assert!(client.command("a", LOGIN).await.starts_with("a NO [UNAVAILABLE] "));
    }
    let mut client = site.greeted(Door::Pop3Tls).await;
    client.ask("USER alice").await;
    assert!(client.ask("PASS fail-Pa55").await.starts_with("-ERR [SYS/TEMP] "));
    site.end(&["fail-Pa55"]).await;
}

#[tokio::test]
async fn an_unknown_user_hears_what_a_wrong_password_hears() {
    let imap = FakeNode::start(|mut conn: Conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n").await;
        while let Some(line) = conn.line().await {
            // Dovecot's words.
            let tag = line.split(' ').next().unwrap();
            conn.send(format!("{tag} NO [AUTHENTICATIONFAILED] Authentication failed.\r\n")).await;
        }
    })
    .await;
    let site = Site::with(&[imap.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    let wrong = client.command("a", LOGIN).await;
    let unknown = client.command("a", "LOGIN nobody fail-Pa55").await;
    assert_eq!(wrong, "a NO [AUTHENTICATIONFAILED] Authentication failed.");
    assert_eq!(unknown, wrong);
    let mut client = site.greeted(Door::Pop3Tls).await;
    client.ask("USER nobody").await;
    assert_eq!(client.ask("PASS fail-Pa55").await, "-ERR [AUTH] Authentication failed.");
    site.end(&["fail-Pa55"]).await;
}

/// The clock is paused: it moves only while everybody waits for a timer.
#[tokio::test(start_paused = true)]
async fn a_wrong_password_and_an_unknown_user_are_answered_on_the_same_beat() {
    let slow = FakeNode::start(|mut conn: Conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n").await;
        while let Some(line) = conn.line().await {
            // Dovecot's time for a wrong password.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let tag = line.split(' ').next().unwrap();
            conn.send(format!("{tag} NO [AUTHENTICATIONFAILED] Authentication failed.\r\n")).await;
        }
    })
    .await;
    let delay = Duration::from_secs(3);
    let site = Site::start(Spec { auth_failure_delay: delay, ..Spec::new(&[slow.port]) }).await;
    for user in ["alice", "nobody", "alice", "nobody"] {
        let mut client = site.greeted(Door::ImapClear).await;
        let asked = tokio::time::Instant::now();
        let answer = client.command("a", &format!("LOGIN {user} beat-Pa55")).await;
        assert_eq!(answer, "a NO [AUTHENTICATIONFAILED] Authentication failed.");
        let took = asked.elapsed();
        assert!(took >= delay && took < delay + Duration::from_millis(50), "{user}: {took:?}");
    }
    site.end(&["beat-Pa55"]).await;
}

#[tokio::test]
async fn logins_that_reach_no_node_are_logged_and_limited() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let before = log_len();
    let mut client = site.greeted(Door::ImapStartTls).await;
    client.send("a LOGIN alice early-Pa55\r\n".repeat(1000)).await;
    let all = String::from_utf8(client.rest().await).unwrap();
    assert!(all.matches("a NO [PRIVACYREQUIRED] ").count() < 20 && all.contains("* BYE "), "{all}");
    let mut client = site.greeted(Door::Pop3Tls).await;
    client.ask("AUTH PLAIN Ym9iAGFsaWNlAGVhcmx5LVBhNTU=").await;
    client.ask("AUTH PLAIN =").await;
    client.ask("AUTH CRAM-MD5").await;
    assert_eq!(node.connections(), 0);
    site.end(&["early-Pa55"]).await;
    let log = log_since(before);
    for outcome in ["privacy-required", "foreign-authzid", "malformed", "unknown-mechanism"] {
        assert!(log.contains(&format!("\"outcome\":\"{outcome}\"")), "{outcome} is not in the log");
    }
}

#[tokio::test]
async fn an_island_that_is_not_configured_is_a_temporary_failure_and_the_operators_error() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", "LOGIN lost fail-Pa55").await.starts_with("a NO [UNAVAILABLE] "));
    let log = log_so_far();
    assert!(log.contains(r#"the directory says island \"nowhere\""#), "the operator is not told");
    site.end(&["fail-Pa55"]).await;
}

#[tokio::test]
async fn the_directory_says_which_name_the_node_is_told() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", "LOGIN renamed fail-Pa55").await.starts_with("a OK "));
    assert_eq!(node.logins(), [("real-name".to_owned(), "fail-Pa55".to_owned())]);
    site.end(&["fail-Pa55"]).await;
}

#[tokio::test]
async fn users_of_two_islands_come_to_their_own_nodes_through_one_address() {
    let (a, b) = (FakeNode::imap().await, FakeNode::imap().await);
    let site = Site::start(Spec { b: vec![b.port], ..Spec::new(&[a.port]) }).await;
    for (user, node, other) in [("alice", &a, &b), ("bob", &b, &a)] {
        let (before, others) = (node.logins().len(), other.logins().len());
        let mut client = site.greeted(Door::ImapTls).await;
        assert!(client.command("a", &format!("LOGIN {user} fail-Pa55")).await.starts_with("a OK "));
        assert_eq!((node.logins().len(), other.logins().len()), (before + 1, others));
    }
    site.end(&["fail-Pa55"]).await;
}

#[tokio::test]
async fn a_login_that_takes_too_long_is_answered_and_the_connection_ended() {
    // The kernel completes the connection, and nobody ever answers.
    let backlog = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = backlog.local_addr().unwrap().port();
    let spec = Spec { login_timeout: Duration::from_secs(2), ..Spec::new(&[port]) };
    let site = Site::start(spec).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a NO [UNAVAILABLE] "));
    assert!(client.line().await.starts_with("* BYE "));
    client.closed().await;
    // Silence and NOOPs are cut the same way.
    let mut client = site.greeted(Door::Pop3Tls).await;
    assert!(client.line().await.starts_with("-ERR "));
    client.closed().await;
    site.end(&["fail-Pa55"]).await;
}

#[tokio::test]
async fn refused_logins_are_limited_for_each_connection() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    for _ in 0..4 {
        assert_eq!(client.command("a", &format!("LOGIN alice {WRONG}")).await, format!("a NO {REFUSAL}"));
    }
    assert_eq!(client.command("a", &format!("LOGIN alice {WRONG}")).await, format!("a NO {REFUSAL}"));
    assert!(client.line().await.starts_with("* BYE "));
    client.closed().await;
    site.end(&[WRONG]).await;
}

#[tokio::test]
async fn a_node_that_refuses_before_it_has_seen_the_password_says_nothing_about_it() {
    let left = FakeNode::start(|mut conn: Conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] no initial response here\r\n").await;
        let Some(line) = conn.line().await else { return };
        conn.send(format!("{} NO Too many connections\r\n", line.split(' ').next().unwrap())).await;
    })
    .await;
    let right = FakeNode::imap().await;
    let site = Site::with(&[left.port, right.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a OK "));
    let site_alone = Site::with(&[left.port]).await;
    let mut client = site_alone.greeted(Door::ImapTls).await;
    assert!(client.command("a", LOGIN).await.starts_with("a NO [UNAVAILABLE] "));
    site.end(&["fail-Pa55"]).await;
    site_alone.end(&["fail-Pa55"]).await;
}

#[tokio::test]
async fn clients_that_do_nothing_do_not_keep_mailferry_from_stopping() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut no_handshake = tokio::net::TcpStream::connect(site.address(Door::ImapTls)).await.unwrap();
    // The kernel keeps who says nothing at all to itself for a while.
    no_handshake.write_all(&[0x16]).await.unwrap();
    let from = Origin::of(&no_handshake);
    let silent = site.greeted(Door::Pop3Tls).await;
    let mut polite = site.greeted(Door::ImapTls).await;
    // Waits for the sessions; the app itself would give up on them, with a line in the log.
    site.end(&[]).await;
    assert!(polite.line().await.starts_with("* BYE [UNAVAILABLE] "));
    polite.closed().await;
    // Another test's client has had its port perhaps, and its end is told late.
    let is_its = |line: &String| [r#""who":"operator""#, r#""why":"shutdown""#].iter().all(|it| line.contains(it));
    from.line("session ended").await;
    let ends = from.lines("session ended");
    assert!(ends.iter().any(is_its), "{ends:?}");
    drop(silent);
}
