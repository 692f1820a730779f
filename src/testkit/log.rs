//! What is logged while tests run: what one test logs, apart from all the others, and a search through what everybody
//! logs.
//!
//! One subscriber serves the whole process, at TRACE and for every crate. It writes to the log of the thread, which is
//! one test's, and shows each line to the search. With a subscriber for each test, an event that first happens in a test
//! without one would be lost to all. There is never a log that nobody searches: in the tests of this crate's own modules
//! `watch` looks for every secret, and elsewhere nobody can listen before the search has begun. What is found ends the
//! process.

#[cfg(test)]
pub(crate) mod watch;

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};

use super::leaks;

thread_local! {
    static OF_THIS_THREAD: RefCell<Option<Log>> = const { RefCell::new(None) };
}

static OF_ALL_THREADS: OnceLock<Search> = OnceLock::new();

/// A log at TRACE, from every crate, as text without times.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

/// As long as it lives, its thread's events go to its log.
pub struct Listening(());

impl Log {
    /// Takes what this thread logs from now on.
    ///
    /// # Panics
    /// If nobody searches what is logged.
    pub fn start(&self) -> Listening {
        assert!(cfg!(test) || OF_ALL_THREADS.get().is_some(), "call `Search::everywhere` before you listen");
        self.listen()
    }

    /// The same, for one who searches it himself.
    pub(super) fn listen(&self) -> Listening {
        subscribe();
        OF_THIS_THREAD.set(Some(self.clone()));
        Listening(())
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.octets()).into_owned()
    }

    /// How often this text occurs.
    pub fn count(&self, text: &str) -> usize {
        self.text().matches(text).count()
    }

    /// What was logged since the last call.
    pub fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.octets())).trim().to_owned()
    }

    fn octets(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        OF_THIS_THREAD.take();
    }
}

/// Looks for secrets in lines as they are logged.
pub struct Search {
    /// Every form of every secret.
    forms: Vec<String>,
    lines: AtomicU64,
    traces: AtomicU64,
    found: Mutex<Option<String>>,
}

impl Search {
    /// For these secrets. None of them, nor any part of them that is among them, may be what is logged by chance.
    pub fn new(secrets: &[&str]) -> Self {
        let mut forms: Vec<String> = secrets.iter().flat_map(|secret| leaks::forms(secret.as_bytes())).collect();
        forms.sort_unstable();
        forms.dedup();
        Self { forms, lines: AtomicU64::new(0), traces: AtomicU64::new(0), found: Mutex::default() }
    }

    /// Through all that any thread of this process logs from the first call on; what it finds ends the process. One for the whole process: later calls
    /// must be for the same secrets.
    ///
    /// # Panics
    /// If the secrets are others than before.
    pub fn everywhere(secrets: &[&str]) -> &'static Self {
        let search = OF_ALL_THREADS.get_or_init(|| Self::new(secrets));
        assert_eq!(search.forms, Self::new(secrets).forms, "one search for the whole process");
        subscribe();
        search
    }

    /// Looks through one line. Whether a secret is in it.
    pub fn look(&self, line: &str) -> bool {
        self.lines.fetch_add(1, Ordering::Relaxed);
        self.traces.fetch_add(u64::from(line.starts_with("TRACE")), Ordering::Relaxed);
        let form = self.forms.iter().find(|form| line.contains(form.as_str()));
        if let Some(form) = form {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.get_or_insert_with(|| format!("{form:?} in {line}"));
        }
        form.is_some()
    }

    /// Lines so far.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// The first secret that was found, in its line.
    pub fn found(&self) -> Option<String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asserts that no secret was logged, and that there was a log: at least so many lines since the search began, and of
    /// the most talkative level too.
    ///
    /// # Panics
    /// If it is not so.
    pub fn assert_nothing_found(&self, lines_min: u64) {
        assert_eq!(self.found(), None, "a password is in the log");
        assert!(self.lines() >= lines_min, "only {} lines were logged, less than {lines_min}", self.lines());
        assert!(lines_min == 0 || self.traces.load(Ordering::Relaxed) > 0, "this log is not talkative");
    }
}

fn subscribe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(|| Lines)
            .init();
    });
}

/// Ends the process, because a secret is in this line. A panic would end a task that perhaps nobody waits for.
fn end(line: &str) {
    // Not by a macro, whose words the harness would keep for itself.
    let _ = io::Write::write_all(&mut io::stderr(), format!("a secret is in the log: {line}\n").as_bytes());
    std::process::exit(1);
}

/// Gets one whole line at a time.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        OF_THIS_THREAD.with_borrow(|log| {
            if let Some(log) = log {
                log.octets().extend_from_slice(octets);
            }
        });
        let line = String::from_utf8_lossy(octets);
        if OF_ALL_THREADS.get().is_some_and(|search| search.look(&line)) {
            end(&line);
        }
        #[cfg(test)]
        watch::line(&line);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
