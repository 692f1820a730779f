//! Where a login goes whose user is held, or whom the directory moves meanwhile. The clock is paused.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use tokio::time::sleep;

use super::super::holds::Holds;
use super::super::origin::Origin;
use super::super::registry::Registry;
use super::*;
use crate::directory::{Directory, Route, cache};
use crate::drain;
use crate::limits::Limits;
use crate::names::{IslandName, SessionId};
use crate::net::Dialer;
use crate::proto::{Credentials, LoginRequest, Protocol};
use crate::routing::{Island, Islands};
use crate::secret::Secret;
use crate::testkit::settings;

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_hold_keeps_nobody_of_his_network_waiting_and_is_admitted_again() {
    let mut settings = settings::limits();
    settings.failed_logins_per_network = NonZeroU32::new(1);
    let limits = Limits::new(settings, 100);
    let client = SocketAddr::from(([192, 0, 2, 1], 1000));
    let guess = || limits.guess(client.ip());
    let (holds, anna) = (Holds::default(), UserName::new(b"anna").unwrap());
    let until = Instant::now() + Duration::from_secs(30);
    let hold = holds.hold((anna.clone(), None), (SystemTime::now(), until), None).unwrap();
    let id = SessionId { run: 1, number: 1 };
    let mut record = Record::new(id, Protocol::Imap, client, &Registry::default());
    let (mut way, mut held, mut other, names) = (holds.way(id), guess(), guess(), [&anna]);
    let (_stop, drain) = drain::channel();
    let ear = drain.ear();
    admitted(&mut held).await.unwrap();
    let mut waiting = Box::pin(pass(&mut way, &names, until, &mut held, &mut record, &ear));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(matches!(admitted(&mut other).now_or_never(), Some(Ok(()))), "it does not wait for a hold");
    holds.release(hold.id).unwrap();
    assert!(waiting.as_mut().now_or_never().is_none(), "there may be one wrong password, and not two");
    other.take_back(Instant::now().into_std());
    assert!(matches!(waiting.await, Ok(true)));
    assert!(admitted(&mut guess()).now_or_never().is_none(), "it counts again");
    held.refused(Instant::now().into_std());
    assert!(matches!(admitted(&mut guess()).now_or_never(), Some(Err(Failure::TooManyFailures))));
}

const ANSWER: Duration = Duration::from_secs(5);

/// Islands `a` and `b`, and a directory that reads this when it is asked, and answers later: an island and a login.
fn site(said: &Arc<Mutex<(&'static str, &'static str)>>) -> Site {
    let cache = cache::Settings {
        capacity: 10,
        ttl: Duration::from_secs(300),
        negative_ttl: Duration::from_secs(30),
        stale: Duration::from_secs(3600),
        file: None,
    };
    let said = Arc::clone(said);
    let directory = Directory::scripted(&cache, move |_| {
        let (island, login) = *said.lock().unwrap();
        Box::pin(async move {
            sleep(ANSWER).await;
            Ok(Route { island: IslandName::new(island), login: UserName::new(login.as_bytes()) })
        })
    });
    let island = |name| {
        let name = IslandName::new(name);
        Island { spellings: vec![name.clone()], name, ..settings::island(1) }
    };
    let islands = Islands::new(vec![island("a"), island("b")], None, Instant::now().into_std());
    let dialer = Dialer::memory(|_, _| unreachable!("no node is asked"));
    Site { settings: settings::session(), directory, islands, dialer, node_tls: HashMap::new() }
}

/// A login of `al`, and what it goes through.
struct Rig {
    site: Site,
    holds: Holds,
    names: Names,
    request: LoginRequest,
    origin: Origin,
    guess: Guess,
    record: Record,
    ear: Ear,
    _stop: drain::Signal,
}

fn rig(said: &Arc<Mutex<(&'static str, &'static str)>>) -> Rig {
    let client = SocketAddr::from(([192, 0, 2, 1], 1000));
    let (user, id) = (UserName::new(b"al").unwrap(), SessionId { run: 1, number: 1 });
    let credentials = Credentials::Password(Secret::new(b"example-Pa55".to_vec()));
    let (stop, drain) = drain::channel();
    Rig {
        site: site(said),
        holds: Holds::default(),
        names: Names { looked_up: user.clone(), on_node: user.clone() },
        request: LoginRequest { user, master: None, credentials, mechanism: "LOGIN" },
        origin: Origin::of_socket(client, client),
        guess: Limits::new(settings::limits(), 100).guess(client.ip()),
        record: Record::new(id, Protocol::Imap, client, &Registry::default()),
        ear: drain.ear(),
        _stop: stop,
    }
}

impl Rig {
    fn hold_alice(&self) -> u64 {
        let (alice, until) = (UserName::new(b"alice").unwrap(), Instant::now() + Duration::from_secs(600));
        self.holds.hold((alice, None), (SystemTime::now(), until), None).unwrap().id
    }
}

fn island_of(destination: &Destination) -> &str {
    destination.table.island().name.as_str()
}

#[tokio::test(start_paused = true)]
async fn what_the_directory_said_before_the_release_is_asked_for_again() {
    let said = Arc::new(Mutex::new(("a", "alice")));
    let mut rig = rig(&said);
    let hold = rig.hold_alice();
    let login = Login { request: &rig.request, origin: &rig.origin, deadline: Instant::now() + 10 * ANSWER };
    let mut way = rig.holds.way(SessionId { run: 1, number: 1 });
    let (site, names, ear) = (&rig.site, &rig.names, &rig.ear);
    let mut located = Box::pin(locate(site, names, &login, &mut rig.guess, (&mut rig.record, &mut way), ear));
    // It is asked while she is held, and answers when she is moved and released.
    assert!(located.as_mut().now_or_never().is_none());
    sleep(ANSWER / 5).await;
    *said.lock().unwrap() = ("b", "alice");
    rig.holds.release(hold).unwrap();
    let began = Instant::now();
    let destination = located.await.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(island_of(&destination), "b");
    let (names, again) = (&rig.names, rig.site.directory.locate(&rig.names.looked_up).await.unwrap());
    assert_eq!(
        (names.looked_up.to_string(), again.route.island.as_str()),
        ("al".to_owned(), "b"),
        "the cache knows it too"
    );
    assert!(began.elapsed() < 3 * ANSWER, "it is asked once more");
}

#[tokio::test(start_paused = true)]
async fn a_doubt_leads_nobody_into_the_mailbox_of_somebody_who_is_held() {
    for is_held in [false, true] {
        let said = Arc::new(Mutex::new(("a", "bob")));
        let mut rig = rig(&said);
        let login = Login { request: &rig.request, origin: &rig.origin, deadline: Instant::now() + 10 * ANSWER };
        let mut way = rig.holds.way(SessionId { run: 1, number: 1 });
        let (site, names, ear) = (&rig.site, &rig.names, &rig.ear);
        let old = locate(site, names, &login, &mut rig.guess, (&mut rig.record, &mut way), ear).await;
        let old = old.unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!((island_of(&old), old.counted.to_string()), ("a", "bob".to_owned()));
        *said.lock().unwrap() = ("b", "alice");
        if is_held {
            rig.hold_alice();
        }
        sleep(ANSWER).await;
        let new = moved(site, names, &old, &mut rig.guess, (&mut rig.record, &mut way), ear).await.unwrap();
        match new {
            Ok(new) => assert!(!is_held && island_of(&new) == "b"),
            Err(failure) => assert!(is_held && matches!(failure, Failure::Held), "{failure}"),
        }
    }
}
