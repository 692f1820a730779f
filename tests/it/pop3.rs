//! R-POP: POP3 on the wire.

use std::sync::Arc;

use mailferry::{session, testkit};

use crate::node::{FakeNode, WRONG};
use crate::site::{Door, Site, Spec, logged};

#[tokio::test]
async fn r_pop_01_capa_works_before_and_after_stls_and_multi_line_answers_end_in_a_dot() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut client = site.greeted(Door::Pop3StartTls).await;
    assert!(client.ask("CAPA").await.starts_with("+OK"));
    assert!(client.until_dot().await.contains(&"STLS".to_owned()));
    client.send("STLS\r\n").await;
    client.line().await;
    let mut client = client.handshake(site.client_tls()).await;
    assert!(client.ask("CAPA").await.starts_with("+OK"));
    let words = client.until_dot().await;
    assert!(words.iter().any(|word| word.starts_with("SASL ") && word.contains("PLAIN")), "{words:?}");
    assert!(words.contains(&"USER".to_owned()), "{words:?}");
    site.end(&[]).await;
}

#[tokio::test]
async fn r_pop_02_a_password_keeps_its_spaces_and_a_failed_one_leaves_another_try() {
    let node = FakeNode::pop3().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::Pop3Tls).await;
    assert!(client.ask("PASS no-user-Pa55").await.starts_with("-ERR "));
    client.ask("USER alice").await;
    assert_eq!(client.ask(&format!("PASS {WRONG}")).await, "-ERR [AUTH] Not this one.");
    assert!(client.ask("PASS again-Pa55").await.starts_with("-ERR "), "PASS needs a new USER");
    client.ask("USER alice").await;
    assert!(client.ask("PASS  two  spaces-Pa55 ").await.starts_with("+OK"));
    assert_eq!(node.logins().pop().unwrap().1, " two  spaces-Pa55 ");
    site.end(&["no-user-Pa55", WRONG, "again-Pa55", "spaces-Pa55"]).await;
}

#[tokio::test]
async fn r_pop_03_auth_in_all_its_forms() {
    let node = FakeNode::pop3().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::Pop3Tls).await;
    assert!(client.ask("AUTH").await.starts_with("+OK"));
    assert_eq!(client.until_dot().await, ["PLAIN", "LOGIN"]);
    assert!(client.ask("AUTH PLAIN =").await.starts_with("-ERR "));
    assert!(client.ask("AUTH PLAIN !!!!").await.starts_with("-ERR "));
    assert_eq!(client.ask("AUTH PLAIN").await, "+ ");
    assert!(client.ask("*").await.starts_with("-ERR "));
    assert_eq!(client.ask("AUTH PLAIN").await, "+ ");
    assert!(client.ask("AGFsaWNlAGlyLVBhNTU=").await.starts_with("+OK"));
    let mut client = site.greeted(Door::Pop3Tls).await;
    assert!(client.ask("AUTH PLAIN AGFsaWNlAGlyLVBhNTU=").await.starts_with("+OK"));
    let mut client = site.greeted(Door::Pop3Tls).await;
    assert_eq!(client.ask("AUTH LOGIN").await, "+ VXNlcm5hbWU6");
    assert_eq!(client.ask("YWxpY2U=").await, "+ UGFzc3dvcmQ6");
    assert!(client.ask("aXItUGE1NQ==").await.starts_with("+OK"));
    assert_eq!(node.logins(), vec![("alice".to_owned(), "ir-Pa55".to_owned()); 3]);
    site.end(&["ir-Pa55"]).await;
}

#[tokio::test]
async fn r_pop_04_response_codes_are_announced_and_user_only_where_a_password_may_be_sent() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for (door, passwords) in [(Door::Pop3Tls, true), (Door::Pop3StartTls, false), (Door::Pop3Clear, true)] {
        let mut client = site.greeted(door).await;
        client.ask("CAPA").await;
        let words = client.until_dot().await;
        for always in ["RESP-CODES", "AUTH-RESP-CODE"] {
            assert!(words.contains(&always.to_owned()), "{door:?}: {words:?}");
        }
        assert_eq!(words.contains(&"USER".to_owned()), passwords, "{door:?}: {words:?}");
        assert_eq!(words.iter().any(|word| word.starts_with("SASL")), passwords, "{door:?}: {words:?}");
    }
    let mut client = site.greeted(Door::Pop3StartTls).await;
    assert!(client.ask("USER alice").await.starts_with("-ERR [SYS/PERM] "));
    site.end(&[]).await;
}

#[tokio::test]
async fn r_pop_05_what_is_not_there_is_neither_announced_nor_accepted() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let mut client = site.connect(Door::Pop3Tls).await;
    let greeting = client.line().await;
    assert!(!greeting.contains('<'), "an APOP stamp: {greeting}");
    client.ask("CAPA").await;
    let words = client.until_dot().await.join(" ");
    for command in ["UTF8", "LANG", "APOP alice c4c9334bac560ecc979e58001b3e22fb", "XCLIENT ADDR=192.0.2.1"] {
        assert!(!words.contains(command.split(' ').next().unwrap()), "{words}");
        assert!(client.ask(command).await.starts_with("-ERR "), "{command}");
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_pop_05_a_trusted_proxy_is_offered_xclient_and_believed() {
    let node = FakeNode::pop3().await;
    let site = Site::start(Spec {
        listen: |listener| listener.trusted_networks = vec!["127.0.0.0/8".parse().unwrap()],
        ..Spec::new(&[node.port])
    })
    .await;
    let mut client = site.connect(Door::Pop3Tls).await;
    assert!(client.line().await.starts_with("+OK [XCLIENT] "));
    assert!(client.ask("XCLIENT ADDR=192.0.2.51 PORT=4711 TTL=5").await.starts_with("+OK"));
    client.ask("USER alice").await;
    assert!(client.ask("XCLIENT ADDR=192.0.2.52").await.starts_with("-ERR "), "too late");
    client.ask("USER alice").await;
    assert_eq!(client.ask("PASS whence-Pa55").await, "+OK Logged in.");
    logged(&["\"message\":\"login\"", "\"client\":\"192.0.2.51:4711\""], 1).await;
    site.end(&["whence-Pa55"]).await;
}

#[tokio::test]
async fn r_pop_06_quit_before_the_login_says_ok_and_closes() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for door in [Door::Pop3Tls, Door::Pop3Clear] {
        let mut client = site.greeted(door).await;
        client.send("QUIT\r\nCAPA\r\n").await;
        assert!(client.line().await.starts_with("+OK"));
        client.closed().await;
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_pop_07_user_pass_and_stat_in_one_segment_are_answered_in_order() {
    let node = FakeNode::pop3().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::Pop3Tls).await;
    client.send("USER alice\r\nPASS piped-Pa55\r\nSTAT\r\nQUIT\r\n").await;
    assert!(client.line().await.starts_with("+OK"));
    assert_eq!(client.line().await, "+OK Logged in.");
    assert_eq!(client.line().await, "+OK 2 320");
    assert_eq!(client.line().await, "+OK bye");
    client.closed().await;
    assert_eq!(node.commands(), ["STAT", "QUIT"]);
    site.end(&["piped-Pa55"]).await;
}

#[tokio::test]
async fn r_pop_04_what_the_nodes_can_do_is_announced_before_the_login() {
    let lines = [&b"TOP"[..], b"UIDL", b"EXPIRE NEVER", b"IMPLEMENTATION secret", b"UTF8", b"AUTH=OAUTHBEARER"];
    let session = session::Settings {
        pop3_capabilities: Some(Arc::new(lines.into_iter().collect())),
        ..testkit::settings::session()
    };
    let site = Site::start(Spec { session, ..Spec::new(&[FakeNode::dead().await]) }).await;
    let mut client = site.greeted(Door::Pop3Tls).await;
    client.ask("CAPA").await;
    let expected = "RESP-CODES|AUTH-RESP-CODE|PIPELINING|USER|SASL PLAIN LOGIN OAUTHBEARER|EXPIRE NEVER|TOP|UIDL";
    assert_eq!(client.until_dot().await.join("|"), expected);
    site.end(&[]).await;
}

#[tokio::test]
async fn r_pop_08_lines_over_the_limit_and_nul_are_errors_and_the_session_goes_on() {
    let node = FakeNode::pop3().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::Pop3Tls).await;
    assert!(client.ask(&format!("USER {}", "x".repeat(1020))).await.starts_with("-ERR "));
    assert!(client.ask(&format!("AUTH PLAIN {}", "A".repeat(16 * 1024))).await.starts_with("-ERR "));
    assert!(client.ask("USER al\0ice").await.starts_with("-ERR "));
    assert_eq!(client.ask("AUTH PLAIN").await, "+ ");
    assert!(client.ask(&"A".repeat(16 * 1024 + 1)).await.starts_with("-ERR "));
    assert_eq!(node.connections(), 0);
    assert!(client.ask("USER alice").await.starts_with("+OK"));
    assert_eq!(client.ask("PASS short-Pa55").await, "+OK Logged in.");
    let mut client = site.greeted(Door::Pop3Tls).await;
    client.send("x".repeat(70_000)).await;
    assert!(client.line().await.starts_with("-ERR "));
    client.closed().await;
    site.end(&["short-Pa55"]).await;
}
