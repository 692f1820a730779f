//! Reload: what changes live, and that nobody who is there feels it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mailferry::app::{ReloadError, StartError};
use mailferry::config::Settings;
use mailferry::names::IslandName;
use mailferry::net::tls::{CertificateFiles, client_config, load_roots};
use mailferry::proto::Protocol;
use mailferry::routing::{Island, Node};
use mailferry::server::{ListenerSettings, ListenerTls};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::client::Client;
use crate::node::{FakeNode, WRONG};
use crate::site::{DOORS, Door, Site, certificate, log_lines, logged};

/// What is to change.
fn with(mut settings: Settings, change: impl FnOnce(&mut Settings)) -> Settings {
    change(&mut settings);
    settings
}

/// The node at this place of the island with another port for IMAP.
fn at_port(island: &mut Island, place: usize, imap_port: u16) {
    island.nodes[place] = Arc::new(Node { imap_port, ..(*island.nodes[place]).clone() });
}

async fn log_in(client: &mut Client, tag: &str, user: &str, password: &str) {
    let answer = client.command(tag, &format!("LOGIN {user} {password}")).await;
    assert!(answer.starts_with(&format!("{tag} OK")), "{answer}");
}

async fn greeted(address: SocketAddr) -> Client {
    let mut client = Client::clear(address).await;
    assert!(client.line().await.starts_with("* OK"));
    client
}

fn place(door: Door) -> usize {
    DOORS.iter().position(|it| *it == door).unwrap()
}

#[tokio::test]
async fn an_island_that_was_added_serves_the_next_login_of_who_was_connected_before() {
    let (here, there) = (FakeNode::imap().await, FakeNode::imap().await);
    let site = Site::with(&[here.port]).await;
    let mut client = site.greeted(Door::ImapClear).await;
    let answer = client.command("a", "LOGIN lost added-Pa55").await;
    assert!(answer.starts_with("a NO [UNAVAILABLE]"), "{answer}");
    let new = with(site.settings(), |it| {
        let mut island = Island { name: IslandName::new("nowhere"), ..it.islands[0].clone() };
        island.spellings = vec![IslandName::new("nowhere")];
        at_port(&mut island, 0, there.port);
        it.islands.push(island);
    });
    let changes = site.reloader().take_up(new).await.unwrap();
    assert_eq!(changes.live.iter().map(ToString::to_string).collect::<Vec<_>>(), ["[island] nowhere added"]);
    log_in(&mut client, "b", "lost", "added-Pa55").await;
    assert_eq!((here.logins().len(), there.logins().len()), (0, 1));
    // And it goes as it has come.
    site.reloader().take_up(site.settings()).await.unwrap();
    assert!(client.command("c", "NOOP").await.starts_with("c OK"), "a session ends with its island's removal");
    let mut late = site.greeted(Door::ImapClear).await;
    assert!(late.command("a", "LOGIN lost added-Pa55").await.starts_with("a NO [UNAVAILABLE]"));
    site.end(&["added-Pa55"]).await;
}

#[tokio::test]
async fn a_session_lives_on_when_its_node_is_removed_and_the_next_login_goes_elsewhere() {
    let (left, right) = (FakeNode::imap().await, FakeNode::imap().await);
    let site = Site::with(&[left.port, right.port]).await;
    let mut old = site.greeted(Door::ImapTls).await;
    log_in(&mut old, "a", "alice", "stays-Pa55").await;
    assert_eq!((left.logins().len(), right.logins().len()), (1, 0));
    let new = with(site.settings(), |it| drop(it.islands[0].nodes.remove(0)));
    let changes = site.reloader().take_up(new).await.unwrap();
    assert!(changes.live.iter().any(|it| it.to_string() == "[island.nodes] left of a removed"), "{changes:?}");
    let mut next = site.greeted(Door::ImapTls).await;
    log_in(&mut next, "a", "alice", "stays-Pa55").await;
    assert_eq!((left.logins().len(), right.logins().len()), (1, 1));
    assert!(old.command("b", "NOOP").await.starts_with("b OK"), "the session on the node that was removed");
    site.end(&["stays-Pa55"]).await;
}

/// One more listener in clear text at this address.
fn with_listener(settings: Settings, address: &str) -> Settings {
    with(settings, |it| {
        let clear = it.listeners[place(Door::ImapClear)].clone();
        it.listeners.push(ListenerSettings { address: address.parse().unwrap(), ..clear });
    })
}

#[tokio::test]
async fn listeners_come_and_go_and_whoever_is_connected_stays() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    site.reloader().take_up(with_listener(site.settings(), "127.0.0.2:0")).await.unwrap();
    let before = site.reloader().addresses().await;
    assert_eq!(before[..6], site.addresses(), "sockets whose addresses stay are kept");
    let mut session = greeted(before[6]).await;
    log_in(&mut session, "a", "alice", "doors-Pa55").await;
    let mut stranger = greeted(before[6]).await;
    let mut at_kept = greeted(before[1]).await;
    // One goes, one comes, one changes.
    let new = with(with_listener(site.settings(), "127.0.0.3:0"), |it| it.listeners[1].cleartext_login = true);
    let changes = site.reloader().take_up(new).await.unwrap();
    let said: Vec<_> = changes.live.iter().map(ToString::to_string).collect();
    let expected = ["127.0.0.2:0 removed", "127.0.0.1:0 changed: cleartext_login", "127.0.0.3:0 added"];
    assert_eq!(said, expected.map(|it| format!("[listener] {it}")));
    let after = site.reloader().addresses().await;
    assert_eq!(after[..6], before[..6]);
    assert!(TcpStream::connect(before[6]).await.is_err(), "the listener that was removed still listens");
    log_in(&mut greeted(after[6]).await, "a", "alice", "doors-Pa55").await;
    assert!(session.command("b", "NOOP").await.starts_with("b OK"), "a session of the listener that was removed");
    log_in(&mut stranger, "a", "alice", "doors-Pa55").await;
    // Who was connected before finds the door as it was.
    let refused = at_kept.command("a", "LOGIN alice doors-Pa55").await;
    assert!(refused.starts_with("a NO [PRIVACYREQUIRED]"), "{refused}");
    log_in(&mut greeted(before[1]).await, "a", "alice", "doors-Pa55").await;
    site.end(&["doors-Pa55"]).await;
}

#[tokio::test]
async fn limits_hold_as_soon_as_they_are_changed() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapClear).await;
    assert!(client.command("a", &format!("LOGIN alice {WRONG}")).await.starts_with("a NO"));
    let new = with(site.settings(), |it| {
        it.limits.failed_logins = NonZeroU32::new(2).unwrap();
        it.limits.sessions_per_user = NonZeroU32::new(1);
    });
    site.reloader().take_up(new).await.unwrap();
    let mut one = site.greeted(Door::ImapClear).await;
    log_in(&mut one, "a", "alice", "limit-Pa55").await;
    let mut other = site.greeted(Door::ImapClear).await;
    assert!(other.command("a", "LOGIN alice limit-Pa55").await.starts_with("a NO [LIMIT]"));
    client.send(format!("b LOGIN alice {WRONG}\r\n")).await;
    let rest = String::from_utf8(client.rest().await).unwrap();
    assert!(rest.contains("b NO") && rest.contains("* BYE"), "{rest}");
    site.end(&["limit-Pa55"]).await;
}

#[tokio::test]
async fn a_configuration_with_problems_changes_nothing_and_every_problem_is_told() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "[server]\nhostname = \"-\"\n[limits]\nconnections = \"none\"\n").unwrap();
    match site.reloader().reload(&file).await {
        Err(ReloadError::File(report)) => assert!(report.problems().count() > 2),
        other => panic!("{other:?}"),
    }
    let file = file.display().to_string();
    let told = logged(&["problem of the configuration", &file], 3).await;
    assert!(told.iter().any(|line| line.contains("\"line\":2,\"column\":12")), "{told:?}");
    // What cannot be bound leaves everything as it was too, and what was bound before it is closed.
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = FakeNode::dead().await;
    let new = with(site.settings(), |it| {
        it.session.hostname = "other.example.net".into();
        let listener = it.listeners[place(Door::ImapClear)].clone();
        let at = |address| ListenerSettings { address, ..listener.clone() };
        it.listeners.push(at(([127, 0, 0, 1], free).into()));
        it.listeners.push(at(taken.local_addr().unwrap()));
        it.islands.remove(0);
    });
    match site.reloader().take_up(new).await {
        Err(ReloadError::Parts(StartError::Bind { address, .. })) => assert_eq!(address, taken.local_addr().unwrap()),
        other => panic!("{other:?}"),
    }
    assert!(TcpStream::connect(("127.0.0.1", free)).await.is_err(), "half of it is there");
    let mut client = site.connect(Door::ImapClear).await;
    assert!(client.line().await.contains("mail.example.net"));
    log_in(&mut client, "a", "alice", "same-Pa55").await;
    site.end(&["same-Pa55"]).await;
}

/// A pair in a folder of its own, for one name of the host.
fn pair(dir: &TempDir, folder: &str) -> CertificateFiles {
    let folder = dir.path().join(folder);
    std::fs::create_dir(&folder).unwrap();
    let made = TempDir::new_in(&folder).unwrap();
    let files = certificate(&made, "localhost");
    let into = |path: &Path| {
        let name = folder.join(path.file_name().unwrap());
        std::fs::rename(path, &name).unwrap();
        name
    };
    CertificateFiles { chain: into(&files.chain), key: into(&files.key) }
}

/// A client that trusts this certificate alone.
async fn trusting(site: &Site, chain: &Path) -> Client {
    let roots = load_roots(chain).unwrap();
    let mut client = Client::tls(site.addresses()[place(Door::ImapTls)], client_config(roots).unwrap()).await;
    assert!(client.line().await.starts_with("* OK"));
    client
}

fn served_from(site: &Site, files: CertificateFiles) -> Settings {
    with(site.settings(), |it| it.tls.as_mut().unwrap().certificates = vec![files])
}

fn link(to: &Path, at: &Path) {
    let fresh = at.with_extension("fresh");
    std::os::unix::fs::symlink(to, &fresh).unwrap();
    std::fs::rename(fresh, at).unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_replaced_by_a_link_or_by_renaming_serves_the_next_handshake() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let dir = TempDir::new().unwrap();
    let [one, two, three] = ["1", "2", "3"].map(|folder| pair(&dir, folder));
    let live = dir.path().join("live");
    link(one.chain.parent().unwrap(), &live);
    let files = CertificateFiles { chain: live.join("mail.pem"), key: live.join("mail.key") };
    site.reloader().take_up(served_from(&site, files.clone())).await.unwrap();
    let mut session = trusting(&site, &one.chain).await;
    log_in(&mut session, "a", "alice", "renewed-Pa55").await;
    // Nothing has changed: nothing is read.
    site.reloader().look_at_certificates().await;
    let said = |path: &Path| log_lines(&["a file with certificates has changed: what", &path.display().to_string()]);
    assert_eq!(said(&files.chain).len(), 0);
    link(two.chain.parent().unwrap(), &live);
    site.reloader().look_at_certificates().await;
    assert_eq!((said(&files.chain).len(), said(&files.key).len()), (1, 1));
    trusting(&site, &two.chain).await;
    // Over the files in the folder that the link leads to.
    let is = std::fs::read(&three.chain).unwrap();
    std::fs::rename(&three.key, &two.key).unwrap();
    std::fs::rename(&three.chain, &two.chain).unwrap();
    assert_eq!(std::fs::read(&files.chain).unwrap(), is);
    site.reloader().look_at_certificates().await;
    trusting(&site, &files.chain).await;
    assert!(session.command("b", "NOOP").await.starts_with("b OK"), "a session under the first certificate");
    site.end(&["renewed-Pa55"]).await;
}

#[tokio::test]
async fn a_new_certificate_that_cannot_be_used_leaves_the_old_one_and_is_told_once() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    let dir = TempDir::new().unwrap();
    let [used, next] = ["used", "next"].map(|folder| pair(&dir, folder));
    let old = PathBuf::from(dir.path()).join("old.pem");
    std::fs::copy(&used.chain, &old).unwrap();
    site.reloader().take_up(served_from(&site, used.clone())).await.unwrap();
    let told = || log_lines(&["\"ERROR\"", "the old one is used still", &used.key.display().to_string()]).len();
    // A new chain beside the old key.
    std::fs::copy(&next.chain, &used.chain).unwrap();
    for look in 1..=5 {
        site.reloader().look_at_certificates().await;
        trusting(&site, &old).await;
        // Others come by themselves in between, if this machine is slow.
        assert!(told() <= 1 && (look < 3 || told() == 1), "at look {look}: {}", told());
    }
    std::fs::copy(&next.key, &used.key).unwrap();
    site.reloader().look_at_certificates().await;
    trusting(&site, &next.chain).await;
    // A file that is gone is another trouble, and quickly over.
    std::fs::remove_file(&used.key).unwrap();
    site.reloader().look_at_certificates().await;
    trusting(&site, &next.chain).await;
    std::fs::copy(&next.key, &used.key).unwrap();
    site.reloader().look_at_certificates().await;
    trusting(&site, &next.chain).await;
    assert_eq!(told(), 1);
    site.end(&[]).await;
}

#[tokio::test]
async fn reloads_under_a_stream_of_logins_lose_none() {
    const CLIENTS: usize = 4;
    const LOGINS: usize = 40;
    let (left, right) = (FakeNode::imap().await, FakeNode::imap().await);
    let site = Arc::new(Site::with(&[left.port, right.port]).await);
    let done = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (site, done) = (Arc::clone(&site), Arc::clone(&done));
            tokio::spawn(async move {
                for round in 0..LOGINS {
                    let door = if (number + round) % 2 == 0 { Door::ImapTls } else { Door::ImapStartTls };
                    let mut client = site.greeted(door).await;
                    if door == Door::ImapStartTls {
                        assert!(client.command("s", "STARTTLS").await.starts_with("s OK"));
                        client = client.handshake(site.client_tls()).await;
                    }
                    log_in(&mut client, "a", "alice", "stream-Pa55").await;
                    assert!(client.command("b", "LOGOUT").await.starts_with("b OK"));
                }
                done.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    let mut reloads = 0;
    while done.load(Ordering::SeqCst) < CLIENTS && clients.iter().any(|client| !client.is_finished()) {
        reloads += 1;
        let new = with(site.settings(), |it| {
            it.session.hostname = format!("mail{reloads}.example.net").into();
            it.limits.sessions_per_user = NonZeroU32::new(1_000 + reloads);
            it.islands[0].nodes.rotate_left(reloads as usize % 2);
            it.directory.cache.ttl += std::time::Duration::from_secs(reloads.into());
            if reloads % 3 == 0 {
                it.listeners.pop();
                it.tls.as_mut().unwrap().min_version = mailferry::net::tls::Version::Tls13;
            }
        });
        site.reloader().take_up(new).await.unwrap();
        tokio::task::yield_now().await;
    }
    for client in clients {
        client.await.unwrap();
    }
    assert!(reloads > 5, "only {reloads} reloads");
    assert_eq!(left.logins().len() + right.logins().len(), CLIENTS * LOGINS);
    Arc::into_inner(site).unwrap().end(&["stream-Pa55"]).await;
}

#[tokio::test]
async fn what_needs_a_restart_is_named_until_it_is_taken_back_and_a_protocol_changes_behind_its_socket() {
    let node = FakeNode::pop3().await;
    let site = Site::with(&[node.port]).await;
    let new = with(site.settings(), |it| {
        it.log.format = mailferry::logging::Format::Text;
        let door = &mut it.listeners[place(Door::ImapClear)];
        (door.protocol, door.tls) = (Protocol::Pop3, ListenerTls::Off);
    });
    for lines in [1, 0] {
        let changes = site.reloader().take_up(new.clone()).await.unwrap();
        assert_eq!(changes.restart.iter().map(ToString::to_string).collect::<Vec<_>>(), ["[log] format"]);
        assert_eq!(changes.live.len(), lines, "{changes:?}");
    }
    let mut client = Client::clear(site.addresses()[place(Door::ImapClear)]).await;
    assert!(client.line().await.starts_with("+OK"));
    let back = site.reloader().take_up(site.settings()).await.unwrap();
    assert!(back.restart.is_empty());
    site.end(&[]).await;
}
