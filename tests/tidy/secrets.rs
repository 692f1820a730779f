//! No test handles a secret whose log, or whose words, nobody searches: who may make logs, who may start the program, and
//! how each binary of tests is searched. It reads the tests' text and runs none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::files::rust_files;

/// How all that a binary's product code logs is searched.
enum Searched {
    /// By the words that begin it, in these files.
    By(&'static str, &'static [&'static str]),
    /// Nothing to search: of ours it calls these modules only, and gives them no secret or they have no log.
    Only(&'static [&'static str], &'static str),
}

use Searched::{By, Only};

/// Every binary of tests. A new one that calls code of ours with a password or token begins a search, before anything
/// else: `testkit::log::Search::everywhere`. One that starts the program needs nothing but `tests/program`.
const BINARIES: [(&str, Searched); 16] = [
    ("adversity", By("Search::everywhere(", &["tests/adversity/world.rs"])),
    ("cli", Only(&["testkit"], "it starts the program only")),
    ("config", By("Search::everywhere(", &["tests/config/searched.rs"])),
    ("dependencies", Only(&[], "it reads the lock file")),
    ("deployment", Only(&["config"], "the texts of the documentation name files of passwords and hold none")),
    ("directory", By("Search::everywhere(", &["tests/directory.rs"])),
    ("docs", Only(&["cli", "config"], "the same, and the command line is asked for what it takes and not run")),
    ("import", Only(&["import", "config", "directory", "testkit"], "the passwords' places in its files are empty")),
    ("it", By("program::search(", &["tests/it/site.rs"])),
    ("packaging", Only(&["config", "testkit"], "it starts the program, and reads the example, which holds none")),
    ("page", Only(&[], "it starts the program only, and a browser")),
    ("real", By("secrets::assert_absent(", &["tests/real/site.rs"])),
    ("requirements", Only(&[], "it reads texts")),
    ("seeds", By("no_log_tells_a_password", &["tests/seeds.rs"])),
    ("sim", By("Search::everywhere(", &["tests/sim.rs"])),
    ("tidy", Only(&[], "it reads texts")),
];

/// More of them, whose reasons are longer.
const WITHOUT_LOG: [(&str, Searched); 2] = [
    ("tls", Only(&["net", "testkit"], "octets between two sockets: no login is in them")),
    (
        "zoo",
        Only(&["names", "proto", "testkit"], "all logins of all clients, but `proto` has no log, and may have none"),
    ),
];

/// The files of each binary of tests.
fn binaries() -> BTreeMap<String, Vec<(String, String)>> {
    let mut binaries: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let shared = "program";
    for (path, text) in rust_files("tests") {
        let name = path.iter().nth(1).unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if name != shared {
            binaries.entry(name).or_default().push((path.to_str().unwrap().to_owned(), text));
        }
    }
    binaries
}

/// Our modules that a text calls.
fn called(text: &str) -> BTreeSet<String> {
    let mut called = BTreeSet::new();
    for rest in text.split("mailferry::").skip(1) {
        let group = rest.strip_prefix('{').map(|rest| rest.split_once("};").map_or(rest, |(group, _)| group));
        let mut depth = 0;
        let outer = |c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        };
        let names: Vec<&str> = group.map_or_else(|| vec![rest], |group| group.split(outer).collect());
        let first = |name: &str| name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        called.extend(names.into_iter().map(first).filter(|name: &String| !name.is_empty()));
    }
    called
}

#[test]
fn r_log_01_every_log_of_a_test_is_one_that_is_searched() {
    // That of the program, of all tests, of whole sites, which end with a search, and of one history for a reader's eyes.
    let may_subscribe = [
        "src/logging.rs",
        "src/logging/journald.rs",
        "src/logging/tests.rs",
        "src/testkit/log.rs",
        "tests/it/site.rs",
        "tests/sim.rs",
    ];
    let crates = ["tracing_subscriber", "tracing::subscriber", "tracing::Subscriber", "tracing::dispatcher"];
    let of_logs = |text: &str| {
        crates.iter().any(|name| text.contains(&format!("{name}::")) || text.contains(&format!("{name};")))
    };
    for (path, text) in rust_files("src").into_iter().chain(rust_files("tests")) {
        let may = may_subscribe.iter().any(|it| path == Path::new(it));
        assert_eq!(of_logs(&text), may, "{}: only testkit::log makes logs for tests", path.display());
    }
    let secret = fs::read_to_string("src/secret.rs").unwrap();
    let begun = "pub fn new(octets: Vec<u8>) -> Self {\n        #[cfg(test)]\n        tests::watch(&octets);";
    assert!(secret.contains(begun), "src/secret.rs: no secret is made unwatched in a unit test");
}

#[test]
fn r_log_01_every_binary_of_tests_is_searched_or_has_no_secret() {
    let mut known: BTreeMap<&str, Searched> = BINARIES.into_iter().chain(WITHOUT_LOG).collect();
    for (name, files) in binaries() {
        let searched = known.remove(name.as_str());
        let searched =
            searched.unwrap_or_else(|| panic!("say in tests/tidy/secrets.rs how the log of {name} is searched"));
        match searched {
            By(words, places) => {
                for place in places {
                    let found = files.iter().any(|(path, text)| path == place && text.contains(words));
                    assert!(found, "{place} does not begin the search of {name}: no {words}");
                }
            }
            Only(allowed, why) => {
                for (path, text) in &files {
                    let others: Vec<_> =
                        called(text).into_iter().filter(|it| !allowed.contains(&it.as_str())).collect();
                    assert!(others.is_empty(), "{path} calls {others:?}, and nobody searches what they log: {why}");
                }
            }
        }
    }
    assert!(known.is_empty(), "there is no {:?} any more", known.keys());
}

#[test]
fn r_log_01_no_test_reads_a_configuration_or_starts_the_program_unsearched() {
    let finds = |needle: &str| -> BTreeSet<String> {
        let files = rust_files("tests").into_iter().filter(|(path, _)| path != Path::new("tests/tidy/secrets.rs"));
        files.filter(|(_, text)| text.contains(needle)).map(|(path, _)| path.to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        finds("CARGO_BIN_EXE"),
        BTreeSet::from(["tests/program/mod.rs".into()]),
        "start the program by tests/program, which searches all that it says"
    );
    let scripts = [
        // Commands that our own program starts and listens to.
        "tests/it/admin/moves.rs",
        "tests/it/take_over/together.rs",
        // It has it print its pages.
        "tests/packaging.rs",
        // dpkg's scripts have it check a configuration without a password, and throw away what it says.
        "tests/packaging/scripts.rs",
        // It has it log at TRACE into a file, which the site that ends searches.
        "tests/real/site.rs",
    ];
    assert_eq!(finds("program::PATH"), scripts.map(str::to_owned).into(), "start it by `Program`");
    for reader in [["config::", "load("], ["config::", "parse("]].map(|it| it.concat()) {
        let readers = finds(&reader).into_iter().filter(|path| path.starts_with("tests/config"));
        assert_eq!(readers.collect::<Vec<_>>(), ["tests/config/searched.rs"], "call it by `searched`");
    }
}

#[test]
fn what_a_text_calls_of_ours_is_found_in_every_form() {
    let text = "use OURS::config;\nuse OURS::{admin::{self, x}, net};\nOURS::app::run(); OURS::names";
    let expected = ["admin", "app", "config", "names", "net"];
    assert_eq!(called(&text.replace("OURS", "mailferry")), expected.map(str::to_owned).into());
}
