//! What is told and pressed at a terminal: `script` of Debian's bsdutils has a pseudo-terminal between it and the command,
//! and its own input is what somebody types.

use std::io::Write;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::Signal;

use super::ferry::{Ferry, site};
use crate::program::{Program, Started};

/// The key, not the end of a line: that is the terminal's to make of it.
const ENTER: &[u8] = b"\r";
const CTRL_C: &[u8] = b"\x03";

/// How long a word may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command at a terminal.
struct Terminal {
    started: Started,
    lines: Receiver<String>,
}

impl Terminal {
    fn of(ferry: &Ferry, arguments: &[&str]) -> Self {
        // `script` wants its command in one word. No path here has a blank. Who started the tests may ignore Ctrl-C.
        let script = "exec script --quiet --return --flush --command \"exec env --default-signal=INT $*\" /dev/null";
        let program = Program::through("sh", &["-c", script, "sh"]).also(arguments);
        let program = program.arg("--config").arg(ferry.config()).env("SHELL", "/bin/sh").env("TERM", "linux");
        let (tell, lines) = channel();
        // Nobody may listen any more.
        let started = program.converse(move |line| drop(tell.send(line)), |line| panic!("{line}"));
        Self { started, lines }
    }

    fn types(&mut self, keys: &[u8]) {
        let keyboard = self.started.child.stdin.as_mut().unwrap();
        keyboard.write_all(keys).unwrap();
        keyboard.flush().unwrap();
    }

    /// The next line with this text, and those before it are forgotten.
    fn shows(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {text:?} behind {before:?}"));
            if line.contains(text) {
                return line;
            }
            before.push(line);
        }
    }

    /// Its exit code, and the lines that nobody has looked at.
    fn ends(mut self) -> (Option<i32>, Vec<String>) {
        let code = self.started.child.wait().unwrap().code();
        (code, self.lines.iter().collect())
    }
}

#[test]
fn enter_says_that_the_mail_is_moved_by_hand() {
    let ferry = Ferry::start();
    let mut old = ferry.imap("adam");
    let mut moving = Terminal::of(&ferry, &["move", "adam", "b"]);
    assert!(moving.shows("from").starts_with("adam: from a to b"));
    moving.shows("held: new logins wait, for 11m at most; sessions: 1");
    let prompt = moving.shows("press Enter");
    assert!(
        prompt.contains("move the mail and change the directory now; then press Enter, or say mailferry release adam")
    );
    let mut waiting = ferry.asks("adam", "adam");
    ferry.until("the login waits", || ferry.json(&["holds"])["holds"][0]["waiting"] == 1);
    site().order("copy adam b");
    old.say("n NOOP");
    // Nothing happens before the key.
    old.until("n OK");
    moving.types(ENTER);
    moving.shows("the directory says b");
    moving.shows("old sessions that end: 1");
    moving.shows("logins that waited: 1");
    let (code, rest) = moving.ends();
    assert_eq!((code, rest.last().map(|line| line.trim_end())), (Some(0), Some("adam is on b")), "{rest:?}");
    waiting.until("a OK");
    assert_eq!((ferry.places("adam"), old.is_closed()), (vec!["b/left".to_owned()], true));
    assert_eq!(ferry.json(&["move", "adam", "b"])["step"], "there");
    site().order("copy adam a");
}

/// Such as the one that confirmed the command before.
#[test]
fn an_enter_from_before_the_question_is_no_answer_and_ctrl_c_puts_back() {
    let ferry = Ferry::start();
    let mut old = ferry.imap("anna");
    // It cannot go on before it has been answered, and the keys come first.
    ferry.tell(Signal::STOP);
    let mut moving = Terminal::of(&ferry, &["move", "anna", "b"]);
    moving.types(b"early");
    moving.types(ENTER);
    moving.shows("early");
    ferry.tell(Signal::CONT);
    moving.shows("press Enter");
    let mut waiting = ferry.asks("anna", "anna");
    ferry.until("the login waits", || ferry.json(&["holds"])["holds"][0]["waiting"] == 1);
    moving.types(CTRL_C);
    let next = moving.shows("");
    assert!(next.contains("anna is not moved: interrupted; put back: logins go to a"), "{next}");
    assert_eq!(moving.ends().0, Some(75));
    waiting.until("a OK");
    old.say("n NOOP");
    old.until("n OK");
    assert_eq!(ferry.places("anna"), ["a/left", "a/left"]);
}

#[test]
fn top_looks_again_and_again_until_ctrl_c() {
    let ferry = Ferry::start();
    let _first = ferry.imap("anna");
    let mut top = Terminal::of(&ferry, &["top", "--interval", "100ms"]);
    let clears = top.shows("1 sessions, ");
    assert!(clears.starts_with("\x1b[H\x1b[2J"), "{clears:?}");
    top.shows("anna  1           1 ");
    let _second = ferry.imap("anna");
    top.shows("2 sessions, 2 logins in the last minute");
    top.shows("anna  2           2 ");
    top.types(CTRL_C);
    assert_eq!(top.ends().0, Some(130), "ended by the signal");
}
