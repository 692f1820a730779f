//! What may enter the dependency tree. `deny.toml` is the one list; `cargo deny` reads it too, and says more. This
//! test needs nothing but cargo, so that no machine skips it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;

/// The crates of an ordinary build, one a line.
fn tree(arguments: &[&str]) -> Vec<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--all-features", "--edges", "normal,build", "--target", "all", "--prefix", "none"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let lines = String::from_utf8(tree.stdout).unwrap();
    lines.lines().filter(|line| !line.is_empty()).map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// The strings of a list in deny.toml: `crate = "…"` of a table in the list, or the list's own.
fn listed(section: &str, list: &str) -> Vec<String> {
    let text = std::fs::read_to_string("deny.toml").unwrap();
    let file: toml::Table = text.parse().unwrap();
    let entries = file[section][list].as_array().unwrap();
    let name = |entry: &toml::Value| entry.get("crate").unwrap_or(entry).as_str().unwrap().to_owned();
    entries.iter().map(name).collect()
}

#[test]
fn there_is_one_version_of_each_crate_but_for_the_exceptions_with_a_reason() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in tree(&["--duplicates", "--depth", "0", "--format", "{p}"]) {
        let (name, version) = line.split_once(" v").unwrap();
        let version = version.split(' ').next().unwrap().to_owned();
        let known = versions.entry(name.to_owned()).or_default();
        if !known.contains(&version) {
            known.push(version);
        }
    }
    let skipped = listed("bans", "skip");
    assert!(versions.contains_key("nom"), "nom 7 is gone: remove the exception. Or nothing was read: {versions:?}");
    for (name, versions) in versions {
        let left: Vec<_> = versions.iter().filter(|it| !skipped.contains(&format!("{name}@{it}"))).collect();
        assert!(left.len() <= 1, "{name} is there in the versions {versions:?}");
    }
}

#[test]
fn there_is_one_tls_library() {
    let crates = tree(&["--format", "{p}"]);
    assert!(crates.iter().any(|line| line.starts_with("rustls v")));
    for denied in listed("bans", "deny") {
        assert!(!crates.iter().any(|line| line.starts_with(&format!("{denied} v"))), "{denied} is in the tree");
    }
}

#[test]
fn every_licence_is_one_that_we_accept() {
    let accepted = listed("licenses", "allow");
    for line in tree(&["--format", "{p}|{l}"]) {
        let (name, licence) = line.rsplit_once('|').unwrap();
        assert!(satisfied(&licence.replace('/', " OR "), &accepted), "{name}: {licence}");
    }
    let accepts = |licence: &str| satisfied(licence, &accepted);
    assert!(accepts("GPL-3.0 OR MIT") && accepts("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(
        !accepts("GPL-3.0") && !accepts("MIT AND GPL-3.0") && !accepts("(GPL-2.0 OR GPL-3.0) AND MIT") && !accepts("")
    );
}

/// Whether an SPDX expression can be met: AND binds more tightly than OR, brackets bind most.
fn satisfied(expression: &str, accepted: &[String]) -> bool {
    let any = |parts: Vec<&str>| parts.into_iter().any(|part| satisfied(part, accepted));
    let all = |parts: Vec<&str>| parts.into_iter().all(|part| satisfied(part, accepted));
    match (outside_brackets(expression, " OR "), outside_brackets(expression, " AND ")) {
        (either, _) if either.len() > 1 => any(either),
        (_, both) if both.len() > 1 => all(both),
        _ => match expression.trim().strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
            Some(inner) => satisfied(inner, accepted),
            None => accepted.iter().any(|licence| licence == expression.trim()),
        },
    }
}

fn outside_brackets<'a>(expression: &'a str, word: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in expression.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ' ' if depth == 0 && at >= from && expression[at..].starts_with(word) => {
                parts.push(&expression[from..at]);
                from = at + word.len();
            }
            _ => {}
        }
    }
    parts.push(&expression[from..]);
    parts
}
