//! The real program as a process of its own: for what only a process has, its memory and its descriptors. Its log is at
//! TRACE, and is searched for passwords.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::client::DEADLINE;
use crate::program::{Program, Started};
use crate::said::Log;
use crate::site::certificate;

/// Which listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Clear,
    StartTls,
    Tls,
}

pub struct Process {
    started: Started,
    addresses: Vec<SocketAddr>,
    tls: Arc<rustls::ClientConfig>,
    log: Log,
    dir: TempDir,
}

impl Process {
    /// A mailferry for this node, with so many descriptors, soft and hard limit; with two threads, which have some of them,
    /// on whatever machine.
    pub async fn start(node: u16, descriptors: (u32, u32)) -> Self {
        Self::start_with(node, descriptors, "").await
    }

    /// The same, with more lines in `[server]`, and sections behind it.
    pub async fn start_with(node: u16, descriptors: (u32, u32), server: &str) -> Self {
        Self::start_in(node, descriptors, server, &[], |_| ()).await
    }

    /// A mailferry that tells systemd of itself at this socket.
    pub async fn start_notifying(node: u16, socket: &Path) -> Self {
        Self::start_in(node, (500, 500), "", &[("NOTIFY_SOCKET", socket)], |_| ()).await
    }

    /// After something was done with the folder of its files. Listeners among the sections come before ours.
    pub async fn start_prepared(node: u16, descriptors: (u32, u32), server: &str, prepare: impl FnOnce(&Path)) -> Self {
        Self::start_in(node, descriptors, server, &[], prepare).await
    }

    async fn start_in(
        node: u16,
        descriptors: (u32, u32),
        server: &str,
        environment: &[(&str, &Path)],
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("users"), "alice a\n").unwrap();
        let files = certificate(&dir, "localhost");
        let roots = mailferry::net::tls::load_roots(&files.chain).unwrap();
        let listener = |tls: &str, cleartext: &str| {
            format!("[[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\ntls = \"{tls}\"\n{cleartext}\n")
        };
        let text = format!(
            "[server]\nhostname = \"mail.example.net\"\nauth_failure_delay = \"1s\"\nthreads = 2\n{server}[admin]\nsocket = \"off\"\n[log]\nformat = \"json\"\nlevel = \"trace\"\n\
             [tls]\ncertificates = [{{ chain = \"mail.pem\", key = \"mail.key\" }}]\n{}{}{}\
             [directory]\ntype = \"file\"\npath = \"users\"\n\
             [[island]]\nname = \"a\"\ntls = \"off\"\n\
             nodes = [{{ name = \"left\", host = \"127.0.0.1\", imap_port = {node} }}]\n\
             [island.probe]\ninterval = \"1h\"\n",
            listener("off", "cleartext_login = true"),
            listener("starttls", ""),
            listener("implicit", ""),
        );
        fs::write(dir.path().join("proxy.toml"), text).unwrap();
        prepare(dir.path());
        let (soft, hard) = descriptors;
        let limits = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
        let mut program = Program::through("sh", &["-c", &limits]).arg("run").arg("--config");
        program = program.arg(dir.path().join("proxy.toml"));
        program = environment.iter().fold(program, |program, (name, value)| program.env(name, value));
        let (started, log) = Log::of(|line| program.start(line));
        let tls = mailferry::net::tls::client_config(roots).unwrap();
        let mut process = Self { started, addresses: Vec::new(), tls, log, dir };
        process.logged(&["\"message\":\"ready\""]).await;
        let address = |line: String| line.split("\"address\":\"").nth(1)?.split('"').next()?.parse().ok();
        let all = process.lines(&["\"message\":\"listening\""]).into_iter().filter_map(address);
        let all: Vec<SocketAddr> = all.collect();
        process.addresses = all[all.len().checked_sub(3).unwrap()..].to_vec();
        process
    }

    /// What stands in its file.
    pub fn configuration(&self) -> String {
        fs::read_to_string(self.dir.path().join("proxy.toml")).unwrap()
    }

    /// Something else is to stand there.
    pub fn configure(&self, text: &str) {
        fs::write(self.dir.path().join("proxy.toml"), text).unwrap();
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_raw(self.started.child.id() as i32).unwrap();
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Sends SIGINT.
    pub fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    /// Waits for its end, and says with which code it was.
    pub async fn exit_code(&mut self) -> Option<i32> {
        self.log.until_its_end(&mut self.started.child).await.code()
    }

    /// Stops it as the system does, and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.started.child.wait().unwrap()
    }

    /// The values of this field, of each thread once.
    pub fn of_threads(&self, field: &str) -> BTreeSet<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.started.child.id())).unwrap();
        let value = |thread: std::io::Result<fs::DirEntry>| {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap().to_owned();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        threads.map(value).collect()
    }

    /// Its warnings, but that it is root, which it may be in a test.
    pub fn warnings(&self) -> Vec<String> {
        let all = self.lines(&["\"level\":\"WARN\""]);
        all.into_iter().filter(|line| !line.contains("this process stays root")).collect()
    }

    pub fn client_tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.tls)
    }

    pub fn address(&self, way: Way) -> SocketAddr {
        self.addresses[way as usize]
    }

    /// A client from an address of its own.
    pub async fn connect(&self, way: Way, number: u16) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        let [high, low] = number.to_be_bytes();
        socket.bind(SocketAddr::new(Ipv4Addr::new(127, 7, high, low).into(), 0)).unwrap();
        let socket =
            timeout(DEADLINE, socket.connect(self.address(way))).await.expect("not connected in time").unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// The lines of its log that hold all of these, up to now.
    pub fn lines(&self, parts: &[&str]) -> Vec<String> {
        self.log.lines(parts)
    }

    /// The first such line, as soon as it is there.
    pub async fn logged(&self, parts: &[&str]) -> String {
        self.log.line(parts).await
    }

    /// Memory that it holds, in octets, as soon as it does not become more.
    pub async fn memory(&self) -> u64 {
        // Hundreds of handshakes take their time where other tests run as well.
        let deadline = Instant::now() + DEADLINE * 6;
        let (mut most, mut calm) = (0, 0);
        while calm < 20 {
            assert!(Instant::now() < deadline, "its memory still grows: {most}");
            sleep(Duration::from_millis(10)).await;
            let now = self.status("VmRSS:") * 1024;
            calm = if now > most { 0 } else { calm + 1 };
            most = most.max(now);
        }
        most
    }

    /// Leaves it with the descriptors that it has, and not one more.
    pub fn take_descriptors(&self) {
        let all = format!("/proc/{}/fd", self.started.child.id());
        let lowest_free = (0..).find(|number| fs::symlink_metadata(format!("{all}/{number}")).is_err());
        self.limit_descriptors(lowest_free.unwrap());
    }

    /// Lets it have more again.
    pub fn give_descriptors(&self) {
        self.limit_descriptors(1_000);
    }

    fn limit_descriptors(&self, soft: u64) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let limit = Rlimit { current: Some(soft), maximum: Some(1_000) };
        prlimit(Pid::from_raw(self.started.child.id() as i32), Resource::Nofile, limit).unwrap();
    }

    /// Descriptors that are open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.started.child.id())).unwrap().count()
    }

    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.started.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}
