//! Routes over a restart, with a directory whose answers the test gives. Every sleep is on a paused clock.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::directory::tests::shown;
use crate::directory::{Directory, LookupError, Route, cache};
use crate::drain::{self, Signal};
use crate::names::IslandName;
use crate::testkit::log::Log;

struct Bench {
    dir: TempDir,
    is_down: Arc<AtomicBool>,
}

impl Bench {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), is_down: Arc::default() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("routes")
    }

    /// Knows alice, bob and carol, who live on the island of their initial.
    fn directory(&self) -> Directory {
        let (ttl, negative_ttl, stale) = (Duration::from_secs(5), Duration::from_secs(5), Duration::from_secs(86_400));
        let settings = cache::Settings { capacity: 100, ttl, negative_ttl, stale, file: Some(self.path()) };
        let is_down = Arc::clone(&self.is_down);
        Directory::scripted(&settings, move |user| {
            let is_down = is_down.load(Ordering::Relaxed);
            Box::pin(async move {
                match user.as_bytes() {
                    _ if is_down => Err(LookupError::Unavailable("off".into())),
                    b"alice" => Ok(Route { island: IslandName::new("a"), login: None }),
                    b"bob" => Ok(Route { island: IslandName::new("b"), login: Some(user) }),
                    b"carol" => Ok(Route { island: IslandName::new("c"), login: None }),
                    _ => Err(LookupError::NotFound),
                }
            })
        })
    }

    /// How many routes the file has; none where there is no file.
    fn kept(&self) -> usize {
        snapshot::file::load(&self.path()).unwrap().map_or(0, |entries| entries.len())
    }
}

fn keeping(directory: &Directory) -> (Signal, JoinHandle<()>) {
    let (signal, drain) = drain::channel();
    (signal, tokio::spawn(directory.clone().keep(drain)))
}

/// Of a route that was kept: the island and `stale`, without the age.
async fn found(directory: &Directory, user: &str) -> String {
    let shown = shown(directory, user).await;
    shown.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end().to_owned()
}

#[tokio::test(start_paused = true)]
async fn routes_survive_a_restart_as_old_routes_and_unknown_users_stay_unknown() {
    let bench = Bench::new();
    let left = bench.dir.path().join(".routes.0123456789abcdef");
    let hours_ago = SystemTime::now() - Duration::from_secs(7200);
    std::fs::File::create(&left).unwrap().set_modified(hours_ago).unwrap();
    let directory = bench.directory();
    assert!(!left.exists(), "what was left by a killed saving is removed at the start");
    let (signal, task) = keeping(&directory);
    for user in ["alice", "bob", "nobody"] {
        shown(&directory, user).await;
    }
    signal.stop().await;
    assert_eq!(bench.kept(), 2, "stopping waits for the writing");
    task.await.unwrap();

    bench.is_down.store(true, Ordering::Relaxed);
    let directory = bench.directory();
    assert_eq!(found(&directory, "alice").await, "a stale");
    assert_eq!(found(&directory, "bob").await, "b stale");
    assert_eq!(found(&directory, "nobody").await, "the directory is unavailable");
    assert_eq!(found(&directory, "carol").await, "the directory is unavailable");

    bench.is_down.store(false, Ordering::Relaxed);
    assert_eq!(shown(&bench.directory(), "alice").await, "a asked", "a directory that answers is believed");
}

#[tokio::test(start_paused = true)]
async fn the_file_is_written_each_minute_if_something_has_changed() {
    let bench = Bench::new();
    let directory = bench.directory();
    let (_signal, _task) = keeping(&directory);
    sleep(Duration::from_secs(61)).await;
    assert!(!bench.path().exists(), "nothing was heard");
    shown(&directory, "alice").await;
    sleep(Duration::from_secs(30)).await;
    assert!(!bench.path().exists(), "not yet");
    // A writing takes no time on a paused clock, but a thread of its own.
    written(&bench, 1).await;
    shown(&directory, "bob").await;
    written(&bench, 2).await;
    std::fs::remove_file(bench.path()).unwrap();
    sleep(Duration::from_secs(180)).await;
    assert!(!bench.path().exists(), "nothing has changed");
}

/// Waits until the file has so many routes.
async fn written(bench: &Bench, routes: usize) {
    for _ in 0..10_000 {
        if bench.kept() == routes {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
    panic!("never were {routes} routes kept");
}

#[tokio::test(start_paused = true)]
async fn a_file_of_ours_that_cannot_be_used_is_reported_once_and_written_over() {
    let bench = Bench::new();
    for content in [&b""[..], b"mailferry routes 2\n", b"mailferry routes 1\n1 mallory a\n"] {
        std::fs::write(bench.path(), content).unwrap();
        bench.is_down.store(true, Ordering::Relaxed);
        let log = Log::default();
        let guard = log.start();
        let directory = bench.directory();
        assert_eq!(shown(&directory, "mallory").await, "the directory is unavailable");
        drop(guard);
        let text = log.text();
        assert_eq!(text.matches("WARN").count(), 1, "{text}");
        assert!(text.contains("/routes\"") && !text.contains("mallory"), "{text}");
        assert!(text.contains("remove it") && !text.contains("until the next start"), "{text}");
        bench.is_down.store(false, Ordering::Relaxed);
        let (signal, _task) = keeping(&directory);
        shown(&directory, "alice").await;
        signal.stop().await;
        assert_eq!(bench.kept(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_ours_is_reported_once_and_never_replaced() {
    let bench = Bench::new();
    let users = "alice a\nbob b\n";
    std::fs::write(bench.path(), users).unwrap();
    let log = Log::default();
    let _guard = log.start();
    let directory = bench.directory();
    let (signal, task) = keeping(&directory);
    assert_eq!(shown(&directory, "alice").await, "a asked");
    signal.stop().await;
    task.await.unwrap();
    assert_eq!(std::fs::read_to_string(bench.path()).unwrap(), users);
    let text = log.text();
    assert_eq!(text.matches("WARN").count(), 1, "{text}");
    assert!(text.contains("a file of their own") && text.contains("none are kept until the next start"), "{text}");
    assert!(!text.contains("bob"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_file_is_how_it_begins() {
    let bench = Bench::new();
    let log = Log::default();
    let _guard = log.start();
    bench.directory();
    assert!(!log.text().contains("WARN"), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn trouble_with_writing_is_told_once_and_so_is_its_end() {
    let bench = Bench::new();
    let log = Log::default();
    let _guard = log.start();
    let directory = bench.directory();
    // Nothing can be renamed over a folder.
    std::fs::create_dir(bench.path()).unwrap();
    let mut kept = Kept { cache: directory.cache.clone(), path: Arc::from(bench.path()), changes: 0, failing: false };
    shown(&directory, "alice").await;
    for _ in 0..3 {
        kept.write_if_changed().await;
    }
    let text = log.text();
    assert_eq!(text.matches("routes are not kept").count(), 1, "{text}");
    assert!(text.contains("let mailferry write"), "{text}");
    std::fs::remove_dir(bench.path()).unwrap();
    for _ in 0..3 {
        kept.write_if_changed().await;
    }
    assert_eq!(bench.kept(), 1, "what could not be written is written later");
    assert_eq!(log.text().matches("routes are kept again").count(), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn without_a_file_there_is_nothing_to_keep() {
    let (ttl, negative_ttl, stale) = (Duration::ZERO, Duration::ZERO, Duration::from_secs(1));
    let settings = cache::Settings { capacity: 100, ttl, negative_ttl, stale, file: None };
    let directory = Directory::scripted(&settings, |_| Box::pin(async { Err(LookupError::NotFound) }));
    let (_signal, drain) = drain::channel();
    directory.keep(drain).await;
}
