//! What one test logs, apart from all the others that run at the same time.
//!
//! One subscriber serves the whole process and writes to the log of the thread, which is one test's. With a subscriber
//! for each test, an event that first happens in a test without one would be lost to all.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

thread_local! {
    static OF_THIS_THREAD: RefCell<Log> = RefCell::default();
}

/// A log at TRACE, from every crate, as text without times.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

/// As long as it lives, its thread's events go to its log.
pub struct Listening(());

impl Log {
    /// Takes what this thread logs from now on.
    pub fn start(&self) -> Listening {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_ansi(false)
                .without_time()
                .with_target(false)
                .with_writer(|| OF_THIS_THREAD.with_borrow(Self::clone))
                .init();
        });
        OF_THIS_THREAD.set(self.clone());
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

impl io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.octets().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
