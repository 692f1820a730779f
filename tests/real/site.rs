//! The mail site of `scripts/site.sh` as the tests see it: its processes, its users, its doors.
//!
//! A site ends when its [`Site`] is dropped, and also when this process ends in any other way: the script stops when its
//! input ends. Never reads or writes outside the site's folder.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::secrets;

/// How much of mailferry's log a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Somebody with a mailbox.
pub(crate) struct User {
    /// The name on the node.
    pub(crate) uid: String,
    /// Where the mailbox is: `a` or `b`.
    pub(crate) island: String,
    /// The other name to log in with.
    pub(crate) mail: String,
    /// In clear text.
    pub(crate) password: String,
}

/// A login that mailferry logged: where it led.
pub(crate) struct Login {
    pub(crate) island: String,
    pub(crate) node: String,
}

/// What is spoken behind a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Imap,
    Pop3,
}

/// How a connection gets its TLS.
#[expect(clippy::enum_variant_names, reason = "STARTTLS is called so")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Implicit,
    StartTls,
    Off,
}

/// An address that clients can connect to, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    pub(crate) protocol: Protocol,
    pub(crate) tls: Tls,
    /// A name or an address that the certificate holds.
    pub(crate) host: &'static str,
    pub(crate) port: u16,
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {}:{}", self.protocol, self.tls, self.host, self.port)
    }
}

/// A running site.
pub(crate) struct Site {
    script: Child,
    dialogue: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    environment: HashMap<String, String>,
    users: Vec<User>,
    /// Every password that a client was given.
    used: Mutex<BTreeSet<String>>,
}

impl Site {
    /// The site that most tests share, mailferry running in front. Those who break something start their own.
    pub(crate) fn shared() -> Shared {
        static SHARED: OnceLock<Site> = OnceLock::new();
        Shared(SHARED.get_or_init(|| Self::with_ferry(&[])))
    }

    /// A site with mailferry in front, after replacing text in its configuration; each text must occur.
    pub(crate) fn with_ferry(changes: &[(&str, &str)]) -> Self {
        let site = Self::without_ferry();
        let path = site.path("FERRY_CONFIG");
        let mut config = fs::read_to_string(&path).unwrap();
        // Its end searches the log for passwords: as talkative as can be.
        for (old, new) in [&("[log]\n", "[log]\nlevel = \"trace\"\n")].into_iter().chain(changes) {
            let (old, new) = (site.expanded(old), site.expanded(new));
            assert!(config.contains(&old), "{old:?} is not in the configuration:\n{config}");
            config = config.replace(&old, &new);
        }
        fs::write(&path, config).unwrap();
        site.order("start mailferry");
        site
    }

    /// slapd and the islands only.
    pub(crate) fn without_ferry() -> Self {
        refuse_to_skip();
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/site.sh"))
            .env("MAILFERRY", crate::program::PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/site.sh should start");
        let mut output = BufReader::new(script.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let file = line.trim_end().strip_prefix("ready ").expect("the site should come up; its words are above");
        let mut site = Self {
            environment: HashMap::from([("FOLDER".into(), Path::new(file).parent().unwrap().to_str().unwrap().into())]),
            users: Vec::new(),
            used: Mutex::default(),
            dialogue: Mutex::new(Some((script.stdin.take().unwrap(), output))),
            script,
        };
        site.read_environment();
        site.read_users();
        site
    }

    fn read_environment(&mut self) {
        let text = fs::read_to_string(self.path("FOLDER").join("site.env")).unwrap();
        let pairs = text.lines().map(|line| {
            let (name, value) = line.split_once('=').unwrap();
            (name.to_owned(), value.trim_matches('\'').to_owned())
        });
        self.environment = pairs.collect();
    }

    fn read_users(&mut self) {
        let text = fs::read_to_string(self.path("USERS")).unwrap();
        for line in text.lines() {
            let mut fields = line.split('\t').map(str::to_owned);
            let mut field = || fields.next().unwrap();
            self.users.push(User { uid: field(), island: field(), mail: field(), password: field() });
        }
        assert_eq!(self.users.len(), 6);
    }

    /// Tells the script to do something, and panics if it cannot.
    pub(crate) fn order(&self, order: &str) {
        let mut dialogue = self.dialogue.lock().unwrap_or_else(PoisonError::into_inner);
        let (input, output) = dialogue.as_mut().unwrap();
        writeln!(input, "{order}").unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim_end(), "ok", "the site's answer to {order:?}");
    }

    /// Somebody by uid.
    pub(crate) fn user(&self, uid: &str) -> &User {
        self.users.iter().find(|user| user.uid == uid).unwrap()
    }

    /// Everybody.
    pub(crate) fn users(&self) -> &[User] {
        &self.users
    }

    /// What was put into somebody's mailbox, in order.
    pub(crate) fn messages(&self, user: &User) -> Vec<Vec<u8>> {
        let folder = self.path("MESSAGES").join(&user.uid);
        (1..=3).map(|n| fs::read(folder.join(format!("{n}.eml"))).unwrap()).collect()
    }

    /// A path of `site.env`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.value(name).into()
    }

    /// A value of `site.env`.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.environment.get(name).unwrap_or_else(|| panic!("{name} is not in site.env"))
    }

    /// Notes a password, so that no log may hold it.
    pub(crate) fn will_use(&self, password: &str) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(password.to_owned());
    }

    /// Everything that mailferry logged so far; empty when it never ran.
    pub(crate) fn ferry_log(&self) -> String {
        fs::read(self.path("FERRY_LOG")).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// The logins of a user that mailferry logged with a node, in order.
    pub(crate) fn ferry_logins(&self, uid: &str) -> Vec<Login> {
        let log = self.ferry_log();
        let logins = log.lines().filter(|line| line.contains("\"message\":\"login\""));
        let his = logins.filter(|line| text_field(line, "user") == Some(uid));
        his.filter_map(|line| {
            Some(Login { island: text_field(line, "island")?.into(), node: text_field(line, "node")?.into() })
        })
        .collect()
    }

    /// How often a node's own log says that a user has logged in.
    pub(crate) fn node_logins(&self, node: &str, uid: &str) -> usize {
        let log = fs::read_to_string(self.path("FOLDER").join("log").join(format!("{node}.log"))).unwrap();
        let texts = [format!("Login: user=<{uid}>"), format!("Logged in: user=<{uid}>")]; // Dovecot 2.3 and 2.4
        log.lines().filter(|line| texts.iter().any(|text| line.contains(text))).count()
    }

    /// How many searches a directory's own log tells of.
    pub(crate) fn searches(&self, directory: &str) -> usize {
        let log = fs::read_to_string(self.path("FOLDER").join("log").join(format!("{directory}.log"))).unwrap();
        log.lines().filter(|line| line.contains(" SRCH base=")).count()
    }

    /// Waits until something is true; panics when that takes too long.
    #[expect(clippy::disallowed_methods, reason = "another process is waited for, which sends no event")]
    pub(crate) fn eventually(&self, what: &str, mut test: impl FnMut() -> bool) {
        let start = std::time::Instant::now();
        while !test() {
            assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Looks for secrets in what mailferry logged, or shows the end of it when the test has failed already.
    fn end_of_test(&self) {
        let log = self.ferry_log();
        if std::thread::panicking() {
            let lines: Vec<_> = log.lines().collect();
            eprintln!(
                "the end of mailferry's log:\n{}",
                lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
            );
            return;
        }
        let bind_password = fs::read_to_string(self.path("FOLDER").join("directory/bind.secret")).unwrap();
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        for password in used.iter().chain([&bind_password]) {
            secrets::assert_absent(password, &log);
        }
    }

    fn port(&self, name: &str) -> u16 {
        self.value(name).parse().unwrap()
    }

    /// Replaces `$NAME` by its value in `site.env`; longer names first, since some begin alike.
    fn expanded(&self, text: &str) -> String {
        let mut names: Vec<_> = self.environment.keys().collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        names.into_iter().fold(text.to_owned(), |text, name| text.replace(&format!("${name}"), self.value(name)))
    }

    /// mailferry's listeners on IPv4.
    pub(crate) fn doors(&self) -> Vec<Door> {
        self.all_doors("FERRY", "_CLEAR")
    }

    /// mailferry's listeners on `[::1]`.
    pub(crate) fn doors_v6(&self) -> Vec<Door> {
        assert_eq!(self.value("IPV6"), "yes", "these tests need the IPv6 loopback address ::1, which is missing here");
        let door = |protocol, name| Door { protocol, tls: Tls::Implicit, host: "::1", port: self.port(name) };
        vec![door(Protocol::Imap, "FERRY_IMAPS_V6"), door(Protocol::Pop3, "FERRY_POP3S_V6")]
    }

    /// A node's own listeners, past mailferry. They take logins in clear text where STARTTLS is offered.
    pub(crate) fn node_doors(&self, node: &str) -> Vec<Door> {
        self.all_doors(&node.to_uppercase().replace('-', "_"), "")
    }

    fn all_doors(&self, who: &str, clear: &str) -> Vec<Door> {
        let mut doors = Vec::new();
        for (protocol, name) in [(Protocol::Imap, "IMAP"), (Protocol::Pop3, "POP3")] {
            for (tls, suffix) in [(Tls::Implicit, "S"), (Tls::StartTls, ""), (Tls::Off, clear)] {
                let port = self.port(&format!("{who}_{name}{suffix}"));
                doors.push(Door { protocol, tls, host: "localhost", port });
            }
        }
        doors
    }
}

/// A test's hold on the shared site: what mailferry wrote is looked through when the test ends.
pub(crate) struct Shared(&'static Site);

impl Deref for Shared {
    type Target = Site;

    fn deref(&self) -> &Site {
        self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.0.end_of_test();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.end_of_test();
        let dialogue = self.dialogue.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((input, mut output)) = dialogue {
            drop(input);
            let _ = output.read_to_end(&mut Vec::new()); // ends when the folder is gone
        }
        let _ = self.script.wait();
    }
}

/// The value of a text field in a line of JSON; none of those that tests ask for holds an escape.
fn text_field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_once(&format!("\"{name}\":\""))?.1.split('"').next()
}

/// A part that is not installed fails every test, by name.
fn refuse_to_skip() {
    let answer =
        Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install.sh")).arg("missing").output().unwrap();
    let missing = String::from_utf8_lossy(&answer.stdout);
    assert!(answer.status.success(), "please install (scripts/install.sh test does it): {}", missing.trim_end());
}
