//! `mailferry import`: real-looking configurations and what comes of each, and the promise for all others.
//!
//! Beside each `tests/import/NAME.conf` stands `NAME.toml`, with the lines that were not understood at its end.
//! `UPDATE_SAMPLES=1` rewrites them; read the difference before you keep it.

#![allow(clippy::unwrap_used)]

#[path = "import/migrating.rs"]
mod migrating;
#[path = "program/mod.rs"]
mod program;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use mailferry::config;
use mailferry::import::options::{OPTIONS, Takes};
use mailferry::import::{Imported, MAX_LEN, NoConfiguration, Service, perdition};
use proptest::prelude::*;

use program::{Done, Program};

fn import(text: &str) -> Imported {
    perdition(text.as_bytes(), None).unwrap()
}

/// Whether the reader of proxy.toml takes it, with its words if not.
#[track_caller]
fn assert_accepted(toml: &str) {
    if let Err(report) = config::parse("proxy.toml", toml) {
        panic!("{report}\n{toml}");
    }
}

/// An option has a line in the text, as a comment that begins with it.
fn mentions(toml: &str, option: &str) -> bool {
    let mut told = toml.lines().filter_map(|line| line.strip_prefix("# perdition: "));
    told.any(|line| line.split([' ', ':']).next() == Some(option))
}

fn samples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "conf")).collect();
    paths.sort();
    assert!(paths.len() >= 5, "{paths:?}");
    paths
}

#[test]
fn samples_become_what_stands_beside_them() {
    for path in samples() {
        let imported = import(&std::fs::read_to_string(&path).unwrap());
        assert_accepted(&imported.toml);
        let mut text = imported.toml;
        for trouble in &imported.troubles {
            writeln!(text, "# {}: {}", trouble.line, trouble.message).unwrap();
        }
        assert!(!text.contains("swordfish"), "{text}");
        let golden = path.with_extension("toml");
        if std::env::var_os("UPDATE_SAMPLES").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&golden).unwrap(), text, "{}", golden.display());
    }
}

/// A value that Perdition takes.
fn value(option: &str) -> &'static str {
    match option {
        "add_domain" | "strip_domain" | "lower_case" => "servername_lookup",
        "bind_address" => "127.0.0.1",
        "connection_limit" | "authenticate_timeout" | "timeout" | "connect_relog" => "100",
        "domain_delimiter" => "%",
        "listen_port" | "outgoing_port" => "143",
        "map_library" => "/usr/lib/libperditiondb_ldap.so.0",
        "map_library_opt" => "ldap://ldap.example.net/dc=example,dc=net?uid,mailHost?sub?(uid=%s)",
        "outgoing_server" => "10.1.0.11",
        "protocol" => "IMAP4",
        "query_key" => r"\\U",
        "ssl_cert_verify_depth" | "ssl_passphrase_fd" => "3",
        "ssl_mode" => "tls_all_force",
        "ssl_listen_min_proto_version" => "tlsv1.2",
        _ => "/text",
    }
}

/// Its line in a file.
fn line(option: &str) -> String {
    let known = OPTIONS.iter().find(|known| known.name == option).unwrap();
    if known.takes == Takes::Nothing { option.to_owned() } else { format!("{option} {}", value(option)) }
}

#[test]
fn every_option_alone_and_all_together_have_a_line() {
    assert_eq!(OPTIONS.len(), 69);
    for known in OPTIONS {
        let imported = import(&line(known.name));
        assert_eq!(imported.troubles, [], "{}", known.name);
        assert!(mentions(&imported.toml, known.name), "{}\n{}", known.name, imported.toml);
        assert_accepted(&imported.toml);
        let gone = known.gone.map(|why| why.split(' ').take(3).collect::<Vec<_>>().join(" "));
        assert!(gone.is_none_or(|why| why.starts_with("gone: ") && imported.toml.contains(&why)), "{}", known.name);
    }
    let all: Vec<String> = OPTIONS.iter().map(|known| line(known.name)).collect();
    let imported = import(&all.join("\n"));
    assert_eq!(imported.troubles, []);
    assert_accepted(&imported.toml);
    let missing: Vec<_> = OPTIONS.iter().filter(|known| !mentions(&imported.toml, known.name)).collect();
    assert!(missing.is_empty(), "{missing:?}\n{}", imported.toml);
}

#[test]
fn an_ldap_site_means_the_same_in_both_worlds() {
    let text = std::fs::read_to_string("tests/import/ldap.conf").unwrap();
    let settings = config::parse("proxy.toml", &import(&text).toml).unwrap();
    let addresses: Vec<String> = settings.listeners.iter().map(|it| it.address.to_string()).collect();
    assert_eq!(addresses, ["192.0.2.10:143", "192.0.2.10:993", "192.0.2.10:110", "192.0.2.10:995"]);
    assert_eq!(settings.limits.connections.unwrap().get(), 2000);
    let mailferry::directory::SourceSettings::Ldap(ldap) = &settings.directory.source else { panic!("no LDAP") };
    let urls: Vec<String> = ldap.urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["ldap://ldap1.example.net:389", "ldap://ldap2.example.net:1389"]);
    assert_eq!((ldap.base.as_str(), ldap.island_attribute.as_str()), ("ou=people,dc=example,dc=net", "mailHost"));
    assert_eq!(ldap.login_attribute.as_deref(), Some("uid"));
    assert_eq!(settings.islands[0].nodes.len(), 2);
    assert_eq!(settings.islands[0].nodes[1].imap_port, 1143);
}

#[test]
fn the_processes_are_those_that_were_asked_for() {
    let ports = |text: &str, services: Option<&[Service]>| {
        let toml = perdition(text.as_bytes(), services).unwrap().toml;
        let settings = config::parse("proxy.toml", &toml).unwrap();
        settings.listeners.iter().map(|it| it.address.port()).collect::<Vec<_>>()
    };
    assert_eq!(ports("", None), [143, 993, 110, 995]);
    assert_eq!(ports("protocol pop3s", None), [995]);
    assert_eq!(ports("protocol pop3s", Some(&[Service::Imap4, Service::Imap4, Service::Pop3])), [143, 110]);
    assert_eq!(ports("listen_port 1143", Some(&[Service::Imap4])), [1143]);
    let imported = import("protocol MANAGESIEVE");
    assert!(imported.toml.contains("does not speak ManageSieve"), "{}", imported.toml);
    assert_accepted(&imported.toml);
    assert_eq!(Service::of_file("perdition.imap4s.conf"), Some(Service::Imap4s));
    assert_eq!(Service::of_file("perdition.conf"), None);
}

#[test]
fn what_is_no_configuration_is_refused() {
    let refusal = |octets: &[u8]| perdition(octets, None).unwrap_err();
    assert_eq!(refusal(&[0x7f, b'E', b'L', b'F', 0]), NoConfiguration::Binary);
    assert_eq!(refusal(&vec![b'#'; MAX_LEN + 1]), NoConfiguration::TooLarge);
    assert!(perdition(&vec![b'#'; MAX_LEN], None).is_ok());
    assert_eq!(refusal("q\n".repeat(1001).as_bytes()), NoConfiguration::TooManyLines);
    assert_eq!(refusal("x\n".repeat(MAX_LEN / 2).as_bytes()), NoConfiguration::TooManyLines);
    assert_accepted(&import(&"q\n".repeat(1000)).toml);
    // The longest values, in which each word is looked at.
    for (option, word) in [
        ("bind_address", "127.0.0.1:1,"),
        ("outgoing_server", "a,"),
        ("imap_capability", "A "),
        ("query_key", "\\\\u,"),
        ("map_library_opt", "ldap://a/?a?b?(a=%s)"),
    ] {
        let value = word.repeat(4096 / word.len());
        let imported = import(&format!("map_library ldap\n{option} {value}\n"));
        assert_accepted(&imported.toml);
        assert_eq!(imported.troubles, [], "{option}");
        let imported = import(&format!("{option} {value}{value}\n"));
        assert_eq!(imported.troubles.len(), 1, "{option}");
    }
}

/// Octets of which configurations and their syntax are made.
fn text() -> impl Strategy<Value = String> {
    let name = prop::sample::select(OPTIONS.iter().map(|known| known.name).collect::<Vec<_>>());
    let piece = prop_oneof![
        3 => prop::sample::select(vec![
            "ldap://", "3:", "[::1]", "127.0.0.1", ":143", ",", "?", "%s", "%2c", "(", ")", "uid", "all", "tls_all",
            "ssl_listen", "IMAP4S", "\\\\u", "\\\\", "@", "\"", "'", "#", "{", "}", "0", "99999999999999999999", "ldap",
            "servername_lookup", "x-bindpw=", "\u{1b}", "\u{7f}", "\u{2028}", "\\\n", " ",
        ]).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| text.chars().take(12).filter(|c| *c != '\0').collect()),
    ];
    let value = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    let lines = prop::collection::vec((name, value), 0..8);
    lines.prop_map(|lines| lines.iter().map(|(name, value)| format!("{name} {value}\n")).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]
    #[test]
    fn whatever_was_read_what_comes_out_is_a_configuration(text in text()) {
        let imported = import(&text);
        if let Err(report) = config::parse("proxy.toml", &imported.toml) {
            panic!("{report}\n{}", imported.toml);
        }
    }

    #[test]
    fn any_octets_are_answered(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(imported) = perdition(&octets, None) {
            prop_assert!(config::parse("proxy.toml", &imported.toml).is_ok(), "{}", imported.toml);
        }
    }
}

/// Exit code, standard output and standard error.
fn mailferry(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let Done { code, out, err } = Program::new(arguments).run_with(input);
    (code, out, err)
}

#[test]
fn the_command_prints_the_file_and_its_code_says_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("perdition.pop3s.conf");
    let file = path.to_str().unwrap();
    std::fs::write(&path, "outgoing_server 10.1.0.11\n").unwrap();
    let (code, out, err) = mailferry(&["import", "perdition", file], b"");
    assert_eq!(code, 0, "{err}");
    assert_accepted(&out);
    assert!(out.contains("[::]:995") && !out.contains("[::]:993"), "{out}");
    assert!(err.starts_with("places that wait for a decision") && err.lines().count() == 1, "{err}");
    let (code, out, _) = mailferry(&["import", "perdition", "--protocol", "imap4,imap4s", file], b"");
    assert!(code == 0 && out.contains("[::]:143") && out.contains("[::]:993") && !out.contains(":995"), "{out}");

    std::fs::write(&path, "quiet\nnonsense swordfish\n").unwrap();
    let (code, out, err) = mailferry(&["import", "perdition", file], b"");
    assert_eq!(code, 65);
    assert!(err.starts_with(&format!("{file}:2: unknown option nonsense")) && !err.contains("swordfish"), "{err}");
    assert_accepted(&out);

    std::fs::write(&path, b"quiet\0").unwrap();
    let (code, out, err) = mailferry(&["import", "perdition", file], b"");
    assert_eq!((code, out.as_str(), err.lines().count()), (65, "", 1), "{err}");
    for no_file in ["/nonexistent", "/dev/zero", folder.path().to_str().unwrap()] {
        let (code, out, err) = mailferry(&["import", "perdition", no_file], b"");
        assert_eq!((code, out.as_str()), (66, ""), "{err}");
        assert!(err.starts_with(&format!("{no_file}: cannot be read: ")), "{err}");
    }
    let (code, out, _) = mailferry(&["import", "perdition", "-"], b"--outgoing_server=10.9.8.7\n");
    assert!(code == 0 && out.contains("10.9.8.7"), "{out}");
    let (code, _, err) = mailferry(&["import", "perdition", "-"], &vec![b'#'; MAX_LEN + 1]);
    assert!(code == 65 && err.starts_with("standard input: larger than "), "{err}");
}

#[test]
fn the_help_teaches() {
    let (code, out, _) = mailferry(&["import", "perdition", "--help"], b"");
    assert_eq!(code, 0);
    for word in
        ["judge:", "mailferry check", "Exit codes: 0", "65", "66", "docs/migrating.md", "--protocol", "Examples:"]
    {
        assert!(out.contains(word), "{word}\n{out}");
    }
    assert_eq!(mailferry(&["import", "exim", "x"], b"").0, 2);
}
