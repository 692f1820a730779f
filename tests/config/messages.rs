//! Reports as they are shown: what they look like, and what they never show.

use mailferry::config::Report;
use mailferry::directory::ldap::Url;
use mailferry::directory::template::FilterTemplate;

use crate::samples::root;
use crate::searched;

fn minimal() -> String {
    std::fs::read_to_string(root().join("tests/config/valid/minimal_ldap.toml")).unwrap()
}

#[track_caller]
fn refuse(text: &str) -> Report {
    searched::parse("proxy.toml", text).expect_err("refused")
}

#[test]
fn a_report_shows_place_message_line_and_remedy_of_each_problem() {
    let text = minimal().replace("hostname", "hostnam").replace("name = \"a\"", "name = \"a\"\ntls = \"no\"");
    let expected = r#"proxy.toml:3:1: unknown key `hostnam` in [server]
  |
3 | hostnam = "mail.example.net"
  | ^^^^^^^ did you mean `hostname`?

proxy.toml:19:7: `tls` cannot be "no"
   |
19 | tls = "no"
   |       ^^^^ write "implicit", "starttls" or "off"
"#;
    assert_eq!(refuse(&text).to_string(), expected);
}

#[test]
fn a_contradiction_shows_both_places() {
    let text = minimal() + "\n[[island]]\nname = \"b\"\nmatch = [\"a\"]\nnodes = [{ name = \"x\", host = \"x\" }]\n";
    let expected = r#"proxy.toml:23:10: this spelling means two islands
   |
18 | name = "a"
   |        --- the other island
...
23 | match = ["a"]
   |          ^^^ each one must belong to one island only
"#;
    assert_eq!(refuse(&text).to_string(), expected);
}

#[test]
fn what_is_missing_altogether_has_a_remedy_too() {
    let report = refuse(&minimal().replace("[server]\nhostname = \"mail.example.net\"\n", ""));
    let expected = "proxy.toml:1:1: [server] is missing\n |\n = help: add it, with hostname = \"mail.example.net\"\n";
    assert_eq!(report.to_string(), expected);
}

#[test]
fn colour_is_for_the_caller_to_decide() {
    let report = refuse("");
    assert!(report.render(true).contains('\u{1b}'));
    assert!(!report.render(false).contains('\u{1b}'));
    assert!(!report.to_string().contains('\u{1b}'));
}

#[test]
fn columns_count_characters() {
    let text = minimal().replace("name = \"left\",", "name = \"größe\", hosts = 1,");
    let problems: Vec<_> = refuse(&text).problems().map(|(place, ..)| (place.line, place.column)).collect();
    assert_eq!(problems, [(19, 28)]);
    // Also where a password is not shown, with one star for each octet.
    let text = minimal().replace("\nbase", "\nsecret = { x = \"größe\", y = 1 2 }\nbase");
    let problems: Vec<_> = refuse(&text).problems().map(|(place, ..)| (place.line, place.column)).collect();
    assert_eq!(problems, [(15, 29)]);
}

#[test]
fn errors_of_urls_and_filters_are_told_at_the_place_where_they_are() {
    let url = Url::parse("ldap.example.net").unwrap_err().to_string();
    let report = refuse(&minimal().replace("ldap://ldap.example.net", "ldap.example.net")).to_string();
    let (cause, remedy) = url.split_once(": ").unwrap();
    assert!(report.starts_with(&format!("proxy.toml:14:9: `urls` is not an LDAP URL: {cause}\n")), "{report}");
    assert!(report.contains(&format!("^ {remedy}\n")), "{report}");

    let filter = FilterTemplate::parse("(uid={usr})").unwrap_err().to_string();
    let report = refuse(&(minimal().replace("\nbase", "\nfilter = \"(uid={usr})\"\nbase"))).to_string();
    let (cause, remedy) = filter.split_once(": ").unwrap();
    let column = "filter = \"(uid=".len() + 1;
    assert!(report.starts_with(&format!("proxy.toml:15:{column}: `filter` is not a filter: {cause}\n")), "{report}");
    assert!(report.contains(&format!("^ {remedy}\n")), "{report}");
}

#[test]
fn a_password_in_the_file_is_never_shown() {
    let lines = [
        "bind_password = \"hunter2\"",
        "bind_password=\"hunter2",
        "bind_password = hunter2",
        "#bind_password = \"hunter2\"\nx = 1",
        "  \"bind.Password\" = 'hunter2'",
        "a = { passwd = \"hunter2\", b = 1 }",
        "a = [[{ ldap-secret = \"hunter2\" }]]",
        "secret = \"hunter2\" # hunter2",
        "bind_password = \"hunter2\"\nbind_password = \"hunter2\"",
        "bind_password_file = \"x\", bind_password = \"hunter2\"",
    ];
    for line in lines {
        let report = refuse(&minimal().replace("\nbase", &format!("\n{line}\nbase")));
        for shown in [report.render(true), report.render(false), format!("{report:?}")] {
            assert!(!shown.contains("hunter2"), "{line}: {shown}");
        }
    }
    let report = refuse(&minimal().replace("\nbase", "\nbind_password_file = \"/etc/shown\"\nbase"));
    assert!(report.to_string().contains("\"/etc/shown\""), "the name of the file is no secret: {report}");
}

#[test]
fn whatever_is_cut_out_of_a_file_the_answer_is_settings_or_a_reason() {
    let text = minimal();
    let mut refused = 0;
    for at in 0..text.len() {
        for len in [1, 2, 40, text.len()] {
            let cut = format!("{}{}", &text[..at], text.get(at + len..).unwrap_or_default());
            if let Err(report) = searched::parse("proxy.toml", &cut) {
                refused += 1;
                assert!(report.problems().next().is_some(), "refused without a reason:\n{cut}");
                assert!(report.to_string().starts_with("proxy.toml:"), "{report}\n{cut}");
            }
        }
    }
    assert!(refused > text.len(), "only {refused} were refused");
}
