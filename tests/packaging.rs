//! The unit, the Debian package and the image agree with the program: paths, exit codes, users, what is said of them.
//!
//! `packaging/build-deb.sh` builds the package and has systemd look at the unit; this needs neither.

#![allow(clippy::unwrap_used)]

#[path = "program/mod.rs"]
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use mailferry::config;

use program::Program;

/// The values of each key of a unit, in their order. A section is part of the key: `Service.User`.
fn unit() -> BTreeMap<String, Vec<String>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in fs::read_to_string("packaging/mailferry.service").unwrap().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            keys.entry(format!("{section}.{key}")).or_default().push(value.to_owned());
        }
    }
    keys
}

/// The one value of a key.
fn the(key: &str) -> String {
    let unit = unit();
    let values = unit.get(key).unwrap_or_else(|| panic!("the unit has no {key}"));
    assert_eq!(values.len(), 1, "{key}: {values:?}");
    values[0].clone()
}

fn deb() -> toml::Table {
    let manifest: toml::Table = fs::read_to_string("Cargo.toml").unwrap().parse().unwrap();
    manifest["package"]["metadata"]["deb"].as_table().unwrap().clone()
}

/// Source and destination of each file of the package.
fn assets() -> Vec<(String, String)> {
    let deb = deb();
    let text = |asset: &toml::Value, at: usize| asset[at].as_str().unwrap().to_owned();
    deb["assets"].as_array().unwrap().iter().map(|asset| (text(asset, 0), text(asset, 1))).collect()
}

fn help(command: &str) -> String {
    Program::new([command, "--help"]).run().said().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What `run` reads when nobody says what.
fn default_config() -> String {
    let help = help("run");
    help.split("[default: ").nth(1).unwrap().split(']').next().unwrap().to_owned()
}

#[test]
fn the_unit_starts_the_packages_program_with_the_configuration_that_is_the_default() {
    let command = the("Service.ExecStart");
    assert_eq!(command, format!("/usr/bin/mailferry run --config {}", default_config()));
    assert!(assets().contains(&("target/release/mailferry".into(), "usr/bin/".into())), "{:?}", assets());
    let folder = Path::new("/etc").join(the("Service.ConfigurationDirectory"));
    assert_eq!(Path::new(&default_config()).parent(), Some(folder.as_path()));
}

#[test]
fn a_configuration_that_is_wrong_is_not_started_again_and_again() {
    let code = the("Service.RestartPreventExitStatus");
    assert!(help("run").contains(&format!("{code} the configuration has problems")), "{}", help("run"));
    let folder = tempfile::tempdir().unwrap();
    let done = Program::new(["run", "--config"]).arg(folder.path().join("proxy.toml")).run();
    assert_eq!(done.code.to_string(), code);
    assert_eq!(the("Service.Restart"), "on-failure");
    assert_eq!(the("Unit.StartLimitIntervalSec"), "0", "it must come back however often it falls");
}

#[test]
fn what_the_example_writes_is_where_the_unit_lets_it_write() {
    let state = format!("/var/lib/{}/", the("Service.StateDirectory"));
    let run = format!("/run/{}/", the("Service.RuntimeDirectory"));
    let example = fs::read_to_string("proxy.toml.example").unwrap();
    let kept: Vec<&str> = example.split('"').filter(|word| word.starts_with("/var/")).collect();
    assert!(!kept.is_empty() && kept.iter().all(|path| path.starts_with(&state)), "{kept:?}");
    let named: Vec<&str> = example.split('"').filter(|word| word.starts_with('/')).collect();
    for path in named {
        let is_seen = [state.as_str(), &run, "/etc/mailferry/"].iter().any(|folder| path.starts_with(folder));
        assert!(is_seen, "{path} cannot be seen or written");
    }
    // Privileged ports, and no other privilege.
    let settings = config::parse("proxy.toml", &example).unwrap();
    assert!(settings.listeners.iter().any(|listener| listener.address.port() < 1024));
    assert_eq!(the("Service.AmbientCapabilities"), "CAP_NET_BIND_SERVICE");
    assert_eq!(the("Service.CapabilityBoundingSet"), "CAP_NET_BIND_SERVICE");
    for (key, value) in [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictNamespaces", "yes"),
        ("SystemCallArchitectures", "native"),
        ("LimitCORE", "0"),
        ("UMask", "0077"),
        ("RuntimeDirectory", "mailferry"),
    ] {
        assert_eq!(the(&format!("Service.{key}")), value, "{key}");
    }
}

#[test]
fn the_unit_says_ready_and_reload_to_every_systemd() {
    let unit = unit();
    assert_eq!(unit["Service.Type"], ["notify", "notify-reload"], "the first for systemd before 253");
    assert!(unit["Service.ExecReload"][0].contains("kill -HUP $MAINPID"));
    let filter = &unit["Service.SystemCallFilter"];
    assert_eq!(filter[0], "@system-service");
    assert!(filter[1].starts_with('~') && filter[2].contains("setrlimit"), "{filter:?}");
}

#[test]
fn the_descriptors_are_as_many_as_the_comment_says() {
    let descriptors: u32 = the("Service.LimitNOFILE").parse().unwrap();
    // As docs/operations.md has it, with 100 for the reserve.
    let clients = (descriptors - 100) / 11 * 5;
    let text = fs::read_to_string("packaging/mailferry.service").unwrap();
    let said = format!("{} 000 clients", clients / 1000);
    assert!(text.contains(&said), "{said}");
}

#[test]
fn the_package_makes_the_user_of_the_unit_and_leaves_the_configuration_alone() {
    let user = the("Service.User");
    assert_eq!(the("Service.Group"), user);
    let postinst = fs::read_to_string("packaging/deb/postinst").unwrap();
    assert!(postinst.contains(&format!("getent passwd {user}")) && postinst.contains("adduser --system --group"));
    assert!(postinst.contains("mkdir -p /etc/mailferry\n"));
    assert!(deb()["depends"].as_str().unwrap().contains("adduser"));
    assert_eq!(deb()["maintainer-scripts"].as_str(), Some("packaging/deb/"));
    for script in ["postinst", "prerm", "postrm"] {
        let text = fs::read_to_string(format!("packaging/deb/{script}")).unwrap();
        assert!(text.starts_with("#!/bin/sh\n") && text.contains("\nset -e\n"), "{script}");
        assert!(text.ends_with("#DEBHELPER#\n"), "{script}: no place for what cargo-deb adds for the unit");
        assert!(!text.contains("rm -rf /etc"), "{script}");
    }
    let unit = &deb()["systemd-units"];
    assert_eq!(unit["unit-name"].as_str(), Some("mailferry"));
    assert!(Path::new(unit["unit-scripts"].as_str().unwrap()).join("mailferry.service").exists());
    assert_eq!(
        (unit["enable"].as_bool(), unit["start"].as_bool()),
        (Some(false), Some(false)),
        "it has no configuration"
    );
    let assets = assets();
    assert!(assets.iter().all(|(_, to)| to.starts_with("usr/")), "nothing in /etc: {assets:?}");
    for (from, _) in assets.iter().filter(|(from, _)| !from.starts_with("target/") && !from.contains('*')) {
        assert!(Path::new(from).exists(), "{from}");
    }
    assert!(assets.iter().any(|(from, to)| from == "proxy.toml.example" && to.ends_with("examples/proxy.toml")));
}

/// The instructions of the Dockerfile's last stage, lines that go on joined.
fn image() -> Vec<String> {
    let text = fs::read_to_string("Dockerfile").unwrap().replace("\\\n", "");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let last = lines.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    lines[last..].iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn the_image_runs_the_same_as_another_user_than_root() {
    let image = image();
    let has = |start: &str| image.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start}"));
    assert_eq!(has("USER "), "USER 10143:10143");
    assert!(has("RUN ").contains("--uid 10143"));
    assert!(has("RUN ").contains("/var/lib/mailferry /run/mailferry"));
    assert_eq!(has("ENTRYPOINT "), "ENTRYPOINT [\"mailferry\"]");
    assert_eq!(has("CMD "), &format!("CMD [\"run\", \"--config\", \"{}\"]", default_config()));
    assert!(has("COPY ").contains("/src/target/release/mailferry /usr/bin/mailferry"));
    let ports: Vec<u16> = has("EXPOSE ").split(' ').skip(1).map(|port| port.parse().unwrap()).collect();
    let example = config::parse("proxy.toml", &fs::read_to_string("proxy.toml.example").unwrap()).unwrap();
    assert!(example.listeners.iter().all(|listener| ports.contains(&listener.address.port())));
}

/// The health check's own words, on a port that greets and on those that do not.
#[test]
fn the_images_health_check_hears_whether_there_is_a_greeting() {
    let image = image();
    let check = image.iter().find(|line| line.starts_with("HEALTHCHECK ")).unwrap();
    let words: toml::Table = format!("words = {}", check.split_once("CMD ").unwrap().1).parse().unwrap();
    let words: Vec<&str> = words["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    let healthy = |answer: &'static [u8]| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Write::write_all(&mut stream, answer).unwrap();
        });
        let status = Command::new(words[0]).args(&words[1..]).env("MAILFERRY_HEALTH_PORT", port).status().unwrap();
        server.join().unwrap();
        status.success()
    };
    assert!(healthy(b"* OK [CAPABILITY IMAP4rev1] ready\r\n") && healthy(b"+OK ready\r\n"));
    assert!(!healthy(b"* BYE [UNAVAILABLE] full\r\n") && !healthy(b"-ERR [SYS/TEMP] full\r\n") && !healthy(b""));
    let closed = Command::new(words[0]).args(&words[1..]).env("MAILFERRY_HEALTH_PORT", "1").output().unwrap();
    assert!(!closed.status.success());
}
