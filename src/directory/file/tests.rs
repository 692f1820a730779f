//! The file's grammar, and how new versions of it come into use.

use std::fs;

use tokio::time::advance;

use super::*;
use crate::testkit::log::Log;

fn user(name: &str) -> UserName {
    UserName::new(name.as_bytes()).unwrap()
}

fn route(island: &str, login: Option<&[u8]>) -> Route {
    Route { island: IslandName::new(island), login: login.and_then(UserName::new) }
}

#[test]
fn a_line_is_user_island_and_perhaps_a_login_name() {
    type Expected = Option<(&'static [u8], Route)>;
    let cases: [(&[u8], Expected); 9] = [
        (b"bob a", Some((b"bob", route("a", None)))),
        (b"  bob\t \ta  ", Some((b"bob", route("a", None)))),
        (b"bob@x.net a bob", Some((b"bob@x.net", route("a", Some(b"bob"))))),
        (b"bob a b # c d e", Some((b"bob", route("a", Some(b"b"))))),
        (b"b#b a#1\r", Some((b"b#b", route("a#1", None)))),
        (b"j\xfcrgen a j\xfc", Some((b"j\xfcrgen", route("a", Some(b"j\xfc"))))),
        (b"", None),
        (b" \t\r", None),
        (b"\t# bob a", None),
    ];
    for (text, expected) in cases {
        let expected = expected.map(|(name, route)| (UserName::new(name).unwrap(), route));
        assert_eq!(parse_line(text), Ok(expected), "{}", text.escape_ascii());
    }
}

#[test]
fn bad_lines_are_all_told_with_their_numbers_and_remedies() {
    let long = "x".repeat(256);
    let content = format!("\u{feff}a a\nbob\n\nbob a\nbob a b c\nBob a\nbob b\n{long} a\neve {long}\neve a {long}\n");
    let mut content = content.into_bytes();
    content.extend(b"eve \xff\ne\0ve a");
    let expected = [
        (1, LineProblem::ByteOrderMark),
        (2, LineProblem::NoIsland),
        (5, LineProblem::TooMany),
        (7, LineProblem::Duplicate { user: user("bob"), first: 4 }),
        (8, LineProblem::BadName("user")),
        (9, LineProblem::BadIsland),
        (10, LineProblem::BadName("login name")),
        (11, LineProblem::BadIsland),
        (12, LineProblem::BadName("user")),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(line, problem)| BadLine { line, problem }).collect();
    assert_eq!(parse(&content, &|_| true), Err(expected));
}

#[test]
fn a_byte_order_mark_is_told_truly_on_whatever_line_it_stands() {
    for (content, line) in [("\u{feff}bob a", 1), ("eve a\n\u{feff}bob a\n", 2)] {
        let bad = parse(content.as_bytes(), &|_| true).unwrap_err();
        let expected = format!("{line}: begins with a byte order mark: save the file without it");
        assert_eq!(bad.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn islands_that_nobody_knows_are_bad_lines_for_those_who_ask() {
    let known = |island: &IslandName| island.as_str() == "a";
    let bad = parse(b"bob a\neve b\neve c\n", &known).unwrap_err();
    let unknown = |island| LineProblem::UnknownIsland(IslandName::new(island));
    let expected = [(2, unknown("b")), (3, unknown("c")), (3, LineProblem::Duplicate { user: user("eve"), first: 2 })];
    assert_eq!(bad, expected.map(|(line, problem)| BadLine { line, problem }));
}

struct Site {
    directory: tempfile::TempDir,
    file: File,
}

impl Site {
    fn new(content: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("users"), content).unwrap();
        let file = File::new(&Settings { path: directory.path().join("users") }).unwrap();
        Self { directory, file }
    }

    /// As an operator should: a finished file takes the place of the old one.
    fn replace(&self, content: &str) {
        fs::write(self.directory.path().join("new"), content).unwrap();
        fs::rename(self.directory.path().join("new"), self.directory.path().join("users")).unwrap();
    }

    fn remove(&self) {
        fs::rename(self.directory.path().join("users"), self.directory.path().join("away")).unwrap();
    }

    fn bring_back(&self) {
        fs::rename(self.directory.path().join("away"), self.directory.path().join("users")).unwrap();
    }

    /// A second later, the island of a user or the error.
    async fn later(&self, name: &str) -> String {
        advance(LOOK_EVERY).await;
        self.now(name).await
    }

    async fn now(&self, name: &str) -> String {
        match self.file.ask(&user(name)).await {
            Ok((route, by)) => {
                assert!(by.ends_with("/users"));
                route.island.to_string()
            }
            Err(LookupError::Unavailable(reason)) => {
                assert!(reason.contains("/users: "), "{reason}");
                "unavailable".into()
            }
            Err(error) => error.to_string(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_compared_exactly() {
    let site = Site::new("bob a\n");
    assert_eq!(site.now("bob").await, "a");
    for other in ["Bob", "bob@x.net", "bo"] {
        assert_eq!(site.now(other).await, "no such user");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_version_is_seen_after_a_second_and_not_before() {
    let site = Site::new("bob a\n");
    site.replace("bob b\n");
    advance(LOOK_EVERY - Duration::from_millis(1)).await;
    assert_eq!(site.now("bob").await, "a");
    assert_eq!(site.later("bob").await, "b");
    assert_eq!(site.later("bob").await, "b");
}

#[tokio::test(start_paused = true)]
async fn a_bad_new_version_is_not_used_at_all_until_it_is_mended() {
    let site = Site::new("bob a\n");
    site.replace("bob b\neve b\noops\n");
    assert_eq!(site.later("bob").await, "a");
    assert_eq!(site.later("eve").await, "no such user");
    site.replace("bob b\neve b\n");
    assert_eq!(site.later("eve").await, "b");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_is_unavailable_until_it_can() {
    let site = Site::new("bob a\n");
    site.remove();
    assert_eq!(site.later("bob").await, "unavailable");
    assert_eq!(site.later("eve").await, "unavailable");
    site.bring_back();
    assert_eq!(site.later("bob").await, "a");
    site.remove();
    fs::create_dir(site.directory.path().join("users")).unwrap();
    assert_eq!(site.later("bob").await, "unavailable");
}

#[tokio::test(start_paused = true)]
async fn a_name_of_a_file_cannot_forge_fields_of_the_log() {
    let log = Log::default();
    let _guard = log.start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users\" users=7\nx");
    fs::write(&path, "bob a\n").unwrap();
    let file = File::new(&Settings { path: path.clone() }).unwrap();
    for content in ["bob b\n", "bob\n"] {
        fs::write(directory.path().join("new"), content).unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        advance(LOOK_EVERY).await;
        file.look_if_due().await;
    }
    fs::remove_file(&path).unwrap();
    advance(LOOK_EVERY).await;
    file.look_if_due().await;
    let text = log.text();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert_eq!(text.matches(r#"users\" users=7\nx"#).count(), 4, "{text}");
    assert!(text.contains("first=\"") && text.contains("reason=\"No such file"), "{text}");
}

#[test]
fn a_missing_file_or_any_bad_line_is_an_error_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    let settings = Settings { path: path.clone() };
    let start = || File::new(&settings).err().map(|error| error.to_string());
    let shown = path.display();
    assert_eq!(start(), Some(format!("{shown}: No such file or directory (os error 2)")));
    fs::write(&path, "bob a\nbob b\n\neve\n").unwrap();
    let error = start().unwrap();
    let expected = [
        format!("{shown}:2: bob is on line 1 already: remove one of them"),
        format!("{shown}:4: no island: write user, island and, where it differs, the login name"),
    ];
    assert_eq!(error.lines().collect::<Vec<_>>(), expected);
}
