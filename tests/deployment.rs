//! docs/deployment.md: its configurations are ones, for mailferry and for HAProxy, and fit together.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use mailferry::config;

const DOCS: &str = "docs/deployment.md";

/// The block of code behind a comment.
fn block(name: &str, language: &str) -> String {
    let text = fs::read_to_string(DOCS).unwrap();
    let begin = format!("<!-- {name} -->\n\n```{language}\n");
    text.split_once(&begin).unwrap_or_else(|| panic!("no {name}")).1.split("```").next().unwrap().to_owned()
}

#[test]
fn the_listeners_behind_a_balancer_fit_to_the_balancers_servers() {
    let site = "[server]\nhostname = \"mail.example.net\"\n[tls]\ncertificates = [{ chain = \"m.pem\", key = \"m.key\" }]\n\
                [directory]\ntype = \"file\"\npath = \"routes\"\n[[island]]\nname = \"a\"\n\
                nodes = [{ name = \"left\", host = \"10.1.0.11\" }]\n";
    let listeners = block("proxy.toml", "toml");
    let settings =
        config::parse("proxy.toml", &(site.to_owned() + &listeners)).unwrap_or_else(|report| panic!("{report}"));
    let haproxy = block("haproxy.cfg", "haproxy");
    for listener in &settings.listeners {
        let port = listener.address.port();
        assert!(!listener.proxy_protocol_from.is_empty(), "{port}");
        assert!(
            haproxy.contains(&format!("bind :{port}\n")) && haproxy.contains(&format!("192.0.2.11:{port}\n")),
            "{port}"
        );
    }
    // A check that does not send the header where it is demanded takes every mailferry for dead.
    let checks = haproxy.lines().filter(|line| line.contains("default-server"));
    assert!(checks.clone().all(|line| line.contains("send-proxy-v2 check check-send-proxy")));
    assert_eq!(checks.count(), settings.listeners.len());
    for line in haproxy.lines().filter(|line| line.contains("timeout client ") || line.contains("timeout server ")) {
        let minutes: u32 = line.rsplit(' ').next().unwrap().strip_suffix('m').unwrap().parse().unwrap();
        assert!(minutes > 30, "IDLE is silent for half an hour: {line}");
    }
}

/// With HAProxy itself, where there is one; with `REQUIRE_REAL=1` there must be.
#[test]
fn haproxy_takes_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("haproxy.cfg");
    fs::write(&path, block("haproxy.cfg", "haproxy")).unwrap();
    let search = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    match Command::new("haproxy").args(["-c", "-f"]).arg(&path).env("PATH", search).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && !said.contains("[WARNING]"), "{said}");
        }
        Err(_) => {
            assert!(std::env::var_os("REQUIRE_REAL").is_none(), "haproxy is not installed");
            println!("skipped: haproxy is not installed");
        }
    }
}

#[test]
fn what_is_said_of_the_unit_is_true() {
    let text = fs::read_to_string(DOCS).unwrap();
    let unit = fs::read_to_string("packaging/mailferry.service").unwrap();
    let descriptors = unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")).unwrap();
    assert!(text.contains(&format!("`LimitNOFILE` of the unit is {descriptors}")));
    let clients = unit.split("a tenth: ").nth(1).unwrap().split(" clients").next().unwrap();
    assert!(text.replace('\n', " ").contains(&format!("enough for {clients} clients")), "{clients}");
    let image = fs::read_to_string("Dockerfile").unwrap();
    assert!(image.contains("[\"mailferry\", \"status\"]") && text.contains("The health check is `mailferry status`"));
    assert!(image.contains("USER 10143") && text.contains("user 10143"));
    assert!(text.contains("/usr/share/doc/mailferry/examples/proxy.toml"));
    assert!(unit.contains("\nTimeoutStopSec=5min\n") && text.contains("the unit's five minutes"));
}
