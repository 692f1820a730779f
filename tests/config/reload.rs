//! What a reload takes up, key by key: the reference, the diff and docs/operations.md say the same.

use std::fmt::Write as _;

use mailferry::config::Settings;
use mailferry::config::diff::{Changes, How, NEEDS_RESTART, diff};
use mailferry::config::reference::{Key, Kind, SECTIONS, Section};
use toml::{Table, Value};

use crate::example::everything_on;
use crate::samples::root;
use crate::searched;

const DOCS: &str = "docs/operations.md";

/// Sections and keys (empty: all of the section) of which the diff speaks under another name, and what it says; `-` for
/// lists of tables, whose entries are sections of their own.
const SAID_OTHERWISE: [(&str, &str, &str); 17] = [
    ("admin", "key", "[admin] changed: chain"),
    ("tls.certificates", "chain", "[tls] changed: certificates"),
    ("tls.certificates", "key", "[tls] changed: certificates"),
    ("listener", "address", " added"),
    ("usernames", "sni_domains", "-"),
    ("usernames", "", "[usernames] changed"),
    ("usernames.sni_domains", "", "[usernames] changed"),
    ("directory", "type", "[directory] changed: "),
    ("directory", "bind_password_file", "[directory] changed: bind_dn"),
    ("island", "name", " added"),
    ("island.probe", "", "changed: probe"),
    ("island.nodes", "name", " added"),
    ("island.nodes", "host", "changed: host"),
    ("island.nodes", "rank", "changed: rank"),
    ("tls", "certificates", "-"),
    ("island", "nodes", "-"),
    ("island", "fail_back", "[island]"),
];

/// Values that a key of this kind could have instead, one of which will do.
fn others(key: &Key, now: &Value) -> Vec<Value> {
    let texts = |texts: &[&str]| texts.iter().map(|text| Value::from(*text)).collect::<Vec<_>>();
    match key.kind {
        Kind::Text => texts(&[
            "other.example.org",
            "other",
            "/etc/other.pem",
            "127.0.0.9:99",
            "%",
            "ou=other",
            "(uid={user})",
            "alice",
            "balance",
            "after 7s",
            "now",
        ]),
        Kind::Texts => {
            let lists = ["other", "10.9.0.0/16", "ldap://other.example.org", "ldaps://other.example.org", "OTHER"];
            lists.iter().map(|it| Value::from(vec![*it])).collect()
        }
        Kind::Choice(words) => texts(words),
        Kind::Switch => vec![Value::from(now.as_bool() != Some(true))],
        Kind::Duration(..) | Kind::DurationOrOff(..) => texts(&["7s", "700ms", "70s", "2h", "3d"]),
        Kind::Integer(..) | Kind::IntegerOr(..) => [7, 77, 777, 7_777, 77_777].map(Value::from).to_vec(),
        Kind::Tables => Vec::new(),
    }
}

fn tables_of(value: &mut Value) -> Vec<&mut Table> {
    match value {
        Value::Table(table) => vec![table],
        Value::Array(entries) => entries.iter_mut().filter_map(Value::as_table_mut).collect(),
        _ => Vec::new(),
    }
}

/// The document with another value of the key, and what a reload would say, for the first value that is accepted.
fn changed(document: &Table, before: &Settings, section: &Section, key: &Key) -> Option<Changes> {
    let find = |document: &mut Table, value: Option<&Value>| {
        let mut tables = vec![document];
        for part in section.path.split('.') {
            tables = tables.into_iter().filter_map(|table| table.get_mut(part)).flat_map(tables_of).collect();
        }
        let table = tables.into_iter().find(|table| table.contains_key(key.name)).expect("every key is in the example");
        match value {
            Some(value) => table.insert(key.name.to_owned(), value.clone()).unwrap(),
            None => table[key.name].clone(),
        }
    };
    let now = find(&mut document.clone(), None);
    let mut values = others(key, &now);
    values.retain(|value| *value != now);
    values.into_iter().find_map(|value| {
        let mut other = document.clone();
        find(&mut other, Some(&value));
        let settings = searched::parse("proxy.toml", &other.to_string()).ok()?;
        (settings != *before).then(|| diff(before, &settings))
    })
}

#[test]
fn every_key_is_noticed_and_those_that_need_a_restart_are_said_to() {
    let mut unproven = Vec::new();
    for variant in ["ldap", "file"] {
        let document: Table = everything_on(variant).parse().unwrap();
        let before = searched::parse("proxy.toml", &document.to_string()).unwrap_or_else(|report| panic!("{report}"));
        let keys = SECTIONS.into_iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)));
        for (section, key) in keys.filter(|(_, key)| key.only.unwrap_or("ldap") == variant) {
            let otherwise =
                SAID_OTHERWISE.iter().find(|it| it.0 == section.path && (it.1 == key.name || it.1.is_empty()));
            let at = format!("{}.{}", section.path, key.name);
            let Some(changes) = changed(&document, &before, section, key) else {
                if otherwise.is_none_or(|it| it.2 != "-") {
                    unproven.push(at);
                }
                continue;
            };
            let needs_restart = NEEDS_RESTART.iter().any(|it| (it.0, it.1) == (section.path, key.name));
            assert_eq!(!changes.restart.is_empty(), needs_restart, "{at}: {changes:?}");
            let is_said = changes.live.iter().any(|it| match (otherwise, &it.how) {
                (Some((_, _, said)), _) => it.to_string().contains(said),
                (None, How::Changed(keys)) => it.section == section.path && keys.contains(&key.name),
                (None, How::Added | How::Removed) => false,
            });
            assert!(is_said || needs_restart, "{at}: {changes:?}");
        }
    }
    // Other values of these would contradict other keys of the example; `type` makes another document of it. The unit
    // tests of the diff have them.
    let expected = ["admin.tls", "listener.proxy_protocol_tls", "usernames.domain", "directory.type", "island.policy"];
    assert_eq!(unproven, expected, "no other value was found (left)");
}

#[test]
fn the_documentation_names_every_section_and_what_needs_a_restart() {
    let path = root().join(DOCS);
    let written = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- begin: restart -->\n", "<!-- end: restart -->\n");
    let (head, rest) = written.split_once(begin).expect("the table's beginning");
    let (_, tail) = rest.split_once(end).expect("the table's end");
    let mut table = "\n| key | why it stays as it is until a restart |\n|---|---|\n".to_owned();
    for (section, key, reason) in NEEDS_RESTART {
        writeln!(table, "| `{section}.{key}` | {reason} |").unwrap();
    }
    let generated = format!("{head}{begin}{table}\n{end}{tail}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    } else {
        assert!(written == generated, "{DOCS} is out of date: run this test with UPDATE_DOCS=1");
    }
    for section in SECTIONS {
        let top = section.path.split('.').next().unwrap();
        let is_named = |name: &str| head.contains(&format!("\n| `{name}`"));
        assert!(
            is_named(section.path) || is_named(top),
            "{DOCS} does not say what a change of [{}] does",
            section.path
        );
    }
}
