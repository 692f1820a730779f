//! Where the documentation points to: pages, headings, files of the tree.

use std::collections::BTreeSet;

use crate::pages::{Page, all, root};

/// Folders of the tree whose files are named in the texts.
/// The targets of the fuzzer are called like files of theirs; tests/requirements.rs knows them.
const FOLDERS: [&str; 7] = ["src/", "tests/", "docs/", "scripts/", "benches/", "packaging/", "examples/"];

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &Page) -> BTreeSet<String> {
    page.prose().filter(|(_, line)| line.starts_with('#')).map(|(_, line)| anchor(line)).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = all();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in &pages {
        let folder = root().join(&page.name).parent().unwrap().to_owned();
        for (number, line) in page.prose() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if target.starts_with("http") || target.starts_with("mailto:") {
                    continue;
                }
                count += 1;
                let (path, name) = target.split_once('#').unwrap_or((target, ""));
                let path = if path.is_empty() { root().join(&page.name) } else { folder.join(path) };
                let other = pages.iter().find(|it| path.canonicalize().is_ok_and(|path| path == root().join(&it.name)));
                let has_name = name.is_empty() || other.is_some_and(|it| anchors(it).contains(name));
                if !path.exists() || !has_name {
                    wrong.push(format!("{}:{number}: {target}", page.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these lead nowhere:\n{}", wrong.join("\n"));
    assert!(count > 30, "only {count} links found");
}

#[test]
fn every_file_of_the_tree_that_is_named_is_there() {
    let mut wrong = Vec::new();
    for page in all() {
        for (number, line) in page.prose() {
            for code in line.split('`').skip(1).step_by(2) {
                let path = code.split([' ', ':']).next().unwrap();
                let is_ours = FOLDERS.iter().any(|folder| path.starts_with(folder));
                if is_ours
                    && !path.contains(['*', '…', '{', '<'])
                    && !path.contains("NAME")
                    && !root().join(path).exists()
                {
                    wrong.push(format!("{}:{number}: {path}", page.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "not there:\n{}", wrong.join("\n"));
}
