//! A mailferry as a process, with two nodes on island `a` and one on `b`, and its commands. Its log is at TRACE, and is
//! searched for passwords, as all that the commands say.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::client::Client;
use crate::node::FakeNode;
use crate::program::Started;
pub(crate) use crate::program::{Done, Program};
use crate::said::Log;

/// The folder of a site, which outlives its process.
pub struct Folder(TempDir);

impl Folder {
    /// With island `a` on these nodes, and `b` on the first of them.
    pub fn new(nodes: [u16; 2]) -> Self {
        Self::with(nodes, "socket = \"admin.sock\"\nstate_file = \"operator.json\"\n")
    }

    /// With these lines in `[admin]`.
    pub fn with([left, right]: [u16; 2], admin: &str) -> Self {
        let text = format!(
            "[server]\nhostname = \"mail.example.net\"\n[admin]\n{admin}[log]\nformat = \"json\"\nlevel = \"trace\"\n\
             [[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\ntls = \"off\"\ncleartext_login = true\n\
             [directory]\ntype = \"file\"\npath = \"users\"\n\
             [[island]]\nname = \"a\"\ntls = \"off\"\nfail_back = \"manual\"\ndisconnect_spread = \"1s\"\nnodes = [\n\
             {{ name = \"left\", host = \"127.0.0.1\", imap_port = {left} }},\n\
             {{ name = \"right\", host = \"127.0.0.1\", imap_port = {right} }},\n]\n\
             [island.probe]\ninterval = \"1h\"\n\
             [[island]]\nname = \"b\"\ntls = \"off\"\n\
             nodes = [{{ name = \"only\", host = \"127.0.0.1\", imap_port = {left} }}]\n\
             [island.probe]\ninterval = \"1h\"\n"
        );
        Self::of(&text)
    }

    /// With this configuration, and users of the islands `a` and `b`.
    pub fn of(text: &str) -> Self {
        // As long a name as /etc/mailferry, which tables in the documentation have in its place.
        let dir = tempfile::Builder::new().rand_bytes(5).tempdir().unwrap();
        fs::write(dir.path().join("users"), "alice a\nalina a\nbob b\n").unwrap();
        fs::write(dir.path().join("proxy.toml"), text).unwrap();
        Self(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Changes the configuration.
    pub fn replace(&self, old: &str, new: &str) {
        let text = fs::read_to_string(self.path("proxy.toml")).unwrap();
        assert!(text.contains(old));
        fs::write(self.path("proxy.toml"), text.replace(old, new)).unwrap();
    }

    fn start(&self) -> (Started, Log) {
        let program = Program::new(["run", "--config"]).arg(self.path("proxy.toml"));
        Log::of(|line| program.start(line))
    }

    /// A mailferry that serves.
    pub async fn run(&self) -> Running<'_> {
        let (started, log) = self.start();
        let mut running = Running { folder: self, started, log, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        running.log.line(&["\"message\":\"ready\""]).await;
        let line = running.log.line(&["\"message\":\"listening\""]).await;
        running.address = line.split("\"address\":\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        running
    }

    /// One that does not come to serve: its exit code and all that it said.
    pub async fn fail(&self) -> (Option<i32>, String) {
        let (started, log) = self.start();
        let mut running = Running { folder: self, started, log, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        let status = running.log.until_its_end(&mut running.started.child).await;
        running.log.line(&[""]).await;
        (status.code(), running.log.lines(&[]).join("\n"))
    }

    /// A command with this folder's socket.
    pub async fn command(&self, arguments: &[&str]) -> Done {
        done(Program::new(arguments).arg("--config").arg(self.path("proxy.toml"))).await
    }
}

/// Runs a command to its end, beside the nodes of this process.
pub async fn done(program: Program) -> Done {
    spawn_blocking(move || program.run()).await.unwrap()
}

/// A mailferry that serves. Dropping it kills it.
pub struct Running<'a> {
    folder: &'a Folder,
    started: Started,
    pub log: Log,
    pub address: SocketAddr,
}

impl Running<'_> {
    pub async fn command(&self, arguments: &[&str]) -> Done {
        self.folder.command(arguments).await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    pub fn pid(&self) -> u32 {
        self.started.child.id()
    }

    /// A client that has logged in.
    pub async fn log_in(&self, user: &str) -> Client {
        let mut client = Client::clear(self.address).await;
        client.line().await;
        let answer = client.command("a", &format!("LOGIN {user} right-Pa55")).await;
        assert!(answer.starts_with("a OK"), "{answer}");
        client
    }

    /// Lets it stop as an init system does.
    pub async fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_raw(self.started.child.id() as i32).unwrap(), Signal::TERM).unwrap();
        self.log.until_its_end(&mut self.started.child).await
    }

    /// Ends it with nothing said and nothing tidied up.
    pub async fn kill(mut self) {
        self.started.child.kill().unwrap();
        self.log.until_its_end(&mut self.started.child).await;
    }
}

/// Two friendly nodes and a folder for them.
pub async fn site() -> (FakeNode, FakeNode, Folder) {
    let (left, right) = (FakeNode::imap().await, FakeNode::imap().await);
    let folder = Folder::new([left.port, right.port]);
    (left, right, folder)
}
