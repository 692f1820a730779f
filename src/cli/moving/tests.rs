//! Moves over a mailferry that refuses, or whose answers are lost: a script of answers behind a socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn};

use clap::Parser;
use tempfile::TempDir;

use super::*;

/// As on the command line.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    moving: Moving,
    #[command(flatten)]
    asking: Asking,
}

/// A status and a body; `None`: the answer is lost.
type Answer = Option<(u16, &'static str)>;

const HELD: &str = r#"{"hold":{"id":7,"user":"anna","account":null,"since":"2026-01-01T00:00:00Z","held_s":1,"ends_in_s":60,"waiting":0,"under_way":0,"sessions":0,"move_to":"b","go_on":false},"was_held":false,"doubt":null,"not_kept":null}"#;
const HOLDS: &str = r#"{"holds":[{"id":7,"user":"anna","account":null,"since":"2026-01-01T00:00:00Z","held_s":1,"ends_in_s":60,"waiting":0,"under_way":0,"sessions":0,"move_to":"b","go_on":false}]}"#;
const ROUTE: &str = r#"{"user":"anna","island":"a","configured":true,"account":null,"answered":null}"#;
const RELEASED: &str = r#"{"user":"anna","waited":3,"held_s":1,"goes_on":false,"not_kept":null}"#;
const REFUSED: &str = r#"{"error":"no","meant":[]}"#;

struct Scripted {
    line: Line,
    folder: TempDir,
    asked: JoinHandle<Vec<String>>,
    /// What was ordered, path by path.
    orders: Arc<Mutex<Vec<serde_json::Value>>>,
}

/// A mailferry that gives these answers and no more.
fn scripted(answers: Vec<Answer>, arguments: &[&str]) -> Scripted {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let orders = Arc::default();
    let heard = Arc::clone(&orders);
    let asked = spawn(move || answers.into_iter().map(|answer| answered(&listener, answer, &heard)).collect());
    let given = ["move", "anna", "b", "--socket", socket.to_str().unwrap()];
    let line = Line::try_parse_from(given.iter().chain(arguments)).unwrap_or_else(|error| panic!("{error}"));
    Scripted { line, folder, asked, orders }
}

/// The path of the question.
fn answered(listener: &UnixListener, answer: Answer, orders: &Mutex<Vec<serde_json::Value>>) -> String {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).unwrap();
        if let Some(octets) = field.to_lowercase().strip_prefix("content-length:") {
            length = octets.trim().parse().unwrap();
        }
        if field.trim().is_empty() {
            break;
        }
    }
    let mut order = vec![0; length];
    reader.read_exact(&mut order).unwrap();
    orders.lock().unwrap().extend(serde_json::from_slice::<serde_json::Value>(&order).ok());
    if let Some((status, body)) = answer {
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        reader.get_mut().write_all((head + body).as_bytes()).unwrap();
    }
    first.split(['?', ' ']).nth(1).unwrap().to_owned()
}

impl Scripted {
    /// What it comes to for a user who is held, and what was asked; `left` is the time until the deadline and the grace are
    /// over.
    fn held<T>(self, left: Duration, act: impl FnOnce(&mut UnderWay<'_>) -> T) -> (T, Vec<String>) {
        let mut outside = Outside::listen(runtime().unwrap());
        let route = serde_json::from_str(ROUTE).unwrap();
        let deadline = (Instant::now() + left).checked_sub(GRACE).unwrap();
        let Line { moving, asking } = &self.line;
        let (outside, ticket, hold) = (&mut outside, "ours".to_owned(), Some(7));
        let came_to = act(&mut UnderWay { moving, asking, route: &route, ticket, hold, deadline, outside });
        // Who waits for a question more must not wait for ever: that is none.
        let _ = UnixStream::connect(self.folder.path().join("socket"));
        (came_to, self.asked.join().unwrap())
    }
}

fn is(code: ExitCode, expected: u8) -> bool {
    format!("{code:?}") == format!("{:?}", ExitCode::from(expected))
}

const FAR: Duration = Duration::from_secs(600);

#[test]
fn a_refusal_that_says_nothing_of_the_hold_does_not_end_it() {
    for status in [401, 403, 429, 500, 503] {
        let holds = "{\"holds\":[]}";
        let script = scripted(vec![Some((status, REFUSED)), Some((200, holds))], &[]);
        let (came_to, asked) = script.held(FAR, |under_way| under_way.held());
        assert!(matches!(came_to, Err(Trouble::HoldOver)) && asked.len() == 2, "{status}: {asked:?}");
    }
    for status in [404, 409] {
        let (came_to, _) = scripted(vec![Some((status, REFUSED))], &[]).held(FAR, |under_way| under_way.held());
        assert!(matches!(came_to, Err(Trouble::HoldOver)), "{status}");
    }
}

#[test]
fn a_release_that_is_refused_is_ordered_again_and_what_is_over_is_put_back() {
    let put_back = |under_way: &mut UnderWay<'_>| under_way.put_back(Trouble::Interrupted);
    let answers = vec![Some((429, REFUSED)), Some((200, RELEASED)), Some((200, ROUTE))];
    let (code, asked) = scripted(answers, &[]).held(FAR, put_back);
    assert!(is(code, EXIT_PUT_BACK), "{code:?}");
    assert_eq!(asked, ["/v1/release", "/v1/release", "/v1/route"]);
    for status in [404, 409] {
        let (code, _) = scripted(vec![Some((status, REFUSED)), Some((200, ROUTE))], &[]).held(FAR, put_back);
        assert!(is(code, EXIT_PUT_BACK), "{status}: {code:?}");
    }
}

#[test]
fn a_hold_that_nobody_may_end_is_left_to_its_own_end_and_not_called_put_back() {
    for status in [401, 403, 429, 503] {
        let script = scripted(vec![Some((status, REFUSED))], &[]);
        let (code, _) = script.held(Duration::ZERO, |under_way| under_way.put_back(Trouble::Interrupted));
        assert!(is(code, EXIT_UNAVAILABLE), "{status}: {code:?}");
    }
}

#[test]
fn a_release_whose_answer_was_lost_is_one() {
    for status in [404, 409] {
        let (came_to, asked) =
            scripted(vec![None, Some((status, REFUSED))], &[]).held(FAR, |under_way| under_way.release());
        assert!(came_to.is_ok_and(|released| released.waited == 0) && asked.len() == 2, "{status}");
        let (came_to, _) = scripted(vec![Some((status, REFUSED))], &[]).held(FAR, |under_way| under_way.release());
        assert!(came_to.is_err(), "{status}: somebody else has ended it");
    }
}

#[test]
fn no_command_hears_an_escaped_name_and_nobody_is_held_for_it() {
    let escaped = [
        r#"{"user":"DOM\\\\anna","island":"a","configured":true,"account":null,"answered":null}"#,
        r#"{"user":"anna","island":"a","configured":true,"account":"DOM\\\\anna","answered":null}"#,
    ];
    for route in escaped {
        let Scripted { line, asked, folder: _folder, .. } = scripted(vec![Some((200, route))], &["--command", "true"]);
        let code = move_user(&line.moving, &line.asking).unwrap_err();
        assert!(is(code, EXIT_USAGE), "{route}: {code:?}");
        assert_eq!(asked.join().unwrap(), ["/v1/route"]);
    }
}

/// The exit code of a whole move, what was asked, and what was ordered.
fn moved(answers: Vec<Answer>) -> (ExitCode, Vec<String>, Vec<serde_json::Value>) {
    let Scripted { line, asked, folder, orders } = scripted(answers, &["--command", "true"]);
    let code = move_user(&line.moving, &line.asking).unwrap_or_else(|code| code);
    let _ = UnixStream::connect(folder.path().join("socket"));
    let asked = asked.join().unwrap();
    let orders = orders.lock().unwrap().clone();
    (code, asked, orders)
}

#[test]
fn a_hold_whose_answer_was_lost_is_ordered_again_as_the_same_and_put_back_as_that() {
    let over = Some((409, REFUSED));
    let holding = ["/v1/route", "/v1/hold", "/v1/hold"];
    for (answers, behind) in [
        // It is held, and somebody ends that.
        (
            vec![Some((200, HELD)), over, Some((200, RELEASED)), Some((200, ROUTE))],
            &["/v1/holds", "/v1/release", "/v1/route"][..],
        ),
        // It is refused, and nobody knows what became of the first one.
        (vec![over, Some((200, RELEASED)), Some((200, ROUTE))], &["/v1/release", "/v1/route"]),
        (vec![over, over, Some((200, ROUTE))], &["/v1/release", "/v1/route"]),
    ] {
        let answers = [vec![Some((200, ROUTE)), None], answers].concat();
        let (_, asked, orders) = moved(answers);
        assert_eq!(asked, [&holding[..], behind].concat());
        let tickets: Vec<&str> = orders.iter().filter_map(|order| order["ticket"].as_str()).collect();
        assert!(tickets.len() == 3 && tickets.iter().all(|ticket| *ticket == tickets[0]), "{orders:?}");
        assert!(orders.iter().all(|order| order.get("id").is_none()), "{orders:?}");
    }
    assert_ne!(ticket(), ticket());
}

#[test]
fn a_hold_that_is_refused_is_none_and_nothing_is_put_back() {
    let (code, asked, _) = moved(vec![Some((200, ROUTE)), Some((409, REFUSED))]);
    assert!(is(code, 70), "{code:?}");
    assert_eq!(asked, ["/v1/route", "/v1/hold"]);
}

#[test]
fn a_user_whom_somebody_else_has_moved_before_the_hold_is_not_moved_again() {
    let elsewhere = [
        r#"{"user":"anna","island":"b","configured":true,"account":null,"answered":null}"#,
        r#"{"user":"anna","island":"a","configured":true,"account":"a.nna","answered":null}"#,
    ];
    for now in elsewhere {
        let ok = |body| Some((200, body));
        let answers = vec![ok(ROUTE), ok(HELD), ok(HOLDS), ok(HOLDS), ok(now), ok(RELEASED), ok(now)];
        let (code, asked, _) = moved(answers);
        assert!(is(code, EXIT_PUT_BACK), "{code:?}");
        let expected = ["/v1/route", "/v1/hold", "/v1/holds", "/v1/holds", "/v1/route", "/v1/release", "/v1/route"];
        assert_eq!(asked, expected, "no command is run for {now}");
    }
}
