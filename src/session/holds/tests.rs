//! Who waits, who goes on in which order, and what is bounded. The clock is paused.

use futures_util::FutureExt as _;
use tokio::time::advance;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn name(text: &str) -> UserName {
    UserName::new(text.as_bytes()).unwrap()
}

fn hold(holds: &Holds, user: &str, account: Option<&str>) -> Result<Hold, NotHeld> {
    let until = Instant::now() + 10 * MINUTE;
    holds.hold((name(user), account.map(name)), (SystemTime::now(), until), None)
}

fn way(holds: &Holds, number: u64) -> Way<'_> {
    holds.way(SessionId { run: 1, number })
}

/// How many logins of the user's are under way.
fn under_way(holds: &Holds, hold: &Hold) -> usize {
    let (names, mut count): (Vec<Vec<u8>>, _) = (hold.names().map(key).collect(), 0);
    holds.look_under_way(|keys| count += usize::from(keys.iter().any(|key| names.contains(key))));
    count
}

fn soon() -> Instant {
    Instant::now() + MINUTE
}

/// Whether a login of this name, and as this one on the nodes, goes on at once.
fn passes(holds: &Holds, names: &[&str]) -> bool {
    let names: Vec<UserName> = names.iter().map(|it| name(it)).collect();
    let names: Vec<&UserName> = names.iter().collect();
    let mut way = way(holds, 99);
    let passed = way.pass(&names, soon(), || ()).now_or_never();
    matches!(passed, Some(Ok(false)))
}

#[tokio::test(start_paused = true)]
async fn a_user_is_held_in_every_spelling_and_under_every_name_of_the_mailbox_and_nobody_else_is() {
    let holds = Holds::default();
    assert!(passes(&holds, &["anna"]));
    let held = hold(&holds, "anna", Some("a.nna")).unwrap();
    for names in [&["anna"][..], &["ANNA"], &["a.nna"], &["anna@example.net", "A.nna"]] {
        assert!(!passes(&holds, names), "{names:?}");
    }
    assert!(passes(&holds, &["ann"]) && passes(&holds, &["bob", "bob"]));
    assert!(matches!(hold(&holds, "Anna", None), Err(NotHeld::Already(already)) if already.id == held.id));
    assert_eq!(holds.find(&name("ANNA")).unwrap().id, held.id);
    assert!(holds.release(held.id).is_some() && holds.release(held.id).is_none());
    assert!(passes(&holds, &["anna"]) && holds.find(&name("anna")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_is_held_once_by_whichever_of_its_names() {
    let holds = Holds::default();
    let held = hold(&holds, "anna", Some("a.nna")).unwrap();
    for (user, account) in [("info", Some("A.nna")), ("info", Some("anna")), ("a.nna", None)] {
        let again = hold(&holds, user, account);
        assert!(matches!(again, Err(NotHeld::Already(already)) if already.id == held.id), "{user} {account:?}");
    }
    holds.restore(Hold { id: 77, user: name("info"), ..held });
    assert_eq!(holds.all().len(), 1);
    assert!(hold(&holds, "bob", Some("b.ob")).is_ok() && hold(&holds, "carl", None).is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_order_is_known_again_by_its_ticket_and_holds_nobody_once_it_is_taken_back() {
    let holds = Holds::default();
    let by = |ticket: &str, user: &str| {
        let until = Instant::now() + MINUTE;
        holds.hold_by(Some(ticket.into()), (name(user), None), (SystemTime::now(), until), None)
    };
    let held = by("one", "anna").unwrap();
    assert!(matches!(by("one", "anna"), Err(NotHeld::Already(it)) if it.ticket.as_deref() == Some("one")));
    assert!(matches!(by("two", "anna"), Err(NotHeld::Already(it)) if it.ticket.as_deref() == Some("one")));
    assert_eq!(holds.of_ticket("one").map(|it| it.id), Some(held.id));
    assert_eq!(holds.take_back("one").and_then(|it| holds.release(it.id)).map(|it| it.id), Some(held.id));
    assert!(matches!(by("one", "anna"), Err(NotHeld::TakenBack)), "the same order, which was late");
    assert!(holds.of_ticket("two").is_none() && by("two", "anna").is_ok());
    for number in 0..2 * TAKEN_BACK_MAX {
        assert!(holds.take_back(&number.to_string()).is_none());
        assert!(holds.take_back(&number.to_string()).is_none(), "it is remembered once");
    }
    let is_taken_back = |number: usize| matches!(by(&number.to_string(), "bob"), Err(NotHeld::TakenBack));
    assert!(is_taken_back(2 * TAKEN_BACK_MAX - 1) && is_taken_back(TAKEN_BACK_MAX));
    assert!(!is_taken_back(TAKEN_BACK_MAX - 1), "they are bounded");
}

#[tokio::test(start_paused = true)]
async fn who_waited_goes_on_at_the_release_in_the_order_of_coming() {
    let holds = Holds::default();
    let held = hold(&holds, "anna", None).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let wait = |number: u64| {
        let (holds, order) = (holds.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            let mut way = way(&holds, number);
            let passed = way.pass(&[&name("anna")], soon(), || ()).await;
            order.lock().unwrap().push(number);
            passed.ok()
        })
    };
    let mut logins = Vec::new();
    for number in [5, 3, 8, 1] {
        logins.push(wait(number));
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!((holds.count(), holds.all()[0].waiting), ((1, 4), 4));
    logins.remove(1).abort();
    tokio::task::yield_now().await;
    assert_eq!(holds.count(), (1, 3), "who hangs up leaves the queue");
    let began = Instant::now();
    assert_eq!(holds.release(held.id).unwrap().waiting, 3);
    for login in logins {
        assert_eq!(login.await.unwrap(), Some(true), "it knows that it has waited");
    }
    assert_eq!((order.lock().unwrap().as_slice(), began.elapsed()), (&[5, 8, 1][..], Duration::ZERO));
    assert_eq!(holds.count(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_an_end_and_leaves_nothing_behind() {
    let holds = Holds::default();
    let held = hold(&holds, "anna", None).unwrap();
    let began = Instant::now();
    let mut way = way(&holds, 1);
    assert!(way.pass(&[&name("anna")], soon(), || ()).await.is_err());
    assert_eq!((began.elapsed(), holds.count(), under_way(&holds, &held)), (MINUTE, (1, 0), 0));
}

#[tokio::test(start_paused = true)]
async fn who_is_held_again_waits_again_and_no_longer_than_once() {
    let holds = Holds::default();
    let first = hold(&holds, "anna", None).unwrap();
    let (mut way, anna) = (way(&holds, 1), name("anna"));
    let names = [&anna];
    let mut login = std::pin::pin!(way.pass(&names, soon(), || ()).map(|passed| passed.is_ok()));
    assert!(login.as_mut().now_or_never().is_none());
    advance(MINUTE / 2).await;
    holds.release(first.id).unwrap();
    let second = hold(&holds, "anna", None).unwrap();
    assert!(second.id > first.id, "a number is nobody else's");
    let began = Instant::now();
    assert!(!login.await);
    assert_eq!((began.elapsed(), holds.count()), (MINUTE / 2, (1, 0)));
}

#[tokio::test(start_paused = true)]
async fn waits_and_holds_are_bounded() {
    let holds = Holds::default();
    let mut logins = Vec::new();
    for place in 0..HELD_MAX {
        hold(&holds, &format!("user{place}"), None).unwrap();
    }
    assert!(matches!(hold(&holds, "one-more", None), Err(NotHeld::TooMany)));
    let mut wait = |user: &str| {
        let (mut way, user) = (way(&holds, 1), name(user));
        let mut login = Box::pin(async move { way.pass(&[&user], soon(), || ()).await.is_ok() });
        let refused = login.as_mut().now_or_never();
        if refused.is_none() {
            logins.push(login);
        }
        refused.is_none()
    };
    let all = (0..HELD_MAX).map(|place| (0..WAITING_PER_USER + 2).filter(|_| wait(&format!("user{place}"))).count());
    let waiting: Vec<usize> = all.collect();
    assert_eq!((waiting[0], waiting.iter().sum::<usize>()), (WAITING_PER_USER, WAITING_MAX));
    assert_eq!(holds.count(), (HELD_MAX, WAITING_MAX));
    drop(logins);
    assert_eq!(holds.count(), (HELD_MAX, 0));
    // Time for the next login, which is what the places are for.
    assert!(passes(&holds, &["user"]) && !passes(&holds, &["user0"]));
}

#[tokio::test(start_paused = true)]
async fn who_passed_before_the_hold_is_seen_until_it_is_over() {
    let holds = Holds::default();
    let (mut first, mut second, mut other) = (way(&holds, 1), way(&holds, 65), way(&holds, 2));
    assert!(!first.pass(&[&name("Anna")], soon(), || ()).await.ok().unwrap());
    // Another name, whose account the directory has said.
    assert!(!second.pass(&[&name("anna@x")], soon(), || ()).await.ok().unwrap());
    assert!(!second.pass(&[&name("anna@x"), &name("a.nna")], soon(), || ()).await.ok().unwrap());
    assert!(!other.pass(&[&name("bob")], soon(), || ()).await.ok().unwrap());
    let held = hold(&holds, "anna", Some("a.nna")).unwrap();
    assert_eq!(under_way(&holds, &held), 2);
    first.leave();
    assert_eq!(under_way(&holds, &held), 1);
    assert!(first.pass(&[&name("anna")], Instant::now(), || ()).await.is_err(), "its next login waits");
    assert_eq!(under_way(&holds, &held), 1, "who waits is not under way");
    drop(second);
    assert_eq!(under_way(&holds, &held), 0);
}

#[tokio::test(start_paused = true)]
async fn the_hold_that_ends_first_is_overdue_when_its_time_is_over_and_not_if_it_is_prolonged() {
    let holds = Holds::default();
    let began = Instant::now();
    let until = |minutes: u32| (SystemTime::now(), began + minutes * MINUTE);
    let overdue = tokio::spawn({
        let holds = holds.clone();
        async move { holds.overdue().await }
    });
    advance(MINUTE).await;
    let late = holds.hold((name("late"), None), until(5), None).unwrap();
    let early = holds.hold((name("early"), None), until(3), None).unwrap();
    holds.change(early.id, |hold| hold.until = began + 4 * MINUTE).unwrap();
    assert!(holds.expire(early.id).is_none());
    assert_eq!((overdue.await.unwrap().id, began.elapsed()), (early.id, 4 * MINUTE));
    assert!(holds.expire(late.id).is_none() && holds.expire(early.id).is_some());
    assert_eq!((holds.overdue().await.id, began.elapsed()), (late.id, 5 * MINUTE));
}

#[test]
fn a_wait_leaves_time_for_the_node_before_the_deadline() {
    let now = Instant::now();
    let seconds = Duration::from_secs;
    // hold_timeout, what the login has left, how long it may wait.
    for (hold_timeout, left, expected) in [
        (30, 60, 30),
        (30, 41, 30),
        (30, 40, 30),
        (30, 36, 27),
        (50, 60, 50),
        (90, 60, 50),
        (30, 8, 6),
        (0, 60, 0),
        (30, 0, 0),
    ] {
        let until = wait_until(now, seconds(hold_timeout), now + seconds(left));
        assert_eq!((until - now).as_secs(), expected, "{hold_timeout} {left}");
    }
}
