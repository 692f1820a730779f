//! docs/migrating.md: our keys in it exist, and its table of perdition.conf has the options that the importer knows.

use std::collections::BTreeSet;
use std::process::Command;

use mailferry::config::reference::SECTIONS;
use mailferry::import::options::OPTIONS;

const DOCS: &str = "docs/migrating.md";

/// The cells of all rows of tables, heads and rules left out, with the title that they stand below.
fn rows() -> Vec<(String, Vec<String>)> {
    let (mut rows, mut title) = (Vec::new(), String::new());
    let text = std::fs::read_to_string(DOCS).unwrap();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(words) = line.strip_prefix("##") {
            title = words.trim_start_matches('#').trim().to_owned();
        }
        let is_head = lines.peek().is_some_and(|next| next.starts_with("|---"));
        if line.starts_with("| ") && !is_head {
            let line = line.replace("\\|", "/");
            rows.push((title.clone(), line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()));
        }
    }
    rows
}

/// The words in backticks.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_key_that_is_named_as_ours_exists() {
    let known: BTreeSet<String> = SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| format!("{}.{}", section.path, key.name)))
        .collect();
    let rows = rows();
    assert!(rows.len() > 150, "{}", rows.len());
    for (title, row) in &rows {
        let [_, ours, remark] = row.as_slice() else { panic!("{title}: {row:?} has not three cells") };
        assert!(ours == "–" || !code(ours).is_empty(), "{title}: {row:?}");
        for key in code(ours) {
            assert!(known.contains(key), "{title}: there is no key {key}: {row:?}");
        }
        assert!(ours != "–" || !remark.is_empty() || title != "Every option", "{row:?} has no reason");
    }
    // In the text too, where a word has the form of one of our keys.
    let text = std::fs::read_to_string(DOCS).unwrap();
    let is_ours =
        |word: &&str| SECTIONS.iter().any(|section| word.split_once('.').is_some_and(|(it, _)| it == section.path));
    for word in code(&text).into_iter().filter(is_ours) {
        assert!(known.contains(word) || word.contains(' '), "there is no key {word}");
    }
}

#[test]
fn the_table_of_perdition_conf_has_the_options_that_the_importer_knows() {
    let written: Vec<String> =
        rows().into_iter().filter(|(title, _)| title == "Every option").map(|(_, row)| row[0].clone()).collect();
    let known = OPTIONS.iter().map(|known| match known.short {
        Some(letter) => format!("`{}` (`{letter}`)", known.name),
        None => format!("`{}`", known.name),
    });
    assert_eq!(written, known.collect::<Vec<_>>());
    for (known, (_, row)) in OPTIONS.iter().zip(rows().into_iter().filter(|(title, _)| title == "Every option")) {
        assert_eq!(known.gone.is_some(), row[1] == "–", "{}", known.name);
        let reason = known.gone.and_then(|why| why.strip_prefix("gone: "));
        assert!(reason.is_none_or(|reason| row[2] == reason), "{}: the importer says: {reason:?}", known.name);
    }
}

#[test]
fn the_map_becomes_a_routes_file_as_it_says() {
    let text = std::fs::read_to_string(DOCS).unwrap();
    let command = text.lines().find(|line| line.starts_with("awk ")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let map = "# map\n\nbob:store1\nann:anna@store2.example.net:110\n  # more\nx@example.org:store1:143\n";
    std::fs::write(folder.path().join("popmap"), map).unwrap();
    let status = Command::new("sh").args(["-c", command]).current_dir(folder.path()).status().unwrap();
    assert!(status.success());
    let routes = std::fs::read_to_string(folder.path().join("routes")).unwrap();
    let fields: Vec<Vec<&str>> = routes.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        fields,
        [vec!["bob", "store1"], vec!["ann", "store2.example.net", "anna"], vec!["x@example.org", "store1"]]
    );
    let path = folder.path().join("routes");
    mailferry::directory::file::check(&path, &|_| true).unwrap_or_else(|error| panic!("{error}"));
}
