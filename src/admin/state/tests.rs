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
