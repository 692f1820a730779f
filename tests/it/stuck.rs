//! Files whose reading hangs, as on a network file system whose server is gone: mailferry serves on, and stops when it is told to.
//!
//! A lease of the kernel has the same effect as such a server: whoever opens the file waits until the lease is given back,
//! or broken after `lease-break-time`, 45 s by default, which is longer than these tests wait for anything.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::{Client, DEADLINE};
use crate::node::FakeNode;
use crate::process::{Process, Way};

/// Takes the lease of a file, tells so, and then each time that somebody waits for it.
const HOLDER: &str = r#"
    $| = 1;
    $SIG{IO} = sub { print "asked\n" };
    open(my $file, '<', $ARGV[0]) or die "$!";
    fcntl($file, 1024, 1) or die "no lease: $!"; # F_SETLEASE, F_WRLCK
    print "held\n";
    sleep 1 while 1;
"#;

/// A file that nobody can open. Dropping it lets them.
pub struct Stuck {
    holder: Child,
    told: mpsc::UnboundedReceiver<String>,
}

impl Stuck {
    /// With this content, in the place of what is there.
    pub async fn replace(path: &Path, content: &str) -> Self {
        let new = path.with_extension("new");
        std::fs::write(&new, content).unwrap();
        let mut holder =
            Command::new("perl").args(["-e", HOLDER]).arg(&new).stdout(Stdio::piped()).spawn().expect("perl");
        let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        let (tell, told) = mpsc::unbounded_channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let mut stuck = Self { holder, told };
        stuck.says("held").await;
        std::fs::rename(&new, path).unwrap();
        stuck
    }

    /// Waits until somebody wants to open it, and cannot.
    pub async fn is_asked_for(&mut self) {
        self.says("asked").await;
    }

    async fn says(&mut self, word: &str) {
        let said = timeout(DEADLINE, self.told.recv()).await.expect("nobody opens it");
        assert_eq!(said.as_deref(), Some(word), "the kernel gives no lease here");
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// It serves, and stops in order, although somebody in it waits for the file.
async fn assert_serves_and_stops(process: &mut Process) {
    let mut client = Client::clear(process.address(Way::Clear)).await;
    client.line().await;
    assert!(client.command("a", "LOGIN alice stuck-Pa55").await.starts_with("a OK"));
    assert!(client.command("b", "LOGOUT").await.starts_with("b OK"));
    client.until_closed().await;
    process.terminate();
    assert_eq!(process.exit_code().await, Some(0));
    let late = process.lines(&["did not end in time"]);
    assert!(late.is_empty(), "{late:?}");
    let reloads = process.lines(&["\"message\":\"reloaded\""]);
    assert!(reloads.is_empty(), "somebody has read it: {reloads:?}");
}

#[tokio::test]
async fn a_certificate_that_hangs_while_it_is_read_keeps_neither_logins_nor_the_stop_waiting() {
    let node = FakeNode::imap().await;
    let mut process = Process::start(node.port, (500, 500)).await;
    let chain = process.folder().join("mail.pem");
    let mut stuck = Stuck::replace(&chain, &std::fs::read_to_string(&chain).unwrap()).await;
    stuck.is_asked_for().await;
    assert_serves_and_stops(&mut process).await;
}

#[tokio::test]
async fn a_configuration_that_hangs_while_it_is_read_keeps_neither_logins_nor_the_stop_waiting() {
    let node = FakeNode::imap().await;
    let mut process = Process::start(node.port, (500, 500)).await;
    let text = process.configuration();
    let mut stuck = Stuck::replace(&process.folder().join("proxy.toml"), &text).await;
    process.hang_up();
    stuck.is_asked_for().await;
    assert_serves_and_stops(&mut process).await;
}
