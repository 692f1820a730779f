//! docs/configuration.md and README.md: what stands between its markers is written by the code. `UPDATE_DOCS=1` rewrites it.

use std::fmt::Write as _;

use mailferry::config::reference::{Absent, Form, Key, Kind, SECTIONS, Section, shown};
use mailferry::directory::file;
use mailferry::names::IslandName;

use crate::samples::root;
use crate::searched;

const DOCS: &str = "docs/configuration.md";
const README: &str = "README.md";

#[test]
fn the_documentation_is_what_the_code_says() {
    let sample = std::fs::read_to_string(root().join("tests/config/invalid/documentation.toml")).unwrap();
    let sample: Vec<_> = sample.lines().skip_while(|line| line.starts_with("# expect: ")).collect();
    let generate = |page: &str| replace(&replace(page, "keys", &keys()), "check", &check(&sample.join("\n")));
    up_to_date(DOCS, generate);
    // Its own configuration, with two mistakes.
    let readme = std::fs::read_to_string(root().join(README)).unwrap();
    let spoilt = configurations(&readme)[0].replace("hostname", "hostnam").replace(":995\"", ":995\"\ntls = \"off\"");
    up_to_date(README, |page| replace(page, "check", &format!("{}\n", check(&spoilt).trim())));
}

fn up_to_date(name: &str, generate: impl FnOnce(&str) -> String) {
    let path = root().join(name);
    let written = std::fs::read_to_string(&path).unwrap();
    let generated = generate(&written);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    } else {
        assert!(written == generated, "{name} is out of date: run this test with UPDATE_DOCS=1");
    }
}

/// The configurations that a page shows.
fn configurations(page: &str) -> Vec<&str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn the_documented_routes_file_is_one() {
    let written = std::fs::read_to_string(root().join(DOCS)).unwrap();
    let routes = written.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("routes");
    std::fs::write(&path, routes).unwrap();
    let seen = std::cell::RefCell::new(Vec::new());
    let is_island = |island: &IslandName| {
        seen.borrow_mut().push(island.to_string());
        true
    };
    file::check(&path, &is_island).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(*seen.borrow(), ["a", "b", "store-a"]);
}

#[test]
fn the_readme_shows_a_configuration_that_works() {
    let readme = std::fs::read_to_string(root().join(README)).unwrap();
    let blocks = configurations(&readme);
    assert_eq!(blocks.len(), 1);
    let settings = searched::parse("README.md", blocks[0]).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(settings.islands[0].nodes.len(), 2);
}

/// The document with the part between two markers replaced.
fn replace(document: &str, part: &str, content: &str) -> String {
    let (begin, end) = (format!("<!-- begin: {part} -->\n"), format!("<!-- end: {part} -->\n"));
    let (head, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (_, tail) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
    format!("{head}{begin}{content}{end}{tail}")
}

/// A real report.
fn check(text: &str) -> String {
    let report = searched::parse("/etc/mailferry/proxy.toml", text).unwrap_err();
    format!("\n```console\n$ mailferry check\n{report}```\n\n")
}

/// A table for each section, and one more for the keys that belong to one value of `type` only.
fn keys() -> String {
    let mut out = String::new();
    for section in SECTIONS {
        let often = match section.form {
            Form::Required => "Required.",
            Form::Optional => "Optional.",
            Form::Repeated | Form::Entries => "",
        };
        let title = match section.form {
            Form::Entries => section.path.replace('.', " → "),
            _ => section.header(),
        };
        write!(out, "\n### `{title}`\n\n{}\n\n", format!("{} {often}", section.meaning).trim_end()).unwrap();
        out += &table(section, None);
        for only in ["ldap", "file"] {
            if section.keys.iter().any(|key| key.only == Some(only)) {
                write!(out, "\nOnly with `type = \"{only}\"`:\n\n{}", table(section, Some(only))).unwrap();
            }
        }
    }
    out + "\n"
}

fn table(section: &Section, only: Option<&str>) -> String {
    let mut out = "| key | default | meaning |\n|---|---|---|\n".to_owned();
    for key in section.keys.iter().filter(|key| key.only == only) {
        writeln!(out, "| `{}` | {} | {} |", key.name, default(key), cell(&meaning(key))).unwrap();
    }
    out
}

fn default(key: &Key) -> String {
    match key.absent {
        Absent::Refused(_) => "required".to_owned(),
        Absent::Default(value) => format!("`{}`", cell(value)),
        Absent::Derived(words) => words.to_owned(),
        Absent::Unset => "none".to_owned(),
    }
}

fn meaning(key: &Key) -> String {
    let holds = match key.kind {
        Kind::Text | Kind::Texts | Kind::Switch | Kind::Tables => String::new(),
        Kind::Choice(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            format!(" One of {}.", words.join(", "))
        }
        Kind::Duration(least, most) if least.is_zero() => format!(" At most `\"{}\"`.", shown(most)),
        Kind::Duration(least, most) => format!(" From `\"{}\"` to `\"{}\"`.", shown(least), shown(most)),
        Kind::DurationOrOff(least, most) => {
            format!(" From `\"{}\"` to `\"{}\"`, or `\"off\"`.", shown(least), shown(most))
        }
        Kind::Integer(least, most) => format!(" From {least} to {most}."),
        Kind::IntegerOr(word, least, most) => format!(" From {least} to {most}, or `\"{word}\"`."),
    };
    format!("{}{holds}", key.meaning)
}

/// A table's cells end at a vertical bar, even within code.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
