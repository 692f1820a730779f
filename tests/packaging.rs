//! The unit, the Debian package and the image agree with the program: paths, exit codes, users, what is said of them.
//!
//! `packaging/build-deb.sh` builds the package and has systemd look at the unit; this needs neither.

#![allow(clippy::unwrap_used)]

#[path = "program/mod.rs"]
mod program;
#[path = "packaging/scripts.rs"]
mod scripts;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use mailferry::config;

use program::Program;

const SERVICE: &str = "packaging/mailferry.service";
const SOCKET: &str = "packaging/mailferry.socket";

/// The values of each key of a unit, in their order. A section is part of the key: `Service.User`.
fn unit() -> BTreeMap<String, Vec<String>> {
    keys(SERVICE)
}

fn keys(unit: &str) -> BTreeMap<String, Vec<String>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in fs::read_to_string(unit).unwrap().lines() {
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
    // Who has an older one could not start it.
    let is_packed = fs::read_to_string("build.rs").unwrap().contains("pack-relative-relocs");
    assert_eq!(deb()["depends"].as_str().unwrap().contains("libc6 (>= 2.36)"), is_packed);
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

/// A page of the package finds what it links to, and a unit its pages.
#[test]
fn what_the_packages_pages_link_to_is_in_the_package() {
    let doc = Path::new("usr/share/doc/mailferry");
    let mut installed = BTreeMap::new();
    for (from, to) in assets().into_iter().filter(|(from, to)| to.starts_with("usr/share/doc/") && !from.ends_with('/'))
    {
        let (folder, name) = from.rsplit_once('/').unwrap_or((".", &from));
        let of_tree = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let is_it = |file: &String| match name.split_once('*') {
            Some((start, end)) => file.starts_with(start) && file.ends_with(end),
            None => file == name,
        };
        for file in of_tree.filter(is_it) {
            let at = if to.ends_with('/') { Path::new(&to).join(&file) } else { to.clone().into() };
            installed.insert(at, Path::new(folder).join(file));
        }
    }
    // This one goes by its name in Debian.
    let example = (doc.join("examples/proxy.toml"), doc.join("proxy.toml.example"));
    installed.insert(example.1, installed[&example.0].clone());
    let mut links = 0;
    for (at, source) in installed.iter().filter(|(at, _)| at.extension().is_some_and(|kind| kind == "md")) {
        let text = fs::read_to_string(source).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap()) {
            let file = at.parent().unwrap().join(link);
            let file = file.to_str().unwrap().replace("/docs/../", "/");
            let is_of_the_tree_alone = at.starts_with(doc.join("README.md")) && !link.starts_with("docs/");
            let is_there = link.is_empty() || link.contains("://") || installed.contains_key(Path::new(&file));
            assert!(is_there || is_of_the_tree_alone, "{}: {link} is not in the package", at.display());
            links += usize::from(!link.is_empty());
        }
    }
    assert!(links > 50, "{links}");
    for unit in [SERVICE, SOCKET] {
        for page in keys(unit)["Unit.Documentation"].iter().flat_map(|pages| pages.split(' ')) {
            let page = page.strip_prefix("file:///").unwrap();
            assert!(installed.contains_key(Path::new(page)), "{unit}: {page}");
        }
    }
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
    assert!(has("RUN ").contains("--uid 10143 --gid 10143") && has("RUN ").contains("groupadd --system --gid 10143"));
    assert!(has("RUN ").contains("/var/lib/mailferry /run/mailferry"));
    assert_eq!(has("ENTRYPOINT "), "ENTRYPOINT [\"mailferry\"]");
    assert_eq!(has("CMD "), &format!("CMD [\"run\", \"--config\", \"{}\"]", default_config()));
    assert!(has("COPY ").contains("/src/target/release/mailferry /usr/bin/mailferry"));
    let ports: Vec<u16> = has("EXPOSE ").split(' ').skip(1).map(|port| port.parse().unwrap()).collect();
    let example = config::parse("proxy.toml", &fs::read_to_string("proxy.toml.example").unwrap()).unwrap();
    assert!(example.listeners.iter().all(|listener| ports.contains(&listener.address.port())));
}

/// The health check's own words, in a mailferry's place and in nobody's.
#[test]
fn the_images_health_check_asks_whether_it_lives() {
    let image = image();
    let check = image.iter().find(|line| line.starts_with("HEALTHCHECK ")).unwrap();
    let words: toml::Table = format!("words = {}", check.split_once("CMD ").unwrap().1).parse().unwrap();
    let words: Vec<&str> = words["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!((words[0], image.iter().any(|line| line == "STOPSIGNAL SIGTERM")), ("mailferry", true));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let asked = || Program::new(&words[1..]).arg("--socket").arg(&socket).run().code;
    assert_eq!(asked(), 69);
    // It takes the question and never answers: not alive. Docker does not wait longer than this either.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(asked(), 69);
}

#[test]
fn the_sockets_are_those_of_the_example_and_nothing_enables_or_restarts_them() {
    let sockets = keys(SOCKET);
    let example = config::parse("proxy.toml", &fs::read_to_string("proxy.toml.example").unwrap()).unwrap();
    let mut listeners: Vec<_> = example.listeners.iter().map(|listener| listener.address.to_string()).collect();
    listeners.sort();
    assert_eq!(sockets["Socket.ListenStream"], listeners);
    assert_eq!(sockets["Socket.BindIPv6Only"], ["both"]);
    let backlog = fs::read_to_string("src/net/listen.rs").unwrap();
    assert!(backlog.contains(&format!("const BACKLOG: i32 = {};", sockets["Socket.Backlog"][0])));
    // All else mailferry sets on what it gets.
    let keys: Vec<_> = sockets.keys().filter(|key| key.starts_with("Socket.")).collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    // Of the units beside each other, cargo-deb takes all. What it would write restarts both.
    let units = &deb()["systemd-units"];
    assert!(Path::new(units["unit-scripts"].as_str().unwrap()).join("mailferry.socket").exists());
    assert_eq!(
        ["enable", "start", "restart-after-upgrade", "stop-on-upgrade"].map(|key| units[key].as_bool()),
        [Some(false); 4]
    );
    let script = |name: &str| fs::read_to_string(format!("packaging/deb/{name}")).unwrap();
    assert!(script("postinst").contains("deb-systemd-invoke try-restart mailferry.service >"));
    let prerm = script("prerm");
    assert!(prerm.find("systemctl stop mailferry.socket").unwrap() < prerm.find("#DEBHELPER#").unwrap());
}

/// What the package's script has the program write, and where the package takes it from.
#[test]
fn the_package_has_a_man_page_for_each_command_and_completions_for_three_shells() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(program::PATH, folder.path().join("mailferry")).unwrap();
    let status = Command::new("packaging/pages.sh").arg(folder.path()).status().unwrap();
    assert!(status.success());
    let man = |name: &str| {
        let path = folder.path().join(format!("man/{name}.1.gz"));
        String::from_utf8(Command::new("gzip").arg("-dc").arg(path).output().unwrap().stdout).unwrap()
    };
    let help = Program::new(["--help"]).run().said();
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: Vec<_> = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let commands = commands.into_iter().filter(|name| !name.is_empty() && *name != "help");
    let pages: Vec<_> = commands.map(|name| man(&format!("mailferry-{name}"))).chain([man("mailferry")]).collect();
    assert!(pages.len() > 15, "{}", pages.len());
    assert!(pages.iter().all(|page| page.contains(".TH mailferry") && page.contains(".SH SYNOPSIS")));
    for (file, to) in [
        ("man/*.1.gz", "usr/share/man/man1/"),
        ("completions/mailferry", "usr/share/bash-completion/completions/"),
        ("completions/_mailferry", "usr/share/zsh/vendor-completions/"),
        ("completions/mailferry.fish", "usr/share/fish/vendor_completions.d/"),
    ] {
        assert!(assets().contains(&(format!("target/release/{file}"), to.to_owned())), "{file}: {:?}", assets());
        let words = || fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(file.ends_with(".gz") || (words().contains("logs-level") && words().contains("mailferry")), "{file}");
    }
    let script = folder.path().join("completions/mailferry");
    assert!(Command::new("bash").arg("-n").arg(script).status().unwrap().success());
    let build = fs::read_to_string("packaging/build-deb.sh").unwrap();
    assert!(build.find("packaging/pages.sh").unwrap() < build.find("cargo deb ").unwrap());
}

/// By systemd itself, where there is one; with `REQUIRE_REAL=1` there must be.
#[test]
fn systemd_takes_the_units_and_finds_the_service_well_shut_in() {
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    };
    if analyze(&["--version"]).is_none() {
        assert!(std::env::var_os("REQUIRE_REAL").is_none(), "systemd-analyze is not installed");
        println!("skipped: systemd-analyze is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let units = folder.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units).unwrap();
    for unit in [SERVICE, SOCKET] {
        fs::copy(unit, units.join(Path::new(unit).file_name().unwrap())).unwrap();
    }
    for (program, of) in [("usr/bin/mailferry", program::PATH), ("bin/sh", "/bin/sh")] {
        let path = folder.path().join(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(of, path).unwrap();
    }
    let root = format!("--root={}", folder.path().display());
    let units_named = ["mailferry.service", "mailferry.socket"];
    let verify = [&["verify", &root, "--man=no", "--recursive-errors=no"][..], &units_named].concat();
    let (_, said) = analyze(&verify).unwrap();
    // The one line of systemd before 253, which does not know notify-reload.
    let said: Vec<_> = said.lines().filter(|line| !line.ends_with(": notify-reload")).collect();
    assert!(said.is_empty(), "{said:#?}");
    let service = units.join("mailferry.service");
    let (is_safe, said) = analyze(&["security", "--offline=yes", "--threshold=20", service.to_str().unwrap()]).unwrap();
    assert!(is_safe && said.contains("Overall exposure level"), "{said}");
}
