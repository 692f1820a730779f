//! proxy.toml.example: complete, valid in every variant, and true about the defaults.

use std::collections::BTreeSet;

use mailferry::config::Settings;
use mailferry::config::reference::{Absent, Form, Key, SECTIONS, Section};

use crate::samples::root;
use crate::searched;

const VARIANTS: [&str; 2] = ["ldap", "file"];

/// One line of the example.
struct Line<'a> {
    text: &'a str,
    /// The section and the key that it sets, and whether it is on; `None` for headers, comments and entries of lists.
    key: Option<(&'static Section, &'static Key, bool)>,
}

fn example() -> String {
    std::fs::read_to_string(root().join("proxy.toml.example")).unwrap()
}

fn section(path: &str) -> &'static Section {
    SECTIONS.into_iter().find(|section| section.path == path).unwrap_or_else(|| panic!("no section [{path}]"))
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut current = None;
    let line = |text| {
        if let Some(header) = str::strip_prefix(text, "[") {
            current = Some(section(header.trim_start_matches('[').split(']').next().unwrap()));
        }
        let on = !text.starts_with('#');
        let name = text.trim_start_matches('#').split(" = ").next().unwrap();
        let key = current.and_then(|section| Some((section, section.key(name)?, on)));
        Line { text, key: key.filter(|_| text.contains(" = ")) }
    };
    text.lines().map(line).collect()
}

/// The example with every key on that the type of directory may have, and off those that it may not have.
pub(crate) fn everything_on(variant: &str) -> String {
    let example = example();
    let shown = lines(&example).into_iter().map(|line| {
        let Some((_, key, _)) = line.key else { return line.text.to_owned() };
        let bare = line.text.trim_start_matches('#');
        let is_meant = match key.name {
            "type" => bare.starts_with(&format!("type = \"{variant}\"")),
            // Of the others only this one lets the domains have a meaning.
            "domain" => bare.starts_with("domain = \"add\""),
            _ => key.only.is_none_or(|only| only == variant),
        };
        if is_meant { bare.to_owned() } else { format!("#{bare}") }
    });
    shown.collect::<Vec<_>>().join("\n") + "\n"
}

#[track_caller]
fn parse(text: &str) -> Settings {
    searched::parse("proxy.toml.example", text).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn the_example_is_valid_as_it_is_and_with_everything_on() {
    let as_it_is = parse(&example());
    assert_eq!((as_it_is.listeners.len(), as_it_is.islands.len()), (3, 2));
    for variant in VARIANTS {
        let on = everything_on(variant);
        assert_ne!(parse(&on), as_it_is, "{variant}: nothing was turned on");
        assert!(on.contains(&format!("\ntype = \"{variant}\"")));
    }
}

#[test]
fn the_example_has_every_key_of_the_reference_and_no_other() {
    let mut shown = BTreeSet::new();
    for variant in VARIANTS {
        collect("", &everything_on(variant).parse().unwrap(), &mut shown);
    }
    let keys = SECTIONS.into_iter().flat_map(|section| section.keys.iter().map(move |key| (section.path, key.name)));
    let known: BTreeSet<_> = keys.map(|(section, key)| format!("{section}.{key}")).collect();
    assert!(known.len() > 40, "only {} keys", known.len());
    assert_eq!(shown, known);
}

/// Every key with its path; lists of tables count as keys too, sections do not.
fn collect(path: &str, table: &toml::Table, found: &mut BTreeSet<String>) {
    for (name, value) in table {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let below = SECTIONS.into_iter().find(|section| section.path == path);
        if below.is_none_or(|section| section.form == Form::Entries) {
            found.insert(path.clone());
        }
        match value {
            toml::Value::Table(table) => collect(&path, table, found),
            toml::Value::Array(entries) => {
                entries.iter().filter_map(toml::Value::as_table).for_each(|table| collect(&path, table, found));
            }
            _ => {}
        }
    }
}

/// Where a list of inline tables sets a key of one of them: the section and the key, its text, and the rest of the line.
fn inline_keys<'a>(lines: &[Line<'a>]) -> Vec<(usize, &'static Section, &'static Key, &'a str, String)> {
    let mut current = None;
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if let Some((about, key, _)) = line.key {
            current = SECTIONS.into_iter().find(|section| section.path == format!("{}.{}", about.path, key.name));
        }
        let entry = line.text.trim_start().strip_prefix("{ ").and_then(|entry| entry.split(" }").next());
        for pair in entry.iter().flat_map(|entry| entry.split(", ")) {
            let section = current.expect("entries stand in a list");
            let key = section.key(pair.split(" = ").next().unwrap()).expect("the example is valid");
            found.push((at, section, key, pair, line.text.replace(&format!(", {pair}"), "")));
        }
    }
    found
}

#[test]
fn every_default_is_shown_as_the_reference_has_it_and_the_code_does_it() {
    let example = example();
    let as_it_is = parse(&example);
    let lines = lines(&example);
    let whole = lines.iter().enumerate().filter_map(|(at, line)| match line.key {
        Some((section, key, true)) => Some((at, section, key, line.text, String::new())),
        _ => None,
    });
    let mut proven = BTreeSet::new();
    for (at, section, key, text, rest) in whole.chain(inline_keys(&lines)) {
        let shown: toml::Table = text.parse().unwrap_or_default();
        let is_default = match key.absent {
            Absent::Default(default) => shown == format!("{} = {default}", key.name).parse().unwrap(),
            Absent::Derived(_) => true,
            Absent::Refused(_) | Absent::Unset => false,
        };
        if is_default {
            let without = lines.iter().enumerate().map(|(n, line)| if n == at { &*rest } else { line.text });
            assert_eq!(
                parse(&without.collect::<Vec<_>>().join("\n")),
                as_it_is,
                "the default is another than in line {}: {text}",
                at + 1,
            );
            proven.insert(format!("{}.{}", section.path, key.name));
        }
    }
    let defaults: BTreeSet<_> = SECTIONS
        .into_iter()
        .flat_map(|section| section.keys.iter().map(move |key| (section, key)))
        .filter(|(_, key)| matches!(key.absent, Absent::Default(_) | Absent::Derived(_)))
        .map(|(section, key)| format!("{}.{}", section.path, key.name))
        .collect();
    assert!(defaults.len() > 20, "only {} defaults", defaults.len());
    assert_eq!(proven, defaults, "shown with its default (left) and having one (right)");
}
