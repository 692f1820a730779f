//! Real mail clients, each as a program of its own: they log in at a door and read a whole mailbox.
//!
//! A client that hangs is killed and fails the test. What a client does to a message on its way to the disk
//! (its own header lines, line ends) is undone by name, so that all else is compared octet for octet.

mod curl;
mod fetchmail;
mod getmail;
mod mbsync;
mod python;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::site::{Door, Protocol, Site, Tls};

pub(crate) use curl::{Mechanism, log_in_with};

/// Seconds that a client may take from start to end.
const TIME_LIMIT: &str = "60";
/// What timeout(1) returns when it had to end the client.
const TIMED_OUT: i32 = 124;

/// The clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Curl,
    /// imaplib and poplib.
    Python,
    Mbsync,
    Fetchmail,
    Getmail,
}

/// How a visit ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The whole mailbox, in order.
    Mail(Vec<Vec<u8>>),
    /// The server said no to the login: the client's own words.
    Refused(String),
}

/// One run of a client.
struct Visit<'a> {
    door: Door,
    name: &'a str,
    password: &'a str,
    ca: &'a str,
    /// For the client's own files.
    home: &'a Path,
    /// For the messages: 1, 2, …
    inbox: &'a Path,
}

impl Client {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Curl, Self::Python, Self::Mbsync, Self::Fetchmail, Self::Getmail];

    /// Whether the client has what it takes for this door.
    pub(crate) fn can_use(self, door: Door) -> bool {
        match self {
            Self::Curl | Self::Python => true,
            Self::Mbsync => door.protocol == Protocol::Imap && door.host == "localhost",
            Self::Fetchmail => door.host == "localhost", // it looks for no address in a certificate
            Self::Getmail => door.tls != Tls::StartTls && door.host == "localhost",
        }
    }

    /// Whether the client can send this password through this door.
    pub(crate) fn can_say(self, password: &str) -> bool {
        self != Self::Getmail || password.is_ascii()
    }

    /// Logs in and reads everything. Anything but mail or a refusal of the login is a panic.
    pub(crate) fn read(self, site: &Site, door: Door, name: &str, password: &str) -> Answer {
        site.will_use(password);
        let home = new_folder(site);
        let inbox = home.join("inbox");
        fs::create_dir(&inbox).unwrap();
        let visit = Visit { door, name, password, ca: site.value("CA"), home: &home, inbox: &inbox };
        match self {
            Self::Curl => curl::read(&visit),
            Self::Python => python::read(&visit),
            Self::Mbsync => mbsync::read(&visit),
            Self::Fetchmail => fetchmail::read(&visit),
            Self::Getmail => getmail::read(&visit),
        }
    }

    /// What the client makes of a message that it receives.
    pub(crate) fn as_stored(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Curl | Self::Python => message.to_vec(),
            Self::Mbsync | Self::Fetchmail | Self::Getmail => without_cr(message),
        }
    }
}

impl Visit<'_> {
    /// A command under a time limit, in surroundings of its own.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", TIME_LIMIT, program]).current_dir(self.home);
        command.env("HOME", self.home).env("LC_ALL", "C.UTF-8").env_remove("http_proxy").env_remove("https_proxy");
        command
    }

    /// The messages, when the client ended well; its refusal, when it says so; a panic otherwise.
    fn answer(&self, output: &Output, refused: impl FnOnce(&Output, &str) -> bool) -> Answer {
        let words = words(output);
        if output.status.success() {
            return Answer::Mail(self.messages());
        }
        assert!(output.status.code() != Some(TIMED_OUT), "{}: still busy after {TIME_LIMIT} s: {words}", self.door);
        assert!(refused(output, &words), "{} as {}: {}: {words}", self.door, self.name, output.status);
        Answer::Refused(words)
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        let paths = (1..).map(|n| self.inbox.join(n.to_string()));
        paths.take_while(|path| path.exists()).map(|path| fs::read(path).unwrap()).collect()
    }

    /// A file of the client's, in its own folder.
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.home.join(name);
        fs::write(&path, content).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600); // or fetchmail refuses its own
        fs::set_permissions(&path, private).unwrap();
        path
    }
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn new_folder(site: &Site) -> PathBuf {
    static COUNTER: AtomicU32 = AtomicU32::new(1);
    let path = site.path("FOLDER").join("clients").join(COUNTER.fetch_add(1, Ordering::Relaxed).to_string());
    fs::create_dir_all(&path).unwrap();
    path
}

/// Without the first line that begins so, if there is one.
fn without_line(message: Vec<u8>, beginning: &str) -> Vec<u8> {
    let mut looking = true;
    let keep = |line: &&[u8]| {
        let found = looking && line.starts_with(beginning.as_bytes());
        looking &= !found;
        !found
    };
    message.split_inclusive(|&octet| octet == b'\n').filter(keep).flatten().copied().collect()
}

fn without_cr(message: &[u8]) -> Vec<u8> {
    message.iter().copied().filter(|&octet| octet != b'\r').collect()
}
