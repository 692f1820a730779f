//! What the login phase promises, one line each, and the tests that prove it.
//!
//! A test proves a requirement by carrying its number: `fn r_imap_04_…` proves R-IMAP-04. This file holds the list, fails
//! when a number has no test, and prints the table of docs/requirements.md. It also reads docs/threat-model.md: what is
//! promised there must name tests that exist. A test that is ignored proves nothing, here as there.

#![allow(clippy::unwrap_used)]

#[path = "tidy/files.rs"]
mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use self::files::rust_files;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/requirements.md");
const THREATS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/threat-model.md");
const BEGIN: &str = "<!-- the table: written by tests/requirements.rs -->\n";
const END: &str = "<!-- end of the table -->\n";

/// A group of requirements. They are numbered from 1 in their order here.
struct Group {
    name: &'static str,
    about: &'static str,
    requirements: &'static [&'static str],
}

static GROUPS: [Group; 9] = [
    Group {
        name: "tls",
        about: "TLS",
        requirements: &[
            "What a client sends in clear text behind STARTTLS or STLS is never answered and never reaches a node.",
            "STARTTLS and a whole ClientHello in one segment: the handshake succeeds.",
            "What was said in clear text (USER, ID, a SASL exchange) is forgotten under TLS.",
            "Nothing is sent in clear text behind the OK of STARTTLS; a failed handshake closes the connection.",
            "STARTTLS under TLS is BAD, STLS is -ERR, and neither is announced there.",
            "TLS 1.0 and 1.1, renegotiation and early data are refused.",
            "A client that offers ALPN must offer this protocol's name; one that offers none is let in.",
            "A handshake that does not end is cut at its deadline; a hello of garbage or without end is cut at once and logged once.",
            "Clear text on a TLS port gets no line in clear text; TLS on a clear-text port gets two lines of error at most.",
            "An orderly close under TLS says close_notify; a line that the end of the connection cuts is not a command.",
        ],
    },
    Group {
        name: "imap",
        about: "IMAP towards clients",
        requirements: &[
            "Every line of ours is lawful and ends in CRLF; each command gets exactly one tagged answer, under its own tag.",
            "A command without a lawful tag gets an untagged BAD that echoes nothing, and does nothing.",
            "Command names have no case; commands that are unknown, or only known behind the login, are BAD.",
            "LOGIN takes atoms, quoted strings and both kinds of literal, in every combination.",
            "In a quoted string `\\\"` and `\\\\` are the only escapes; any other is BAD.",
            "Passwords with special characters, in UTF-8 or Latin-1, and of 1000 octets reach the node unchanged.",
            "NUL, CR or LF in a name or password: refused here, no node is asked.",
            "One `+` for each literal that waits for it, none for those that do not.",
            "A literal's size cannot wrap around: too large is refused before a single octet is set aside for it.",
            "The octets of a refused literal that does not wait are never read as commands.",
            "A line beyond its limit is BAD or the end; what a connection holds stays below 128 KiB.",
            "One octet at a time gives the same answers as all at once.",
            "Empty lines and spaces too many are BAD, and nothing hangs.",
            "What is announced in the greeting and by CAPABILITY is the same, and true.",
            "Where passwords need TLS, LOGINDISABLED says so, no AUTH= stands beside it, and a password sent anyway is not used.",
            "Every AUTH= that is announced works where it is announced.",
            "Behind the login the client has the node's capabilities, without asking and only once.",
            "ID is answered before the login; beyond its limits it is BAD; what strangers claim in it counts for nothing.",
            "LOGOUT gets BYE and its OK, then the end; nothing behind it is done.",
            "Too many bad commands end the connection, and never cause as many answers as there were commands.",
            "LOGIN with fewer or more than two arguments is BAD; an empty name or password is refused here.",
        ],
    },
    Group {
        name: "pop",
        about: "POP3 towards clients",
        requirements: &[
            "Answers are +OK or -ERR lines within 512 octets, lists end with a dot, and CAPA works before and after STLS.",
            "PASS keeps every space; it needs a USER right before it, and after a refusal USER may come again.",
            "AUTH: initial response, `=`, none, cancelled, bad base64, and AUTH alone.",
            "CAPA announces RESP-CODES and AUTH-RESP-CODE, and no USER where a password may not be sent.",
            "What is not done here (UTF8, LANG, APOP, XCLIENT of strangers) is not announced, and is -ERR.",
            "QUIT before the login gets +OK, then the end.",
            "USER, PASS and STAT in one segment: three answers in order, the last one from the node.",
            "A line beyond its limit or with NUL is -ERR, and nothing breaks.",
        ],
    },
    Group {
        name: "sasl",
        about: "SASL",
        requirements: &[
            "PLAIN: an authzid that is empty or the user's own is accepted, a stranger's is refused as such.",
            "PLAIN with too few or too many parts, or with empty ones, is refused here, and no node is asked.",
            "Base64 has one spelling; another is BAD, and the session goes on.",
            "A lone `*` cancels, and the next command works.",
            "Initial responses: `=` for none, the user name of LOGIN, and long tokens up to the limit.",
            "When a token is refused, the client gets the node's challenge, its dummy answer goes no further, then comes the NO.",
            "What follows the last response in the same segment is held, and goes to the node once.",
        ],
    },
    Group {
        name: "be",
        about: "Nodes",
        requirements: &[
            "A node's refusal reaches the client with its own code and text, under the client's tag, and the client may try again.",
            "A node that is away, slow, or closes at any step costs the client no password: a temporary failure in time, or another node.",
            "Untagged lines of the login come before its OK and in order; after a NO they are dropped.",
            "PREAUTH, BYE, a referral, BAD, lines without end and garbage from a node are never taken for an answer about the password.",
            "Octets behind a node's agreement to TLS end the attempt.",
            "A node with a wrong certificate gets no secret, and the client hears of a temporary failure.",
            "Each proxy on the way counts down; a login that goes in a circle ends.",
            "A name or password of any lawful octets means the same to the node as to us.",
        ],
    },
    Group {
        name: "pipe",
        about: "Pipelining and relay",
        requirements: &[
            "LOGIN, SELECT and FETCH in one segment: three answers in order.",
            "A command that was sent ahead of the login's answer is done exactly once.",
            "Commands behind a refused LOGIN are answered here, each once.",
            "All 256 octets pass in both directions behind the login.",
            "A node that closes in the middle of a literal: the client gets every octet of it, then the close.",
            "A half-closed client still gets its answers; behind the login the half-close is passed on.",
            "A client that resets its connection at any stage frees the node's.",
        ],
    },
    Group {
        name: "res",
        about: "Resources",
        requirements: &[
            "A client that sends an octet now and then is cut at the login's deadline, with a last line.",
            "So is one that never logs in; NOOP buys no time.",
            "Idle connections do not delay a good login.",
            "A client that does not read its answers is cut.",
            "Refused logins are delayed and limited, and their time does not tell whether the user exists.",
        ],
    },
    Group {
        name: "pp",
        about: "The PROXY header",
        requirements: &[
            "Where a header is demanded and does not come, the connection is closed without a word.",
            "A malformed header closes the connection, without a word.",
            "What follows the header in the same segment is used at once.",
            "A header in pieces is accepted whole, or not at all.",
            "Where no header is expected, it is a bad command.",
            "LOCAL and UNKNOWN leave the socket's own addresses.",
            "A CRC32C that is there must be right.",
        ],
    },
    Group {
        name: "log",
        about: "Privacy",
        requirements: &[
            "No octet of a password or token is in any log, at any level, whatever a client or a node sends.",
            "Control characters of a user name are escaped in the log.",
        ],
    },
];

/// Where the tests are. The table names files from here.
const FOLDERS: [&str; 2] = ["src", "tests"];

/// All test functions that are not ignored, with the files that they are in.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in FOLDERS.into_iter().flat_map(rust_files) {
        for name in tests_of(&text) {
            tests.entry(name).or_default().insert(path.display().to_string());
        }
    }
    tests
}

/// The functions under a `#[test]` or `#[tokio::test]` and no `#[ignore]`.
fn tests_of(text: &str) -> Vec<String> {
    let (mut found, mut is_test, mut is_ignored) = (Vec::new(), false, false);
    for line in text.lines().map(str::trim) {
        if let Some(attribute) = line.strip_prefix("#[") {
            let path = attribute.split([']', '(', ' ', '=']).next().unwrap();
            is_test |= path == "test" || path.ends_with("::test");
            is_ignored |= path == "ignore" || path == "cfg_attr";
        } else if let Some(rest) = line.strip_prefix("async fn ").or(line.strip_prefix("fn ")) {
            if is_test && !is_ignored {
                found.push(rest.split(['(', '<']).next().unwrap().to_owned());
            }
            (is_test, is_ignored) = (false, false);
        } else if !line.is_empty() && !line.starts_with("//") && !line.ends_with(']') {
            (is_test, is_ignored) = (false, false);
        }
    }
    found
}

/// Group and number of a test that carries one.
fn number_of(test: &str) -> Option<(&str, usize)> {
    let (group, rest) = test.strip_prefix("r_")?.split_once('_')?;
    let (number, rest) = rest.split_once('_')?;
    let is_number = number.len() == 2 && number.bytes().all(|octet| octet.is_ascii_digit());
    (is_number && !rest.is_empty()).then(|| (group, number.parse().unwrap()))
}

fn table() -> String {
    let tests = tests();
    let mut table = String::new();
    for group in &GROUPS {
        let upper = group.name.to_uppercase();
        writeln!(table, "### {}\n\n| | requirement | tests |\n|---|---|---|", group.about).unwrap();
        for (number, text) in (1..).zip(group.requirements) {
            let mut proofs = Vec::new();
            for (test, files) in tests.iter().filter(|(test, _)| number_of(test) == Some((group.name, number))) {
                proofs.extend(files.iter().map(|file| format!("`{test}` ({file})")));
            }
            writeln!(table, "| R-{upper}-{number:02} | {text} | {} |", proofs.join("<br>")).unwrap();
        }
        table.push('\n');
    }
    table
}

#[test]
fn every_requirement_has_a_test_of_its_number() {
    let tests = tests();
    let proven: BTreeSet<_> = tests.keys().filter_map(|test| number_of(test)).collect();
    let of_group = |group: &'static Group| (1..=group.requirements.len()).map(|number| (group.name, number));
    let demanded: BTreeSet<_> = GROUPS.iter().flat_map(of_group).collect();
    let show = |numbers: Vec<&(&str, usize)>| {
        let show = |(group, number): &(&str, usize)| format!("R-{}-{number:02}", group.to_uppercase());
        numbers.into_iter().map(show).collect::<Vec<_>>().join(" ")
    };
    let (missing, unknown) = (demanded.difference(&proven).collect(), proven.difference(&demanded).collect());
    let (missing, unknown) = (show(missing), show(unknown));
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "without a test: {missing}; tests of what nobody demands: {unknown}"
    );
}

#[test]
fn what_looks_like_a_number_is_one() {
    for test in tests().keys().filter(|test| test.starts_with("r_")) {
        let known = GROUPS.iter().any(|group| number_of(test).is_some_and(|(name, _)| name == group.name));
        assert!(known, "{test} begins like the proof of a requirement");
    }
}

#[test]
fn the_documentation_shows_the_table() {
    let docs = fs::read_to_string(TABLE).unwrap();
    let (before, rest) = docs.split_once(BEGIN).expect("the table's beginning is not marked");
    let (_, after) = rest.split_once(END).expect("the table's end is not marked");
    let right = format!("{before}{BEGIN}\n{}{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(TABLE, right).unwrap();
        return;
    }
    assert!(
        docs == right,
        "docs/requirements.md is out of date; UPDATE_DOCS=1 cargo test --test requirements rewrites it"
    );
}

/// The rows of the tables of docs/threat-model.md that say `proved by` above their last column: line and that column.
fn promises(page: &str) -> Vec<(&str, &str)> {
    let (mut rows, mut is_promise) = (Vec::new(), false);
    for line in page.lines() {
        let Some(cells) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            is_promise = false;
            continue;
        };
        let last = cells.rsplit('|').next().unwrap().trim();
        if last == "proved by" {
            is_promise = true;
        } else if is_promise && !last.starts_with("---") {
            rows.push((line, last));
        }
    }
    rows
}

#[test]
fn every_promise_of_the_threat_model_names_tests_that_exist() {
    let page = fs::read_to_string(THREATS).unwrap();
    assert!(page.lines().count() <= 200, "docs/threat-model.md is longer than 200 lines");
    let (tests, rows) = (tests(), promises(&page));
    assert!(rows.len() >= 25, "only {} promises found", rows.len());
    for (row, proofs) in rows {
        let names: Vec<_> = proofs.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing proves this: {row}");
        for name in names {
            let exists = match name.strip_prefix("fuzz/") {
                Some(target) => Path::new(&format!("fuzz/fuzz_targets/{target}.rs")).exists(),
                None => tests.contains_key(name),
            };
            assert!(exists, "docs/threat-model.md names `{name}`, which does not exist or is ignored: {row}");
        }
    }
}

#[test]
fn only_what_runs_counts_as_a_test() {
    let text = "#[test]\nfn one() {\n}\n#[tokio::test(start_paused = true)]\n// why\nasync fn two() {\n}\nfn r_no() {\n}\n\
        #[test]\n#[ignore]\nfn three() {\n}\n#[ignore = \"slow\"]\n#[test]\nfn four() {\n}\n#[cfg(test)]\nfn five() {\n}\n\
        #[test]\nmod six;\nfn seven() {\n}\n";
    assert_eq!(tests_of(text), ["one", "two"]);
    assert_eq!(number_of("r_imap_04_astrings"), Some(("imap", 4)));
    for other in ["r_imap_4_x", "r_imap_04_", "r_imap_04", "imap_04_x", "r_imap_0x_x"] {
        assert_eq!(number_of(other), None, "{other}");
    }
}

#[test]
fn a_promise_is_a_row_of_a_table_of_promises() {
    let page = "| a | proved by |\n|---|---|\n| x | `t` |\n\n| a | b |\n|---|---|\n| y | `u` |\n";
    assert_eq!(promises(page), [("| x | `t` |", "`t`")]);
}
