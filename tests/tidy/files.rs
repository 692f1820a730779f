//! The Rust files of this package, for the tests that read them. It changes nothing and never leaves a folder that it was
//! given.

use std::fs;
use std::path::{Path, PathBuf};

/// All in a folder of the package and below, with their text. The paths begin with the folder's name.
pub(crate) fn rust_files(folder: &str) -> Vec<(PathBuf, String)> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&package.join(folder), &mut found);
    assert!(found.len() > 30, "only {} source files found in {folder}", found.len());
    let read = |path: PathBuf| (path.strip_prefix(package).unwrap().to_owned(), fs::read_to_string(&path).unwrap());
    found.into_iter().map(read).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}
