//! The reader of proxy.toml as these tests call it: all that is logged meanwhile, at TRACE and by every library, and all
//! that it says of the file, is searched for the passwords that stand in their files. tests/tidy.rs sees to it that no
//! test reads a configuration without it.

use std::path::Path;

use mailferry::config::{self, Report, Settings};
use mailferry::testkit::log::Search;

/// In files of their own, where they belong, and in proxy.toml, where they do not.
const PASSWORDS: [&str; 2] = ["swordfish", "hunter2"];

pub(crate) fn parse(name: &str, text: &str) -> Result<Settings, Report> {
    let search = Search::everywhere(&PASSWORDS);
    searched(search, config::parse(name, text))
}

pub(crate) fn load(path: &Path) -> Result<Settings, Report> {
    let search = Search::everywhere(&PASSWORDS);
    searched(search, config::load(path))
}

fn searched(search: &Search, read: Result<Settings, Report>) -> Result<Settings, Report> {
    let said = match &read {
        Ok(settings) => format!("{settings:?}"),
        Err(report) => format!("{report}\n{}\n{report:?}", report.render(true)),
    };
    assert!(!search.look(&said), "a password is shown: {said}");
    read
}

#[test]
fn what_is_said_of_a_file_is_searched() {
    for password in PASSWORDS {
        let search = Search::new(&PASSWORDS);
        assert!(!search.look("a line without one") && search.look(&format!("a line with {password}")));
    }
}

/// The passwords are read by the product's own code here, and used as they will be.
#[test]
fn r_log_01_passwords_of_files_are_read_and_not_logged() {
    let folder = tempfile::tempdir().unwrap();
    for password in PASSWORDS {
        std::fs::write(folder.path().join("ldap.secret"), format!("{password}\n")).unwrap();
        std::fs::write(folder.path().join("probe.secret"), password).unwrap();
        let path = folder.path().join("proxy.toml");
        std::fs::write(&path, SITE).unwrap();
        let settings = load(&path).unwrap_or_else(|report| panic!("{report}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { mailferry::app::open_directory(&settings) }).unwrap();
    }
}

const SITE: &str = r#"[server]
hostname = "mail.example.net"
[[listener]]
protocol = "imap"
address = "[::]:143"
tls = "off"
cleartext_login = true
[directory]
type = "ldap"
urls = ["ldap://ldap.example.net"]
starttls = false
base = "dc=example,dc=net"
bind_dn = "cn=mailferry"
bind_password_file = "ldap.secret"
[[island]]
name = "a"
tls = "off"
nodes = [{ name = "left", host = "10.1.0.11" }]
[island.probe]
check = "login"
user = "probe"
password_file = "probe.secret"
"#;
