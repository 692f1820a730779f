//! A mail site in one process: mailferry with every kind of listener, a file as directory, fake nodes.
//!
//! All that is logged while the tests run, at TRACE and from every library, is kept, and searched as it is logged for what
//! all passwords contain; a site that ends looks through it for those that its test used.

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use mailferry::app::{App, Reloader};
use mailferry::config::Settings;
use mailferry::directory::{SourceSettings, cache, file};
use mailferry::names::{IslandName, NodeName};
use mailferry::net::tls::{CertificateFiles, ServerSettings, Version};
use mailferry::proto::Protocol;
use mailferry::routing::{Check, FailBack, Forward, Island, Node, NodeTls, OperatorState, Policy, Probe};
use mailferry::server::{ListenerSettings, ListenerTls};
use mailferry::testkit::leaks;
use mailferry::{admin, directory, limits, logging, session, testkit};
use rcgen::{CertificateParams, CertifiedKey, KeyPair, generate_simple_self_signed};
use tempfile::TempDir;

use crate::client::{Client, DEADLINE};

/// The listeners of a site. Each accepts both protocols' users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    ImapTls,
    ImapStartTls,
    ImapClear,
    Pop3Tls,
    Pop3StartTls,
    Pop3Clear,
}

pub const DOORS: [Door; 6] =
    [Door::ImapTls, Door::ImapStartTls, Door::ImapClear, Door::Pop3Tls, Door::Pop3StartTls, Door::Pop3Clear];

/// What a test wants to be different from a site where all is well.
pub struct Spec {
    /// Island a's name in the log; the directory finds it as `a`.
    pub name: String,
    /// Ports of island a's nodes, IMAP or POP3 as the test has it.
    pub a: Vec<u16>,
    /// Of island b's.
    pub b: Vec<u16>,
    /// Where all nodes speak IMAP instead, in a test of POP3 that counts connections.
    pub imap_port: Option<u16>,
    /// Where all nodes speak POP3 instead.
    pub pop3_port: Option<u16>,
    /// Whether passwords are accepted before STARTTLS.
    pub cleartext_login: bool,
    pub node_tls: NodeTls,
    pub forward: Forward,
    /// What else is to be different about all sessions.
    pub session: session::Settings,
    pub limits: limits::Settings,
    /// What else is to be different about the listeners.
    pub listen: fn(&mut ListenerSettings),
    /// Whom nodes' certificates must come from; the site's own authority if absent.
    pub node_ca: Option<PathBuf>,
    pub auth_failure_delay: Duration,
    pub login_timeout: Duration,
    pub greeting_timeout: Duration,
    pub node_login_timeout: Duration,
    pub hedge: Option<Duration>,
    pub patience: Duration,
    /// What else is to be different about the islands.
    pub tune: fn(&mut Island),
    pub fail_back: FailBack,
    /// None comes unasked within six minutes, unless a test wants it.
    pub probe: Probe,
    /// Lines of the users' file.
    pub users: &'static str,
    /// More of them, which need not be UTF-8.
    pub more_users: &'static [u8],
    /// Whether there is a socket for commands.
    pub has_socket: bool,
}

impl Spec {
    pub fn new(a: &[u16]) -> Self {
        Self {
            name: "a".to_owned(),
            a: a.to_vec(),
            b: vec![1],
            imap_port: None,
            pop3_port: None,
            cleartext_login: false,
            node_tls: NodeTls::Off,
            forward: Forward::Off,
            session: testkit::settings::session(),
            limits: testkit::settings::limits(),
            listen: |_| {},
            node_ca: None,
            auth_failure_delay: Duration::from_millis(1),
            login_timeout: Duration::from_secs(60),
            greeting_timeout: Duration::from_secs(10),
            node_login_timeout: Duration::from_secs(30),
            hedge: None,
            patience: Duration::ZERO,
            tune: |_| {},
            fail_back: FailBack::After(Duration::from_secs(60)),
            probe: Probe {
                check: Check::Greeting,
                interval: Duration::from_secs(3600),
                timeout: Duration::from_secs(2),
                fall: 3,
                rise: 2,
            },
            users: "alice a\nbob b\nrenamed a real-name\nlost nowhere\n",
            more_users: b"",
            has_socket: false,
        }
    }
}

pub struct Site {
    app: App,
    settings: Settings,
    dir: TempDir,
    tls: Arc<rustls::ClientConfig>,
}

impl Site {
    /// A site whose island a has these nodes.
    pub async fn with(nodes: &[u16]) -> Self {
        Self::start(Spec::new(nodes)).await
    }

    #[allow(clippy::unused_async, reason = "the app must be started inside a runtime")]
    pub async fn start(spec: Spec) -> Self {
        keep_the_log();
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("users"), [spec.users.as_bytes(), spec.more_users].concat()).unwrap();
        let certificate = certificate(&dir, "localhost");
        let tls = trusting(&certificate.chain);
        let settings = settings(&spec, &dir, certificate);
        let app = App::start(settings.clone()).unwrap();
        Self { app, settings, dir, tls }
    }

    pub fn address(&self, door: Door) -> SocketAddr {
        self.app.addresses()[DOORS.iter().position(|it| *it == door).unwrap()]
    }

    /// Where it listened at its start.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.app.addresses().to_vec()
    }

    /// With which it was started.
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// For changing them.
    pub fn reloader(&self) -> &Reloader {
        self.app.reloader()
    }

    pub fn client_tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// Where commands come in.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    /// Writes another certificate for all doors.
    pub fn new_certificate(&self, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        std::fs::write(self.chain(), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(self.dir.path().join("mail.key"), key.serialize_pem()).unwrap();
    }

    /// The certificate of all doors, which is its own authority.
    pub fn chain(&self) -> PathBuf {
        self.dir.path().join("mail.pem")
    }

    /// A client that has been greeted, under TLS where the door has it from the start.
    pub async fn greeted(&self, door: Door) -> Client {
        let mut client = self.connect(door).await;
        let greeting = client.line().await;
        assert!(greeting.starts_with("* OK ") || greeting.starts_with("+OK "), "{greeting}");
        client
    }

    pub async fn connect(&self, door: Door) -> Client {
        match door {
            Door::ImapTls | Door::Pop3Tls => Client::tls(self.address(door), self.client_tls()).await,
            _ => Client::clear(self.address(door)).await,
        }
    }

    /// Ends everything and looks through the log for these passwords, in every form that a secret can have there.
    pub async fn end(self, passwords: &[&str]) {
        tokio::time::timeout(DEADLINE, self.app.stop()).await.expect("the site does not stop");
        let log = log_so_far();
        for password in passwords {
            assert_eq!(leaks::leak(password.as_bytes(), &log), None, "the log holds the password {password:?}");
        }
    }
}

fn settings(spec: &Spec, dir: &TempDir, certificate: CertificateFiles) -> Settings {
    let listener = |protocol, tls| {
        let mut listener = ListenerSettings {
            protocol,
            address: "127.0.0.1:0".parse().unwrap(),
            tls,
            cleartext_login: tls == ListenerTls::Off || (spec.cleartext_login && tls == ListenerTls::StartTls),
            proxy_protocol_from: Vec::new(),
            proxy_protocol_tls: false,
            trusted_networks: Vec::new(),
            client_ca: None,
            default_domain: None,
        };
        (spec.listen)(&mut listener);
        listener
    };
    let kinds = [ListenerTls::Implicit, ListenerTls::StartTls, ListenerTls::Off];
    let of = |protocol| kinds.map(|tls| listener(protocol, tls));
    Settings {
        session: session::Settings {
            login_timeout: spec.login_timeout,
            auth_failure_delay: spec.auth_failure_delay,
            ..spec.session.clone()
        },
        limits: spec.limits.clone(),
        admin: admin::Settings {
            socket: spec.has_socket.then(|| admin::Socket { path: dir.path().join("admin.sock"), is_demanded: true }),
            state_file: dir.path().join("operator.json"),
            ..admin::Settings::default()
        },
        log: logging::Settings {
            format: logging::Format::Json,
            level: tracing::Level::TRACE,
            failures: logging::Failures::All,
        },
        tls: Some(ServerSettings { certificates: vec![certificate.clone()], min_version: Version::Tls12 }),
        listeners: [of(Protocol::Imap), of(Protocol::Pop3)].concat(),
        directory: directory::Settings {
            source: SourceSettings::File(file::Settings { path: dir.path().join("users") }),
            cache: cache::Settings {
                capacity: 1000,
                ttl: Duration::from_secs(300),
                negative_ttl: Duration::from_secs(30),
                stale: Duration::from_secs(3600),
                file: None,
            },
        },
        privileges: mailferry::privileges::Settings::default(),
        sandbox: false,
        threads: None,
        zone: None,
        resolve_interval: Duration::from_secs(30),
        stop: mailferry::session::StopSettings { delay: Duration::ZERO, timeout: Duration::ZERO },
        islands: vec![
            Island { name: IslandName::new(&spec.name), ..island("a", &spec.a, spec, &certificate.chain) },
            island("b", &spec.b, spec, &certificate.chain),
        ],
    }
}

fn island(name: &str, ports: &[u16], spec: &Spec, ca: &std::path::Path) -> Island {
    let sides = ["left", "right", "third"];
    let node = |(&port, side): (&u16, &str)| {
        Arc::new(Node {
            name: NodeName::new(side),
            host: "127.0.0.1".to_owned(),
            imap_port: spec.imap_port.unwrap_or(port),
            pop3_port: spec.pop3_port.unwrap_or(port),
            tls_name: "localhost".to_owned(),
            weight: NonZeroU32::MIN,
            rank: 1,
            zone: None,
            state: OperatorState::InService,
        })
    };
    let mut island = Island {
        name: IslandName::new(name),
        spellings: vec![IslandName::new(name)],
        tls: spec.node_tls,
        forward: spec.forward,
        ca: spec.node_ca.clone().or_else(|| Some(ca.to_owned())),
        connect_timeout: Duration::from_secs(5),
        greeting_timeout: spec.greeting_timeout,
        login_timeout: spec.node_login_timeout,
        policy: Policy::Prefer,
        fail_back: spec.fail_back,
        hedge: spec.hedge,
        patience: spec.patience,
        disconnect_spread: Duration::from_secs(5),
        max_login_rate: None,
        probe: spec.probe.clone(),
        nodes: ports.iter().zip(sides).map(node).collect(),
    };
    (spec.tune)(&mut island);
    island
}

/// A certificate for one name that is its own authority.
pub fn certificate(dir: &TempDir, name: &str) -> CertificateFiles {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let files = CertificateFiles { chain: dir.path().join("mail.pem"), key: dir.path().join("mail.key") };
    std::fs::write(&files.chain, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    files
}

fn trusting(roots: &std::path::Path) -> Arc<rustls::ClientConfig> {
    mailferry::net::tls::client_config(mailferry::net::tls::load_roots(roots).unwrap()).unwrap()
}

/// Its lines. All tests together make far more than one of them should copy again and again.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        // One whole line at a time.
        let line = String::from_utf8_lossy(octets).into_owned();
        crate::program::search(&line);
        LOG.lock().unwrap().push(line);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything at every level from every crate goes into [`LOG`], one JSON object a line.
fn keep_the_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(|| LogWriter)
            .init();
    });
}

pub fn log_so_far() -> String {
    log_since(0)
}

/// What has come behind so many lines.
pub fn log_since(start: usize) -> String {
    LOG.lock().unwrap()[start..].concat()
}

/// Lines of the log.
pub fn log_len() -> usize {
    LOG.lock().unwrap().len()
}

/// The lines of the log that hold all of these, as soon as there are so many of them.
pub async fn logged(parts: &[&str], count: usize) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + DEADLINE * 3;
    let (mut found, mut seen) = (Vec::new(), 0);
    loop {
        let now = log_len();
        found.extend(log_lines_within(seen..now, parts));
        seen = now;
        if found.len() >= count {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "the log has not {count} lines with {parts:?}, but {found:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The lines of the log that hold all of these, up to now.
pub fn log_lines(parts: &[&str]) -> Vec<String> {
    log_lines_within(0..log_len(), parts)
}

/// Those of these lines that hold all of these.
pub fn log_lines_within(range: Range<usize>, parts: &[&str]) -> Vec<String> {
    let log = LOG.lock().unwrap();
    let has_all = |line: &&String| parts.iter().all(|part| line.contains(part));
    log[range].iter().filter(has_all).map(|line| line.trim_end().to_owned()).collect()
}
