//! A directory as a whole: the cache in front of a file.

use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use tokio::time::advance;

use super::*;

fn directory(dir: &TempDir, content: &str) -> Directory {
    let path = dir.path().join("users");
    std::fs::write(&path, content).unwrap();
    let (ttl, negative_ttl, stale) = (Duration::from_secs(300), Duration::from_secs(30), Duration::from_secs(3600));
    let cache = cache::Settings { capacity: 100, ttl, negative_ttl, stale, file: None };
    Directory::new(&Settings { source: SourceSettings::File(file::Settings { path }), cache }, None).unwrap()
}

pub(super) async fn shown(directory: &Directory, user: &str) -> String {
    match directory.locate(&UserName::new(user.as_bytes()).unwrap()).await {
        Ok(Located { route, found: Found::Asked(_) }) => format!("{} asked", route.island),
        Ok(Located { route, found: Found::Cached { age } }) => format!("{} cached {}", route.island, age.as_secs()),
        Ok(Located { route, found: Found::Stale { age } }) => format!("{} stale {}", route.island, age.as_secs()),
        Err(error) => error.to_string().split(':').next().unwrap_or_default().to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_version_of_the_file_is_not_hidden_by_the_cache() {
    let dir = TempDir::new().unwrap();
    let directory = directory(&dir, "alice a\n");
    assert_eq!(shown(&directory, "alice").await, "a asked");
    assert_eq!(shown(&directory, "bob").await, "no such user");
    advance(Duration::from_secs(2)).await;
    assert_eq!(shown(&directory, "alice").await, "a cached 2");
    std::fs::write(dir.path().join("users"), "alice b\nbob b\n").unwrap();
    advance(Duration::from_secs(2)).await;
    assert_eq!(shown(&directory, "alice").await, "b asked");
    assert_eq!(shown(&directory, "bob").await, "b asked");
}

#[tokio::test(start_paused = true)]
async fn while_the_file_is_gone_old_routes_serve_and_others_are_told_apart_from_unknown_users() {
    let dir = TempDir::new().unwrap();
    let directory = directory(&dir, "alice a\n");
    assert_eq!(shown(&directory, "alice").await, "a asked");
    std::fs::remove_file(dir.path().join("users")).unwrap();
    advance(Duration::from_secs(301)).await;
    assert_eq!(shown(&directory, "alice").await, "a stale 301");
    assert_eq!(shown(&directory, "bob").await, "the directory is unavailable");
}

#[cfg(feature = "testkit")]
#[tokio::test(start_paused = true)]
async fn a_scripted_directory_says_what_the_test_wants_through_the_real_cache() {
    let (ttl, negative_ttl, stale) = (Duration::from_secs(300), Duration::from_secs(30), Duration::from_secs(3600));
    let cache = cache::Settings { capacity: 100, ttl, negative_ttl, stale, file: None };
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let directory = Directory::scripted(&cache, move |user| {
        let is_down = Arc::clone(&is_down);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match user.as_bytes() {
                _ if is_down.load(Ordering::Relaxed) => Err(LookupError::Unavailable("off".into())),
                b"alice" => Ok(Route { island: IslandName::new("a"), login: None }),
                _ => Err(LookupError::NotFound),
            }
        })
    });
    assert_eq!(shown(&directory, "alice").await, "a asked");
    assert_eq!(shown(&directory, "bob").await, "no such user");
    assert_eq!(shown(&directory, "alice").await, "a cached 1");
    down.store(true, Ordering::Relaxed);
    advance(Duration::from_secs(300)).await;
    assert_eq!(shown(&directory, "alice").await, "a stale 302");
    assert_eq!(shown(&directory, "bob").await, "the directory is unavailable");
}
