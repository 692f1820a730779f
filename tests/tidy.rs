//! The house rules that a reader relies on, held by a test: floors, heads, sizes, and docs that match the tree.
//!
//! When it fails, it says what would be right. Change the table only together with `docs/architecture.md`.

#![allow(clippy::unwrap_used)]

#[path = "tidy/files.rs"]
mod files;
#[path = "tidy/secrets.rs"]
mod secrets;

use std::fs;
use std::path::Path;

use self::files::rust_files;

/// Which of our modules a module may import. A module of a folder counts as the folder.
const FLOORS: [(&str, &[&str]); 24] = [
    ("names", &[]),
    ("near", &[]),
    ("pace", &[]),
    ("privileges", &[]),
    ("sandbox", &[]),
    ("secret", &[]),
    ("drain", &[]),
    ("logging", &["pace"]),
    ("metrics", &["names"]),
    ("proto", &["names", "secret"]),
    ("net", &["proto", "names", "secret", "drain"]),
    ("directory", &["metrics", "names", "secret", "drain", "pace"]),
    ("routing", &["proto", "metrics", "names", "pace"]),
    ("usernames", &["names"]),
    ("limits", &["metrics", "names", "pace"]),
    (
        "session",
        &["limits", "usernames", "net", "directory", "routing", "proto", "metrics", "names", "secret", "drain"],
    ),
    ("server", &["limits", "session", "net", "proto", "names", "drain"]),
    ("probe", &["session", "routing", "proto", "names", "secret", "drain"]),
    (
        "admin",
        &[
            "session",
            "net",
            "directory",
            "routing",
            "usernames",
            "metrics",
            "names",
            "near",
            "pace",
            "privileges",
            "secret",
            "drain",
            "logging",
            "sandbox",
        ],
    ),
    (
        "config",
        &[
            "admin",
            "near",
            "limits",
            "usernames",
            "server",
            "session",
            "net",
            "directory",
            "routing",
            "proto",
            "names",
            "secret",
            "logging",
            "privileges",
        ],
    ),
    (
        "app",
        &[
            "admin",
            "limits",
            "config",
            "server",
            "probe",
            "session",
            "net",
            "directory",
            "routing",
            "proto",
            "metrics",
            "names",
            "logging",
            "drain",
        ],
    ),
    ("import", &["config"]),
    (
        "cli",
        &[
            "admin",
            "import",
            "app",
            "config",
            "net",
            "directory",
            "routing",
            "usernames",
            "names",
            "secret",
            "logging",
            "privileges",
            "sandbox",
        ],
    ),
    (
        "testkit",
        &["limits", "usernames", "session", "net", "directory", "routing", "proto", "names", "secret", "drain"],
    ),
];

/// What must not be named in a folder, and why.
const FORBIDDEN: [(&str, &[&str], &str); 3] = [
    (
        "proto",
        &["tokio", "tracing", "Instant", "SystemTime", "std::net", "std::io", "TcpStream"],
        "is bytes in, steps out",
    ),
    ("routing", &["tokio::time", "tracing", "Instant::now", "SystemTime", "TcpStream"], "is pure"),
    ("net", &["crate::names::UserName", "imap", "pop3"], "knows no mail"),
];

/// Lines of a source file, tests in files of their own not counted.
const LINES_MAX: usize = 450;

/// The top-level module that a file belongs to.
fn module(path: &Path) -> String {
    let top = path.strip_prefix("src").unwrap().components().next().unwrap();
    top.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn is_test(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs") || path.components().any(|it| it.as_os_str() == "tests")
}

/// The code of a file without its tests and comments.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn floors_import_only_downwards() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src") {
        let from = module(&path);
        if matches!(from.as_str(), "lib" | "main") || is_test(&path) {
            continue;
        }
        let allowed = FLOORS.iter().find(|(name, _)| *name == from).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            wrong.push(format!("{}: module {from} has no floor", path.display()));
            continue;
        };
        for import in imports(&code(&text)) {
            let known = FLOORS.iter().any(|(name, _)| *name == import);
            if known && import != from && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{}: {from} must not import {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Our top-level modules that a text names by `crate::…`, also inside braces.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let inside = rest.strip_prefix('{').map(|rest| rest.split('}').next().unwrap_or_default());
        let names: Vec<&str> = inside.map_or_else(|| vec![rest], |inside| inside.split(',').collect());
        for name in names {
            found.push(name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn folders_keep_to_what_they_are() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src") {
        if is_test(&path) {
            continue;
        }
        for (_, forbidden, why) in FORBIDDEN.iter().filter(|(folder, ..)| *folder == module(&path)) {
            for line in code(&text).lines() {
                let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != ':' && c != '_').collect();
                for name in *forbidden {
                    if words.iter().any(|word| word == name || word.starts_with(&format!("{name}::"))) {
                        wrong.push(format!("{}: `{name}` in a folder that {why}: {}", path.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn one_file_alone_has_unsafe_code_with_its_proof() {
    let files = rust_files("src");
    let unsafe_ones: Vec<_> = files.iter().filter(|(_, text)| code(text).contains("unsafe")).collect();
    let [(path, text)] = &unsafe_ones[..] else { panic!("unsafe code has one place") };
    assert_eq!(path, Path::new("src/net/listen/defer.rs"), "unsafe code has one place");
    assert_eq!((text.matches("unsafe {").count(), text.matches("// SAFETY:").count()), (1, 1));
}

#[test]
fn files_open_with_what_they_are_and_stay_small() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src") {
        if !text.starts_with("//! ") {
            wrong.push(format!("{}: does not open with //!", path.display()));
        }
        let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().count();
        if lines > LINES_MAX && !is_test(&path) {
            wrong.push(format!("{}: {lines} lines; a room that wants a wall", path.display()));
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        if ["utils", "util", "helper", "helpers", "common", "misc", "types"].contains(&name) {
            wrong.push(format!("{}: the name says nothing", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_architecture_page_names_every_file() {
    let page = fs::read_to_string("docs/architecture.md").unwrap();
    let missing: Vec<String> = rust_files("src")
        .iter()
        .map(|(path, _)| path)
        .filter(|path| !is_test(path))
        .map(|path| path.strip_prefix("src").unwrap().display().to_string())
        .filter(|path| !page.contains(&format!("`{path}`")))
        .collect();
    assert!(missing.is_empty(), "docs/architecture.md does not name: {missing:?}");
    for named in page.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs")) {
        let exists = Path::new(named).exists() || rust_files("src").iter().any(|(path, _)| path.ends_with(named));
        assert!(exists, "docs/architecture.md names {named}, which does not exist");
    }
}

#[test]
fn the_words_of_the_log_lines_are_documented() {
    let page = fs::read_to_string("docs/connection.md").unwrap();
    let files = ["src/session/end.rs", "src/session/record.rs", "src/metrics/words.rs"];
    let source: String = files.map(|file| code(&fs::read_to_string(file).unwrap())).concat();
    let words: Vec<&str> = source.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(words.len() > 25, "only {words:?} found");
    for word in words {
        assert!(page.contains(&format!("`{word}`")), "docs/connection.md does not explain `{word}`");
    }
}

#[test]
fn the_session_reads_as_a_straight_line() {
    let text = code(&fs::read_to_string("src/session/mod.rs").unwrap());
    assert!(!text.contains("Protocol::"), "session/mod.rs branches on the protocol");
    for (path, text) in rust_files("src") {
        let speaks = ["\"* ", "\"+OK", "\"-ERR", "b\"* ", "b\"+OK", "b\"-ERR"];
        let may_speak = matches!(module(&path).as_str(), "proto" | "testkit");
        if !may_speak && !is_test(&path) {
            for text_on_the_wire in speaks {
                assert!(!code(&text).contains(text_on_the_wire), "{}: a reply outside proto/", path.display());
            }
        }
    }
}

#[test]
fn the_readme_fits_on_a_few_screens() {
    let text = fs::read_to_string("README.md").unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("<!-- ")).count();
    assert!(lines <= 150, "README.md has {lines} lines");
}
