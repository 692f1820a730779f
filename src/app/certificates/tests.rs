//! The looks on a paused clock: when they come, and what is said of what they find.

use std::fmt::Write as _;
use std::path::Path;

use rcgen::generate_simple_self_signed;
use tempfile::TempDir;

use super::*;
use crate::app::App;
use crate::config;
use crate::testkit::log::Log;

/// A chain, its key, and authorities for clients and nodes, new each time.
fn renew(dir: &Path, file: &str) {
    let made = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join(format!("{file}.key")), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.join(format!("{file}.pem")), made.cert.pem()).unwrap();
}

async fn site(dir: &TempDir) -> App {
    for file in ["mail", "clients", "nodes"] {
        renew(dir.path(), file);
    }
    std::fs::write(dir.path().join("users"), "alice a\n").unwrap();
    let mut text = "[server]\nhostname = \"mail.example.net\"\n".to_owned();
    text += "[tls]\ncertificates = [{ chain = \"mail.pem\", key = \"mail.key\" }]\n";
    text += "[directory]\ntype = \"file\"\npath = \"users\"\n";
    text += "[[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\nclient_ca = \"clients.pem\"\n";
    let nodes = "nodes = [{ name = \"left\", host = \"127.0.0.1\" }]\n[island.probe]\ninterval = \"1h\"\n";
    write!(text, "[[island]]\nname = \"a\"\nca = \"nodes.pem\"\n{nodes}").unwrap();
    let file = dir.path().join("proxy.toml");
    std::fs::write(&file, text).unwrap();
    App::start(config::load(&file).unwrap_or_else(|report| panic!("{report}"))).unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_file_is_looked_at_every_few_seconds_and_what_changed_is_said_once() {
    let dir = TempDir::new().unwrap();
    let log = Log::default();
    let _listening = log.start();
    let app = site(&dir).await;
    sleep(LOOK_EVERY * 3).await;
    assert_eq!(log.count("has changed"), 0, "{}", log.text());
    for (file, changed) in [("mail", 2), ("clients", 1), ("nodes", 1)] {
        renew(dir.path(), file);
        log.take();
        sleep(LOOK_EVERY * 3).await;
        assert_eq!(log.count("a file with certificates has changed: what"), changed, "{}", log.text());
    }
    app.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unusable_file_is_an_error_after_a_short_while_and_once_and_so_is_its_end() {
    let dir = TempDir::new().unwrap();
    let log = Log::default();
    let _listening = log.start();
    let app = site(&dir).await;
    let good = std::fs::read(dir.path().join("clients.pem")).unwrap();
    for (written, told) in [(&b"nonsense"[..], 1), (b"", 1)] {
        std::fs::write(dir.path().join("clients.pem"), written).unwrap();
        sleep(LOOK_EVERY * (QUIET_LOOKS - 1) + LOOK_EVERY / 2).await;
        assert_eq!(log.count("ERROR"), told - 1, "too early: {}", log.text());
        sleep(LOOK_EVERY * 10).await;
        assert_eq!(log.count("ERROR"), told, "{}", log.text());
        assert_eq!(log.count("can be read again"), 0);
        std::fs::write(dir.path().join("clients.pem"), &good).unwrap();
        sleep(LOOK_EVERY * 2).await;
        assert_eq!(log.count("can be read again"), 1, "{}", log.text());
        log.take();
        assert_eq!(log.count("ERROR"), 0);
    }
    app.stop().await;
}
