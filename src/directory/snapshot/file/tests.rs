//! The file: whole or not at all, for mailferry's eyes only.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::SystemTime;

use tempfile::TempDir;

use super::*;
use crate::directory::Route;
use crate::names::{IslandName, UserName};

fn bob(island: &str) -> Entry {
    let route = Route { island: IslandName::new(island), login: None };
    Entry { user: UserName::new(b"bob").unwrap(), route, said: 1 }
}

fn names(dir: &TempDir) -> Vec<String> {
    fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_saved_is_loaded_and_replaces_what_was_there() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("routes");
    assert_eq!(load(&path), Ok(None));
    for island in ["a", "b"] {
        assert_eq!(save(&path, [bob(island)].into_iter()), Ok(1));
        assert_eq!(load(&path), Ok(Some(vec![bob(island)])));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(&dir), ["routes"], "nothing is left beside it");
    }
}

#[test]
fn a_saving_that_fails_leaves_the_old_file_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("routes");
    save(&path, [bob("a")].into_iter()).unwrap();
    // What is left then is what a kill would leave, under another name.
    let dying = [bob("b")].into_iter().chain(std::iter::from_fn(|| panic!("killed while it writes")));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| save(&path, dying))).is_err());
    assert_eq!(load(&path), Ok(Some(vec![bob("a")])));

    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let before = names(&dir).len();
    assert!(matches!(save(&folder, [bob("a")].into_iter()), Err(SnapshotError::Unwritable(_))));
    assert_eq!(names(&dir).len(), before);
    let nowhere = dir.path().join("nowhere/routes");
    assert!(matches!(save(&nowhere, [bob("a")].into_iter()), Err(SnapshotError::Unwritable(_))));
    assert_eq!(save(Path::new("/"), [bob("a")].into_iter()), Err(SnapshotError::NoName));
}

#[test]
fn what_killed_savings_left_an_hour_ago_is_removed_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("routes");
    let old = SystemTime::now() - LEFT_AFTER - Duration::from_secs(60);
    let put = |name: &str, changed: SystemTime| {
        let file = File::create(dir.path().join(name)).unwrap();
        file.set_modified(changed).unwrap();
    };
    let stay = [
        "routes",
        "routes.0123456789abcdef",
        ".routes.0123456789abcde",
        ".routes.0123456789abcdef0",
        ".routes.0123456789ABCDEF",
        ".routes.0123456789abcdeg",
        ".routes..123456789abcdef",
        ".routes2.0123456789abcdef",
        ".other.0123456789abcdef",
    ];
    for name in stay.into_iter().chain([".routes.0123456789abcdef", ".routes.ffffffffffffffff"]) {
        put(name, old);
    }
    // Another mailferry may be writing this one now, and this one was left when the clock was wrong.
    put(".routes.aaaaaaaaaaaaaaaa", SystemTime::now());
    put(".routes.bbbbbbbbbbbbbbbb", SystemTime::now() + 2 * LEFT_AFTER);
    let folder = dir.path().join(".routes.cccccccccccccccc");
    fs::create_dir(&folder).unwrap();
    File::open(&folder).unwrap().set_modified(old).unwrap();
    symlink(&path, dir.path().join(".routes.dddddddddddddddd")).unwrap();
    sweep(&path);
    let letters = ["a", "b", "c", "d"].map(|letter| format!(".routes.{}", letter.repeat(16)));
    let mut expected: Vec<String> = stay.into_iter().map(str::to_owned).chain(letters).collect();
    let mut left = names(&dir);
    expected.sort();
    left.sort();
    assert_eq!(left, expected);
    sweep(Path::new("/"));
    sweep(&dir.path().join("nowhere/routes"));
}

#[test]
fn what_is_no_snapshot_is_refused_before_it_is_read() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("routes");
    assert_eq!(load(dir.path()), Err(SnapshotError::NotAFile));
    fs::write(&path, "# users\n").unwrap();
    assert_eq!(load(&path), Err(SnapshotError::Foreign));
    // Of holes only.
    File::options().write(true).open(&path).unwrap().set_len(MAX_LEN + 1).unwrap();
    assert_eq!(load(&path), Err(SnapshotError::TooLarge));
}

#[test]
fn a_path_is_checked_and_only_the_first_octets_of_the_file_are() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("file"), "mailferry routes and not a word more").unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("users"), "alice a\nbob b\n").unwrap();
    symlink(path("file"), path("link")).unwrap();
    symlink(path("link-to-itself"), path("link-to-itself")).unwrap();
    for good in ["missing", "file", "link", "empty"] {
        assert_eq!(check(&path(good)), Ok(()), "{good}");
    }
    assert_eq!(check(Path::new("routes-of-nobody")), Ok(()), "beside whoever runs this");
    assert_eq!(check(&path("users")), Err(SnapshotError::Foreign));
    assert_eq!(check(dir.path()), Err(SnapshotError::NotAFile));
    assert_eq!(check(Path::new("/")), Err(SnapshotError::NoName));
    assert_eq!(check(&path("file/routes")), Err(SnapshotError::NoFolder("not a folder".into())));
    assert!(matches!(check(&path("missing/routes")), Err(SnapshotError::NoFolder(_))));
    assert!(matches!(check(&path("link-to-itself")), Err(SnapshotError::Unreadable(_))));
}
