//! What the tables do for connections and users that come and go.

use futures_util::FutureExt;
use tokio::time::Instant;

use super::*;
use crate::testkit::settings;

fn some(limit: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(limit)
}

fn limits(change: impl FnOnce(&mut Settings)) -> Limits {
    let mut settings = settings::limits();
    change(&mut settings);
    Limits::new(settings, 1000)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn is_evicted(slot: &Slot) -> bool {
    slot.evicted().now_or_never().is_some()
}

#[test]
fn at_a_limit_of_strangers_the_oldest_goes_and_the_new_one_comes_in() {
    let limits = limits(|it| it.unauthenticated = some(2).unwrap());
    let mut slots: Vec<Slot> = (0..2).map(|_| limits.enter().unwrap()).collect();
    assert!(!slots.iter().any(is_evicted));
    slots.push(limits.enter().unwrap());
    assert_eq!(slots.iter().map(is_evicted).collect::<Vec<_>>(), [true, false, false]);
    // Who has logged in is no stranger, makes room, and is never sent away.
    slots[1].authenticated();
    slots.push(limits.enter().unwrap());
    slots.push(limits.enter().unwrap());
    assert_eq!(slots.iter().map(is_evicted).collect::<Vec<_>>(), [true, false, true, false, false]);
}

#[test]
fn at_a_limit_of_all_a_stranger_goes_or_the_newcomer_does_not_come_in() {
    let limits = limits(|it| it.connections = some(2));
    let (mut first, second) = (limits.enter().unwrap(), limits.enter().unwrap());
    first.authenticated();
    let mut third = limits.enter().unwrap();
    assert!(is_evicted(&second) && !is_evicted(&third) && !is_evicted(&first));
    third.authenticated();
    drop(second);
    assert_eq!(limits.enter().err(), Some(Full::Connections));
    assert_eq!(limits.enter().err(), Some(Full::Connections), "one that was turned away holds no place");
    drop(first);
    assert!(limits.enter().is_ok());
}

#[test]
fn those_who_are_leaving_hold_their_descriptors() {
    let mut settings = settings::limits();
    settings.connections = some(1_000_000);
    let limits = Limits::new(settings, 20);
    // Twenty, and two that may be leaving.
    let mut slots: Vec<Slot> = (0..22).map(|_| limits.enter().unwrap()).collect();
    assert_eq!(slots.iter().filter(|slot| is_evicted(slot)).count(), 2);
    assert_eq!(limits.enter().err(), Some(Full::Connections));
    slots.remove(0);
    assert!(limits.enter().is_ok());
}

#[test]
fn one_that_logs_in_in_the_moment_of_its_eviction_stays_and_counts_once() {
    let limits = limits(|it| it.connections = some(1));
    let mut first = limits.enter().unwrap();
    let word = first.eviction().unwrap();
    let second = limits.enter().unwrap();
    assert!(word.given().now_or_never().is_some());
    first.authenticated();
    assert!(!is_evicted(&first) && first.eviction().is_none());
    first.authenticated();
    drop(second);
    assert_eq!(limits.enter().err(), Some(Full::Connections));
    drop(first);
    assert!(limits.enter().is_ok());
}

#[test]
fn each_network_has_its_own_limits_and_exempt_ones_have_none() {
    let limits = limits(|it| {
        it.connections_per_network = some(2);
        it.unauthenticated_per_network = some(1).unwrap();
        it.exempt_networks = vec!["198.51.100.0/24".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()];
    });
    let enter = |from: &str| {
        let mut slot = limits.enter().unwrap();
        slot.identify(address(from)).map(|()| slot)
    };
    let (mut a, mut b) = (enter("2001:db8::1").ok().unwrap(), enter("192.0.2.1").ok().unwrap());
    let c = enter("2001:db8::ffff").ok().unwrap();
    assert!(is_evicted(&a), "the same /64");
    assert!(!is_evicted(&b));
    b.authenticated();
    let mut d = enter("::ffff:192.0.2.1").ok().unwrap();
    assert!(!is_evicted(&d) && !is_evicted(&c));
    d.authenticated();
    // Both are logged in.
    assert_eq!(enter("192.0.2.1").err(), Some(Full::Network));
    drop(b);
    assert!(enter("192.0.2.1").is_ok());
    let exempt: Vec<_> = ["198.51.100.7", "::ffff:198.51.100.7", "2001:db8:1::7", "2001:db8:1::7", "198.51.100.7"]
        .map(|from| enter(from).ok().unwrap())
        .into();
    assert!(!exempt.iter().any(is_evicted));
    // Known better than before: it moves to the other network, and is the youngest but oldest there.
    a.identify(address("203.0.113.1")).unwrap();
    let mut e = enter("203.0.113.2").ok().unwrap();
    e.identify(address("203.0.113.1")).unwrap();
    e.identify(address("203.0.113.1")).unwrap();
    assert!(!is_evicted(&e));
    e.identify(address("198.51.100.7")).unwrap();
    let f = enter("203.0.113.1").ok().unwrap();
    assert!(!is_evicted(&e) && !is_evicted(&f));
}

#[test]
fn for_the_limit_of_all_the_oldest_goes_of_those_who_are_the_most() {
    let limits = limits(|it| it.unauthenticated = some(4).unwrap());
    let enter = |from: &str| limits.enter_from(address(from)).unwrap();
    let good = enter("192.0.2.1");
    let bad = [enter("192.0.2.2"), enter("192.0.2.2")];
    let later = enter("192.0.2.3");
    let third = enter("192.0.2.2");
    assert_eq!(bad.each_ref().map(is_evicted), [true, false]);
    // Two and two: the older ones.
    let more = enter("192.0.2.3");
    assert_eq!(bad.each_ref().map(is_evicted), [true, true]);
    assert!(![&good, &later, &third, &more].into_iter().any(is_evicted));
    // One behind a balancer is not known before it has come in, and pushes the same ones out.
    let mut unknown = limits.enter().unwrap();
    assert!(is_evicted(&later) && ![&good, &third, &more, &unknown].into_iter().any(is_evicted));
    unknown.identify(address("192.0.2.9")).unwrap();
    // All are alone now: the oldest goes.
    let _last = enter("192.0.2.4");
    assert!(is_evicted(&good) && ![&third, &more, &unknown].into_iter().any(is_evicted));
}

#[test]
fn exempt_networks_are_no_crowd() {
    let limits = limits(|it| {
        it.unauthenticated = some(4).unwrap();
        it.exempt_networks = vec!["198.51.100.0/24".parse().unwrap()];
    });
    let enter = |from: &str| limits.enter_from(address(from)).unwrap();
    let slots = ["198.51.100.1", "198.51.100.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"].map(enter);
    assert_eq!(slots.each_ref().map(is_evicted), [false, false, true, false, false]);
}

#[test]
fn nobody_goes_for_one_who_may_not_come_in() {
    let limits = limits(|it| {
        it.unauthenticated = some(1).unwrap();
        it.connections_per_network = some(1);
    });
    let mut inside = limits.enter_from(address("192.0.2.1")).unwrap();
    inside.authenticated();
    let stranger = limits.enter_from(address("192.0.2.2")).unwrap();
    assert_eq!(limits.enter_from(address("192.0.2.1")).err(), Some(Full::Network));
    assert!(!is_evicted(&stranger));
}

#[tokio::test]
async fn a_session_that_panics_frees_its_places() {
    let limits = limits(|it| {
        it.connections = some(1);
        it.sessions_per_user = some(1);
    });
    let (island, user) = (IslandName::new("a"), UserName::new(b"alice").unwrap());
    let mut slot = limits.enter().unwrap();
    slot.identify(address("192.0.2.1")).unwrap();
    slot.authenticated();
    let seat = limits.seat(&island, &user, address("192.0.2.1")).ok().unwrap();
    assert_eq!(limits.seat(&island, &user, address("192.0.2.2")).err(), Some(Full::User));
    let session = tokio::spawn(async move {
        let _held = (slot, seat);
        panic!("a defect");
    });
    assert!(session.await.is_err());
    assert!(limits.enter().is_ok() && limits.seat(&island, &user, address("192.0.2.1")).is_ok());
}

#[test]
fn exempt_networks_may_guess_and_nobody_else_pays_for_it() {
    let now = Instant::now().into_std();
    let limits = limits(|it| {
        it.failed_logins_per_network = some(7);
        it.failed_login_delay_max = Duration::from_secs(30);
        it.exempt_networks = vec!["198.51.100.0/24".parse().unwrap()];
    });
    let (exempt, stranger) = (address("::ffff:198.51.100.1"), address("2001:db8::1"));
    let may_try = |client| {
        let mut guess = limits.guess(client);
        let may = is_granted(&guess.admit(now));
        guess.take_back(now);
        may
    };
    for failed in 1..=7 {
        let delay = Duration::from_secs([0, 0, 0, 0, 0, 1, 2][failed - 1]);
        let delays = [exempt, stranger].map(|client| {
            let mut guess = limits.guess(client);
            assert!(is_granted(&guess.admit(now)));
            guess.refused(now)
        });
        assert_eq!(delays, [Duration::ZERO, delay]);
    }
    assert!(!may_try(stranger) && !may_try(address("2001:db8::2")));
    assert!(may_try(exempt) && may_try(address("2001:db8:0:1::1")));
}

fn is_granted(admission: &Admission) -> bool {
    matches!(admission, Admission::Granted)
}

/// The network may have as many refused logins as this, whether they come one after the other or at once.
#[test]
fn r_res_05_logins_that_are_being_judged_count_and_those_behind_wait_for_them() {
    let now = Instant::now().into_std();
    let limits = limits(|it| it.failed_logins_per_network = some(3));
    let guess = || limits.guess(address("192.0.2.1"));
    let mut open: Vec<Guess> = (0..3).map(|_| guess()).collect();
    assert!(open.iter_mut().all(|it| is_granted(&it.admit(now))));
    let mut behind = [guess(), guess()];
    let wait = |guess: &mut Guess| match guess.admit(now) {
        Admission::Later(turn) => Box::pin(turn.comes()),
        Admission::Granted | Admission::Denied => panic!("it need not wait"),
    };
    let mut turns = behind.each_mut().map(wait);
    assert!(turns.iter_mut().all(|turn| turn.now_or_never().is_none()));
    // A right password makes room for one, and one only.
    open.pop().unwrap().take_back(now);
    let came: Vec<bool> = turns.iter_mut().map(|turn| turn.now_or_never().is_some()).collect();
    assert_eq!(came, [true, false]);
    let [mut first, mut second] = behind;
    assert!(is_granted(&first.admit(now)));
    // One that is cut off counts, one that is refused too; then nobody is admitted, and all are told.
    drop(open.pop());
    open.pop().unwrap().refused(now);
    assert!((&mut turns[1]).now_or_never().is_some());
    let turn = wait(&mut second);
    let mut third = guess();
    let other_turn = wait(&mut third);
    drop(first);
    assert!(turn.now_or_never().is_some() && !is_granted(&second.admit(now)));
    assert!(other_turn.now_or_never().is_some() && !is_granted(&third.admit(now)));
    assert!(matches!(guess().admit(now), Admission::Denied));
}

/// Guesses of one /48, whose limit is eight times that of its networks.
fn guesses_of_a_48(limit: u32) -> impl Fn(u32) -> Guess {
    let limits = limits(|it| it.failed_logins_per_network = some(limit));
    move |network| limits.guess(address(&format!("2001:db8:0:{network:x}::1")))
}

fn admitted(mut guess: Guess) -> Guess {
    assert!(is_granted(&guess.admit(Instant::now().into_std())));
    guess
}

fn wait(guess: &mut Guess) -> std::pin::Pin<Box<impl Future<Output = ()> + use<>>> {
    let Admission::Later(turn) = guess.admit(Instant::now().into_std()) else { panic!("it need not wait") };
    let mut turn = Box::pin(turn.comes());
    assert!((&mut turn).now_or_never().is_none());
    turn
}

#[test]
fn a_place_in_a_network_goes_to_the_next_when_its_48_has_none() {
    let now = Instant::now().into_std();
    let guess = guesses_of_a_48(2);
    let admitted = |network| admitted(guess(network));
    admitted(0).refused(now);
    let mut open: Vec<Guess> = (0..15).map(admitted).collect();
    let [mut first, mut second] = [guess(0), guess(0)];
    let [first_turn, second_turn] = [wait(&mut first), wait(&mut second)];
    open.remove(0).take_back(now);
    let _faster = admitted(99);
    assert!(first_turn.now_or_never().is_some());
    let Admission::Later(turn) = first.admit(now) else { panic!("there is no place in the /48") };
    drop((turn, first));
    open.remove(0).take_back(now);
    assert!(second_turn.now_or_never().is_some());
    assert!(is_granted(&second.admit(now)));
}

#[test]
fn a_place_in_a_48_goes_to_the_next_when_the_network_is_blocked() {
    let now = Instant::now().into_std();
    let guess = guesses_of_a_48(2);
    let admitted = |network| admitted(guess(network));
    admitted(0).refused(now);
    let mut open: Vec<Guess> = (1..16).map(admitted).collect();
    let (mut same, mut other) = ([guess(0), guess(0), guess(0)], guess(99));
    let turns = same.each_mut().map(wait);
    let other_turn = wait(&mut other);
    open.remove(0).take_back(now);
    admitted(0).refused(now);
    open.remove(0).take_back(now);
    for (guess, turn) in same.iter_mut().zip(turns) {
        assert!(turn.now_or_never().is_some());
        assert!(matches!(guess.admit(now), Admission::Denied));
    }
    assert!(other_turn.now_or_never().is_some());
    assert!(is_granted(&other.admit(now)));
}

#[test]
fn a_warning_of_each_kind_comes_once_in_ten_seconds_and_says_how_many_were_none() {
    let limits = limits(|_| {});
    let now = Instant::now().into_std();
    let alarm = |kind, second| limits.alarm(kind, now + Duration::from_secs(second));
    assert_eq!([alarm("a", 0), alarm("a", 1), alarm("a", 9), alarm("b", 9)], [Some(0), None, None, Some(0)]);
    assert_eq!([alarm("a", 10), alarm("a", 11)], [Some(2), None]);
}

#[test]
fn the_operator_is_told_once_a_minute_that_clients_are_turned_away() {
    let limits = limits(|_| {});
    let now = Instant::now().into_std();
    assert_eq!(
        [0, 1, 59].map(|second| limits.turned_away(Full::Connections, now + Duration::from_secs(second))),
        [Some(0), None, None]
    );
    assert_eq!(limits.turned_away(Full::Network, now), Some(0), "another matter");
    assert_eq!(limits.turned_away(Full::Connections, now + Duration::from_secs(60)), Some(2));
}

/// What one connection costs before anything is read. An attacker has as many as the limits let him.
#[test]
fn a_place_is_small() {
    assert!(size_of::<Slot>() <= 64 && size_of::<UserSeat>() <= 64, "{} {}", size_of::<Slot>(), size_of::<UserSeat>());
}

#[test]
fn other_limits_hold_for_who_comes_and_nobody_goes_for_them() {
    let limits = limits(|it| it.connections = some(4));
    let mut slots: Vec<Slot> = (0..4).map(|_| limits.enter().unwrap()).collect();
    slots.iter_mut().take(3).for_each(Slot::authenticated);
    let fewer = Settings { connections: some(2), ..settings::limits() };
    limits.reconfigure(fewer.clone(), 1000);
    assert!(!slots.iter().any(is_evicted));
    // One before its login makes place, as at any limit; then there is nobody left who could.
    let late = limits.enter().unwrap();
    assert!(is_evicted(&slots[3]));
    drop((slots.pop(), late));
    assert_eq!(limits.enter().err(), Some(Full::Connections));
    limits.reconfigure(Settings { connections: some(5), ..fewer }, 1000);
    let _more = [limits.enter().unwrap(), limits.enter().unwrap()];
    drop(slots);
}

#[test]
fn sessions_are_counted_from_the_moment_in_which_there_is_a_limit() {
    let limits = limits(|_| {});
    let (island, user) = (IslandName::new("a"), UserName::new(b"alice").unwrap());
    let seat = || limits.seat(&island, &user, address("192.0.2.1"));
    let uncounted = seat().unwrap();
    limits.reconfigure(Settings { sessions_per_user: some(1), ..settings::limits() }, 1000);
    let counted = seat().unwrap();
    assert_eq!(seat().err(), Some(Full::User));
    drop(uncounted);
    assert_eq!(seat().err(), Some(Full::User));
    limits.reconfigure(settings::limits(), 1000);
    seat().unwrap();
    drop(counted);
    limits.reconfigure(Settings { sessions_per_user: some(1), ..settings::limits() }, 1000);
    seat().unwrap();
}

#[test]
fn refused_logins_are_remembered_under_another_limit_and_forgotten_with_another_memory() {
    let limits = limits(|it| it.failed_logins_per_network = some(2));
    let now = Instant::now().into_std();
    let admit = || {
        let mut guess = limits.guess(address("192.0.2.1"));
        let admission = guess.admit(now);
        (guess, admission)
    };
    for _ in 0..2 {
        let (guess, admission) = admit();
        assert!(is_granted(&admission));
        guess.refused(now);
    }
    assert!(matches!(admit().1, Admission::Denied));
    let more = Settings { failed_logins_per_network: some(3), ..settings::limits() };
    limits.reconfigure(more.clone(), 1000);
    let (guess, admission) = admit();
    assert!(is_granted(&admission));
    // Who waits for it may ask again when there is more room.
    let Admission::Later(turn) = admit().1 else { panic!("there is no place") };
    limits.reconfigure(Settings { failed_logins_per_network: some(9), ..more.clone() }, 1000);
    assert!(turn.comes().now_or_never().is_some());
    guess.refused(now);
    limits.reconfigure(more.clone(), 1000);
    assert!(matches!(admit().1, Admission::Denied));
    limits.reconfigure(Settings { failed_login_memory: Duration::from_secs(60), ..more.clone() }, 1000);
    assert!(is_granted(&admit().1));
    limits.reconfigure(Settings { exempt_networks: vec!["192.0.2.0/24".parse().unwrap()], ..more }, 1000);
    assert!(limits.guess(address("192.0.2.1")).network.is_none());
}
