//! Files in the documentation, each read by whoever would read it: mailferry, systemd, HAProxy. Fragments of proxy.toml are
//! completed by a frame. Where a program is missing, nothing is proved, unless `REQUIRE_REAL=1` says that there must be one.

use std::fs;
use std::process::{Command, Output};

use mailferry::config;
use toml::{Table, Value};

use crate::commands;
use crate::pages::{Block, root};

/// What a fragment may leave out.
const FRAME: &str = r#"
[server]
hostname = "mail.example.net"
[tls]
certificates = [{ chain = "mail.pem", key = "mail.key" }]
[[listener]]
protocol = "imap"
address = "[::]:993"
[directory]
type = "file"
path = "routes"
[[island]]
name = "a"
nodes = [{ name = "left", host = "10.1.0.11" }]
"#;

/// What a fragment of `[directory]` may leave out that speaks of LDAP.
const LDAP: &str = "type = \"ldap\"\nurls = [\"ldap://ldap.example.net\"]\nbase = \"dc=example,dc=net\"";

pub(crate) fn toml(block: &Block) -> Result<(), String> {
    let mut document: Table = block.text.parse().map_err(|error| format!("{error}"))?;
    if document.values().any(|value| !matches!(value, Value::Table(_) | Value::Array(_))) {
        return Err("a key without a section: write its header above it".into());
    }
    let mut frame: Table = FRAME.parse().unwrap();
    let of_ldap = |directory: &Table| directory.keys().any(|key| !["type", "path", "cache"].contains(&key.as_str()));
    if document.get("directory").and_then(Value::as_table).is_some_and(of_ldap) {
        frame["directory"] = Value::Table(LDAP.parse().unwrap());
    }
    // A table in TOML cannot have the same key twice, so nothing of the example is hidden by the frame.
    complete(&mut document, &frame);
    config::parse("proxy.toml", &document.to_string()).map(drop).map_err(|report| report.to_string())
}

/// Adds what is missing, also in each entry of a list of tables.
fn complete(table: &mut Table, frame: &Table) {
    for (key, value) in frame {
        match (table.get_mut(key), value) {
            (None, value) => drop(table.insert(key.clone(), value.clone())),
            (Some(Value::Table(inner)), Value::Table(frame)) => complete(inner, frame),
            (Some(Value::Array(entries)), Value::Array(frames)) => {
                let Some(Value::Table(frame)) = frames.first() else { continue };
                entries.iter_mut().filter_map(Value::as_table_mut).for_each(|entry| complete(entry, frame));
            }
            (Some(_), _) => {}
        }
    }
}

pub(crate) fn json(block: &Block) -> Result<(), String> {
    serde_json::from_str::<serde_json::Value>(&block.text).map(drop).map_err(|error| error.to_string())
}

/// Of Kubernetes, as far as it is ours: the commands.
pub(crate) fn yaml(block: &Block) -> Result<(), String> {
    let mut found = block.demand_word("not about our commands");
    for words in block.text.lines().filter_map(|line| line.trim().strip_prefix("command: ")) {
        let words: Vec<String> = serde_json::from_str(words).map_err(|error| error.to_string())?;
        found = match words.split_first() {
            Some((program, arguments)) if program == "mailferry" => commands::ours(arguments, &[]),
            _ => Err(format!("{words:?} is not ours")),
        };
        found.clone()?;
    }
    found
}

pub(crate) fn haproxy(block: &Block) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("haproxy.cfg");
    // Lines without a section are a backend's; the files that they name are not there.
    let frame = "defaults\n    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\nfrontend f\n    bind :1\nbackend example\n";
    let frame = if block.text.starts_with(' ') { frame } else { "" };
    let text =
        block.text.replace("ca-file /etc/haproxy/mailferry-ca.pem", "ca-file /etc/ssl/certs/ca-certificates.crt");
    fs::write(&path, format!("{frame}{text}")).unwrap();
    let Some(output) = real("haproxy", &["-c", "-f", path.to_str().unwrap()]) else { return Ok(()) };
    let said = said(&output);
    if output.status.success() && !said.contains("[WARNING]") { Ok(()) } else { Err(said) }
}

/// Changes of one of our units, or a unit of its own if it says what it starts.
pub(crate) fn unit(block: &Block) -> Result<(), String> {
    let kind = if block.text.contains("[Socket]") { "socket" } else { "service" };
    let folder = tempfile::tempdir().unwrap();
    let units = folder.path().join("usr/lib/systemd/system");
    fs::create_dir_all(units.join(format!("mailferry.{kind}.d"))).unwrap();
    for unit in ["packaging/mailferry.service", "packaging/mailferry.socket"] {
        let path = root().join(unit);
        fs::copy(&path, units.join(path.file_name().unwrap())).unwrap();
    }
    let is_whole = block.text.contains("ExecStart=");
    let path = if is_whole { format!("mailferry.{kind}") } else { format!("mailferry.{kind}.d/example.conf") };
    fs::write(units.join(path), &block.text).unwrap();
    for program in ["usr/bin/mailferry", "bin/sh"] {
        let path = folder.path().join(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy("/bin/sh", path).unwrap();
    }
    let root = format!("--root={}", folder.path().display());
    let unit = format!("mailferry.{kind}");
    let arguments = ["verify", &root, "--man=no", "--recursive-errors=no", &unit];
    let Some(output) = real("systemd-analyze", &arguments) else { return Ok(()) };
    let said = said(&output);
    // The one line of systemd before 253.
    let said: Vec<_> = said.lines().filter(|line| !line.ends_with(": notify-reload")).collect();
    if said.is_empty() { Ok(()) } else { Err(said.join("; ")) }
}

/// A program of others, where there is one.
fn real(program: &str, arguments: &[&str]) -> Option<Output> {
    let search = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", search).output().ok();
    assert!(output.is_some() || std::env::var_os("REQUIRE_REAL").is_none(), "{program} is not installed");
    output
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}
