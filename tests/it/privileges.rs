//! What the running program may still do: whose rights each of its threads has, and what the sandbox leaves of them.
//!
//! Root proves what root does, and everybody else what they do.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use mailferry::privileges::Account;
use nix::unistd::User;
use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Client, DEADLINE};
use crate::node::FakeNode;
use crate::process::{Process, Way};
use crate::program::Program;

/// So many descriptors are enough for everything here.
const DESCRIPTORS: (u32, u32) = (1_000, 1_000);

/// A folder for routes that are kept.
const KEPT: &str = "[directory.cache]\nfile = \"kept/routes\"\n";

fn one(value: impl Into<String>) -> BTreeSet<String> {
    [value.into()].into()
}

/// As /proc has ids: real, effective, saved, and of files.
fn four(id: u32) -> BTreeSet<String> {
    one(format!("{id} {id} {id} {id}"))
}

/// A folder for the routes that are kept, and everything the user's.
fn belongs_to(user: Option<&Account>, folder: &Path) {
    fs::create_dir(folder.join("kept")).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    let Some(user) = user else { return };
    let within = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in within.chain([folder.to_owned()]) {
        chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
}

/// A port below 1024 that nobody has, at an address that no other run of these tests looks at.
fn low_port() -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let mut all = (600..1024).map(|port| SocketAddr::from(([127, 79, high, low], port)));
    all.find(|address| TcpListener::bind(address).is_ok()).expect("a free port below 1024")
}

async fn logs_in(socket: TcpStream) {
    let mut socket = BufReader::new(socket);
    socket.write_all(b"a LOGIN alice shut-in-Pa55\r\n").await.unwrap();
    let (mut line, mut said) = (String::new(), Vec::new());
    while !line.starts_with("a ") {
        line.clear();
        let read = timeout(DEADLINE, socket.read_line(&mut line)).await.expect("no answer in time").unwrap();
        assert!(read > 0, "closed after {said:?}");
        said.push(line.clone());
    }
    assert!(line.starts_with("a OK "), "{said:?}");
}

/// What is in force in every thread, whoever it is.
fn assert_shut_in(process: &Process) {
    assert_eq!(process.of_threads("NoNewPrivs"), one("1"));
    assert_eq!(process.of_threads("Seccomp"), one("2"), "a filter");
    let said = process.lines(&["\"message\":\"rights\""]).concat();
    let kept = process.folder().join("kept");
    let below = format!("written only below \\\"{}\\\",", kept.display());
    assert!(said.contains(&below) && said.contains("(Landlock ") && said.contains("(seccomp)"), "{said}");
}

#[tokio::test]
async fn started_by_root_it_becomes_the_user_keeps_one_right_and_serves() {
    if !geteuid().is_root() {
        return started_by_somebody_else_it_stays_who_it_is().await;
    }
    let nobody = Account::find("nobody", Some("mail")).unwrap();
    let door = low_port();
    let node = FakeNode::imap().await;
    let server = format!(
        "user = \"nobody\"\ngroup = \"mail\"\n[[listener]]\nprotocol = \"imap\"\naddress = \"{door}\"\n\
         tls = \"off\"\ncleartext_login = true\n{KEPT}"
    );
    let mut process =
        Process::start_prepared(node.port, DESCRIPTORS, &server, |folder| belongs_to(Some(&nobody), folder)).await;
    assert_eq!(process.of_threads("Uid"), four(nobody.uid), "of each thread");
    assert_eq!(process.of_threads("Gid"), four(nobody.gid));
    let groups: BTreeSet<u32> = nobody.groups.iter().copied().collect();
    let theirs = process.of_threads("Groups");
    let theirs: Vec<BTreeSet<u32>> =
        theirs.iter().map(|it| it.split(' ').map(|group| group.parse().unwrap()).collect()).collect();
    assert_eq!(theirs, [groups]);
    // CAP_NET_BIND_SERVICE is number 10.
    let only = format!("{:016x}", 1 << 10);
    for (set, bits) in [("CapEff", &only), ("CapPrm", &only), ("CapBnd", &only), ("CapInh", &format!("{:016x}", 0))] {
        assert_eq!(process.of_threads(set), one(bits), "{set}");
    }
    assert_eq!(process.of_threads("CapAmb"), one(format!("{:016x}", 0)));
    assert_shut_in(&process);
    assert!(process.warnings().is_empty(), "{:?}", process.warnings());
    assert!(process.lines(&["stays root"]).is_empty());
    // In clear text on the port below 1024, and with TLS.
    logs_in(TcpStream::connect(door).await.unwrap()).await;
    let mut client = Client::tls(process.address(Way::Tls), process.client_tls()).await;
    client.line().await;
    assert!(client.command("a", "LOGIN alice shut-in-Pa55").await.starts_with("a OK "));
    assert!(process.stop().success());
    let kept = fs::metadata(process.folder().join("kept/routes")).expect("routes were not kept");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&kept), nobody.uid);
}

async fn started_by_somebody_else_it_stays_who_it_is() {
    let me = User::from_uid(nix::unistd::geteuid()).unwrap().expect("a user with a name");
    let node = FakeNode::imap().await;
    let server = format!("user = {:?}\n{KEPT}", me.name);
    let mut process = Process::start_prepared(node.port, DESCRIPTORS, &server, |folder| belongs_to(None, folder)).await;
    assert_eq!(process.of_threads("Uid"), four(me.uid.as_raw()));
    assert_shut_in(&process);
    logs_in(process.connect(Way::Clear, 1).await).await;
    assert!(process.stop().success() && process.folder().join("kept/routes").exists());
    // Somebody else it cannot become, and says so.
    let text = fs::read_to_string(process.folder().join("proxy.toml")).unwrap();
    let other = if me.name == "nobody" { "daemon" } else { "nobody" };
    let file = process.folder().join("other.toml");
    fs::write(&file, text.replace(&format!("user = {:?}", me.name), &format!("user = {other:?}"))).unwrap();
    let done = Program::new(["run", "--config"]).arg(file).run();
    let expected = format!("cannot become user {other}: ");
    assert!(done.code == 71 && done.err.contains(&expected), "{}", done.err);
}

#[tokio::test]
async fn without_a_user_it_stays_who_it_is_and_root_is_warned() {
    let process =
        Process::start_prepared(FakeNode::dead().await, DESCRIPTORS, KEPT, |folder| belongs_to(None, folder)).await;
    let me = geteuid();
    assert_eq!(process.of_threads("Uid"), four(me.as_raw()));
    assert_shut_in(&process);
    assert_eq!(process.lines(&["this process stays root", "WARN"]).len(), usize::from(me.is_root()));
}

/// The folder that was there at the start is the one that may be written to: another one in its place is not. Root would
/// write there.
async fn replaced_folder(sandbox: bool) -> Process {
    let node = FakeNode::imap().await;
    let server = format!("sandbox = {sandbox}\n{KEPT}");
    let mut process = Process::start_prepared(node.port, DESCRIPTORS, &server, |folder| belongs_to(None, folder)).await;
    fs::rename(process.folder().join("kept"), process.folder().join("old")).unwrap();
    fs::create_dir(process.folder().join("kept")).unwrap();
    logs_in(process.connect(Way::Clear, 1).await).await;
    if !sandbox {
        assert_eq!(process.of_threads("NoNewPrivs"), one("1"), "it costs nothing, so it is not part of the choice");
        assert_eq!(process.of_threads("Seccomp"), one("0"));
    }
    assert!(process.stop().success());
    assert!(!process.folder().join("old/routes").exists());
    process
}

#[tokio::test]
async fn in_the_sandbox_nothing_is_written_outside_of_the_folders() {
    let process = replaced_folder(true).await;
    let said = process.logged(&["routes are not kept"]).await;
    assert!(said.contains("Permission denied"), "{said}");
    assert!(fs::read_dir(process.folder().join("kept")).unwrap().next().is_none());
}

#[tokio::test]
async fn without_the_sandbox_it_may_what_its_user_may_and_says_so() {
    let process = replaced_folder(false).await;
    process.logged(&["files: not restricted (sandbox = false); calls: not restricted (sandbox = false)"]).await;
    assert!(process.folder().join("kept/routes").exists());
}
