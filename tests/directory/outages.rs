//! LDAP servers that die, freeze, return, cut connections and speak nonsense.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mailferry::directory::ldap::{self, Bind, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::slapd::{BIND_DN, BIND_PASSWORD, Slapd, eventually};
use super::{directory, island, log, settings, unavailable, who_answers};

/// For whatever is meant to time out.
const SHORT: Duration = Duration::from_secs(2);

/// Stands before a slapd, counts the connections, and cuts the first so many when a request comes.
async fn relay(slapd: &Slapd, cut: usize) -> (Url, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("ldap://{}", listener.local_addr().unwrap())).unwrap();
    let (host, port) = (slapd.ldap().host, slapd.ldap().port);
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            if counter.fetch_add(1, Ordering::Relaxed) < cut {
                let _ = client.read(&mut [0; 1024]).await;
                continue;
            }
            let mut server = TcpStream::connect((host.as_str(), port)).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    (url, accepted)
}

#[tokio::test]
async fn hundreds_of_lookups_at_once_do_not_make_the_server_cut_its_connection() {
    let slapd = Slapd::start().await;
    let (url, accepted) = relay(&slapd, 0).await;
    let directory = directory(ldap::Settings { pool: 1, ..settings(vec![url]) }, None);
    assert_eq!(island(&directory, "bob").await, "a");
    // So that it finds them all at once: more than it lets a connection have pending.
    slapd.freeze().await;
    let lookups: Vec<_> = (0..600)
        .map(|number| {
            let directory = directory.clone();
            tokio::spawn(async move { island(&directory, format!("nobody{number}")).await })
        })
        .collect();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    slapd.thaw();
    for lookup in lookups {
        assert_eq!(lookup.await.unwrap(), "no such user");
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_that_is_cut_under_a_search_costs_no_login() {
    let slapd = Slapd::start().await;
    let (url, accepted) = relay(&slapd, 1).await;
    assert_eq!(island(&directory(settings(vec![url]), None), "bob").await, "a");
    assert_eq!(accepted.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_next_server_takes_over_from_a_dead_one_and_the_first_is_used_again_when_it_returns() {
    let (mut first, second) = (Slapd::start().await, Slapd::start().await);
    let (one, two) = (first.ldap().to_string(), second.ldap().to_string());
    let directory = directory(settings(vec![first.ldap(), second.ldap()]), None);
    let log = log();
    let _guard = log.start();
    assert_eq!(who_answers(&directory, "bob").await, one);
    first.kill();
    for _ in 0..10 {
        assert_eq!(who_answers(&directory, "bob").await, two);
    }
    assert_eq!(log.count("LDAP server is unavailable"), 1, "{}", log.text());
    first.restart().await;
    eventually("the first server is used again", async || (who_answers(&directory, "bob").await == one).then_some(()))
        .await;
    assert_eq!(log.count("LDAP server is available again"), 1, "{}", log.text());
}

#[tokio::test]
async fn old_routes_serve_while_all_servers_are_down_and_unknown_users_have_none() {
    let (mut first, mut second) = (Slapd::start().await, Slapd::start().await);
    let directory = directory(settings(vec![first.ldap(), second.ldap()]), None);
    assert_eq!(island(&directory, "bob").await, "a");
    assert_eq!(island(&directory, "nobody").await, "no such user");
    first.kill();
    second.kill();
    for _ in 0..10 {
        assert_eq!(who_answers(&directory, "bob").await, "stale");
        let reason = unavailable(&directory, "nobody").await;
        assert!(reason.contains(&first.ldap().to_string()) && reason.contains(&second.ldap().to_string()), "{reason}");
        assert!(unavailable(&directory, "carol").await.contains("onnect"));
    }
    second.restart().await;
    eventually("the directory is back", async || (island(&directory, "carol").await == "b").then_some(())).await;
}

#[tokio::test]
async fn a_restart_between_two_lookups_is_not_noticed() {
    let mut slapd = Slapd::start().await;
    let directory = directory(settings(vec![slapd.ldap()]), None);
    // One for each connection.
    for _ in 0..2 {
        assert_eq!(who_answers(&directory, "bob").await, slapd.ldap().to_string());
    }
    for _ in 0..3 {
        slapd.restart().await;
        assert_eq!(who_answers(&directory, "bob").await, slapd.ldap().to_string());
    }
}

#[tokio::test]
async fn a_frozen_server_is_left_for_the_next_one_and_asked_again_when_it_answers() {
    let (first, second) = (Slapd::start().await, Slapd::start().await);
    let (one, two) = (first.ldap().to_string(), second.ldap().to_string());
    let directory = directory(ldap::Settings { timeout: SHORT, ..settings(vec![first.ldap(), second.ldap()]) }, None);
    let log = log();
    let _guard = log.start();
    assert_eq!(who_answers(&directory, "bob").await, one);
    first.freeze().await;
    for _ in 0..2 {
        assert_eq!(who_answers(&directory, "bob").await, two);
    }
    let is_out = async || (log.count("LDAP server is unavailable") == 1).then_some(());
    eventually("two searches without an answer take it out of service", is_out).await;
    assert_eq!(who_answers(&directory, "bob").await, two);
    first.thaw();
    eventually("the thawed server is used again", async || (who_answers(&directory, "bob").await == one).then_some(()))
        .await;
}

#[tokio::test]
async fn a_server_that_is_frozen_before_the_bind_is_unavailable_after_the_connect_timeout() {
    let slapd = Slapd::start().await;
    slapd.freeze().await;
    let password_file = slapd.file("password", BIND_PASSWORD);
    let bind = Some(Bind { dn: BIND_DN.into(), password_file });
    let cases = [
        (ldap::Settings { bind, ..settings(vec![slapd.ldap()]) }, "bind: no answer"),
        (ldap::Settings { starttls: true, ..settings(vec![slapd.ldap_by_name()]) }, "StartTLS: no answer"),
        (settings(vec![slapd.ldaps()]), "TLS: no answer"),
    ];
    for (settings, part) in cases {
        let directory = directory(ldap::Settings { connect_timeout: SHORT, ..settings }, Some(slapd.tls()));
        let reason = unavailable(&directory, "bob").await;
        assert!(reason.contains(part), "{reason}");
    }
}

#[tokio::test]
async fn those_who_wait_for_a_connection_hear_at_once_that_there_is_none() {
    let slapd = Slapd::start().await;
    slapd.freeze().await;
    let settings = ldap::Settings { connect_timeout: SHORT, ..settings(vec![slapd.ldaps()]) };
    let directory = directory(settings, Some(slapd.tls()));
    let started = Instant::now();
    let lookups: Vec<_> = (0..12)
        .map(|number| {
            let directory = directory.clone();
            tokio::spawn(async move { unavailable(&directory, &format!("user{number}")).await })
        })
        .collect();
    let mut reasons = Vec::new();
    for lookup in lookups {
        reasons.push(lookup.await.unwrap());
    }
    // One after the other on two connections, they would need six times as long.
    assert!(started.elapsed() < 3 * SHORT, "{:?}: {reasons:#?}", started.elapsed());
}

#[tokio::test]
async fn mailferry_starts_while_ldap_is_down_and_finds_it_later() {
    let mut slapd = Slapd::start().await;
    slapd.kill();
    let directory = directory(settings(vec![slapd.ldap()]), None);
    let reason = unavailable(&directory, "bob").await;
    assert!(reason.contains("connect to 127.0.0.1"), "{reason}");
    slapd.restart().await;
    eventually("the directory is there", async || (island(&directory, "bob").await == "a").then_some(())).await;
}

#[tokio::test]
async fn a_server_that_speaks_nonsense_is_unavailable_and_harms_nobody() {
    let slapd = Slapd::start().await;
    let replies: [&[u8]; 4] = [
        // No LDAP.
        b"* OK IMAP4rev1 ready\r\n",
        // Not a sequence.
        b"\x04\x03abc",
        // Message 1, an operation that does not exist.
        b"\x30\x05\x02\x01\x01\x7e\x00",
        // Message 1, an end of search without a result code.
        b"\x30\x05\x02\x01\x01\x65\x00",
    ];
    for reply in replies {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("ldap://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(reply).await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        let alone = directory(ldap::Settings { timeout: SHORT, ..settings(vec![url.clone()]) }, None);
        unavailable(&alone, "bob").await;
        let directory = directory(ldap::Settings { timeout: SHORT, ..settings(vec![url, slapd.ldap()]) }, None);
        assert_eq!(who_answers(&directory, "bob").await, slapd.ldap().to_string(), "{}", reply.escape_ascii());
    }
}
