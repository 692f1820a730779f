//! What a mailferry that runs as a process says, line by line, and its end. It knows nothing of how the process was started.

use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::DEADLINE;
use crate::program::Started;

/// All that a process has said up to now.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Of the process that is started with what takes its lines.
    pub fn of(start: impl FnOnce(Box<dyn FnMut(String) + Send>) -> Started) -> (Started, Self) {
        let log = Arc::new(Mutex::new(Vec::new()));
        let page = Arc::clone(&log);
        (start(Box::new(move |line| page.lock().unwrap().push(line))), Self(log))
    }

    /// The lines that hold all of these, up to now.
    pub fn lines(&self, parts: &[&str]) -> Vec<String> {
        let log = self.0.lock().unwrap();
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
            assert!(Instant::now() < deadline, "not {count} lines with {parts:?} in {:?}", self.0.lock().unwrap());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// How the process that says this ended.
    pub async fn until_its_end(&self, child: &mut Child) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE * 3;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.0.lock().unwrap());
            sleep(Duration::from_millis(10)).await;
        }
    }
}
