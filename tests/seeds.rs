//! The fuzz targets without a fuzzer: what they begin with, and whatever they have found, goes through their properties in
//! every test run. Whoever mends a finding puts its input into fuzz/seeds and gives it a test with a name.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailferry::proto::Protocol::{Imap, Pop3};
use mailferry::testkit::{dialogues, leaks, roundtrip, tls};
use mailferry::{config, directory, proto};

/// Octets of all seeds together.
const SEEDS_MAX: u64 = 100 * 1024;

type Property = fn(&[u8]);

/// What each target asserts, as its file under fuzz/fuzz_targets says.
const TARGETS: [(&str, Property); 15] = [
    ("config", config::parsing_is_sound),
    ("credentials", leaks::no_log_tells_a_password),
    ("framing", proto::imap::client::proof::framing_is_sound),
    ("imap_client", |data| dialogues::client_is_chunking_proof(Imap, data)),
    ("imap_command", |data| roundtrip::logins_mean_the_same_to_a_node(Imap, data)),
    ("imap_node", |data| dialogues::node_is_chunking_proof(Imap, data)),
    ("ldap_guard", directory::ldap::guarding_is_sound),
    ("ldap_template", directory::template::rendering_is_sound),
    ("pop3_client", |data| dialogues::client_is_chunking_proof(Pop3, data)),
    ("pop3_command", |data| roundtrip::logins_mean_the_same_to_a_node(Pop3, data)),
    ("pop3_node", |data| dialogues::node_is_chunking_proof(Pop3, data)),
    ("proxy_header", proto::proxy_header::proxy_header_is_sound),
    ("sasl", |data| {
        dialogues::sasl_is_unambiguous(data);
        roundtrip::sasl_messages_mean_the_same_again(data);
    }),
    ("snapshot", directory::snapshot::parsing_is_sound),
    ("tls_driver", tls::driver_is_sound),
];

fn names(folder: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    fs::read_dir(path).unwrap().map(name).collect()
}

#[test]
fn every_target_has_seeds_and_they_pass() {
    let (mut sum, mut failed) = (0, Vec::new());
    for (target, property) in TARGETS {
        let folder = format!("fuzz/seeds/{target}");
        let seeds = names(&folder);
        assert!(seeds.len() >= 3, "{target} has only {} seeds", seeds.len());
        for name in seeds {
            let seed = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder).join(&name)).unwrap();
            sum += seed.len() as u64;
            // And what a fuzzer does first: parts of it.
            let parts = (0..seed.len().min(256)).map(|end| &seed[..end]).chain([&seed[..]]);
            if std::panic::catch_unwind(|| parts.for_each(property)).is_err() {
                failed.push(format!("{target}/{name}"));
            }
        }
    }
    assert!(failed.is_empty(), "what they panicked of is above: {failed:?}");
    assert!(sum <= SEEDS_MAX, "{sum} octets of seeds");
}

#[test]
fn the_targets_are_those_that_are_there() {
    let known: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz/seeds"), known);
    assert_eq!(names("fuzz/fuzz_targets"), known.iter().map(|name| format!("{name}.rs")).collect());
    for dictionary in names("fuzz/dictionaries") {
        let name = dictionary.strip_suffix(".dict").unwrap();
        let is_wanted = |target: &String| target == name || target.split('_').next() == Some(name);
        assert!(known.iter().any(is_wanted), "{dictionary} is nobody's");
    }
}

#[test]
fn r_log_01_wherever_a_password_stands_no_log_tells_it() {
    let fronts: [&[u8]; 5] = [b"", b"x ", b"a LOGIN bob {99}\r\n", b"AUTH PLAIN\r\n", b"USER bob\r\n"];
    let mut sessions = 0;
    for choice in 0..16 {
        for place in 0..24 {
            for front in fronts {
                leaks::no_log_tells_a_password(&[&[choice, place, 255], front].concat());
                sessions += 1;
            }
        }
    }
    assert!(sessions > 1000);
}

/// The search itself: if it found nothing anywhere, nothing would ever fail.
#[test]
fn a_marker_in_a_user_name_is_found_in_the_log() {
    for protocol in [Imap, Pop3] {
        let marker = leaks::MARKER;
        let said = match protocol {
            Imap => format!("a LOGIN {marker} x\r\n"),
            Pop3 => format!("USER {marker}\r\nPASS x\r\n"),
        };
        let log = leaks::log_of_a_session(protocol, 1, said.into_bytes());
        assert_eq!(leaks::leak(marker.as_bytes(), &log), Some(marker.to_owned()), "{log}");
        assert!(log.contains("TRACE"), "this log is not talkative: {log}");
    }
}

#[test]
fn a_password_is_found_in_every_form() {
    let password = "Gr\u{fc}\u{df}e \"4\" \\Ferry\\";
    let sasl = STANDARD.encode(format!("\0berta\0{password}"));
    let logs = [
        format!("x {password} x"),
        format!("x {password:?} x"),
        format!("x {:?} x", format!("{password:?}")),
        format!("x {:?} x", password.as_bytes()),
        format!("x {} x", password.as_bytes().escape_ascii()),
        format!("x {:?} x", format!("{}", password.as_bytes().escape_ascii())),
        format!("x {sasl} x"),
        format!("x {} x", STANDARD.encode(password)),
        format!("x {} x", STANDARD.encode(format!("bo\0bo\0{password}"))),
        format!("x {} x", STANDARD.encode(format!("b\0{password}xx"))),
    ];
    for log in logs {
        assert!(leaks::leak(password.as_bytes(), &log).is_some(), "not found in {log:?}");
    }
    assert_eq!(leaks::leak(password.as_bytes(), "{\"user\":\"berta\",\"password\":\"(hidden)\"}"), None);
}
