//! What a mailferry that runs as a process says, line by line, and its end. It knows nothing of how the process was started.

use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::DEADLINE;
use crate::program::Started;

/// All that a process has said up to now.
#[derive(Clone)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    /// Held by whoever takes the lines, until there are no more.
    reader: Weak<()>,
}

impl Log {
    /// Of the process that is started with what takes its lines.
    pub fn of(start: impl FnOnce(Box<dyn FnMut(String) + Send>) -> Started) -> (Started, Self) {
        let (lines, reading) = (Arc::new(Mutex::new(Vec::new())), Arc::new(()));
        let log = Self { lines: Arc::clone(&lines), reader: Arc::downgrade(&reading) };
        let take = move |line| {
            let _held = &reading;
            lines.lock().unwrap().push(line);
        };
        (start(Box::new(take)), log)
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
        let deadline = Instant::now() + DEADLINE;
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
