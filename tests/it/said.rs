//! What a mailferry that runs as a process says, line by line, and its end. It knows nothing of how the process was started.

use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::DEADLINE;
use crate::program::{Program, Started};

/// All that a process has said up to now.
#[derive(Clone)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    /// Held by whoever takes the lines, until there are no more.
    reader: Weak<()>,
}

/// What is written by whoever reads a process's words.
#[derive(Clone)]
struct Page {
    lines: Arc<Mutex<Vec<String>>>,
    reading: Arc<()>,
}

impl Page {
    fn taker(self) -> impl FnMut(String) + Send + 'static {
        let Self { lines, reading } = self;
        move |line| {
            let _held = &reading;
            lines.lock().unwrap().push(line);
        }
    }
}

impl Log {
    /// Of the process that is started with what takes its lines.
    pub fn of(start: impl FnOnce(Box<dyn FnMut(String) + Send>) -> Started) -> (Started, Self) {
        let (log, page) = Self::empty();
        (start(Box::new(page.taker())), log)
    }

    /// Of a command, with all that it says.
    pub fn of_both(command: Program) -> (Started, Self) {
        let (log, page) = Self::empty();
        (command.follow(page.clone().taker(), page.taker()), log)
    }

    fn empty() -> (Self, Page) {
        let page = Page { lines: Arc::default(), reading: Arc::new(()) };
        (Self { lines: Arc::clone(&page.lines), reader: Arc::downgrade(&page.reading) }, page)
    }

    /// The lines that hold all of these, up to now.
    pub fn lines(&self, parts: &[&str]) -> Vec<String> {
        let log = self.lines.lock().unwrap();
        log.iter().filter(|line| parts.iter().all(|part| line.contains(part))).cloned().collect()
    }

    /// The first such line, as soon as it is there.
    pub async fn line(&self, parts: &[&str]) -> String {
        self.many(parts, 1).await.remove(0)
    }

    /// All such lines, as soon as there are so many.
    pub async fn many(&self, parts: &[&str], count: usize) -> Vec<String> {
        // A process that starts on a busy machine takes its time.
        let deadline = Instant::now() + DEADLINE * 3;
        loop {
            let lines = self.lines(parts);
            if lines.len() >= count {
                return lines;
            }
            assert!(Instant::now() < deadline, "not {count} lines with {parts:?} in {:?}", self.lines.lock().unwrap());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// How the process that says this ended. Its last word is among the lines then, which may come behind its end.
    pub async fn until_its_end(&self, child: &mut Child) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE * 3;
        loop {
            match child.try_wait().unwrap() {
                Some(status) if self.reader.strong_count() == 0 => return status,
                _ => {}
            }
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.lines.lock().unwrap());
            sleep(Duration::from_millis(10)).await;
        }
    }
}
