//! The directory against a real slapd: answers, TLS and binds here, servers that die, freeze and return in `outages`,
//! data and servers that mean harm in `malice`. All that is logged meanwhile, at TRACE and by every library, ldap3 too, is
//! searched for the passwords of binds.
//!
//! A missing slapd is a failure that names the package, never a skip.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken test bench is a failed test")]

#[path = "directory/malice.rs"]
mod malice;
#[path = "directory/outages.rs"]
mod outages;
#[path = "directory/slapd.rs"]
mod slapd;

use std::sync::Arc;
use std::time::Duration;

use mailferry::directory::ldap::{self, Bind, Scope, Url};
use mailferry::directory::template::FilterTemplate;
use mailferry::directory::{Directory, DirectoryError, Found, Located, LookupError, Settings, SourceSettings, cache};
use mailferry::names::UserName;
use mailferry::testkit::log::{Log, Search};
use rustls::ClientConfig;

use slapd::{BIND_DN, BIND_PASSWORD, PATIENCE, Slapd, WRONG_PASSWORD, eventually};

/// Searches `ou=people` anonymously and in clear text, and remembers nothing but old routes.
fn settings(urls: Vec<Url>) -> ldap::Settings {
    ldap::Settings {
        urls,
        starttls: false,
        ca: None,
        bind: None,
        base: "ou=people,dc=example,dc=net".into(),
        scope: Scope::Sub,
        filter: FilterTemplate::parse("(&(objectClass=inetOrgPerson)(|(uid={user})(mail={user})))").unwrap(),
        island_attribute: "mailHost".into(),
        login_attribute: None,
        timeout: PATIENCE,
        connect_timeout: PATIENCE,
        pool: 2,
    }
}

/// The search through all that is logged.
fn search() -> &'static Search {
    Search::everywhere(&[BIND_PASSWORD, WRONG_PASSWORD])
}

/// What this thread will log.
fn log() -> Log {
    search();
    Log::default()
}

fn directory(settings: ldap::Settings, tls: Option<Arc<ClientConfig>>) -> Directory {
    search();
    let cache = cache::Settings {
        capacity: 1000,
        ttl: Duration::ZERO,
        negative_ttl: Duration::ZERO,
        stale: Duration::from_secs(3600),
        file: None,
    };
    Directory::new(&Settings { source: SourceSettings::Ldap(settings), cache }, tls).unwrap()
}

async fn locate(directory: &Directory, name: impl AsRef<[u8]>) -> Result<Located, LookupError> {
    directory.locate(&UserName::new(name.as_ref()).unwrap()).await
}

/// The island, or the error as text.
async fn island(directory: &Directory, name: impl AsRef<[u8]>) -> String {
    match locate(directory, name).await {
        Ok(located) => located.route.island.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Which server answered, or what else happened.
async fn who_answers(directory: &Directory, name: &str) -> String {
    match locate(directory, name).await {
        Ok(Located { found: Found::Asked(by), .. }) => by.to_string(),
        Ok(Located { found: Found::Cached { .. }, .. }) => "cache".into(),
        Ok(Located { found: Found::Stale { .. }, .. }) => "stale".into(),
        Err(error) => error.to_string(),
    }
}

async fn unavailable(directory: &Directory, name: &str) -> String {
    match locate(directory, name).await {
        Err(LookupError::Unavailable(reason)) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn users_are_found_in_clear_text_with_starttls_and_with_tls() {
    let slapd = Slapd::start().await;
    for (url, starttls) in
        [(slapd.ldap(), false), (slapd.ldap_by_name(), true), (slapd.ldaps(), false), (slapd.ldaps(), true)]
    {
        let shown = url.to_string();
        let directory = directory(ldap::Settings { starttls, ..settings(vec![url]) }, Some(slapd.tls()));
        assert_eq!(island(&directory, "bob").await, "a");
        assert_eq!(island(&directory, "carol").await, "b");
        assert_eq!(island(&directory, "nobody").await, "no such user");
        assert_eq!(who_answers(&directory, "robert@example.net").await, shown);
    }
}

#[tokio::test]
async fn a_server_whose_certificate_does_not_fit_is_not_used_not_even_in_clear_text() {
    let (slapd, other) = (Slapd::start().await, Slapd::start().await);
    let cases = [
        (slapd.ldaps(), false, other.tls(), "TLS: "),
        (slapd.ldap_by_name(), true, other.tls(), "StartTLS: "),
        (slapd.ldaps_by_address(), false, slapd.tls(), "TLS: "),
        (slapd.ldap(), true, slapd.tls(), "StartTLS: "),
    ];
    for (url, starttls, tls, stage) in cases {
        let directory = directory(ldap::Settings { starttls, ..settings(vec![url]) }, Some(tls));
        let reason = unavailable(&directory, "bob").await;
        assert!(reason.contains(stage) && reason.contains("certificate"), "{reason}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_starttls_is_not_used() {
    let slapd = Slapd::start_without_tls().await;
    let settings = ldap::Settings { starttls: true, ..settings(vec![slapd.ldap_by_name()]) };
    let reason = unavailable(&directory(settings, Some(slapd.tls())), "bob").await;
    assert!(reason.contains("StartTLS: LDAP operation result"), "{reason}");
}

#[tokio::test]
async fn a_bind_shows_what_is_hidden_from_others() {
    let slapd = Slapd::start().await;
    let base = "dc=example,dc=net".to_owned();
    let filter = FilterTemplate::parse("(&(objectClass=inetOrgPerson)(uid={user}))").unwrap();
    // One level below ou=private, so that the referral next to it is not met.
    let hidden = |bind| ldap::Settings {
        base: format!("ou=private,{base}"),
        filter: filter.clone(),
        bind,
        scope: Scope::One,
        ..settings(vec![slapd.ldap()])
    };
    let password_file = slapd.file("password", &format!("{BIND_PASSWORD}\n"));
    let bound = directory(hidden(Some(Bind { dn: BIND_DN.into(), password_file })), None);
    assert_eq!(island(&bound, "hidden").await, "h");
    let anonymous = directory(hidden(None), None);
    assert_ne!(island(&anonymous, "hidden").await, "h");
}

#[tokio::test]
async fn r_log_01_a_refused_bind_is_unavailable_and_the_password_is_in_no_text() {
    let slapd = Slapd::start().await;
    let wrong = WRONG_PASSWORD;
    let log = log();
    let _guard = log.start();
    let cases = [
        (slapd.file("wrong", wrong), "invalidCredentials"),
        (slapd.file("empty", "\n"), "is empty"),
        (slapd.file("x", "").with_file_name("missing"), "No such file"),
    ];
    for (password_file, part) in cases {
        let bind = Some(Bind { dn: BIND_DN.into(), password_file });
        let directory = directory(ldap::Settings { bind, ..settings(vec![slapd.ldap()]) }, None);
        let reason = unavailable(&directory, "bob").await;
        assert!(reason.contains(part) && !reason.contains(wrong), "{reason}");
    }
    assert_eq!(log.count("LDAP server is unavailable"), 3, "{}", log.text());
    assert!(!log.text().contains(wrong));
    // What goes over the wire is known to ldap3 too.
    search().assert_nothing_found(3);
}

#[tokio::test]
async fn the_password_file_is_read_again_at_each_connect() {
    let slapd = Slapd::start().await;
    let password_file = slapd.file("password", WRONG_PASSWORD);
    let bind = Some(Bind { dn: BIND_DN.into(), password_file });
    let directory = directory(ldap::Settings { bind, ..settings(vec![slapd.ldap()]) }, None);
    unavailable(&directory, "bob").await;
    slapd.file("password", BIND_PASSWORD);
    eventually("the new password is used", async || (island(&directory, "bob").await == "a").then_some(())).await;
}

#[tokio::test]
async fn anything_but_one_entry_with_one_value_is_ambiguous() {
    let slapd = Slapd::start().await;
    let plain = || settings(vec![slapd.ldap()]);
    let department = || ldap::Settings { island_attribute: "departmentNumber".into(), ..plain() };
    let login = |attribute: &str| ldap::Settings { login_attribute: Some(attribute.into()), ..department() };
    let everywhere = ldap::Settings { base: "dc=example,dc=net".into(), ..plain() };
    let elsewhere = ldap::Settings { base: "ou=elsewhere,dc=example,dc=net".into(), ..plain() };
    let cases = [
        (plain(), "twin", "more than one entry matches the filter: cn=twin "),
        (plain(), "triplet", "more than one entry matches the filter: cn=twin "),
        (plain(), "homeless", "has no value of mailHost"),
        (department(), "torn", "has 2 values of departmentNumber"),
        (login("mail"), "bob", "has 2 values of mail"),
        (login("description"), "bob", "has no value of description"),
        (everywhere, "bob", "a referral to another server"),
        (elsewhere, "bob", "a referral to another server"),
    ];
    for (settings, name, part) in cases {
        match locate(&directory(settings, None), name).await {
            Err(LookupError::Ambiguous(reason)) => assert!(reason.contains(part), "{name}: {reason}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_missing_base_is_the_operators_error_and_never_no_such_user() {
    let slapd = Slapd::start().await;
    let base = "ou=nowhere,dc=example,dc=net".to_owned();
    let reason = unavailable(&directory(ldap::Settings { base, ..settings(vec![slapd.ldap()]) }, None), "bob").await;
    let expected = "the base \"ou=nowhere,dc=example,dc=net\" does not exist there, or may not be seen by this bind";
    assert!(reason.contains(expected), "{reason}");
}

#[tokio::test]
async fn a_scope_is_kept() {
    let slapd = Slapd::start().await;
    let base = "uid=bob,ou=people,dc=example,dc=net";
    let cases = [
        (base, Scope::Base, "a"),
        (base, Scope::One, "no such user"),
        ("ou=people,dc=example,dc=net", Scope::One, "a"),
        ("ou=people,dc=example,dc=net", Scope::Base, "no such user"),
    ];
    for (base, scope, expected) in cases {
        let settings = ldap::Settings { base: base.into(), scope, ..settings(vec![slapd.ldap()]) };
        assert_eq!(island(&directory(settings, None), "bob").await, expected);
    }
}

#[tokio::test]
async fn names_are_data_whatever_their_octets() {
    let slapd = Slapd::start().await;
    let by_uid = directory(settings(vec![slapd.ldap()]), None);
    assert_eq!(island(&by_uid, r"b*(b)\c").await, "odd");
    for name in ["*", "b*", "bob)(uid=*", "bob)(|(uid=*", r"\62ob", r"b\6fb", "b*(b)", "bob\u{7f}"] {
        assert_eq!(island(&by_uid, name).await, "no such user", "{name}");
    }
    assert_eq!(island(&by_uid, b"bob\xff").await, "no such user");
    let by_octets = ldap::Settings {
        filter: FilterTemplate::parse("(testName={user})").unwrap(),
        login_attribute: Some("testName".into()),
        ..settings(vec![slapd.ldap()])
    };
    let latin = locate(&directory(by_octets, None), b"j\xfcrgen").await.unwrap();
    assert_eq!(latin.route.island.as_str(), "latin");
    assert_eq!(latin.route.login, UserName::new(b"j\xfcrgen"));
    // No octet stands for another one, nor for none or many.
    let by_octets = ldap::Settings {
        filter: FilterTemplate::parse("(|(testName={user})(uid={user}))").unwrap(),
        ..settings(vec![slapd.ldap()])
    };
    let by_octets = directory(by_octets, None);
    for octet in (1..=0xff).filter(|octet| !matches!(octet, b'\r' | b'\n')) {
        for name in [vec![octet], vec![b'b', octet, b'b'], [&[octet][..], b"bob", &[octet]].concat()] {
            // As the attribute's matching rule has it (RFC 4517 §4.2.11): without case, and without spaces around.
            let is_bob = [&b"bob"[..], b"bOb", b" bob "].contains(&&*name);
            let found = island(&by_octets, &name).await;
            assert_eq!(found, if is_bob { "a" } else { "no such user" }, "{}", name.escape_ascii());
        }
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_the_start() {
    let cache = cache::Settings {
        capacity: 1,
        ttl: Duration::ZERO,
        negative_ttl: Duration::ZERO,
        stale: Duration::ZERO,
        file: None,
    };
    let error = |source| {
        Directory::new(&Settings { source: SourceSettings::Ldap(source), cache: cache.clone() }, None).err().unwrap()
    };
    let url = |text| Url::parse(text).unwrap();
    assert_eq!(error(settings(vec![])), DirectoryError::NoServers);
    assert_eq!(error(settings(vec![url("ldaps://a")])), DirectoryError::TlsMissing("ldaps://a:636".into()));
    let starttls = ldap::Settings { starttls: true, ..settings(vec![url("ldap://[::1]")]) };
    assert_eq!(error(starttls), DirectoryError::TlsToIpv6("ldap://[::1]:389".into()));
}
