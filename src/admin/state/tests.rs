//! What is kept over a restart, and what is not.

use tempfile::TempDir;

use super::*;
use crate::testkit::{log::Log, settings};

fn islands(state: OperatorState) -> Islands {
    let mut island = settings::island(2);
    for node in &mut island.nodes {
        let mut changed = (**node).clone();
        changed.state = state;
        *node = changed.into();
    }
    Islands::new(vec![island], None, tokio::time::Instant::now().into_std())
}

fn states(islands: &Islands) -> Vec<OperatorState> {
    islands.iter().flat_map(|table| table.ports(Protocol::Pop3)).map(|port| port.operator_state()).collect()
}

fn node(islands: &Islands, place: usize) -> NodePort {
    islands.iter().next().unwrap().ports(Protocol::Imap).nth(place).unwrap()
}

use OperatorState::{Draining, InService, Maintenance};

#[tokio::test]
async fn a_state_survives_until_it_is_taken_back_or_the_configuration_changes() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("operator.json");
    let before = islands(InService);
    let mut file = StateFile::open(&path, &before);
    file.keep(&node(&before, 1), Draining).await.unwrap();
    let after = islands(InService);
    let mut file = StateFile::open(&path, &after);
    assert_eq!(states(&after), [InService, Draining]);
    let changed = islands(Maintenance);
    StateFile::open(&path, &changed);
    assert_eq!(states(&changed), [Maintenance, Maintenance], "what the configuration says is newer");
    file.keep(&node(&after, 1), InService).await.unwrap();
    let after = islands(InService);
    StateFile::open(&path, &after);
    assert_eq!(states(&after), [InService, InService]);
    assert!(fs::read_dir(dir.path()).unwrap().count() == 1, "nothing half-written is left");
}

#[tokio::test]
async fn a_damaged_file_is_told_and_set_aside() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("operator.json");
    let entry = "{\"state\": \"draining\", \"configured\": \"in-service\"}";
    let cases = [
        "".to_owned(),
        "{\"version\": 1".to_owned(),
        "\u{0}\u{1}\u{2}".to_owned(),
        "[".repeat(10_000),
        format!("{{\"version\": 2, \"nodes\": {{\"a/node0\": {entry}}}}}"),
        format!("{{\"version\": 1, \"nodes\": {{\"a/node0\": {entry}}}, \"more\": 1}}"),
        format!("{{\"version\": 1, \"nodes\": {{\"a/node0\": {}}}}}", entry.replace("draining", "gone")),
        " ".repeat(MAX_LEN as usize + 1),
    ];
    for damaged in cases {
        fs::write(&path, &damaged).unwrap();
        let log = Log::default();
        let _listening = log.start();
        let islands = islands(InService);
        let mut file = StateFile::open(&path, &islands);
        assert_eq!(states(&islands), [InService, InService], "{damaged:.40}");
        assert!(!path.exists() && log.count("set aside") == 1, "{damaged:.40}: {}", log.text());
        assert_eq!(fs::read_to_string(dir.path().join("operator.json.damaged")).unwrap(), damaged);
        file.keep(&node(&islands, 0), Draining).await.unwrap();
    }
}

#[tokio::test]
async fn nodes_that_are_gone_are_forgotten_and_a_file_that_cannot_be_is_told() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("operator.json");
    let entry = "{\"state\": \"draining\", \"configured\": \"in-service\"}";
    fs::write(&path, format!("{{\"version\":1,\"nodes\":{{\"gone/x\":{entry},\"a/node0\":{entry}}}}}")).unwrap();
    let kept = islands(InService);
    assert_eq!(StateFile::open(&path, &kept).nodes.len(), 1);
    assert_eq!(states(&kept), [Draining, InService]);
    let nowhere = dir.path().join("missing/operator.json");
    let mut file = StateFile::open(&nowhere, &kept);
    let error = file.keep(&node(&kept, 0), Maintenance).await.unwrap_err();
    assert!(error.contains("missing/operator.json cannot be written: "), "{error}");
}

fn held(holds: &Holds) -> Vec<(u64, String, Option<String>, u64)> {
    let left = |hold: &Hold| hold.until.saturating_duration_since(Instant::now()).as_secs();
    let one =
        |hold: &Hold| (hold.id, hold.user.to_string(), hold.account.as_ref().map(ToString::to_string), left(hold));
    holds.all().iter().map(one).collect()
}

#[tokio::test(start_paused = true)]
async fn who_is_held_is_held_after_a_restart_for_the_time_that_was_left() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("operator.json");
    let name = |text: &str| UserName::new(text.as_bytes()).unwrap();
    let (before, islands) = (Holds::default(), islands(InService));
    let mut file = StateFile::open(&path, &islands);
    file.keep(&node(&islands, 0), Draining).await.unwrap();
    for (user, account, minutes) in [("anna", Some("a.nna"), 10), ("bérta \" \\", None, 60)] {
        let until = Instant::now() + Duration::from_secs(60 * minutes);
        let (ticket, to) = (Some(user.into()), Some("b".to_owned()));
        before.hold_by(ticket, (name(user), account.map(name)), (SystemTime::now(), until), to).unwrap();
    }
    before.change(before.all()[1].id, |hold| hold.go_on = true).unwrap();
    file.keep_holds(&before).await.unwrap();
    let (after, mut file) = (Holds::default(), StateFile::open(&path, &islands));
    assert_eq!(states(&islands), [Draining, InService], "one does not push out the other");
    file.restore_holds(&after);
    let expected: Vec<_> = held(&before);
    let restored: Vec<_> = held(&after);
    for ((id, user, account, left), (same_id, same_user, same_account, still)) in expected.into_iter().zip(restored) {
        assert_eq!((id, user, account), (same_id, same_user, same_account));
        assert!(still <= left && still + 30 > left, "{left} {still}");
    }
    assert_eq!(after.all()[0].move_to.as_deref(), Some("b"));
    assert_eq!(after.all().iter().map(|it| it.go_on).collect::<Vec<_>>(), [false, true]);
    assert_eq!(after.of_ticket("anna").unwrap().id, after.all()[0].id);
    let more = after.hold((name("carol"), None), (SystemTime::now(), Instant::now()), None).unwrap();
    assert!(more.id > after.all()[1].id, "no number is given twice");
    after.release(after.all()[0].id).unwrap();
    file.keep_holds(&after).await.unwrap();
    let last = Holds::default();
    StateFile::open(&path, &islands).restore_holds(&last);
    assert_eq!(held(&last).len(), 1, "neither who was released nor whose time is over");
}

#[tokio::test]
async fn files_from_before_there_were_holds_are_read_and_wild_times_are_cut() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("operator.json");
    let entry = "{\"state\": \"draining\", \"configured\": \"in-service\"}";
    fs::write(&path, format!("{{\"version\":1,\"nodes\":{{\"a/node0\":{entry}}}}}")).unwrap();
    let (islands_, holds) = (islands(InService), Holds::default());
    StateFile::open(&path, &islands_).restore_holds(&holds);
    assert_eq!((states(&islands_), held(&holds).len()), (vec![Draining, InService], 0));
    let hold = |user: &str, until: u64| {
        format!(
            "{{\"id\":7,\"user\":\"{user}\",\"account\":null,\"since\":{0},\"until\":{until},\"move_to\":null}}",
            u64::MAX
        )
    };
    let kept = [hold("long", u64::MAX), hold("over", 1), hold("", u64::MAX)].join(",");
    fs::write(&path, format!("{{\"version\":1,\"nodes\":{{}},\"holds\":[{kept}]}}")).unwrap();
    let mut file = StateFile::open(&path, &islands_);
    file.restore_holds(&holds);
    assert!(matches!(&held(&holds)[..], [(7, user, None, left)] if user == "long" && *left <= HOLD_MAX.as_secs()));
    assert!(holds.all()[0].since <= SystemTime::now());
    file.keep_holds(&holds).await.unwrap();
}
