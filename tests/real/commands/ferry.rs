//! A mailferry of a test's own, in front of slapd and Dovecots that all tests of commands share: those are slow to start,
//! and mailferry is not.
//!
//! Nobody believes mailferry where a session is: the node's own log has to know it. When a test ends, all that its
//! mailferry has said is searched for the passwords.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::moves::Client;
use crate::program::{Done, Program, Started};
use crate::secrets;
use crate::site::{Protocol, Site};

/// Held for as long as the nodes are to stay as they are.
static NODES: RwLock<()> = RwLock::new(());

/// slapd and the islands. It ends with this process.
pub(super) fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(Site::without_ferry)
}

/// What a test may do to the nodes.
#[expect(dead_code, reason = "held, and given back when dropped")]
enum Claim {
    /// Nothing: others use them.
    Shared(RwLockReadGuard<'static, ()>),
    /// Whatever it likes.
    Sole(RwLockWriteGuard<'static, ()>),
}

/// A mailferry that serves. Dropping it kills it.
pub(super) struct Ferry {
    folder: TempDir,
    pub(super) started: Started,
    log: Arc<Mutex<Vec<String>>>,
    _claim: Claim,
}

/// The site's own configuration, with other doors, and an operator's socket.
pub(super) fn configuration(changes: &[(&str, &str)]) -> String {
    let site = site();
    let text = fs::read_to_string(site.path("FERRY_CONFIG")).unwrap();
    let behind = text.split_once("[limits]\n").unwrap().1;
    let door = "cleartext_login = true\n";
    let mut text = format!(
        "[server]\nhostname = \"mail.example.net\"\nauth_failure_delay = \"100ms\"\ndrain_timeout = \"5s\"\n\
         [admin]\nsocket = \"admin.sock\"\nstate_file = \"operator.json\"\n\
         [log]\nformat = \"json\"\nlevel = \"trace\"\n\
         [[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n{door}\
         [[listener]]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n{door}\
         [limits]\n{behind}"
    );
    // The nodes log what mailferry calls a session.
    for island in ["name = \"a\"\n", "name = \"b\"\n"] {
        text = replaced(&text, island, &format!("{island}forward = \"id\"\n"));
    }
    changes.iter().fold(text, |text, (old, new)| replaced(&text, old, new))
}

fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old:?} is not in the configuration:\n{text}");
    text.replace(old, new)
}

impl Ferry {
    /// In front of both islands.
    pub(super) fn start() -> Self {
        Self::with(&[])
    }

    /// After replacing text in its configuration; each text must occur.
    pub(super) fn with(changes: &[(&str, &str)]) -> Self {
        let claim = Claim::Shared(NODES.read().unwrap_or_else(std::sync::PoisonError::into_inner));
        Self::begin(&configuration(changes), claim)
    }

    /// The same, while no other test of commands uses the nodes.
    pub(super) fn alone(changes: &[(&str, &str)]) -> Self {
        let claim = Claim::Sole(NODES.write().unwrap_or_else(std::sync::PoisonError::into_inner));
        Self::begin(&configuration(changes), claim)
    }

    /// With this configuration.
    pub(super) fn of(text: &str) -> Self {
        Self::begin(text, Claim::Shared(NODES.read().unwrap_or_else(std::sync::PoisonError::into_inner)))
    }

    fn begin(text: &str, claim: Claim) -> Self {
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("proxy.toml");
        fs::write(&config, text).unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let page = Arc::clone(&log);
        let program = Program::new(["run", "--config"]).arg(config);
        let mut started = program.start(move |line| page.lock().unwrap().push(line));
        site().eventually("mailferry is ready", || {
            let ended = started.child.try_wait().unwrap();
            assert_eq!(ended, None, "{}", log.lock().unwrap().join("\n"));
            log.lock().unwrap().iter().any(|line| line.contains("\"message\":\"ready\""))
        });
        Self { folder, started, log, _claim: claim }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path("proxy.toml")
    }

    /// Changes the configuration.
    pub(super) fn rewrite(&self, old: &str, new: &str) {
        fs::write(self.config(), replaced(&fs::read_to_string(self.config()).unwrap(), old, new)).unwrap();
    }

    /// Lines of its log with all these texts.
    pub(super) fn lines(&self, parts: &[&str]) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| parts.iter().all(|part| line.contains(part))).cloned().collect()
    }

    /// Waits until something is true; panics when that takes too long.
    #[track_caller]
    pub(super) fn until(&self, what: &str, test: impl FnMut() -> bool) {
        site().eventually(what, test);
    }

    /// A command to it.
    pub(super) fn command(&self, arguments: &[&str]) -> Done {
        Program::new(arguments).arg("--config").arg(self.config()).run()
    }

    /// What it says to one that succeeds without a warning.
    #[track_caller]
    pub(super) fn said(&self, arguments: &[&str]) -> String {
        self.command(arguments).said()
    }

    /// The same for programs.
    #[track_caller]
    pub(super) fn json(&self, arguments: &[&str]) -> Value {
        self.command(&[arguments, &["--json"]].concat()).json()
    }

    /// What it says to one that ends with this code, and prints nothing on standard output.
    #[track_caller]
    pub(super) fn refused(&self, arguments: &[&str], code: i32) -> String {
        let done = self.command(arguments);
        assert_eq!((done.code, done.out.as_str()), (code, ""), "{arguments:?}: {}", done.err);
        done.err
    }

    pub(super) fn tell(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.started.child), signal).unwrap();
    }

    /// Its exit code, when it ends.
    pub(super) fn ends(&mut self) -> Option<i32> {
        self.started.child.wait().unwrap().code()
    }

    fn port(&self, protocol: Protocol) -> u16 {
        let protocol = format!("\"protocol\":\"{}\"", format!("{protocol:?}").to_lowercase());
        let line = self.lines(&["\"message\":\"listening\"", &protocol]).remove(0);
        let address = line.split_once("\"address\":\"").unwrap().1.split('"').next().unwrap();
        address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// An IMAP client that has sent somebody's login, by this name; the answer comes when it comes.
    pub(super) fn asks(&self, name: &str, uid: &str) -> Client {
        let mut client = Client::at(self.port(Protocol::Imap));
        assert!(client.line().starts_with("* OK"));
        client.say(&format!("a LOGIN {name} {}", site().user(uid).password));
        client
    }

    /// An IMAP client that has logged in.
    pub(super) fn imap(&self, uid: &str) -> Client {
        let mut client = self.asks(uid, uid);
        client.until("a OK");
        client
    }

    /// One that waits for news.
    pub(super) fn idle(&self, uid: &str) -> Client {
        let mut client = self.imap(uid);
        client.say("s SELECT INBOX");
        client.until("s OK");
        client.say("i IDLE");
        client.until("+ ");
        client
    }

    /// A POP3 client that has logged in.
    pub(super) fn pop3(&self, uid: &str) -> Client {
        let mut client = Client::at(self.port(Protocol::Pop3));
        for line in ["", &format!("USER {uid}"), &format!("PASS {}", site().user(uid).password)] {
            if !line.is_empty() {
                client.say(line);
            }
            assert!(client.line().starts_with("+OK"));
        }
        client
    }

    /// Somebody's sessions as mailferry tells them, with the nodes' word that they have them.
    #[track_caller]
    pub(super) fn sessions(&self, uid: &str) -> Vec<Value> {
        let sessions = self.json(&["sessions", "--user", uid])["sessions"].as_array().unwrap().clone();
        for session in &sessions {
            let [id, island, node] = ["session", "island", "node"].map(|it| session[it].as_str().unwrap());
            let file = site().path("FOLDER").join("log").join(format!("{island}-{node}.log"));
            // Dovecot 2.3 and 2.4.
            let user = [format!("Login: user=<{uid}>"), format!("Logged in: user=<{uid}>")];
            let is_it =
                |line: &str| user.iter().any(|it| line.contains(it)) && line.contains(&format!("session=<{id}>"));
            let knows = |file: &Path| fs::read_to_string(file).unwrap().lines().any(is_it);
            self.until(&format!("{island}/{node} logs session {id} of {uid}"), || knows(&file));
        }
        sessions
    }

    /// Where somebody's sessions are, in the order of the nodes' names.
    #[track_caller]
    pub(super) fn places(&self, uid: &str) -> Vec<String> {
        let sessions = self.sessions(uid);
        let place = |it: &Value| format!("{}/{}", it["island"].as_str().unwrap(), it["node"].as_str().unwrap());
        let mut places: Vec<String> = sessions.iter().map(place).collect();
        places.sort_unstable();
        places
    }
}

impl Drop for Ferry {
    fn drop(&mut self) {
        let log = self.lines(&[]).join("\n");
        if std::thread::panicking() {
            let told: Vec<&str> = log.lines().filter(|line| !line.contains("\"TRACE\"")).collect();
            eprintln!("the end of mailferry's log:\n{}", told[told.len().saturating_sub(40)..].join("\n"));
            return;
        }
        site().users().iter().for_each(|user| secrets::assert_absent(&user.password, &log));
    }
}
