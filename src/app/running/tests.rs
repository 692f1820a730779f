//! Who writes the file of routes, and when. Every sleep is on a paused clock.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;

use super::*;
use crate::directory::{LookupError, Route, cache};
use crate::names::{IslandName, UserName};

#[tokio::test(start_paused = true)]
async fn the_next_writer_of_routes_begins_when_the_last_one_has_ended_and_stopping_waits_for_it() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("routes");
    let lifetime = Duration::from_secs(86_400);
    let settings = cache::Settings {
        capacity: 10,
        ttl: lifetime,
        negative_ttl: lifetime,
        stale: lifetime,
        file: Some(file.clone()),
    };
    let directory = Directory::scripted(&settings, |_| {
        Box::pin(async { Ok::<_, LookupError>(Route { island: IslandName::new("a"), login: None }) })
    });
    directory.locate(&UserName::new(b"alice").unwrap()).await.unwrap();
    let (stop, drain) = drain::channel();
    let (last, lasts) = drain::channel();
    let next = keep(&directory, &drain, Some(last));
    sleep(Duration::from_secs(3600)).await;
    assert!(!file.exists(), "two write it");
    lasts.signalled().await;
    drop(lasts);
    // The third one: the second writes what it has before it gives way.
    let third = keep(&directory, &drain, Some(next));
    for _ in 0..1000 {
        sleep(Duration::from_secs(1)).await;
        if file.exists() {
            break;
        }
    }
    std::fs::remove_file(&file).expect("nobody writes it");
    directory.locate(&UserName::new(b"bob").unwrap()).await.unwrap();
    drop(drain);
    stop.stop().await;
    assert!(file.exists(), "stopping waits for the last writing");
    drop(third);
}
