//! A folder with the files of a mailferry that listens at an address of its own, and the processes that serve there one
//! after the other.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::client::Client;
use crate::program::{self, Started};
use crate::said::Log;

/// Addresses of loopback that nobody else has: a port that is free there stays so.
static NEXT: AtomicU16 = AtomicU16::new(1);

pub struct Place {
    dir: TempDir,
    pub address: SocketAddr,
}

impl Place {
    /// For island `a` on this node. More lines for `[server]`, and sections behind it.
    pub fn new(node: u16, server: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let [high, low] = NEXT.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        let socket = TcpListener::bind((Ipv4Addr::new(127, 77, high, low), 0)).unwrap();
        let address = socket.local_addr().unwrap();
        fs::write(dir.path().join("users"), "alice a\n").unwrap();
        let text = format!(
            "[server]\nhostname = \"mail.example.net\"\n{server}[admin]\nsocket = \"admin.sock\"\n\
             state_file = \"operator.json\"\n[log]\nformat = \"json\"\n{}\
             [directory]\ntype = \"file\"\npath = \"users\"\n\
             [[island]]\nname = \"a\"\ntls = \"off\"\n\
             nodes = [{{ name = \"left\", host = \"127.0.0.1\", imap_port = {node} }}]\n\
             [island.probe]\ninterval = \"1h\"\n",
            listener(address),
        );
        let place = Self { dir, address };
        place.write(&text);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn configuration(&self) -> String {
        fs::read_to_string(self.path("proxy.toml")).unwrap()
    }

    pub fn write(&self, text: &str) {
        fs::write(self.path("proxy.toml"), text).unwrap();
    }

    /// One that may not start.
    pub fn try_start(&self, arguments: &[&str]) -> Program {
        Program::start(self.run(arguments))
    }

    fn run(&self, arguments: &[&str]) -> program::Program {
        let configuration = self.path("proxy.toml");
        let all = ["run"].iter().chain(arguments).copied().chain(["--config", configuration.to_str().unwrap()]);
        program::Program::new(all)
    }

    /// One that serves.
    pub async fn start(&self, arguments: &[&str]) -> Program {
        self.try_start(arguments).ready().await
    }

    /// One to which systemd, as which we act, passes two sockets by these names, and which tells it of itself.
    pub fn pass(&self, sockets: [OwnedFd; 2], names: &str, notify: Option<&Path>) -> Program {
        let script = "exec env LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=\"$2\" \"$3\" run --config \"$1\" \
                      3<&0 4<&1 </dev/null >/dev/null";
        let configuration = self.path("proxy.toml");
        let starter = program::Program::through("sh", &["-c", script, "sh", configuration.to_str().unwrap(), names]);
        let starter = match notify {
            Some(notify) => starter.env("NOTIFY_SOCKET", notify),
            None => starter,
        };
        let [first, second] = sockets;
        Program::of(|line| starter.start_holding(first.into(), second.into(), line))
    }

    pub fn start_notifying(&self, notify: &Path) -> Program {
        self.start_with_environment(&[("NOTIFY_SOCKET", notify.to_str().unwrap())])
    }

    pub fn start_with_environment(&self, environment: &[(&str, &str)]) -> Program {
        Program::start(environment.iter().fold(self.run(&[]), |program, (name, value)| program.env(name, value)))
    }

    /// What an operator's command prints; it must succeed.
    pub async fn said(&self, arguments: &[&str]) -> String {
        let (code, said) = self.command(arguments).await;
        assert_eq!(code, Some(0), "{said}");
        said
    }

    pub async fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let command = program::Program::new(arguments).arg("--config").arg(self.path("proxy.toml"));
        let done = spawn_blocking(move || command.run()).await.unwrap();
        (Some(done.code), done.out + &done.err)
    }

    /// The process that answers at the operator's socket.
    pub async fn operators_pid(&self) -> u32 {
        let socket = tokio::net::UnixStream::connect(self.path("admin.sock")).await.unwrap();
        drop(socket);
        let said: serde_json::Value = serde_json::from_str(&self.said(&["status", "--json"]).await).unwrap();
        said["pid"].as_u64().unwrap().try_into().unwrap()
    }

    /// A client that has logged in.
    pub async fn log_in(&self) -> Client {
        let mut client = Client::clear(self.address).await;
        client.line().await;
        let answer = client.command("a", "LOGIN alice right-Pa55").await;
        assert!(answer.starts_with("a OK"), "{answer}");
        client
    }
}

/// A move without a command, which runs beside everything else.
pub struct Mover {
    started: Started,
    log: Log,
}

impl Mover {
    /// It has looked at the directory, and waits for the operator's word.
    pub async fn waits(place: &Place, whom: &[&str]) -> Self {
        let command = program::Program::new(["move"]).also(whom).arg("--config").arg(place.path("proxy.toml"));
        Self::begins(command).await
    }

    /// The same, as this command.
    pub async fn begins(command: program::Program) -> Self {
        let (started, log) = Log::of_both(command);
        log.line(&["change the directory now"]).await;
        Self { started, log }
    }

    /// Its exit code, and all that it has said.
    pub async fn ends(mut self) -> (Option<i32>, String) {
        let status = self.log.until_its_end(&mut self.started.child).await;
        (status.code(), self.log.lines(&[]).join("\n"))
    }
}

/// A listener without TLS.
pub fn listener(address: SocketAddr) -> String {
    format!("[[listener]]\nprotocol = \"imap\"\naddress = \"{address}\"\ntls = \"off\"\ncleartext_login = true\n")
}

/// A mailferry. Dropping it kills it.
pub struct Program {
    started: Started,
    log: Log,
}

impl Program {
    fn start(program: program::Program) -> Self {
        Self::of(|line| program.start(line))
    }

    fn of(start: impl FnOnce(Box<dyn FnMut(String) + Send>) -> Started) -> Self {
        let (started, log) = Log::of(start);
        Self { started, log }
    }

    pub async fn ready(self) -> Self {
        self.logged(&["\"message\":\"ready\""]).await;
        self
    }

    pub fn pid(&self) -> u32 {
        self.started.child.id()
    }

    /// The lines of its log that hold all of these, up to now.
    pub fn lines(&self, parts: &[&str]) -> Vec<String> {
        self.log.lines(parts)
    }

    /// The first such line, as soon as it is there.
    pub async fn logged(&self, parts: &[&str]) -> String {
        self.log.line(parts).await
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.started.child.id() as i32).unwrap(), signal).unwrap();
    }

    /// How it ended, and all that it said.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = self.log.until_its_end(&mut self.started.child).await;
        (status, self.lines(&[]).join("\n"))
    }
}
