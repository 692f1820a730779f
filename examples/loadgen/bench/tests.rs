//! The measuring clients against the node, without a proxy: every command of both, in clear text and under TLS.

use clap::Parser;

use super::certificates::Certificates;
use super::counts;
use super::measured::Measured;
use super::node::{Node, Running};
use super::{bulk, hold, logins, noop, soak};

/// A command line of one of the measuring commands.
#[derive(Parser)]
struct Line<T: clap::Args> {
    #[command(flatten)]
    command: T,
}

struct Site {
    folder: tempfile::TempDir,
    node: Running,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Certificates { folder: folder.path().into() }.run().unwrap();
        let free = Some("127.0.0.1:0".parse().unwrap());
        let certificates = Some(folder.path().into());
        let node = Node { imap: free, pop3: free, imaps: free, pop3s: free, counts: free, certificates };
        let node = node.start().unwrap();
        Self { folder, node }
    }

    /// A command with these words, at the door of this name; the proxy's process is our own.
    fn command<T: clap::Args>(&self, door: &str, words: &str) -> T {
        let protocol = door.trim_end_matches('s');
        let tls = if door == protocol { "off" } else { "implicit" };
        let port = self.node.address(door).replace("127.0.0.1:", "localhost:");
        let ca = self.folder.path().join("ca.pem");
        let line = format!(
            "loadgen --{protocol} {port} --tls {tls} --ca {} --counts {} --pid {} {words}",
            ca.display(),
            self.node.address("counts"),
            std::process::id(),
        );
        Line::<T>::try_parse_from(line.split_ascii_whitespace()).unwrap_or_else(|error| panic!("{error}")).command
    }
}

const DOORS: [&str; 4] = ["imap", "imaps", "pop3", "pop3s"];

fn value(measured: &Measured, name: &str) -> f64 {
    assert_eq!(measured.troubles, Vec::<String>::new(), "{}", measured.title);
    let figure = measured.figures.iter().find(|figure| figure.name == name);
    figure.unwrap_or_else(|| panic!("no {name} in {:?}", measured.figures)).value
}

#[tokio::test]
async fn logins_are_counted_at_the_node() {
    let site = Site::new();
    for door in DOORS {
        let command: logins::Logins = site.command(door, "--count 40 --in-flight 4 --warm-up 3 --resume");
        let measured = command.measure().await.unwrap();
        assert_eq!(value(&measured, "logins"), 40.0, "{door}");
        for name in ["rate", "p50", "p99", "max", "cpu"] {
            value(&measured, name);
        }
    }
    let counted = counts::ask(&site.node.address("counts")).await.unwrap();
    assert_eq!(counted.logins, 4 * 43, "{counted:?}");
}

#[tokio::test]
async fn held_sessions_are_measured_woken_and_closed() {
    let site = Site::new();
    for door in DOORS {
        let command: hold::Hold = site.command(door, "--steps 5,20 --settle 10ms --sources 3");
        let measured = command.measure().await.unwrap();
        for name in ["at the node", "opened", "alive"] {
            assert_eq!(value(&measured, name), 20.0, "{door} {name}");
        }
        for name in ["rss anon slope", "pss slope", "slab slope", "rss anon, closed"] {
            value(&measured, name);
        }
        // Client and node are this process: two ends for each session.
        let descriptors = measured.figures.iter().filter(|figure| figure.name == "descriptors");
        assert_eq!(descriptors.map(|figure| figure.sessions).collect::<Vec<_>>(), [Some(0), Some(5), Some(20)]);
        assert!(value(&measured, "descriptors slope") > 1.0, "{door}");
    }
}

#[tokio::test]
async fn octets_are_the_same_at_both_ends() {
    let site = Site::new();
    for (door, way) in [("imap", "down"), ("imaps", "up"), ("pop3s", "down"), ("imap", "up")] {
        let words = format!("--direction {way} --sessions 2 --message 700001 --for 0s");
        let measured = site.command::<bulk::Bulk>(door, &words).measure().await.unwrap();
        assert_eq!(value(&measured, "octets"), 1_400_002.0, "{door} {way}");
        value(&measured, "cpu");
    }
    let refused = site.command::<bulk::Bulk>("pop3", "--direction up").measure().await;
    assert_eq!(refused.err().as_deref(), Some("POP3 stores no messages"));
}

#[tokio::test]
async fn every_question_is_answered() {
    let site = Site::new();
    for door in DOORS {
        let measured = site.command::<noop::Noop>(door, "--count 30 --sessions 3 --warm-up 2").measure().await.unwrap();
        assert_eq!(value(&measured, "round trips"), 90.0, "{door}");
    }
}

/// With clients that come and go in this process, its memory says nothing, but the node must be rid of all of them.
#[tokio::test]
async fn a_soak_counts_what_is_done_and_leaves_nobody_behind() {
    let site = Site::new();
    let door =
        |name: &str, kind: &str| format!("{kind}:{}", site.node.address(name).replace("127.0.0.1:", "localhost:"));
    let line = format!(
        "loadgen --door {} --door {} --door {} --ca {} --counts {} --in-flight 8 --warm-up 100ms --for 500ms --settle 1s",
        door("imap", "imap:off"),
        door("imaps", "imap:implicit"),
        door("pop3s", "pop3:implicit"),
        site.folder.path().join("ca.pem").display(),
        site.node.address("counts"),
    );
    let line = Line::<soak::Soak>::try_parse_from(line.split_ascii_whitespace()).unwrap_or_else(|e| panic!("{e}"));
    let measured = line.command.measure().await.unwrap();
    let visits = value(&measured, "visits");
    let cut = ["cut off in handshakes", "cut off in logins", "cut off in sessions"].map(|name| value(&measured, name));
    assert!(cut.iter().sum::<f64>() < visits, "{:?}", measured.figures);
    assert!(value(&measured, "logins at the node") >= value(&measured, "logins"), "{:?}", measured.figures);
}

/// A node that stops at a login, or a door that is shut, is no measurement.
#[tokio::test]
async fn what_goes_wrong_is_told_and_not_appended() {
    let site = Site::new();
    let file = site.folder.path().join("figures");
    let words = format!("--count 3 --warm-up 0 --append {} --who me --what it", file.display());
    let command: logins::Logins = site.command("imap", &words);
    assert_eq!(command.run().await, Ok(0));
    let good = std::fs::read_to_string(&file).unwrap();
    assert!(good.starts_with("me\tit\tlogins\t-\t3\n"), "{good}");
    let mut command: logins::Logins = site.command("imaps", &words);
    command.door.imap = Some(site.node.address("counts").replace("127.0.0.1:", "localhost:"));
    assert_eq!(command.run().await, Ok(3));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), good);
    let stranger = site.command::<logins::Logins>("imap", "--pid 4294967295").measure().await;
    assert_eq!(stranger.err().as_deref(), Some("there is no process 4294967295"));
}
