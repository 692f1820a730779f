//! Going through the servers, with fakes that cut, freeze or answer. Real servers are in `tests/directory.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{advance, pause, resume, sleep, timeout};

use super::*;
use crate::directory::snapshot::Entry;
use crate::directory::tests::shown;
use crate::directory::{Directory, Settings as DirectorySettings, Source, SourceSettings, cache};
use crate::names::IslandName;

/// Longer than the first back-off.
const BACK_OFF: Duration = Duration::from_millis(300);
/// In real time, for what comes at once.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    /// Closes each connection when a search comes.
    Cuts,
    /// Never says a word; remembers the searches.
    Silent,
    /// Knows nobody.
    Answers,
    /// The same, but says so for bob only.
    AnswersBob,
    /// An entry that is none, to everybody.
    Nonsense,
}

/// A server without entries.
struct Fake {
    url: Url,
    mood: Arc<watch::Sender<Mood>>,
    connections: Arc<AtomicUsize>,
    searches: Arc<AtomicUsize>,
}

impl Fake {
    async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("ldap://{}", listener.local_addr().unwrap())).unwrap();
        let (mood, connections, searches) = (Arc::new(watch::channel(mood).0), Arc::default(), Arc::default());
        let fake = Self { url, mood, connections, searches };
        let (mood, connections) = (Arc::clone(&fake.mood), Arc::clone(&fake.connections));
        let searches = Arc::clone(&fake.searches);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, mood.subscribe(), Arc::clone(&searches)));
            }
            // Whoever serves waits for the next mood.
            drop(mood);
        });
        fake
    }

    fn turns(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Waits for so many searches, all in all.
    async fn has_seen(&self, searches: usize) {
        let seen = async {
            while self.searches.load(Ordering::Relaxed) < searches {
                yield_now().await;
            }
        };
        timeout(DEADLINE, seen).await.expect("so many searches");
    }
}

async fn serve(mut stream: TcpStream, mut mood: watch::Receiver<Mood>, searches: Arc<AtomicUsize>) {
    let (mut octets, mut pending) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            read = stream.read_buf(&mut octets) => if read.unwrap_or(0) == 0 { return },
            changed = mood.changed() => changed.unwrap(),
        }
        while let Some(message) = next_message(&mut octets) {
            // LDAPMessage (RFC 4511 §4.1.1): first its number, then the operation, of which a search is 0x63.
            let (id, operation) = message.split_at(2 + usize::from(message[1]));
            if operation[0] == 0x63 {
                searches.fetch_add(1, Ordering::Relaxed);
                pending.push((id.to_vec(), operation.windows(3).any(|octets| octets == b"bob")));
            }
        }
        let now = *mood.borrow_and_update();
        if now == Mood::Cuts && !pending.is_empty() {
            return;
        }
        let is_answered = |bob: bool| now != Mood::Silent && (bob || now != Mood::AnswersBob);
        for (id, _) in pending.extract_if(.., |(_, bob)| is_answered(*bob)) {
            // SearchResultEntry, with nothing in it; SearchResultDone, success.
            let said: &[u8] = if now == Mood::Nonsense { &[0x64, 0] } else { &[0x65, 7, 0x0a, 1, 0, 4, 0, 4, 0] };
            let len = u8::try_from(id.len() + said.len()).unwrap();
            stream.write_all(&[&[0x30, len], &id[..], said].concat()).await.unwrap();
        }
    }
}

/// Takes a whole message's content off the front.
fn next_message(octets: &mut Vec<u8>) -> Option<Vec<u8>> {
    // The length has one octet, or so many more as that one says.
    let more = octets.get(1).map(|len| usize::from(*len)).filter(|len| *len > 0x80).map_or(0, |len| len - 0x80);
    let long = octets.get(2..2 + more)?.iter().fold(0, |len, octet| len << 8 | usize::from(*octet));
    let len = if more == 0 { usize::from(*octets.get(1)?) } else { long };
    (octets.len() >= 2 + more + len).then(|| octets.drain(..2 + more + len).skip(2 + more).collect())
}

/// Of a directory that waits long enough for every test.
pub(super) fn settings(urls: Vec<Url>) -> Settings {
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

fn ldap(fakes: &[&Fake]) -> Ldap {
    Ldap::new(&settings(fakes.iter().map(|fake| fake.url.clone()).collect()), None, None).unwrap()
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
        let (first, second) = (Fake::start(Mood::Cuts).await, Fake::start(Mood::Cuts).await);
        let ldap = ldap(&[&first, &second]);
        let said = async |patience| ldap.ask(&bob(), patience).await.unwrap_err().to_string();
        for _ in 0..2 {
            assert!(said(patience).await.contains("closes its connections; "), "no trial is due: nobody waits");
        }
        second.turns(Mood::Answers);
        pass(BACK_OFF).await;
        let heard = said(patience).await;
        assert!(heard.starts_with(expected), "{heard}");
        // The trial that this one has begun brings the server back for the next.
        assert_eq!(said(Patience::ForTrials).await, "no such user");
        assert_eq!(said(Patience::None).await, "no such user");
    }
}

/// A server that is away for long is seldom tried, and may be back before that is noticed.
#[tokio::test]
async fn while_no_server_is_in_service_each_is_tried_soon_however_long_it_was_away() {
    let (first, second) = (Fake::start(Mood::Cuts).await, Fake::start(Mood::Answers).await);
    let ldap = ldap(&[&first, &second]);
    let said = async |patience| ldap.ask(&bob(), patience).await.unwrap_err().to_string();
    let mut trials = 0;
    while trials < 6 {
        assert_eq!(said(Patience::ForTrials).await, "no such user");
        if ldap.servers[0].is_tried() {
            trials += 1;
            ldap.servers[0].trial_succeeds().await;
        }
        pass(BACK_OFF).await;
    }
    first.turns(Mood::Answers);
    second.turns(Mood::Cuts);
    assert_eq!(said(Patience::ForTrials).await, "no such user");
    assert_eq!(ldap.servers().iter().map(|server| server.out.is_some()).collect::<Vec<_>>(), [false, true]);
    // One that has just been tried is not tried again, but soon. The first back-off of all may be shorter.
    first.turns(Mood::Cuts);
    let tries = || [&first, &second].map(|fake| fake.searches.load(Ordering::Relaxed));
    for _ in 0..2 {
        assert!(said(Patience::ForTrials).await.contains("closes its connections; "));
        pass(BACK_OFF).await;
    }
    for _ in 0..6 {
        assert!(said(Patience::ForTrials).await.contains("closes its connections; "));
        let before = tries();
        pause();
        for _ in 0..5 {
            assert!(said(Patience::ForTrials).await.contains("closes its connections; "));
        }
        resume();
        assert_eq!(tries(), before);
        pass(BACK_OFF).await;
        assert!(said(Patience::ForTrials).await.contains("closes its connections; "));
        assert!(tries().iter().zip(before).all(|(now, before)| *now > before), "{before:?} {:?}", tries());
    }
}

/// A frozen one is in service until it has been silent twice.
#[tokio::test]
async fn when_the_last_server_freezes_the_login_that_it_was_given_goes_to_one_that_has_returned() {
    let (first, second) = (Fake::start(Mood::Cuts).await, Fake::start(Mood::Answers).await);
    let settings =
        Settings { timeout: Duration::from_secs(2), ..settings(vec![first.url.clone(), second.url.clone()]) };
    let ldap = Ldap::new(&settings, None, None).unwrap();
    let said = async || ldap.ask(&bob(), Patience::ForTrials).await.unwrap_err().to_string();
    for _ in 0..6 {
        assert_eq!(said().await, "no such user");
        ldap.servers[0].trial_succeeds().await;
        pass(BACK_OFF * 3).await;
    }
    first.turns(Mood::Answers);
    second.turns(Mood::Silent);
    assert_eq!(said().await, "no such user");
}

#[tokio::test(start_paused = true)]
async fn while_all_servers_are_frozen_old_routes_serve_at_once_also_under_trials() {
    let (first, second) = (Fake::start(Mood::Silent).await, Fake::start(Mood::Silent).await);
    let (ttl, negative_ttl, stale) = (Duration::ZERO, Duration::ZERO, Duration::from_secs(86_400));
    let cache = cache::Settings { capacity: 100, ttl, negative_ttl, stale, file: None };
    let source = SourceSettings::Ldap(settings(vec![first.url, second.url]));
    let directory = Directory::new(&DirectorySettings { source, cache }, None).unwrap();
    let route = Route { island: IslandName::new("a"), login: None };
    directory.cache.restore(vec![Entry { user: bob(), route, said: 0 }], Duration::ZERO);
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
    let (first, second) = (Fake::start(Mood::Silent).await, Fake::start(Mood::Answers).await);
    let ldap = ldap(&[&first, &second]);
    for _ in 0..2 {
        let heard = timeout(DEADLINE, ldap.ask(&bob(), Patience::None)).await;
        assert_eq!(heard.expect("before the silent one's timeout of 20 s").unwrap_err(), LookupError::NotFound);
    }
    // Nobody waits for the silent one's two searches any more, and yet they end and take it out of service.
    pass(Duration::from_secs(21)).await;
    let last = timeout(DEADLINE, ldap.servers[0].ask(&"(uid=bob)".into())).await;
    assert!(last.expect("without waiting").unwrap_err().contains("no answer within"));
}

/// What the first server says: `Ok` is that there is no such user.
fn asking(ldap: &Ldap, user: &str) -> JoinHandle<Result<(), String>> {
    let (server, filter) = (Arc::clone(&ldap.servers[0]), Arc::from(format!("(uid={user})")));
    tokio::spawn(async move {
        let answer = server.ask(&filter).await.map_err(|reason| reason.to_string())?;
        assert_eq!(answer, Err(LookupError::NotFound));
        Ok(())
    })
}

#[tokio::test]
async fn a_server_that_answers_others_is_busy_and_one_that_answers_nobody_is_out() {
    for others in [true, false] {
        let fake = Fake::start(Mood::AnswersBob).await;
        let ldap = Ldap::new(&Settings { pool: 1, ..settings(vec![fake.url.clone()]) }, None, None).unwrap();
        asking(&ldap, "bob").await.unwrap().unwrap();
        let late: Vec<_> = ["u1", "u2", "u3"].map(|user| asking(&ldap, user)).into();
        fake.has_seen(4).await;
        pass(Duration::from_secs(1)).await;
        if others {
            asking(&ldap, "bob").await.unwrap().unwrap();
        }
        pass(Duration::from_secs(20)).await;
        let expected = if others { "busy: it answers others, not this within 20s" } else { "no answer within 20s" };
        for search in late {
            assert_eq!(search.await.unwrap().unwrap_err(), expected);
        }
        let next = asking(&ldap, "bob").await.unwrap();
        assert_eq!(next.is_ok(), others, "{next:?}");
        assert_eq!(fake.connections.load(Ordering::Relaxed), 1, "a busy connection is not cut");
    }
}

#[tokio::test]
async fn a_connection_that_is_silent_while_its_server_answers_is_replaced() {
    let fake = Fake::start(Mood::Silent).await;
    let ldap = Ldap::new(&Settings { pool: 1, ..settings(vec![fake.url.clone()]) }, None, None).unwrap();
    let late = [asking(&ldap, "u1"), asking(&ldap, "u2")];
    fake.has_seen(2).await;
    pass(Duration::from_secs(1)).await;
    ldap.servers[0].heard_elsewhere();
    pass(Duration::from_secs(20)).await;
    for search in late {
        // Or the connection was cut already, and it is asked again on the next one.
        if let Some(Err(reason)) = timeout(BACK_OFF, search).await.ok().map(Result::unwrap) {
            assert!(reason.starts_with("busy: it answers others"), "{reason}");
        }
    }
    fake.turns(Mood::Answers);
    timeout(DEADLINE, asking(&ldap, "bob")).await.unwrap().unwrap().unwrap();
    assert_eq!(fake.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn those_who_wait_for_our_own_limit_say_nothing_of_the_server() {
    let fake = Fake::start(Mood::Silent).await;
    let ldap = Ldap::new(&Settings { pool: 1, ..settings(vec![fake.url.clone()]) }, None, None).unwrap();
    let mut all = vec![asking(&ldap, "bob")];
    // So many go out at once on a connection; then come those who wait.
    all.extend((1..64).map(|number| asking(&ldap, &format!("u{number}"))));
    fake.has_seen(64).await;
    all.extend((0..100).map(|number| asking(&ldap, &format!("v{number}"))));
    pass(Duration::from_secs(1)).await;
    fake.turns(Mood::AnswersBob);
    fake.has_seen(65).await;
    // The end of the first ones' time, and of the time of those who wait: those who come to their turn have it whole.
    pass(Duration::from_millis(19_500)).await;
    fake.has_seen(66).await;
    pass(Duration::from_secs(15)).await;
    fake.turns(Mood::Answers);
    let mut said = [0; 4];
    for search in all {
        let kind = match timeout(DEADLINE, search).await.unwrap().unwrap() {
            Ok(()) => 0,
            Err(reason) if reason == "busy: it answers others, not this within 20s" => 1,
            Err(reason) if reason == "busy: no free place within 20s" => 2,
            // The one that came to its turn when bob had his answer: it heard nothing any more.
            Err(reason) if reason == "no answer within 20s" => 3,
            Err(reason) => panic!("{reason}"),
        };
        said[kind] += 1;
    }
    assert_eq!(said, [64, 63, 36, 1]);
    asking(&ldap, "later").await.unwrap().expect("the server is in service");
    assert_eq!(fake.connections.load(Ordering::Relaxed), 1, "the connection was not cut");
}

#[tokio::test(start_paused = true)]
async fn silence_begins_anew_with_each_answer_to_anybody() {
    let fake = Fake::start(Mood::Silent).await;
    let ldap = ldap(&[&fake]);
    let server = &ldap.servers[0];
    let took = async || {
        let began = Instant::now();
        silence(Some(server)).await;
        began.elapsed()
    };
    assert_eq!(took().await, HEDGE);
    server.heard_elsewhere();
    assert_eq!(took().await, HEDGE, "what was said before");
    let talk = async {
        for _ in 0..10 {
            sleep(HEDGE * 4 / 5).await;
            server.heard_elsewhere();
        }
    };
    assert_eq!(tokio::join!(took(), talk).0, HEDGE * 8 + HEDGE);
}

#[tokio::test]
async fn the_next_server_is_not_asked_beside_one_that_is_only_busy() {
    let (first, second) = (Fake::start(Mood::Silent).await, Fake::start(Mood::Answers).await);
    let ldap = ldap(&[&first, &second]);
    let server = Arc::clone(&ldap.servers[0]);
    let asked = tokio::spawn(async move { ldap.ask(&bob(), Patience::None).await });
    first.has_seen(1).await;
    pause();
    for _ in 0..40 {
        server.heard_elsewhere();
        sleep(HEDGE / 2).await;
    }
    assert_eq!(second.connections.load(Ordering::Relaxed), 0);
    resume();
    let heard = timeout(DEADLINE, asked).await.expect("then it is silent").unwrap();
    assert_eq!(heard.unwrap_err(), LookupError::NotFound);
}

#[tokio::test]
async fn a_server_that_speaks_nonsense_stays_out_and_is_tried_again_soon() {
    let fake = Fake::start(Mood::Cuts).await;
    let ldap = ldap(&[&fake]);
    let said = async || ldap.ask(&bob(), Patience::ForTrials).await.unwrap_err().to_string();
    said().await;
    fake.turns(Mood::Nonsense);
    for _ in 0..5 {
        // Whatever came before, the first back-off is enough.
        pass(BACK_OFF).await;
        let seen = fake.searches.load(Ordering::Relaxed);
        assert!(said().await.starts_with("the directory is unavailable"));
        assert_eq!(fake.searches.load(Ordering::Relaxed), seen + 1, "the trial, and nobody else");
        assert!(said().await.contains("malformed entry"));
    }
    fake.turns(Mood::Answers);
    pass(BACK_OFF).await;
    assert_eq!(said().await, "no such user");
}
