//! Transcripts towards the client: framing and commands. Each is run in one piece and octet by octet, and must be the
//! same.

mod announced;
mod exchanges;

use super::*;
use crate::proto::imap::tests::{offer, rendered};

const TLS: Channel = Channel::Tls;
const UPGRADABLE: Channel = Channel::Upgradable;

/// Under TLS, unless told otherwise.
fn says(octets: impl AsRef<[u8]>) -> String {
    rendered(&offer(TLS), octets.as_ref())
}

fn check(cases: &[(&str, &str)]) {
    for (octets, said) in cases {
        assert_eq!(says(octets), *said, "{octets:?}");
    }
}

/// `\0bob\0secret`.
const BOB: &str = "AGJvYgBzZWNyZXQ=";
const FAILED: &str = "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n";

#[test]
fn r_imap_01_each_command_gets_one_tagged_answer() {
    check(&[
        ("a NOOP\r\n", "a OK Nothing done\r\n"),
        ("a NOOP\r\nb NOOP\nc noop  \r\n", "a OK Nothing done\r\nb OK Nothing done\r\nc OK Nothing done\r\n"),
    ]);
}

#[test]
fn r_imap_02_without_a_valid_tag_nothing_is_echoed_or_run() {
    let long = "x".repeat(65);
    for tag in ["", "+", "a+", "a(b", "a*", "a%", "a\"b", "a\\", "\u{fc}", "a\tb", "a\x7f", "a\x01", "{3}", &long] {
        assert_eq!(says(format!("{tag} NOOP\r\n")), "* BAD Syntax error\r\n", "{tag:?}");
    }
    let longest = "x".repeat(64);
    for tag in ["a001", "3.2", ".1", "a]", "!#$&',-./:;<=>?@^_`|}~", &longest] {
        assert_eq!(says(format!("{tag} NOOP\r\n")), format!("{tag} OK Nothing done\r\n"));
    }
    check(&[("a\r\n", "a BAD Syntax error\r\n")]);
}

#[test]
fn r_imap_03_names_have_no_case_and_unknown_ones_are_bad() {
    check(&[
        ("a nOoP\r\n", "a OK Nothing done\r\n"),
        ("a SELECT inbox\r\n", "a BAD Log in first\r\n"),
        ("a UNAUTHENTICATE\r\n", "a BAD Log in first\r\n"),
        ("a FROB\r\n", "a BAD Unknown command\r\n"),
        ("a NOOP1\r\n", "a BAD Syntax error\r\n"),
        ("a NOOP x\r\n", "a BAD Syntax error\r\n"),
        ("a CAPABILITY x\r\n", "a BAD Syntax error\r\n"),
        ("a LOGOUT x\r\n", "a BAD Syntax error\r\n"),
        ("a APPEND x {5}\r\nb NOOP\r\n", "a BAD Log in first\r\nb OK Nothing done\r\n"),
    ]);
}

#[test]
fn r_imap_04_login_accepts_every_string_form() {
    let forms = |word: &str| {
        let n = word.len();
        [
            (word.to_owned(), ""),
            (format!("\"{word}\""), ""),
            (format!("{{{n}}}\r\n{word}"), "+ Go on\r\n"),
            (format!("{{{n}+}}\r\n{word}"), ""),
            (format!("{{000{n}+}}\n{word}"), ""),
        ]
    };
    for (user, first) in forms("bob") {
        for (password, second) in forms("se}cret") {
            let octets = format!("a LOGIN {user} {password}\r\n");
            assert_eq!(says(&octets), format!("{first}{second}<login a bob se}}cret LOGIN>"), "{octets:?}");
        }
    }
}

#[test]
fn the_type_of_a_token_is_told_by_its_first_octet() {
    check(&[
        ("a LOGIN bob \"{5}\"\r\n", "<login a bob {5} LOGIN>"),
        ("a LOGIN bob \"{5+}\"\r\nb NOOP\r\n", "<login a bob {5+} LOGIN>b OK Nothing done\r\n"),
        ("a LOGIN NIL nil\r\n", "<login a NIL nil LOGIN>"),
        ("a LOGIN user%do*main ]\r\n", "<login a user%do*main ] LOGIN>"),
        ("a LOGIN bob x{5}\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob ~{5}\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob {}\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob {-5}\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob {5} \r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob {5++}\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob (x)\r\n", "a BAD Syntax error\r\n"),
    ]);
}

#[test]
fn r_imap_05_two_octets_can_be_escaped_and_no_others() {
    check(&[
        ("a LOGIN \"b\\\\o\\\"b\" \"\\\"\\\\\"\r\n", r#"<login a b\\o\"b \"\\ LOGIN>"#),
        ("a LOGIN bob \"se\\cret\"\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob \"secret\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob \"secret\\\"\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob \"sec\"ret\r\n", "a BAD Syntax error\r\n"),
    ]);
}

#[test]
fn r_imap_06_every_octet_of_a_password_arrives() {
    let octets: Vec<u8> = (1..=255).filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    let quoted = octets.iter().flat_map(|o| if matches!(o, b'"' | b'\\') { vec![b'\\', *o] } else { vec![*o] });
    let quoted: Vec<u8> = quoted.collect();
    let long = [b'x'; 1000];
    for (sent, meant) in [
        ([b"\"".as_slice(), &quoted, b"\""].concat(), octets.clone()),
        ([format!("{{{}+}}\r\n", octets.len()).as_bytes(), &octets].concat(), octets.clone()),
        ([b"\"".as_slice(), &long, b"\""].concat(), long.to_vec()),
    ] {
        let said = says([b"a LOGIN bob ".as_slice(), &sent, b"\r\n"].concat());
        assert_eq!(said, format!("<login a bob {} LOGIN>", meant.escape_ascii()));
    }
}

#[test]
fn r_imap_07_line_ends_and_nul_in_a_credential_are_a_local_failure() {
    for bad in ["x\0y", "x\ry", "x\ny"] {
        assert_eq!(says(format!("a LOGIN bob {{3+}}\r\n{bad}\r\n")), FAILED, "{bad:?}");
        assert_eq!(says(format!("a LOGIN {{3+}}\r\n{bad} secret\r\n")), FAILED, "{bad:?}");
    }
    for bad in ["a LOGIN bob \"x\0y\"\r\n", "a LOGIN bob x\0y\r\n", "a LOGIN bob \"x\ry\"\r\n", "a NO\rOP\r\n"] {
        assert_eq!(says(bad), "a BAD Syntax error\r\n", "{bad:?}");
    }
}

#[test]
fn r_imap_08_a_synchronising_literal_is_asked_for_once() {
    check(&[
        ("a LOGIN {3}\r\n", "+ Go on\r\n"),
        ("a LOGIN {3}\r\nbob", "+ Go on\r\n"),
        ("a LOGIN {3}\r\nbob {6}\r\n", "+ Go on\r\n+ Go on\r\n"),
        ("a LOGIN {3+}\r\nbob {6+}\r\nsec", ""),
        ("a LOGIN {0}\r\n {0+}\r\n\r\n", &format!("+ Go on\r\n{FAILED}")),
    ]);
}

#[test]
fn r_imap_09_no_size_is_too_great_to_be_refused() {
    for size in [
        "4097",
        "4294967296",
        "4294967301",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551624",
        "99999999999999999999",
        "10000000000000000000000000000000000000005",
    ] {
        let said = says(format!("a LOGIN bob {{{size}}}\r\nb NOOP\r\n"));
        assert_eq!(said, "a BAD Literal too long\r\nb OK Nothing done\r\n", "{size}");
    }
    let said = says(format!("a LOGIN bob {{4096}}\r\n{}\r\n", "x".repeat(4096)));
    assert_eq!(said, format!("+ Go on\r\n{FAILED}"), "a lawful literal that is no lawful password");
}

#[test]
fn r_imap_10_octets_of_a_refused_literal_are_never_commands() {
    let bait = "b LOGIN eve evil\r\n";
    let drops = |header: &str, octets: usize, answer: &str| {
        let body = bait.repeat(octets / bait.len() + 1);
        let said = says(format!("a {header} {{{octets}+}}\r\n{} {{5+}}\r\nb NO\n\r\nc NOOP\r\n", &body[..octets]));
        assert_eq!(said, format!("a BAD {answer}\r\nc OK Nothing done\r\n"), "{header} {octets}");
    };
    drops("LOGIN bob", 4097, "Literal too long");
    drops("LOGIN bob", 60_000, "Literal too long");
    drops("LOGIN \"bob", 100, "Syntax error");
    drops("LOGIN a b", 0, "Syntax error");
    drops("FROB", 100, "Unknown command");
    drops("APPEND inbox", 100, "Log in first");
    drops(&"x".repeat(9000), 100, "Line too long");
    for size in ["65537", "4294967296", "18446744073709551624", "99999999999999999999"] {
        let said = says(format!("a LOGIN bob {{{size}+}}\r\n{bait}"));
        assert_eq!(said, "* BYE Command too long\r\n<close TooLong>");
    }
}

#[test]
fn r_imap_11_long_lines_are_skipped_and_endless_ones_end_the_connection() {
    let line = |length: usize| format!("a {}\r\nb NOOP\r\n", "x".repeat(length - 2));
    assert_eq!(says(line(8192)), "a BAD Syntax error\r\nb OK Nothing done\r\n");
    assert_eq!(says(line(8193)), "a BAD Line too long\r\nb OK Nothing done\r\n");
    assert_eq!(says(line(65_534)), "a BAD Line too long\r\nb OK Nothing done\r\n");
    assert_eq!(says(line(65_536)), "* BYE Command too long\r\n<close TooLong>");
    assert_eq!(says("x".repeat(65_536)), "* BYE Command too long\r\n<close TooLong>");
    assert_eq!(says(format!("{}\r\nb NOOP\r\n", "x".repeat(9000))), "* BAD Line too long\r\nb OK Nothing done\r\n");
    let user = "x".repeat(8175);
    assert_eq!(says(format!("a LOGIN {user} {{5+}}\r\nhello\r\n")), FAILED, "literals do not count");
    let said = says(format!("a LOGIN {user} {{5+}}\r\nhello    \r\nb NOOP\r\n"));
    assert_eq!(said, "a BAD Line too long\r\nb OK Nothing done\r\n", "lines count together");
}

#[test]
fn r_imap_13_empty_lines_and_extra_spaces_are_bad() {
    check(&[
        ("\r\n", "* BAD Syntax error\r\n"),
        ("\n", "* BAD Syntax error\r\n"),
        (" \r\n", "* BAD Syntax error\r\n"),
        (" a NOOP\r\n", "* BAD Syntax error\r\n"),
        ("a  NOOP\r\n", "a BAD Syntax error\r\n"),
        ("a \r\n", "a BAD Syntax error\r\n"),
        ("a\tNOOP\r\n", "* BAD Syntax error\r\n"),
        ("a LOGIN  bob secret\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob  secret\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob\tsecret\r\n", "a BAD Syntax error\r\n"),
    ]);
}

#[test]
fn r_imap_19_nothing_behind_logout_is_run() {
    check(&[("a LOGOUT\r\nb NOOP\r\n", "* BYE Logging out\r\na OK Logged out\r\n<close Logout>")]);
}

#[test]
fn r_imap_20_bad_commands_are_answered_up_to_their_limit() {
    let said = says("a FROB\r\nn NOOP\r\n".repeat(10_000));
    let answer = "a BAD Unknown command\r\nn OK Nothing done\r\n".repeat(10);
    let last = "a BAD Unknown command\r\n* BYE Too many bad commands\r\n<close TooManyBadCommands>";
    assert_eq!(said, answer + last);
    for (bad, answer) in [
        ("a AUTHENTICATE PLAIN\r\n*\r\n", "+ \r\na BAD Authentication cancelled\r\n"),
        ("a AUTHENTICATE PLAIN\r\n?\r\n", "+ \r\na BAD Invalid base64\r\n"),
        ("a STARTTLS\r\n", "a BAD STARTTLS is not available\r\n"),
        ("\r\n", "* BAD Syntax error\r\n"),
    ] {
        let last = "* BYE Too many bad commands\r\n<close TooManyBadCommands>";
        assert_eq!(says(bad.repeat(12)), answer.repeat(11) + last);
    }
}

#[test]
fn r_imap_21_login_has_two_arguments_and_neither_is_empty() {
    check(&[
        ("a LOGIN\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN \r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob \r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN bob secret more\r\n", "a BAD Syntax error\r\n"),
        ("a LOGIN \"\" secret\r\n", FAILED),
        ("a LOGIN bob \"\"\r\n", FAILED),
        (&format!("a LOGIN {} secret\r\n", "x".repeat(256)), FAILED),
        (&format!("a LOGIN bob {}\r\n", "x".repeat(1025)), FAILED),
        (&format!("a LOGIN bob {}\r\n", "x".repeat(1024)), &format!("<login a bob {} LOGIN>", "x".repeat(1024))),
    ]);
}
