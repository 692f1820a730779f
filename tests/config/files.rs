//! `load`: what is said of the files that proxy.toml names, and of proxy.toml itself as a file.

use std::fs;
use std::path::Path;
use std::process::Command;

use mailferry::config::Settings;
use mailferry::directory::SourceSettings;
use tempfile::TempDir;

use crate::searched;

/// A site with all its files, which the tests then spoil.
fn site() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["mail", "other"] {
        let made = rcgen::generate_simple_self_signed([format!("{name}.example.net")]).unwrap();
        fs::write(folder.path().join(format!("{name}.pem")), made.cert.pem()).unwrap();
        fs::write(folder.path().join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    fs::write(folder.path().join("ldap.secret"), "swordfish\n").unwrap();
    fs::write(folder.path().join("proxy.toml"), SITE).unwrap();
    folder
}

const SITE: &str = r#"[server]
hostname = "mail.example.net"
[tls]
certificates = [{ chain = "mail.pem", key = "mail.key" }]
[[listener]]
protocol = "imap"
address = "[::]:993"
[directory]
type = "ldap"
urls = ["ldap://ldap.example.net"]
base = "dc=example,dc=net"
ca = "other.pem"
bind_dn = "cn=mailferry"
bind_password_file = "ldap.secret"
[[island]]
name = "a"
ca = "mail.pem"
nodes = [{ name = "left", host = "10.1.0.11" }]
"#;

fn load(folder: &TempDir) -> Result<Settings, String> {
    searched::load(&folder.path().join("proxy.toml")).map_err(|report| report.to_string())
}

/// Each problem as `LINE:COLUMN: message`.
#[track_caller]
fn problems(folder: &TempDir) -> Vec<String> {
    let report = searched::load(&folder.path().join("proxy.toml")).expect_err("refused");
    report.problems().map(|(place, message, _)| format!("{}:{}: {message}", place.line, place.column)).collect()
}

/// Whether there is exactly one problem, there, which begins or ends like this.
#[track_caller]
fn assert_only(folder: &TempDir, place: &str, words: &str) {
    let problems = problems(folder);
    let is_it = |problem: &String| problem.starts_with(&format!("{place}: ")) && problem.contains(words);
    assert!(problems.len() == 1 && problems.iter().all(is_it), "{problems:#?}");
}

/// Where the problems are.
#[track_caller]
fn places(folder: &TempDir) -> Vec<String> {
    problems(folder).iter().map(|said| said.split(": ").next().unwrap().to_owned()).collect()
}

fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) {
    fs::write(folder.path().join(name), content).unwrap();
}

#[test]
fn a_site_with_all_its_files_loads_and_its_paths_are_those_of_the_folder() {
    let folder = site();
    let settings = load(&folder).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(settings.tls.unwrap().certificates[0].chain, folder.path().join("mail.pem"));
    assert_eq!(settings.islands[0].ca.as_deref(), Some(&*folder.path().join("mail.pem")));
}

#[test]
fn a_key_that_does_not_belong_to_the_certificate_is_told_at_the_key() {
    let folder = site();
    fs::copy(folder.path().join("other.key"), folder.path().join("mail.key")).unwrap();
    assert_only(&folder, "4:45", "");
}

#[test]
fn the_authorities_of_clients_are_looked_into_as_those_of_nodes_are() {
    let folder = site();
    write(&folder, "proxy.toml", SITE.replace("[::]:993\"\n", "[::]:993\"\nclient_ca = \"clients.pem\"\n"));
    assert_only(&folder, "8:13", "clients.pem");
    fs::copy(folder.path().join("other.pem"), folder.path().join("clients.pem")).unwrap();
    assert_eq!(load(&folder).unwrap().listeners[0].client_ca, Some(folder.path().join("clients.pem")));
}

/// Each file that the site names, and where.
const NAMED: [(&str, &str); 5] =
    [("mail.pem", "4:27"), ("mail.key", "4:45"), ("other.pem", "12:6"), ("ldap.secret", "14:22"), ("mail.pem", "17:6")];

#[test]
fn each_missing_file_is_told_where_it_is_named() {
    let folder = site();
    for name in ["mail.pem", "mail.key", "other.pem", "ldap.secret"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert_eq!(places(&folder), NAMED.map(|(_, place)| place));
}

#[test]
fn a_pipe_is_refused_wherever_a_file_is_named_and_nobody_waits_for_its_other_end() {
    let folder = site();
    for name in ["mail.pem", "mail.key", "other.pem", "ldap.secret"] {
        make_pipe(&folder, name);
    }
    let said = problems(&folder);
    assert_eq!(places(&folder), NAMED.map(|(_, place)| place));
    assert!(said.iter().all(|said| said.ends_with("not a regular file")), "{said:#?}");
    make_pipe(&folder, "proxy.toml");
    assert_only(&folder, "1:1", "cannot be read: not a regular file");
}

fn make_pipe(folder: &TempDir, name: &str) {
    let path = folder.path().join(name);
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn files_of_more_than_a_mebibyte_are_refused_and_not_read() {
    let folder = site();
    let grow = |name: &str, len: u64| {
        fs::File::options().append(true).open(folder.path().join(name)).unwrap().set_len(len).unwrap();
    };
    for name in ["mail.pem", "mail.key", "other.pem"] {
        grow(name, 1024 * 1024);
    }
    assert!(load(&folder).is_ok());
    for name in ["mail.pem", "mail.key", "other.pem"] {
        grow(name, 1024 * 1024 + 1);
    }
    let said = problems(&folder);
    assert_eq!(places(&folder), ["4:27", "4:45", "12:6", "17:6"]);
    assert!(said.iter().all(|said| said.ends_with("larger than 1048576 octets")), "{said:#?}");
    grow("proxy.toml", 1024 * 1024 + 1);
    assert_only(&folder, "1:1", "larger than 1048576 octets");
}

#[test]
fn problems_of_files_and_of_the_text_are_told_together() {
    let folder = site();
    write(&folder, "proxy.toml", SITE.replace("hostname", "hostnam"));
    write(&folder, "ldap.secret", "");
    let said = problems(&folder);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[1].ends_with("ldap.secret is empty"), "{said:#?}");
}

#[test]
fn a_password_file_with_nothing_but_a_line_end_is_empty() {
    let folder = site();
    for content in ["", "\n", "\r\n"] {
        write(&folder, "ldap.secret", content);
        assert_only(&folder, "14:22", "is empty");
    }
    write(&folder, "ldap.secret", "x");
    assert!(load(&folder).is_ok());
}

#[test]
fn a_password_that_no_bind_could_use_is_refused_at_once() {
    let folder = site();
    write(&folder, "ldap.secret", b"swordfish\xf6\n");
    assert_only(&folder, "14:22", "ldap.secret is not UTF-8");
    write(&folder, "ldap.secret", "swordfish".repeat(200));
    assert_only(&folder, "14:22", "ldap.secret is longer than 1024 octets");
    assert!(!load(&folder).unwrap_err().contains("swordfish"));
    write(&folder, "ldap.secret", [b'x'; 1024]);
    assert!(load(&folder).is_ok());
}

#[test]
fn the_password_of_a_probe_is_looked_into_as_that_of_the_directory_is() {
    let folder = site();
    let probe = "[island.probe]\ncheck = \"login\"\nuser = \"probe\"\npassword_file = \"probe.secret\"\n";
    write(&folder, "proxy.toml", format!("{SITE}{probe}"));
    assert_only(&folder, "22:17", "probe.secret cannot be read: ");
    write(&folder, "probe.secret", "\n");
    assert_only(&folder, "22:17", "probe.secret is empty");
    let report = load(&folder).unwrap_err();
    assert!(report.contains("write the password of `user` into it"), "{report}");
    write(&folder, "probe.secret", "swordfish\n");
    assert!(load(&folder).is_ok());
}

#[test]
fn routes_can_be_kept_in_a_folder_that_exists_and_need_not_be_there_yet() {
    let folder = site();
    let keep = |file: &str| {
        let cache = format!("[directory.cache]\nfile = \"{file}\"\n[[island]]");
        write(&folder, "proxy.toml", SITE.replace("[[island]]", &cache));
    };
    keep("kept/routes");
    assert_only(&folder, "16:8", "kept/routes cannot keep routes: its folder cannot be used: No such file");
    write(&folder, "kept", "");
    assert_only(&folder, "16:8", "");
    fs::remove_file(folder.path().join("kept")).unwrap();
    fs::create_dir(folder.path().join("kept")).unwrap();
    assert!(load(&folder).is_ok());
    write(&folder, "kept/routes", "mailferry routes and whatever else");
    assert!(load(&folder).is_ok());
    write(&folder, "kept/routes", "bob a\n");
    assert_only(&folder, "16:8", "kept/routes cannot keep routes: it does not begin with \"mailferry routes\"");
    keep("kept");
    assert_only(&folder, "16:8", "kept cannot keep routes: it is not a regular file");
    keep("routes");
    let settings = load(&folder).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(settings.directory.cache.file, Some(folder.path().join("routes")));
}

/// A site whose directory is the file `routes`, which is not there yet. It is named in 10:8.
fn site_with_routes() -> TempDir {
    let folder = site();
    let (head, tail) = (&SITE[..SITE.find("[directory]").unwrap()], &SITE[SITE.find("[[island]]").unwrap()..]);
    let tail = tail.replace("ca =", "match = [\"store-a\"]\nca =");
    write(&folder, "proxy.toml", format!("{head}[directory]\ntype = \"file\"\npath = \"routes\"\n{tail}"));
    folder
}

#[test]
fn the_routes_must_be_readable() {
    let folder = site_with_routes();
    assert_only(&folder, "10:8", "cannot be read: ");
    fs::create_dir(folder.path().join("routes")).unwrap();
    assert_only(&folder, "10:8", "cannot be read: ");
    fs::remove_dir(folder.path().join("routes")).unwrap();
    write(&folder, "routes", "bob a\neve store-a\n");
    let settings = load(&folder).unwrap_or_else(|report| panic!("{report}"));
    assert!(matches!(settings.directory.source, SourceSettings::File(file) if file.path.ends_with("routes")));
}

#[test]
fn routes_to_islands_that_are_not_configured_are_told_with_line_and_island() {
    let folder = site_with_routes();
    write(&folder, "routes", "bob a\neve A\nno-island\ncarol store-b carol\n");
    let said = problems(&folder);
    let lines: Vec<_> = said[0].lines().skip(1).map(|line| line.rsplit('/').next().unwrap()).collect();
    let expected = [
        "routes:2: no island has the name or match \"A\": mend it, or add the island",
        "routes:3: no island: write user, island and, where it differs, the login name",
        "routes:4: no island has the name or match \"store-b\": mend it, or add the island",
    ];
    assert_eq!((said.len(), lines), (1, expected.to_vec()), "{said:#?}");
    // Also when something else is wrong with an island, but not when its names are.
    let text = fs::read_to_string(folder.path().join("proxy.toml")).unwrap();
    write(&folder, "proxy.toml", text.replace("10.1.0.11", ""));
    assert_eq!(problems(&folder).len(), 2);
    write(&folder, "routes", "bob b\n");
    write(&folder, "proxy.toml", text.replace("\"store-a\"", "7"));
    let said = problems(&folder);
    assert!(said.len() == 1 && said[0].contains("`match` must be"), "{said:#?}");
}

#[test]
fn of_very_many_bad_routes_some_are_told_and_the_rest_is_counted() {
    let folder = site_with_routes();
    write(&folder, "routes", (0..1000).map(|n| format!("user{n} b\n")).collect::<String>());
    let said = problems(&folder);
    let lines: Vec<_> = said[0].lines().skip(1).collect();
    assert_eq!(lines.len(), 21, "{said:#?}");
    assert!(lines[19].contains("routes:20: ") && lines[20] == "and 980 more", "{said:#?}");
}

#[test]
fn certificates_that_no_listener_uses_are_a_problem_and_not_looked_into() {
    let folder = site();
    fs::remove_file(folder.path().join("mail.key")).unwrap();
    assert_only(&folder, "4:45", "No such file");
    let clear = SITE.replace("[::]:993\"", "[::]:143\"\ntls = \"off\"\ncleartext_login = true");
    write(&folder, "proxy.toml", clear);
    assert_only(&folder, "3:1", "no listener uses [tls]");
}

#[test]
fn parse_touches_no_file() {
    assert!(searched::parse("/nonexistent/proxy.toml", SITE).is_ok());
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_a_problem_with_a_place() {
    let folder = site();
    write(&folder, "proxy.toml", b"[server]\nhostname = \"m\xfcller\"\n");
    assert_only(&folder, "2:14", "not UTF-8");
    let nowhere = searched::load(Path::new("/nonexistent/proxy.toml")).unwrap_err().to_string();
    assert!(nowhere.starts_with("/nonexistent/proxy.toml:1:1: cannot be read: "), "{nowhere}");
}

#[test]
fn a_user_and_a_group_that_are_not_there_are_told_and_so_is_root() {
    let folder = site();
    for (keys, place, words) in [
        ("user = \"no-such\"", "3:8", "there is no user \"no-such\""),
        ("user = \"no-such\"\ngroup = \"nor-this\"", "3:8", "there is no user"),
        ("user = \"nobody\"\ngroup = \"no-such\"", "4:9", "there is no group \"no-such\""),
        ("user = \"root\"", "3:8", "user \"root\" is root"),
        ("group = \"root\"", "3:9", "`group` has no meaning without `user`"),
        ("user = \"\"", "3:8", "`user` is empty"),
    ] {
        let with = SITE.replace("example.net\"\n[tls]", &format!("example.net\"\n{keys}\n[tls]"));
        write(&folder, "proxy.toml", with);
        assert_only(&folder, place, words);
    }
    let with = SITE.replace("example.net\"\n[tls]", "example.net\"\nuser = \"nobody\"\ngroup = \"root\"\n[tls]");
    write(&folder, "proxy.toml", with);
    assert_eq!(load(&folder).unwrap().privileges.user.as_deref(), Some("nobody"));
}
