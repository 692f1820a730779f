//! Health and back-off. What a real server does to them is proven in `tests/directory.rs`.

use super::*;
use crate::directory::ldap::tests::settings;
use crate::testkit::log::Log;

fn server() -> Server {
    let (timeout, connect_timeout) = (Duration::from_secs(2), Duration::from_secs(1));
    let settings = Settings { timeout, connect_timeout, ..settings(vec![]) };
    Server::new(Url::parse("ldap://127.0.0.1:1").unwrap(), Arc::new(settings), None)
}

fn admitted(server: &Server) -> &'static str {
    match server.admit() {
        Admission::InService => "in service",
        Admission::Out(_) => "out",
        Admission::TrialDue(..) => "trial",
    }
}

fn reason(server: &Server) -> Arc<str> {
    match server.admit() {
        Admission::InService => "none".into(),
        Admission::Out(reason) | Admission::TrialDue(reason, _) => reason,
    }
}

impl Server {
    /// Does a trial run?
    pub(in crate::directory::ldap) fn is_tried(&self) -> bool {
        matches!(&*self.health(), Health::Out { trial: Some(trial), .. } if trial.has_changed().is_ok())
    }
}

impl Server {
    /// As if another connection had brought an answer.
    pub(in crate::directory::ldap) fn heard_elsewhere(&self) {
        self.pulse.beat();
    }
}

#[test]
fn back_offs_double_up_to_a_limit_and_never_fall_below_half() {
    let cases = [(1, 250), (2, 500), (3, 1000), (6, 8000), (7, 10_000), (u32::MAX, 10_000)];
    for (failures, millis) in cases {
        let whole = Duration::from_millis(millis);
        assert_eq!(back_off(failures, 1.0), whole);
        assert_eq!(back_off(failures, 0.0), whole / 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_means_no_waiting_until_one_trial_after_the_back_off() {
    let server = server();
    assert_eq!(admitted(&server), "in service");
    server.failed(Purpose::Login, "it burns");
    assert_eq!(&*reason(&server), "it burns");
    tokio::time::advance(FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), "trial");
    assert_eq!(admitted(&server), "out", "only one search tries the server");
    server.answered(Purpose::Trial);
    assert_eq!(admitted(&server), "in service");
}

#[tokio::test(start_paused = true)]
async fn a_failed_trial_backs_off_for_longer_but_late_failures_do_not() {
    let server = server();
    server.failed(Purpose::Login, "x");
    server.failed(Purpose::Login, "x");
    tokio::time::advance(FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), "trial");
    server.failed(Purpose::Trial, "x");
    // At least half of twice the first back-off.
    tokio::time::advance(FIRST_BACK_OFF - Duration::from_millis(1)).await;
    assert_eq!(admitted(&server), "out");
    tokio::time::advance(FIRST_BACK_OFF + Duration::from_millis(1)).await;
    assert_eq!(admitted(&server), "trial");
}

#[tokio::test(start_paused = true)]
async fn back_offs_begin_anew_for_a_login_that_nobody_has_answered() {
    let server = Arc::new(server());
    server.failed(Purpose::Login, "x");
    for _ in 0..7 {
        tokio::time::advance(MAX_BACK_OFF).await;
        assert_eq!(admitted(&server), "trial");
        server.failed(Purpose::Trial, "x");
    }
    server.try_soon(&"".into());
    assert_eq!(admitted(&server), "out", "it has just been tried");
    tokio::time::advance(FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), "trial");
    server.failed(Purpose::Trial, "x");
    // Another server answers by now, and nobody is in a hurry.
    tokio::time::advance(2 * FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), "trial");
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_cannot_be_read_is_no_verdict_on_a_server_in_service_and_brings_none_back() {
    let server = server();
    server.undecided(Purpose::Login, "nonsense");
    assert_eq!(admitted(&server), "in service");
    server.failed(Purpose::Login, "x");
    for _ in 0..20 {
        server.failed(Purpose::Trial, "x");
    }
    server.undecided(Purpose::Login, "nonsense");
    assert_eq!(&*reason(&server), "x", "a late one says nothing");
    server.undecided(Purpose::Trial, "nonsense");
    assert_eq!(&*reason(&server), "nonsense");
    tokio::time::advance(FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), "trial", "the next user is tried soon");
    server.answered(Purpose::Trial);
    assert_eq!(admitted(&server), "in service");
}

#[tokio::test(start_paused = true)]
async fn a_lost_trial_is_followed_by_another() {
    let server = server();
    server.failed(Purpose::Login, "x");
    tokio::time::advance(FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), "trial");
    tokio::time::advance(server.longest()).await;
    assert_eq!(admitted(&server), "trial");
}

#[tokio::test(start_paused = true)]
async fn two_timeouts_in_a_row_take_a_server_out_and_an_answer_between_them_does_not() {
    let server = server();
    server.timed_out(Purpose::Login);
    server.answered(Purpose::Login);
    server.timed_out(Purpose::Login);
    assert_eq!(admitted(&server), "in service");
    server.timed_out(Purpose::Login);
    assert_eq!(&*reason(&server), "no answer within 2s");
}

#[tokio::test(start_paused = true)]
async fn one_timeout_is_enough_for_a_trial_and_late_answers_bring_nothing_back() {
    let server = server();
    server.failed(Purpose::Login, "x");
    server.answered(Purpose::Login);
    assert_eq!(admitted(&server), "out");
    tokio::time::advance(FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), "trial");
    server.timed_out(Purpose::Trial);
    assert_eq!(admitted(&server), "out");
    tokio::time::advance(2 * FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), "trial");
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_cannot_forge_fields_of_the_log() {
    let log = Log::default();
    let _guard = log.start();
    let server = server();
    server.failed(Purpose::Login, "busy url=\"ldap://b\"");
    tokio::time::advance(FIRST_BACK_OFF).await;
    server.answered(Purpose::Trial);
    let text = log.text();
    assert_eq!(text.matches("url=\"ldap://127.0.0.1:1\"").count(), 2, "{text}");
    assert!(text.contains(r#"reason="busy url=\"ldap://b\"""#), "{text}");
}

/// Takes connections, as the kernel does for a frozen process, and never says a word.
async fn silent() -> (tokio::net::TcpListener, Arc<Server>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("ldap://{}", listener.local_addr().unwrap())).unwrap();
    let Server { settings, .. } = server();
    (listener, Arc::new(Server::new(url, settings, None)))
}

#[tokio::test(start_paused = true)]
async fn a_trial_costs_the_login_that_starts_it_nothing_and_a_frozen_server_stays_out() {
    let (_listener, server) = silent().await;
    server.failed(Purpose::Login, "x");
    let filter = Arc::from("(uid=bob)");
    tokio::time::advance(FIRST_BACK_OFF).await;
    let started = Instant::now();
    assert_eq!(server.ask(&filter).await, Err("x".into()));
    assert_eq!(server.ask(&filter).await, Err("x".into()), "while the trial runs");
    assert_eq!(Instant::now(), started);
    assert!(!server.trial_succeeds().await);
    assert!(Instant::now() > started, "the trial was waited for");
    let reason = reason(&server);
    assert!(reason.contains("no answer"), "{reason}");
    let ended = Instant::now();
    assert!(!server.trial_succeeds().await);
    assert_eq!(Instant::now(), ended, "no trial runs");
}

#[tokio::test(start_paused = true)]
async fn a_lost_trial_ends_the_waiting_for_it() {
    let server = server();
    server.failed(Purpose::Login, "x");
    assert!(!server.trial_succeeds().await, "none is due");
    tokio::time::advance(FIRST_BACK_OFF).await;
    let Admission::TrialDue(_, running) = server.admit() else { panic!("a trial is due") };
    let mut waiting = Box::pin(server.trial_succeeds());
    assert!(tokio::time::timeout(Duration::from_secs(60), &mut waiting).await.is_err());
    drop(running);
    assert!(!waiting.await);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_trial_hears_that_the_server_is_back() {
    let server = server();
    server.failed(Purpose::Login, "x");
    tokio::time::advance(FIRST_BACK_OFF).await;
    let Admission::TrialDue(_, running) = server.admit() else { panic!("a trial is due") };
    let mut waiting = Box::pin(server.trial_succeeds());
    assert!(tokio::time::timeout(Duration::from_secs(60), &mut waiting).await.is_err());
    server.answered(Purpose::Trial);
    drop(running);
    assert!(waiting.await);
    assert!(server.trial_succeeds().await, "it is back already");
}

#[tokio::test]
async fn all_who_search_on_a_frozen_server_leave_when_the_first_two_have_found_out() {
    let (_listener, server) = silent().await;
    // In real time, which a connection may need.
    for _ in &server.slots {
        server.connection(Purpose::Login).await.map_err(|reason| reason.to_string()).unwrap();
    }
    tokio::time::pause();
    let started = Instant::now();
    let ask = |_| {
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.ask(&Arc::from("(uid=bob)")).await.unwrap_err() })
    };
    // One on each connection; later more than may be in flight on both.
    let early: Vec<_> = (0..2).map(ask).collect();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let late: Vec<_> = (0..200).map(ask).collect();
    for search in early.into_iter().chain(late) {
        assert_eq!(&*search.await.unwrap(), "no answer within 2s");
    }
    let waited = started.elapsed();
    assert!((2000..2100).contains(&waited.as_millis()), "the late ones waited no timeout of their own: {waited:?}");
}
