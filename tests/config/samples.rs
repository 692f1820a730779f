//! tests/config/{valid,invalid}/*.toml: what must be accepted, and what must be said of the rest.
//!
//! An invalid file begins with a line `# expect: LINE:COLUMN: message; remedy` for each problem, in the order of the
//! report. `UPDATE_SAMPLES=1` rewrites these lines; read the difference before you keep it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use mailferry::config::Report;

use crate::searched;

/// Fewer files than this mean that the test looks in the wrong place.
const VALID_MIN: usize = 3;
const INVALID_MIN: usize = 25;

const EXPECT: &str = "# expect: ";

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn samples(kind: &str) -> Vec<(PathBuf, String)> {
    let folder = root().join("tests/config").join(kind);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// What the file says of itself.
fn said(report: &Report) -> String {
    let mut said = String::new();
    for (place, message, remedy) in report.problems() {
        writeln!(said, "{EXPECT}{}:{}: {message}; {remedy}", place.line, place.column).unwrap();
    }
    said
}

#[test]
fn valid_samples_are_accepted() {
    let samples = samples("valid");
    assert!(samples.len() >= VALID_MIN, "only {} files", samples.len());
    for (path, text) in samples {
        if let Err(report) = searched::parse(file_name(&path), &text) {
            panic!("refused:\n{report}");
        }
    }
}

#[test]
fn every_problem_of_the_invalid_samples_is_told_and_no_other() {
    let samples = samples("invalid");
    assert!(samples.len() >= INVALID_MIN, "only {} files", samples.len());
    let mut wrong = String::new();
    for (path, text) in samples {
        let Err(report) = searched::parse(file_name(&path), &text) else {
            writeln!(wrong, "{} is accepted", path.display()).unwrap();
            continue;
        };
        let expected: String = text.lines().take_while(|l| l.starts_with(EXPECT)).map(|l| format!("{l}\n")).collect();
        assert!(!expected.is_empty(), "{} expects nothing", path.display());
        if said(&report) != expected {
            writeln!(wrong, "{}: said\n{}but expected\n{expected}{report}", path.display(), said(&report)).unwrap();
            update(&path, &text);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Lines that are added move the places, so the first report only counts the lines.
fn update(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_SAMPLES").is_none() {
        return;
    }
    let body: String = text.lines().skip_while(|l| l.starts_with(EXPECT)).map(|l| format!("{l}\n")).collect();
    let report = |text: &str| said(&searched::parse(file_name(path), text).unwrap_err());
    let blank = "#\n".repeat(report(&body).lines().count());
    fs::write(path, report(&format!("{blank}{body}")) + &body).unwrap();
}

#[test]
fn every_problem_comes_with_a_remedy_and_a_line_that_can_be_grepped() {
    for (path, text) in samples("invalid") {
        let name = file_name(&path);
        let report = searched::parse(name, &text).unwrap_err();
        let rendered = report.to_string();
        for (place, message, remedy) in report.problems() {
            assert!(!remedy.is_empty(), "{name}: {message}");
            let first_line = format!("{name}:{}:{}: {message}\n", place.line, place.column);
            assert!(rendered.contains(&first_line), "{first_line} is not in\n{rendered}");
            assert!(rendered.contains(remedy), "{remedy} is not in\n{rendered}");
        }
        assert!(!rendered.contains('\u{1b}'), "{name}: colour that nobody asked for");
    }
}
