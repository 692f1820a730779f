//! Going through the servers, with fakes that cut, freeze or answer. Real servers are in `tests/directory.rs`.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, advance, pause, resume};

use super::*;
use crate::directory::snapshot::Entry;
use crate::directory::tests::shown;
use crate::directory::{Directory, Settings as DirectorySettings, Source, SourceSettings, cache};
use crate::names::IslandName;

/// Longer than the first back-off.
const BACK_OFF: Duration = Duration::from_millis(300);

#[derive(Clone, Copy)]
enum Mood {
    /// Closes each connection when a request comes.
    Cuts,
    /// Never says a word.
    Silent,
    /// Knows nobody.
    Answers,
}

/// A server without entries.
async fn fake(mood: Mood) -> (Url, Arc<Mutex<Mood>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("ldap://{}", listener.local_addr().unwrap())).unwrap();
    let mood = Arc::new(Mutex::new(mood));
    let shared = Arc::clone(&mood);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&shared)));
        }
    });
    (url, mood)
}

async fn serve(mut stream: TcpStream, mood: Arc<Mutex<Mood>>) {
    let mut request = [0; 1024];
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        let now = *mood.lock().unwrap();
        match now {
            Mood::Cuts => return,
            Mood::Silent => {}
            Mood::Answers => {
                // LDAPMessage (RFC 4511 §4.1.1): the length has one octet or more, then comes the number.
                let header = if request[1] < 0x80 { 2 } else { 2 + usize::from(request[1] & 0x7f) };
                let id = request[header + 2];
                // SearchResultDone, success.
                let done = [0x30, 0x0c, 2, 1, id, 0x65, 7, 0x0a, 1, 0, 4, 0, 4, 0];
                stream.write_all(&done).await.unwrap();
            }
        }
    }
}

fn settings(urls: Vec<Url>) -> Settings {
    Settings {
        urls,
        starttls: false,
        ca: None,
        bind: None,
        base: "dc=x".into(),
        scope: Scope::Sub,
        filter: FilterTemplate::parse("(uid={user})").unwrap(),
        island_attribute: "mailHost".into(),
        login_attribute: None,
        timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(20),
        pool: 2,
    }
}

fn bob() -> UserName {
    UserName::new(b"bob").unwrap()
}

/// As if the time had passed, although the servers answer in real time.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

#[tokio::test]
async fn a_login_without_another_way_waits_for_a_trial_and_others_do_not() {
    for (patience, expected) in
        [(Patience::ForTrials, "no such user"), (Patience::None, "the directory is unavailable")]
    {
        let ((first, _), (second, mood)) = (fake(Mood::Cuts).await, fake(Mood::Cuts).await);
        let ldap = Ldap::new(&settings(vec![first, second]), None).unwrap();
        let said = async |patience| ldap.ask(&bob(), patience).await.unwrap_err().to_string();
        for _ in 0..2 {
            assert!(said(patience).await.contains("closes its connections; "), "no trial is due: nobody waits");
        }
        *mood.lock().unwrap() = Mood::Answers;
        pass(BACK_OFF).await;
        let heard = said(patience).await;
        assert!(heard.starts_with(expected), "{heard}");
        // The trial that this one has begun brings the server back for the next.
        assert_eq!(said(Patience::ForTrials).await, "no such user");
        assert_eq!(said(Patience::None).await, "no such user");
    }
}

#[tokio::test(start_paused = true)]
async fn while_all_servers_are_frozen_old_routes_serve_at_once_also_under_trials() {
    let ((first, _), (second, _)) = (fake(Mood::Silent).await, fake(Mood::Silent).await);
    let (ttl, negative_ttl, stale) = (Duration::ZERO, Duration::ZERO, Duration::from_secs(86_400));
    let cache = cache::Settings { capacity: 100, ttl, negative_ttl, stale, file: None };
    let source = SourceSettings::Ldap(settings(vec![first, second]));
    let directory = Directory::new(&DirectorySettings { source, cache }, None).unwrap();
    let route = Route { island: IslandName::new("a"), login: None };
    directory.cache.restore(vec![Entry { user: bob(), route, said: 0 }], &"file".into(), Duration::ZERO);
    // Until both are out of service.
    for _ in 0..4 {
        assert_eq!(shown(&directory, "nobody").await, "the directory is unavailable");
    }
    let mut trials = 0;
    for _ in 0..200 {
        let asked = Instant::now();
        assert!(shown(&directory, "bob").await.starts_with("a stale"));
        let afresh = directory.locate_afresh(&bob()).await;
        assert!(matches!(afresh, Some(Err(LookupError::Unavailable(_)))), "{afresh:?}");
        assert_eq!(Instant::now(), asked, "nobody waited");
        let Source::Ldap(ldap) = &*directory.source else { panic!("no LDAP") };
        trials += usize::from(ldap.servers.iter().any(|server| server.is_tried()));
        advance(Duration::from_secs(1)).await;
    }
    assert!(trials > 10, "a trial ran only {trials} times");
}

#[tokio::test]
async fn the_next_server_is_asked_beside_one_that_is_silent_and_the_silent_one_is_found_out() {
    let ((first, _), (second, _)) = (fake(Mood::Silent).await, fake(Mood::Answers).await);
    let ldap = Ldap::new(&settings(vec![first, second]), None).unwrap();
    let deadline = Duration::from_secs(10);
    for _ in 0..2 {
        let heard = tokio::time::timeout(deadline, ldap.ask(&bob(), Patience::None)).await;
        assert_eq!(heard.expect("before the silent one's timeout of 20 s").unwrap_err(), LookupError::NotFound);
    }
    // Nobody waits for the silent one's two searches any more, and yet they end and take it out of service.
    pass(Duration::from_secs(21)).await;
    let last = tokio::time::timeout(deadline, ldap.servers[0].ask(&"(uid=bob)".into())).await;
    assert!(last.expect("without waiting").unwrap_err().contains("no answer within"));
}
