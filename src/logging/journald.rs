//! The log in systemd's journal, with a field for each value, over the journal's own socket
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! No value can be taken for a field: one with a line feed goes with its length before it. All names are ours behind
//! [`PREFIX`], so that no field of an event can be one that the journal gives a meaning to. A journal that takes nothing is
//! waited for a moment, and then not at all until it does: lines are lost then, and counted, and mail goes on.

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::{SendFlags, SocketAddrUnix, sendto};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Before every name of ours.
const PREFIX: &str = "MAILFERRY_";

/// Octets of one value; the rest is left out. A datagram has room for more than a hundred of them.
const VALUE_MAX: usize = 2048;

/// How long a line may wait for a journal that is slow.
const PATIENCE: Duration = Duration::from_millis(100);

/// The way to a journal.
pub(super) struct Journal {
    socket: UnixDatagram,
    address: SocketAddrUnix,
    /// Lines that it has not taken.
    lost: AtomicU64,
}

impl Journal {
    /// # Errors
    /// Nobody listens there, or this process may not speak to him.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let journal = Self { socket, address: SocketAddrUnix::new(path)?, lost: AtomicU64::new(0) };
        // An empty message is none, and is answered like any other.
        journal.send(&[], SendFlags::empty())?;
        Ok(journal)
    }

    fn send(&self, entry: &[u8], flags: SendFlags) -> io::Result<()> {
        // By its name each time, so that a journal that was started anew is found.
        sendto(&self.socket, entry, flags | SendFlags::NOSIGNAL, &self.address)?;
        Ok(())
    }

    fn write(&self, entry: &Entry) {
        let lost = self.lost.load(Ordering::Relaxed);
        let flags = if lost > 0 { SendFlags::DONTWAIT } else { SendFlags::empty() };
        match self.send(&entry.0, flags) {
            Ok(()) if lost > 0 && self.lost.compare_exchange(lost, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() => {
                let mut entry = Entry::default();
                entry.put("MESSAGE", &format!("{lost} lines were lost: the journal did not take them"));
                entry.put("PRIORITY", "4");
                entry.put("SYSLOG_IDENTIFIER", "mailferry");
                // If it is lost too, so be it: those that come are counted anew.
                let _ = self.send(&entry.0, SendFlags::DONTWAIT);
            }
            Ok(()) => {}
            Err(_) => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.write(&Entry::of(event));
    }
}

/// What the journal gets of one event.
#[derive(Default)]
struct Entry(Vec<u8>);

impl Entry {
    fn of(event: &Event<'_>) -> Self {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { mut entry, message, values } = fields;
        entry.put("MESSAGE", &format!("{message}{values}"));
        entry.put("PRIORITY", priority(*event.metadata().level()));
        entry.put("SYSLOG_IDENTIFIER", "mailferry");
        let module = event.metadata().target();
        entry.put(&format!("{PREFIX}MODULE"), module.strip_prefix("mailferry::").unwrap_or(module));
        entry
    }

    fn put(&mut self, name: &str, value: &str) {
        let mut end = value.len().min(VALUE_MAX);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let value = value.get(..end).unwrap_or_default();
        let Self(entry) = self;
        entry.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            entry.push(b'\n');
            entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            entry.push(b'=');
        }
        entry.extend_from_slice(value.as_bytes());
        entry.push(b'\n');
    }
}

/// syslog(3)'s numbers.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// An event's values: as fields, and as the text that a reader of the journal sees first.
#[derive(Default)]
struct Fields {
    entry: Entry,
    message: String,
    values: String,
}

impl Fields {
    /// `shown` as it stands in a line of text.
    fn value(&mut self, field: &Field, value: &str, shown: &dyn fmt::Display) {
        match field.name() {
            "message" => push_visible(&mut self.message, value),
            // What `log` has of its own.
            name if name.starts_with("log.") => {}
            name => {
                self.entry.put(&in_capitals(name), value);
                self.values.push(' ');
                self.values.push_str(name);
                self.values.push('=');
                push_visible(&mut self.values, &shown.to_string());
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.value(field, value, &format_args!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.value(field, &text, &text);
    }
}

/// No control character, so that a line stays one.
fn push_visible(text: &mut String, value: &str) {
    for c in value.chars() {
        if c.is_control() {
            let _ = write!(text, "{}", c.escape_default());
        } else {
            text.push(c);
        }
    }
}

/// The journal's names have capital letters, digits and `_`.
fn in_capitals(name: &str) -> String {
    let lawful = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    PREFIX.chars().chain(name.chars().map(lawful)).collect()
}
