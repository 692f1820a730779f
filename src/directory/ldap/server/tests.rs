//! Health and back-off. What a real server does to them is proven in `tests/directory.rs`.

use super::*;
use crate::directory::ldap::Scope;
use crate::directory::template::FilterTemplate;
use crate::testkit::log::Log;

fn server() -> Server {
    let settings = Settings {
        urls: vec![],
        starttls: false,
        ca: None,
        bind: None,
        base: "dc=x".into(),
        scope: Scope::Sub,
        filter: FilterTemplate::parse("(uid={user})").unwrap(),
        island_attribute: "mailHost".into(),
        login_attribute: None,
        timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(1),
        pool: 2,
    };
    Server::new(Url::parse("ldap://127.0.0.1:1").unwrap(), Arc::new(settings), None)
}

fn admitted(server: &Server) -> Option<Admission> {
    server.admit().ok()
}

#[test]
fn back_offs_double_up_to_a_limit_and_never_fall_below_half() {
    let cases = [(1, 250), (2, 500), (3, 1000), (6, 8000), (7, 10_000), (u32::MAX, 10_000)];
    for (failures, millis) in cases {
        let whole = Duration::from_millis(millis);
        assert_eq!(back_off(failures, 1.0), whole);
        assert_eq!(back_off(failures, 0.0), whole / 2);
    }
    for _ in 0..100 {
        assert!((0.0..=1.0).contains(&jitter()));
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Trial { "Trial" } else { "Regular" })
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_means_no_waiting_until_one_trial_after_the_back_off() {
    let server = server();
    assert_eq!(admitted(&server), Some(Admission::Regular));
    server.failed(Admission::Regular, "it burns");
    assert_eq!(server.admit(), Err(Arc::from("it burns")));
    tokio::time::advance(FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), Some(Admission::Trial));
    assert_eq!(admitted(&server), None, "only one search tries the server");
    server.answered(Admission::Trial);
    assert_eq!(admitted(&server), Some(Admission::Regular));
}

#[tokio::test(start_paused = true)]
async fn a_failed_trial_backs_off_for_longer_but_late_failures_do_not() {
    let server = server();
    server.failed(Admission::Regular, "x");
    server.failed(Admission::Regular, "x");
    tokio::time::advance(FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), Some(Admission::Trial));
    server.failed(Admission::Trial, "x");
    // At least half of twice the first back-off.
    tokio::time::advance(FIRST_BACK_OFF - Duration::from_millis(1)).await;
    assert_eq!(admitted(&server), None);
    tokio::time::advance(FIRST_BACK_OFF + Duration::from_millis(1)).await;
    assert_eq!(admitted(&server), Some(Admission::Trial));
}

#[tokio::test(start_paused = true)]
async fn a_lost_trial_is_followed_by_another() {
    let server = server();
    server.failed(Admission::Regular, "x");
    tokio::time::advance(FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), Some(Admission::Trial));
    tokio::time::advance(server.longest()).await;
    assert_eq!(admitted(&server), Some(Admission::Trial));
}

#[tokio::test(start_paused = true)]
async fn two_timeouts_in_a_row_take_a_server_out_and_an_answer_between_them_does_not() {
    let server = server();
    server.timed_out(Admission::Regular);
    server.answered(Admission::Regular);
    server.timed_out(Admission::Regular);
    assert_eq!(admitted(&server), Some(Admission::Regular));
    server.timed_out(Admission::Regular);
    assert_eq!(server.admit(), Err(Arc::from("no answer within 2s")));
}

#[tokio::test(start_paused = true)]
async fn one_timeout_is_enough_for_a_trial_and_late_answers_bring_nothing_back() {
    let server = server();
    server.failed(Admission::Regular, "x");
    server.answered(Admission::Regular);
    assert_eq!(admitted(&server), None);
    tokio::time::advance(FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), Some(Admission::Trial));
    server.timed_out(Admission::Trial);
    assert_eq!(admitted(&server), None);
    tokio::time::advance(2 * FIRST_BACK_OFF).await;
    assert_eq!(admitted(&server), Some(Admission::Trial));
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_cannot_forge_fields_of_the_log() {
    let log = Log::default();
    let _guard = log.start();
    let server = server();
    server.failed(Admission::Regular, "busy url=\"ldap://b\"");
    tokio::time::advance(FIRST_BACK_OFF).await;
    server.answered(server.admit().unwrap());
    let text = log.text();
    assert_eq!(text.matches("url=\"ldap://127.0.0.1:1\"").count(), 2, "{text}");
    assert!(text.contains(r#"reason="busy url=\"ldap://b\"""#), "{text}");
}
