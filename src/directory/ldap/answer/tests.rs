//! Each kind of reply, and the one thing that it means.

use ldap3::asn1::{PL, TagClass};

use super::super::tests;
use super::*;

fn settings(login_attribute: Option<&str>) -> Settings {
    Settings { login_attribute: login_attribute.map(Into::into), ..tests::settings(vec![]) }
}

fn entry(attributes: &[(&str, &[&[u8]])]) -> Entry {
    let owned = |(name, values): &(&str, &[&[u8]])| {
        (name.as_bytes().to_vec(), values.iter().map(|value| value.to_vec()).collect())
    };
    Entry { dn: b"uid=b,dc=x".to_vec(), attributes: attributes.iter().map(owned).collect() }
}

fn found(entries: Vec<Entry>) -> Reply {
    Reply { entries, ..Reply::default() }
}

fn ended(code: u32) -> Reply {
    Reply { code, text: "it says\nso".into(), ..Reply::default() }
}

fn reason(reply: &Reply, settings: &Settings) -> String {
    match judge(reply, settings) {
        Ok(Err(LookupError::Ambiguous(reason))) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_entry_with_one_value_is_a_route() {
    let one = found(vec![entry(&[("mailhost", &[b"a"]), ("mailHost;x-old", &[b"b"]), ("uid", &[b"j\xfc"])])]);
    let island = IslandName::new("a");
    let plain = judge(&one, &settings(None));
    assert_eq!(plain, Ok(Ok(Route { island: island.clone(), login: None })));
    let named = judge(&one, &settings(Some("UID")));
    assert_eq!(named, Ok(Ok(Route { island, login: UserName::new(b"j\xfc") })));
}

#[test]
fn no_entry_is_no_such_user() {
    assert_eq!(judge(&found(vec![]), &settings(None)), Ok(Err(LookupError::NotFound)));
}

#[test]
fn anything_but_one_entry_and_one_value_is_ambiguous() {
    let long = [b'a'; MAX_ISLAND_LEN + 1];
    let a: &[&[u8]] = &[b"a"];
    let cases: [(Reply, &str); 15] = [
        (found(vec![entry(&[]), entry(&[])]), "more than one entry matches the filter: uid=b,dc=x, uid=b,dc=x"),
        (ended(code::SIZE_LIMIT_EXCEEDED), "more than one entry matches the filter"),
        (Reply { code: code::SIZE_LIMIT_EXCEEDED, ..found(vec![entry(&[])]) }, "the filter: uid=b,dc=x"),
        (
            found(vec![entry(&[]), Entry { dn: b"cn=\n\xff".to_vec(), attributes: vec![] }]),
            ": uid=b,dc=x, cn=\\n\u{fffd}",
        ),
        (ended(code::REFERRAL), "referral"),
        (Reply { continuations: 1, ..found(vec![entry(&[("mailHost", a), ("uid", a)])]) }, "referral"),
        (Reply { continuations: 1, ..found(vec![]) }, "referral"),
        (found(vec![entry(&[("uid", a)])]), "no value of mailHost"),
        (found(vec![entry(&[("mailHost", &[]), ("uid", a)])]), "no value of mailHost"),
        (found(vec![entry(&[("mailHost", &[b"a", b"b"]), ("uid", a)])]), "2 values of mailHost"),
        (found(vec![entry(&[("mailHost", &[b""]), ("uid", a)])]), "not UTF-8 text"),
        (found(vec![entry(&[("mailHost", &[b"\xff"]), ("uid", a)])]), "not UTF-8 text"),
        (found(vec![entry(&[("mailHost", &[&long]), ("uid", a)])]), "not UTF-8 text"),
        (found(vec![entry(&[("mailHost", a)])]), "no value of uid"),
        (found(vec![entry(&[("mailHost", a), ("uid", &[b"a\r\nb"])])]), "not a user name"),
    ];
    for (reply, part) in cases {
        let reason = reason(&reply, &settings(Some("uid")));
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn a_missing_base_or_a_busy_server_is_of_no_use_to_anybody() {
    for code in [code::NO_SUCH_OBJECT, code::BUSY, code::UNAVAILABLE] {
        assert!(matches!(judge(&ended(code), &settings(None)), Err(Refusal::Everybody(_))), "{code}");
    }
    let expected = "the base \"dc=x\" does not exist there, or may not be seen by this bind";
    assert_eq!(judge(&ended(code::NO_SUCH_OBJECT), &settings(None)), Err(Refusal::Everybody(expected.into())));
}

#[test]
fn other_result_codes_refuse_this_search_only_and_their_text_is_escaped() {
    for code in [1, 2, 3, 11, 50, 53, 80, 9999] {
        let refusal = judge(&ended(code), &settings(None));
        assert_eq!(refusal, Err(Refusal::ThisSearch("it says\\nso".into())), "{code}");
    }
    assert_eq!(told(&"x".repeat(MAX_TOLD + 1)), format!("{}…", "x".repeat(MAX_TOLD)));
}

fn octets(octets: &[u8]) -> StructureTag {
    StructureTag { class: TagClass::Universal, id: 4, payload: PL::P(octets.to_vec()) }
}

fn sequence(tags: Vec<StructureTag>) -> StructureTag {
    StructureTag { class: TagClass::Universal, id: 16, payload: PL::C(tags) }
}

#[test]
fn entries_are_parsed_and_malformed_ones_are_refused_without_a_panic() {
    let attribute = sequence(vec![octets(b"mailHost"), sequence(vec![octets(b"a")])]);
    let good = sequence(vec![octets(b"uid=b,dc=x"), sequence(vec![attribute])]);
    assert_eq!(Entry::parse(good), Some(entry(&[("mailHost", &[b"a"])])));
    let bad = [
        octets(b""),
        sequence(vec![]),
        sequence(vec![octets(b"dn")]),
        sequence(vec![sequence(vec![]), sequence(vec![])]),
        sequence(vec![octets(b"dn"), octets(b"")]),
        sequence(vec![octets(b"dn"), sequence(vec![octets(b"")])]),
        sequence(vec![octets(b"dn"), sequence(vec![sequence(vec![octets(b"a")])])]),
        sequence(vec![octets(b"dn"), sequence(vec![sequence(vec![octets(b"a"), sequence(vec![sequence(vec![])])])])]),
    ];
    for tag in bad {
        assert_eq!(Entry::parse(tag), None);
    }
}
