//! Every example of the documentation is executed, or generated from what was: README.md, docs/ and their neighbours.
//!
//! Each fenced block has a language of the list in `KINDS`, and each language is put to the proof: configurations are
//! read by mailferry's own reader, commands by its own command line, units by systemd, HAProxy's file by HAProxy. What
//! cannot be proved by itself, output and drawings, needs a word on the line before the fence:
//!
//! ```text
//! <!-- example: shown by `name_of_a_test` -->    a test has this output, or these lines, before it
//! <!-- example: run by `FILE` -->                 a script of the tree runs the commands, which check themselves
//! <!-- example: not run, REASON -->              nothing can have it before it, and why
//! ```
//!
//! Blocks between `<!-- begin: … -->` and `<!-- end: … -->` are written by a test with `UPDATE_DOCS=1`.

#![allow(clippy::unwrap_used)]

#[path = "docs/commands.rs"]
mod commands;
#[path = "docs/configurations.rs"]
mod configurations;
#[path = "tidy/files.rs"]
mod files;
#[path = "docs/links.rs"]
mod links;
#[path = "docs/pages.rs"]
mod pages;

use std::collections::BTreeSet;

use pages::{Block, Page};

/// How the blocks of a language are proved: a problem, if there is one.
type Proof = fn(&Block) -> Result<(), String>;

const KINDS: [(&str, Proof); 9] = [
    ("console", commands::dialogue),
    ("haproxy", configurations::haproxy),
    ("ini", configurations::unit),
    ("json", configurations::json),
    ("promql", |block| block.demand_word("questions to Prometheus")),
    ("sh", commands::script),
    ("text", |block| block.demand_word("a drawing or lines of a log")),
    ("toml", configurations::toml),
    ("yaml", configurations::yaml),
];

#[test]
fn every_example_is_executed_or_has_a_reason_why_not() {
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for block in pages::all().iter().flat_map(Page::blocks) {
        let problem = match KINDS.iter().find(|(language, _)| *language == block.language) {
            Some((language, proof)) => {
                seen.insert(*language);
                proof(&block).err()
            }
            None => Some(format!("no language of {:?}: say in tests/docs.rs how it is proved", KINDS.map(|it| it.0))),
        };
        wrong.extend(problem.map(|problem| format!("{}:{}: {problem}", block.page, block.line)));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen.len() > 5, "only {seen:?} found");
}

#[test]
fn every_word_before_an_example_names_tests_that_exist_or_a_reason() {
    let tests: String = ["src", "tests"].into_iter().flat_map(files::rust_files).map(|(_, text)| text).collect();
    let mut wrong = Vec::new();
    for page in pages::all() {
        for (line, word) in page.words() {
            let names: Vec<_> = word.split('`').skip(1).step_by(2).collect();
            let missing: Vec<_> = names.iter().filter(|name| !tests.contains(&format!("fn {name}("))).collect();
            let runs = |file: &&str| pages::root().join(file).is_file();
            let is_one = match word.split_once(' ').unwrap_or((word, "")) {
                ("shown", rest) => rest.starts_with("by `") && missing.is_empty(),
                ("run", rest) => rest.starts_with("by `") && names.iter().all(runs),
                ("not", rest) => rest.strip_prefix("run, ").is_some_and(|reason| reason.len() > 8),
                _ => false,
            };
            if !is_one {
                wrong.push(format!("{}:{line}: {word:?}: no such test, or no reason; {missing:?}", page.name));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_in_an_example_is_found() {
    let block = |language, text: &str, word: Option<&str>| Block {
        page: "docs/x.md".into(),
        line: 1,
        language,
        text: text.into(),
        word: word.map(str::to_owned),
        is_generated: false,
    };
    let proof = |language: &str| KINDS.iter().find(|(name, _)| *name == language).unwrap().1;
    for (language, text) in [
        ("console", "$ mailferry chekc\n"),
        ("console", "$ mailferry status\nversion 1\n"),
        ("console", "$ scripts/nothing.sh\n"),
        ("console", "mailferry status\n"),
        ("ini", "[Service]\nTimeoutStopSek=1\n"),
        ("json", "{\n"),
        ("sh", "mailferry route\n"),
        ("sh", "frobnicate\n"),
        ("sh", "cp /usr/share/doc/mailferry/nothing /etc\n"),
        ("sh", "echo 'x\n"),
        ("sh", "systemctl enable mailfery\n"),
        ("text", "drawing"),
        ("toml", "[server]\nhostnam = \"x\"\n"),
        ("toml", "x = 1\n"),
        ("yaml", "command: [\"mailferry\", \"statsu\"]\n"),
    ] {
        assert!(proof(language)(&block(language.to_owned(), text, None)).is_err(), "{language}: {text}");
    }
    let shown = block("console".to_owned(), "$ mailferry status\nversion 1\n", Some("shown by `x`"));
    assert_eq!(commands::dialogue(&shown), Ok(()));
}
