//! Which names are looked up and which ones nodes get, and that no octet of a name ever means anything.

use proptest::prelude::*;

use super::*;
use crate::testkit::settings::usernames as rules;

fn name(octets: impl AsRef<[u8]>) -> UserName {
    UserName::new(octets.as_ref()).unwrap()
}

/// What is looked up for a name, or nothing where there are no such names.
#[track_caller]
fn looked_up(rules: &Rules, typed: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    rules.apply(&name(typed), None, None).map(|names| names.looked_up.as_bytes().to_vec())
}

/// Octets that mean something to filters, shells, formats, IMAP, POP3 and terminals, and two charsets.
const ODD: [&[u8]; 16] = [
    b"a*b",
    b"a)(uid=*",
    b"a%d",
    b"%u",
    b"{user}",
    b"a\\b",
    b"\"a\"",
    b"'; drop table",
    b"a b",
    b" a ",
    b"a\tb\x1b[2J",
    b"a+b/c=d",
    b"{4}",
    "j\u{fc}rgen".as_bytes(),
    b"j\xfcrgen",
    b"\xff\xfe",
];

#[test]
fn without_rules_a_name_is_what_was_typed() {
    for odd in ODD {
        let names = rules().apply(&name(odd), Some("example.net"), Some("mail.example.org")).unwrap();
        assert_eq!((names.looked_up.as_bytes(), names.on_node.as_bytes()), (odd, odd));
    }
}

#[test]
fn lower_case_is_unicodes_for_utf_8_and_asciis_for_the_rest() {
    let lower = Rules { lower_case: true, ..rules() };
    let cases: [(&[u8], &[u8]); 9] = [
        (b"Bob@Example.NET", b"bob@example.net"),
        ("J\u{dc}RGEN".as_bytes(), "j\u{fc}rgen".as_bytes()),
        ("\u{39f}\u{394}\u{39f}\u{3a3}".as_bytes(), "\u{3bf}\u{3b4}\u{3bf}\u{3c3}".as_bytes()),
        ("STRA\u{df}E".as_bytes(), "stra\u{df}e".as_bytes()),
        // Latin-1, whose letters nobody can tell from those of another charset.
        (b"J\xdcRGEN", b"j\xdcrgen"),
        // One bad octet, and the whole is not UTF-8.
        ("\u{dc}A".as_bytes(), "\u{fc}a".as_bytes()),
        (b"\xc3\x9cA\xff", b"\xc3\x9ca\xff"),
        // Longer than before.
        ("\u{130}".as_bytes(), "i\u{307}".as_bytes()),
        ("\u{23a}".as_bytes(), "\u{2c65}".as_bytes()),
    ];
    for (typed, expected) in cases {
        assert_eq!(looked_up(&lower, typed).as_deref(), Some(expected), "{typed:?}");
        assert_eq!(looked_up(&rules(), typed).as_deref(), Some(typed), "{typed:?}");
    }
}

#[test]
fn a_name_that_outgrows_its_limit_is_no_name() {
    let lower = Rules { lower_case: true, ..rules() };
    assert_eq!(looked_up(&lower, "\u{23a}".repeat(85)).map(|name| name.len()), Some(255));
    assert_eq!(looked_up(&lower, "\u{23a}".repeat(86)), None);
    let add = Rules { domain: DomainRule::Add, default_domain: Some("example.net".into()), ..rules() };
    let len = UserName::MAX_LEN - "@example.net".len();
    assert_eq!(looked_up(&add, "x".repeat(len)).map(|name| name.len()), Some(255));
    assert_eq!(looked_up(&add, "x".repeat(len + 1)), None);
}

#[test]
fn the_last_delimiter_is_an_at_sign_where_there_is_none() {
    let cases: [(&str, &str, &str); 12] = [
        ("%", "bob%example.net", "bob@example.net"),
        ("%", "bob%home%example.net", "bob%home@example.net"),
        ("%", "bob", "bob"),
        ("%", "bob%", "bob%"),
        ("%", "%example.net", "%example.net"),
        ("%", "%", "%"),
        ("%", "a%b@c", "a%b@c"),
        ("%", "@", "@"),
        ("_at_", "bob_at_example.net", "bob@example.net"),
        ("_at_", "at_at_at_at", "at_at@at"),
        ("##", "a###b", "a#@b"),
        ("_at_", "bob_AT_example.net", "bob_AT_example.net"),
    ];
    for (delimiter, typed, expected) in cases {
        let rules = Rules { delimiter: Some(delimiter.into()), ..rules() };
        assert_eq!(looked_up(&rules, typed).as_deref(), Some(expected.as_bytes()), "{delimiter} {typed}");
    }
    // A delimiter has no case where names have none.
    for delimiter in ["_at_", "_AT_"] {
        let rules = Rules { delimiter: Some(delimiter.into()), lower_case: true, ..rules() };
        for typed in ["bob_at_example.net", "BOB_AT_EXAMPLE.NET"] {
            assert_eq!(looked_up(&rules, typed).as_deref(), Some(&b"bob@example.net"[..]), "{delimiter} {typed}");
        }
    }
}

#[test]
fn a_domain_is_cut_off_at_the_first_at_sign() {
    let strip = Rules { domain: DomainRule::Strip, ..rules() };
    for (typed, expected) in [
        ("bob", Some("bob")),
        ("bob@x.net", Some("bob")),
        ("a@b@c", Some("a")),
        ("bob@", Some("bob")),
        ("@x.net", None),
    ] {
        assert_eq!(looked_up(&strip, typed).as_deref(), expected.map(str::as_bytes), "{typed}");
    }
    let strip = Rules { delimiter: Some("%".into()), ..strip };
    assert_eq!(looked_up(&strip, "bob%x.net").as_deref(), Some(&b"bob"[..]));
    // What is cut off does not say in which case the rest is.
    let lower = Rules { lower_case: true, ..strip };
    for typed in [&b"\xc3\x84DA@x.net"[..], b"\xc3\x84DA@\xff", b"\xc3\xa4da"] {
        assert_eq!(looked_up(&lower, typed).as_deref(), Some(&b"\xc3\xa4da"[..]), "{typed:?}");
    }
    assert_eq!(looked_up(&lower, b"\xc4DA@\xff").as_deref(), Some(&b"\xc4da"[..]), "its charset is unknown");
}

#[test]
fn a_domain_is_added_by_server_name_then_listener_then_site() {
    let site = Rules {
        domain: DomainRule::Add,
        default_domain: Some("site.example".into()),
        domains_by_sni: vec![
            ("mail.example.org".into(), "example.org".into()),
            ("mail.example.com".into(), "Example.com".into()),
        ],
        ..rules()
    };
    let bare = Rules { default_domain: None, domains_by_sni: Vec::new(), ..site.clone() };
    let lower = Rules { lower_case: true, ..site.clone() };
    let (listener, org) = (Some("listener.example"), Some("mail.example.org"));
    let cases = [
        (&site, "bob", listener, org, "bob@example.org"),
        (&site, "bob", listener, Some("MAIL.example.ORG"), "bob@example.org"),
        (&site, "bob", listener, Some("mail.example.com"), "bob@Example.com"),
        (&lower, "Bob", listener, Some("mail.example.com"), "bob@example.com"),
        (&site, "bob", listener, Some("other.example.org"), "bob@listener.example"),
        (&site, "bob", listener, None, "bob@listener.example"),
        (&site, "bob", None, Some("other.example.org"), "bob@site.example"),
        (&site, "bob", None, None, "bob@site.example"),
        (&bare, "bob", None, org, "bob"),
        (&bare, "bob", listener, org, "bob@listener.example"),
        // Whoever has one keeps it, if only the beginning of one.
        (&site, "bob@x.net", listener, org, "bob@x.net"),
        (&site, "bob@", listener, org, "bob@"),
        (&site, "@x.net", listener, org, "@x.net"),
    ];
    for (rules, typed, listener, sni, expected) in cases {
        let names = rules.apply(&name(typed), listener, sni).unwrap();
        assert_eq!(names.looked_up, name(expected), "{typed} {listener:?} {sni:?}");
    }
}

#[test]
fn the_node_gets_the_name_that_the_site_wants_it_to_get() {
    let rules = Rules { lower_case: true, domain: DomainRule::Strip, ..rules() };
    for (on_node, expected) in [(NodeName::Typed, "Bob@x.net"), (NodeName::LookedUp, "bob")] {
        let names = Rules { on_node, ..rules.clone() }.apply(&name("Bob@x.net"), None, None).unwrap();
        assert_eq!(names, Names { looked_up: name("bob"), on_node: name(expected) });
    }
}

#[test]
fn names_that_are_too_long_or_have_forbidden_octets_are_none() {
    let short = Rules { length_max: 3, domain: DomainRule::Strip, ..rules() };
    assert_eq!(looked_up(&short, "bob").as_deref(), Some(&b"bob"[..]));
    assert_eq!(looked_up(&short, "bob@"), None, "the typed name counts");
    // What each of the three allows: any, text, ascii.
    let cases: [(&[u8], [bool; 3]); 10] = [
        (b"bob", [true; 3]),
        (b"!~*()\\\"%{}", [true; 3]),
        (b"a b", [true, true, false]),
        ("j\u{fc}rgen".as_bytes(), [true, true, false]),
        (b"j\xfcrgen", [true, false, false]),
        (b"a\tb", [true, false, false]),
        (b"a\x7f", [true, false, false]),
        ("a\u{85}".as_bytes(), [true, false, false]),
        (b"\xed\xa0\x80", [true, false, false]),
        (b"\xc3", [true, false, false]),
    ];
    for (typed, allowed) in cases {
        let of = |characters| looked_up(&Rules { characters, ..rules() }, typed).is_some();
        assert_eq!([Characters::Any, Characters::Text, Characters::Ascii].map(of), allowed, "{typed:?}");
    }
}

/// Octets of which many mean something.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::sample::select(&b"@%*()\\\"{}& aZ\xc3\x9c\xdc\xff"[..]);
    prop::collection::vec(prop_oneof![3 => odd, 1 => any::<u8>()], 1..=UserName::MAX_LEN)
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let domain = prop::sample::select(vec![DomainRule::Keep, DomainRule::Strip, DomainRule::Add]);
    let delimiter = prop::sample::select(vec![None, Some("%"), Some("_At_")]);
    let on_node = prop::sample::select(vec![NodeName::Typed, NodeName::LookedUp]);
    (any::<bool>(), domain, delimiter, on_node).prop_map(|(lower_case, domain, delimiter, on_node)| Rules {
        lower_case,
        domain,
        default_domain: Some("Example.net".into()),
        delimiter: delimiter.map(Into::into),
        on_node,
        ..rules()
    })
}

proptest! {
    /// `UserName` bounds the result and keeps NUL, CR and LF out of it; this is about what the rules may change.
    #[test]
    fn a_name_is_bounded_and_all_that_is_no_letter_stays((rules, octets) in (any_rules(), octets())) {
        let Some(typed) = UserName::new(&octets) else { return Ok(()) };
        let Some(names) = rules.apply(&typed, None, None) else { return Ok(()) };
        let looked_up = names.looked_up.as_bytes();
        prop_assert!((1..=UserName::MAX_LEN).contains(&looked_up.len()));
        prop_assert!(names.on_node == typed || names.on_node == names.looked_up);
        let local = |name: &[u8]| -> Vec<u8> {
            let local = name.split(|&octet| octet == b'@').next().unwrap_or_default();
            local.iter().copied().filter(|octet| octet.is_ascii() && !octet.is_ascii_alphabetic()).collect()
        };
        if rules.delimiter.is_none() {
            prop_assert_eq!(local(looked_up), local(&octets));
        }
        if !rules.lower_case && rules.delimiter.is_none() && rules.domain == DomainRule::Keep {
            prop_assert_eq!(looked_up, &octets[..]);
        }
    }

    /// Who types what is looked up, is looked up as that. (But for cutting, which may lay another delimiter bare.)
    #[test]
    fn what_is_looked_up_stays_what_it_is((rules, octets) in (any_rules(), octets())) {
        let Some(typed) = UserName::new(&octets) else { return Ok(()) };
        let Some(once) = rules.apply(&typed, None, None) else { return Ok(()) };
        if rules.delimiter.is_none() || rules.domain != DomainRule::Strip {
            let twice = rules.apply(&once.looked_up, None, None);
            prop_assert_eq!(twice.map(|names| names.looked_up), Some(once.looked_up));
        }
    }

    #[test]
    fn two_spellings_that_differ_in_case_are_one_name(text in "[a-zA-Z\u{e0}-\u{f6}%@.]{1,40}") {
        let rules = Rules { lower_case: true, delimiter: Some("%".into()), ..rules() };
        prop_assert_eq!(looked_up(&rules, &text), looked_up(&rules, text.to_uppercase()));
    }
}

#[test]
fn a_name_that_no_login_has_is_known_and_one_that_a_login_has_never_taken_for_it() {
    // Rules, and which of these names may be looked up.
    let names = ["alice", "Alice", "alice@example.net", "\u{c4}da", "\u{e4}da"];
    let cases = [
        (rules(), [true, true, true, true, true]),
        (Rules { lower_case: true, ..rules() }, [true, false, true, false, true]),
        (Rules { domain: DomainRule::Strip, ..rules() }, [true, true, false, true, true]),
        (Rules { domain: DomainRule::Add, ..rules() }, [true, true, true, true, true]),
        (
            Rules { domain: DomainRule::Add, default_domain: Some("example.org".into()), ..rules() },
            [false, false, true, false, false],
        ),
    ];
    for (rules, expected) in cases {
        assert_eq!(names.map(|it| rules.may_look_up(&name(it))), expected, "{rules:?}");
        for typed in names {
            if let Some(names) = rules.apply(&name(typed), None, None) {
                assert!(rules.may_look_up(&names.looked_up), "{typed} {rules:?}");
            }
        }
    }
}
