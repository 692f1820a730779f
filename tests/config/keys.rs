//! The reference against the code: every key that is listed is read, and read as it is listed.
//!
//! Each test takes the example with everything on, changes one key, and looks at what is said of it.

use std::time::Duration;

use mailferry::config::Report;
use mailferry::config::reference::{self, Absent, Key, Kind, SECTIONS, Section};
use toml::{Table, Value};

use crate::example::everything_on;
use crate::searched;

/// Each key with a document in which it stands.
fn keys() -> Vec<(&'static Section, &'static Key, Table)> {
    let documents = ["ldap", "file"].map(|variant| everything_on(variant).parse::<Table>().unwrap());
    let [with_ldap, with_file] = documents;
    let document = |key: &Key| if key.only == Some("file") { with_file.clone() } else { with_ldap.clone() };
    let sections = SECTIONS.into_iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)));
    sections.map(|(section, key)| (section, key, document(key))).collect()
}

/// What is said when the first such key has this value, or none.
fn said(document: &Table, section: &Section, key: &Key, value: Option<&Value>) -> Vec<(String, String)> {
    let mut document = document.clone();
    let mut tables = vec![&mut document];
    for part in section.path.split('.') {
        tables = tables.into_iter().filter_map(|table| table.get_mut(part)).flat_map(tables_of).collect();
    }
    // Of several islands, the one that has the key.
    let table = tables.into_iter().find(|table| table.contains_key(key.name)).expect("every key stands in the example");
    match value {
        Some(value) => table.insert(key.name.to_owned(), value.clone()),
        None => table.remove(key.name),
    };
    let problems = |report: Report| report.problems().map(|(_, what, remedy)| (what.into(), remedy.into())).collect();
    searched::parse("proxy.toml", &document.to_string()).err().map(problems).unwrap_or_default()
}

fn tables_of(value: &mut Value) -> Vec<&mut Table> {
    match value {
        Value::Table(table) => vec![table],
        Value::Array(entries) => entries.iter_mut().filter_map(Value::as_table_mut).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_key_is_read_and_refuses_what_it_cannot_hold() {
    let date = Value::Datetime("2026-01-01".parse().unwrap());
    for (section, key, document) in keys() {
        let said = said(&document, section, key, Some(&date));
        let expected = format!("`{}` must be ", key.name);
        assert!(
            said.iter().any(|(message, _)| message.starts_with(&expected)),
            "{} {}: {said:?}",
            section.path,
            key.name
        );
    }
}

#[test]
fn every_key_without_a_default_is_missed_and_no_other() {
    for (section, key, document) in keys() {
        let said = said(&document, section, key, None);
        let expected = format!("`{}` is missing in {}", key.name, section.header());
        let is_missed = said.iter().any(|(message, _)| *message == expected);
        assert_eq!(is_missed, matches!(key.absent, Absent::Refused(_)), "{} {}: {said:?}", section.path, key.name);
    }
}

#[test]
fn every_word_that_is_listed_is_accepted_and_no_other() {
    for (section, key, document) in keys() {
        let Kind::Choice(words) = key.kind else { continue };
        let refusals = |word: &str| {
            let said = said(&document, section, key, Some(&Value::from(word)));
            said.into_iter()
                .filter(|(message, _)| message.starts_with(&format!("`{}` cannot be", key.name)))
                .collect::<Vec<_>>()
        };
        for word in words {
            assert_eq!(refusals(word), [], "{} {}", section.path, key.name);
        }
        let listed: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let (last, most) = listed.split_last().unwrap();
        let remedy = format!("write {} or {last}", most.join(", "));
        assert_eq!(refusals("frobnicate"), [(format!("`{}` cannot be \"frobnicate\"", key.name), remedy)]);
    }
}

#[test]
fn every_limit_is_where_it_is_listed() {
    let millisecond = Duration::from_millis(1);
    let shown = |duration| Value::from(reference::shown(duration));
    for (section, key, document) in keys() {
        let refused = |value: Value| {
            let expected =
                ["is too short", "is too long", "is out of range"].map(|text| format!("`{}` {text}", key.name));
            let said = said(&document, section, key, Some(&value));
            said.iter().any(|(message, _)| expected.contains(message))
        };
        let (inside, outside) = match key.kind {
            Kind::Duration(least, most) | Kind::DurationOrOff(least, most) => {
                let below = (least > Duration::ZERO).then_some(least - least.min(millisecond));
                ([shown(least), shown(most)], [below.map(shown), Some(shown(most + millisecond))])
            }
            Kind::Integer(least, most) | Kind::IntegerOr(_, least, most) => {
                let value = |number: u64| Value::from(i64::try_from(number).unwrap());
                ([value(least), value(most)], [Some(value(least - 1)), Some(value(most + 1))])
            }
            _ => continue,
        };
        for value in inside {
            assert!(!refused(value.clone()), "{} {} = {value}", section.path, key.name);
        }
        for value in outside.into_iter().flatten() {
            assert!(refused(value.clone()), "{} {} = {value}", section.path, key.name);
        }
    }
}
