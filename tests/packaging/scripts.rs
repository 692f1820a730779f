//! The package's scripts, run as dpkg runs them, with the real program: what an installation, an upgrade and a removal do to
//! the folders, to the user and to what runs. Of the machine they touch nothing: their paths lie in a folder of the test, and
//! what would speak to systemd or write to /etc/passwd is a stub that notes how it was called.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::program;

/// The paths that the scripts name.
const PATHS: [&str; 4] = ["/etc/mailferry", "/var/lib/mailferry", "/run/systemd/system", "/usr/bin/mailferry"];

/// What the machine has, besides what every machine has.
const STUBS: [&str; 4] = ["getent", "adduser", "systemctl", "deb-systemd-invoke"];

/// A machine on which systemd is running, and `mailferry.service` with it.
struct Machine {
    root: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { root: TempDir::new().unwrap() };
        for folder in ["stubs", "run/systemd/system", "usr/bin", "etc/mailferry", "var/lib/mailferry"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        symlink(program::PATH, machine.path("usr/bin/mailferry")).unwrap();
        for stub in STUBS {
            machine.stub(stub, 0);
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name.trim_start_matches('/'))
    }

    /// Lets a program note its call, and end with this code if its arguments hold these words.
    fn stub_at(&self, name: &str, words: &str, code: i32) {
        let script = format!(
            "#!/bin/sh\necho \"{name} $*\" >>{calls}\ncase \"$*\" in *{words}*) exit {code} ;; esac\n",
            calls = self.path("calls").display()
        );
        let path = self.path("stubs").join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn stub(&self, name: &str, code: i32) {
        self.stub_at(name, "", code);
    }

    fn configure(&self, text: &str) {
        fs::write(self.path("/etc/mailferry/proxy.toml"), text).unwrap();
        fs::write(self.path("/etc/mailferry/routes"), "anna a\n").unwrap();
    }

    /// Runs a script of the package to its end, which must be a good one: dpkg would leave the package half configured.
    /// What it called, in order, and what it told the administrator.
    fn run(&self, script: &str, arguments: &[&str]) -> (Vec<String>, String) {
        let mut text = fs::read_to_string(format!("packaging/deb/{script}")).unwrap();
        for path in PATHS {
            text = text.replace(path, self.path(path).to_str().unwrap());
        }
        let copy = self.path(script);
        fs::write(&copy, text).unwrap();
        let search = format!("{}:/usr/bin:/bin", self.path("stubs").display());
        let output = Command::new("sh").arg(copy).args(arguments).env("PATH", search).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{script} {arguments:?}: {}: {said}", output.status);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "debconf may listen there");
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        (calls.lines().map(str::to_owned).collect(), said)
    }
}

/// One that `check` takes.
const GOOD: &str = r#"
[server]
hostname = "mail.example.net"
[[listener]]
protocol = "imap"
address = "127.0.0.1:1143"
tls = "off"
cleartext_login = true
[directory]
type = "file"
path = "routes"
[[island]]
name = "a"
tls = "off"
nodes = [{ name = "left", host = "127.0.0.1" }]
"#;

const RELOAD: &str = "systemctl --system daemon-reload";
const ASKED: &str = "systemctl --quiet is-active mailferry.service";
const RESTART: &str = "deb-systemd-invoke try-restart mailferry.service";
const USER: &str = "getent passwd mailferry";

#[test]
fn every_path_of_the_scripts_is_one_that_these_tests_move() {
    for script in ["postinst", "prerm", "postrm"] {
        let text = fs::read_to_string(format!("packaging/deb/{script}")).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for word in code.flat_map(|line| line.split([' ', ';', '"', '\''])).filter(|word| word.starts_with('/')) {
            let is_moved = PATHS.iter().any(|path| Path::new(word).starts_with(path));
            assert!(is_moved, "{script}: {word} is the machine's own");
        }
    }
}

#[test]
fn the_first_installation_makes_user_and_folder_and_starts_nothing() {
    let machine = Machine::new();
    fs::remove_dir(machine.path("/etc/mailferry")).unwrap();
    machine.stub("getent", 2);
    let (calls, said) = machine.run("postinst", &["configure", ""]);
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert_eq!(calls[0], USER);
    assert!(calls[1].starts_with("adduser --system --group ") && calls[1].ends_with(" mailferry"), "{calls:?}");
    assert!(machine.path("/etc/mailferry").is_dir());
    assert_eq!(said, "");
}

#[test]
fn an_upgrade_restarts_the_service_that_runs_and_never_its_sockets() {
    let machine = Machine::new();
    machine.configure(GOOD);
    assert_eq!(
        machine.run("postinst", &["configure", "0.1.0-1"]),
        ([USER, RELOAD, ASKED, RESTART].map(str::to_owned).to_vec(), String::new())
    );
    assert_eq!(machine.run("prerm", &["upgrade", "0.2.0-1"]), (Vec::new(), String::new()));
    assert_eq!(machine.run("postrm", &["upgrade", "0.2.0-1"]), (Vec::new(), String::new()));
}

#[test]
fn a_new_program_that_refuses_the_configuration_does_not_end_the_one_that_runs() {
    let machine = Machine::new();
    machine.configure(&GOOD.replace("hostname", "hostnam"));
    let (calls, said) = machine.run("postinst", &["configure", "0.1.0-1"]);
    assert_eq!(calls, [USER, RELOAD, ASKED]);
    let refused = format!("this version refuses {}", machine.path("/etc/mailferry/proxy.toml").display());
    assert!(said.starts_with(&format!("mailferry: {refused}, so that the one before it runs on.")), "{said}");
    assert!(said.contains("mailferry check") && said.contains("systemctl restart mailferry"), "{said}");
    // The same without any configuration: whoever removed it while mailferry runs has no wish for a restart either.
    fs::remove_file(machine.path("/etc/mailferry/proxy.toml")).unwrap();
    assert_eq!(machine.run("postinst", &["configure", "0.1.0-1"]).0, [USER, RELOAD, ASKED]);
}

#[test]
fn what_does_not_run_is_not_started_and_its_configuration_not_looked_at() {
    let machine = Machine::new();
    machine.configure("broken");
    machine.stub_at("systemctl", "is-active", 3);
    assert_eq!(
        machine.run("postinst", &["configure", "0.1.0-1"]),
        ([USER, RELOAD, ASKED].map(str::to_owned).to_vec(), String::new())
    );
}

#[test]
fn a_systemd_that_fails_leaves_the_package_configured() {
    let machine = Machine::new();
    machine.configure(GOOD);
    machine.stub("deb-systemd-invoke", 1);
    machine.stub_at("systemctl", "daemon-reload", 1);
    assert_eq!(machine.run("postinst", &["configure", "0.1.0-1"]).0, [USER, RELOAD, ASKED, RESTART]);
    machine.stub("systemctl", 5);
    assert_eq!(machine.run("prerm", &["remove"]).0, ["systemctl stop mailferry.socket"]);
}

#[test]
fn where_no_systemd_runs_none_is_asked() {
    let machine = Machine::new();
    machine.configure(GOOD);
    fs::remove_dir_all(machine.path("/run/systemd")).unwrap();
    assert_eq!(machine.run("postinst", &["configure", "0.1.0-1"]).0, [USER]);
    assert_eq!(machine.run("prerm", &["remove"]).0, Vec::<String>::new());
}

#[test]
fn a_removal_stops_the_sockets_and_a_purge_takes_the_state_and_leaves_what_is_the_operators() {
    let machine = Machine::new();
    machine.configure(GOOD);
    fs::write(machine.path("/var/lib/mailferry/operator.json"), "{}").unwrap();
    assert_eq!(machine.run("prerm", &["remove"]), (vec!["systemctl stop mailferry.socket".to_owned()], String::new()));
    machine.run("postrm", &["remove"]);
    assert!(machine.path("/var/lib/mailferry/operator.json").exists());
    machine.run("postrm", &["purge"]);
    assert!(!machine.path("/var/lib/mailferry").exists());
    assert_eq!(fs::read_to_string(machine.path("/etc/mailferry/proxy.toml")).unwrap(), GOOD);
    // And where nothing was configured, nothing stays.
    fs::remove_dir_all(machine.path("/etc/mailferry")).unwrap();
    fs::create_dir(machine.path("/etc/mailferry")).unwrap();
    machine.run("postrm", &["purge"]);
    assert!(!machine.path("/etc/mailferry").exists());
}
