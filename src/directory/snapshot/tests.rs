//! The format: what goes in comes out, and nothing that is damaged is used.

use proptest::prelude::*;

use super::*;

fn entry(user: &[u8], island: &str, login: Option<&[u8]>, said: u64) -> Entry {
    let login = login.map(|login| UserName::new(login).unwrap());
    Entry { user: UserName::new(user).unwrap(), route: Route { island: IslandName::new(island), login }, said }
}

fn written(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(write(&mut out, entries.iter().cloned(), MAX_LEN).unwrap(), entries.len() as u64);
    out
}

/// A text with a trailer whose checksum is right.
fn sealed(text: &str, count: u64) -> Vec<u8> {
    let mut sum = Sum::default();
    sum.0.write(text.as_bytes());
    format!("{text}end {count} {}\n", sum.text()).into_bytes()
}

#[test]
fn the_text_is_what_the_head_of_the_file_says() {
    let entries =
        [entry(b"bob@example.net", "a", None, 1_700_000_000), entry("jürgen x".as_bytes(), "%b", Some(b"j\t"), 42)];
    let text = "mailferry routes 1\n1700000000 bob@example.net a\n42 j%C3%BCrgen%20x %25b j%09\n";
    // Fixed for ever: a file of yesterday's mailferry must be readable.
    let expected = format!("{text}end 2 629c6266bbfd39421617fb79e10dbc60\n");
    assert_eq!(String::from_utf8(written(&entries)).unwrap(), expected);
    assert_eq!(parse(expected.as_bytes()).unwrap(), entries);
    assert_eq!(parse(&written(&[])).unwrap(), []);
}

#[test]
fn the_longest_entry_fits_its_line() {
    let longest = [b'\xff'; UserName::MAX_LEN];
    let entries = [entry(&longest, &"\u{1}".repeat(MAX_ISLAND_LEN), Some(&longest), u64::MAX)];
    assert_eq!(parse(&written(&entries)).unwrap(), entries);
}

#[test]
fn an_entry_that_could_not_be_read_again_is_left_out() {
    let good = entry(b"bob", "a", None, 1);
    let mut out = Vec::new();
    let bad = [entry(b"x", "", None, 1), good.clone(), entry(b"y", &"i".repeat(MAX_ISLAND_LEN + 1), None, 1)];
    assert_eq!(write(&mut out, bad.into_iter(), MAX_LEN).unwrap(), 1);
    assert_eq!(parse(&out).unwrap(), [good]);
}

#[test]
fn what_does_not_fit_is_left_out_and_the_rest_is_whole() {
    let entries: Vec<Entry> = (0..100).map(|said| entry(b"bob", "a", None, 1000 + said)).collect();
    let line = "1000 bob a\n".len() as u64;
    let limit = HEADER.len() as u64 + 42 * line + MAX_TRAILER_LEN;
    for (limit, count) in [(limit - 1, 41), (limit, 42), (limit + line - 1, 42), (0, 0)] {
        let mut out = Vec::new();
        assert_eq!(write(&mut out, entries.iter().cloned(), limit).unwrap(), count);
        assert!(limit == 0 || out.len() as u64 <= limit);
        assert_eq!(parse(&out).unwrap(), entries[..count as usize]);
    }
}

#[test]
fn one_octet_changed_or_missing_anywhere_and_nothing_is_used() {
    let whole = written(&[entry(b"bob", "a", None, 1_700_000_000), entry(b"carol", "b", Some(b"c"), 7)]);
    for at in 0..whole.len() {
        for change in [1, 0x20, 0x80] {
            let mut changed = whole.clone();
            changed[at] ^= change;
            assert!(parse(&changed).is_err(), "octet {at}: {}", String::from_utf8_lossy(&changed));
        }
        assert!(parse(&whole[..at]).is_err(), "cut at {at}");
        let more = [&whole[..at], b"x", &whole[at..]].concat();
        assert!(parse(&more).is_err(), "an octet more at {at}");
    }
    assert!(parse(&[&whole[..], b"\n"].concat()).is_err());
    assert!(parse(&[&whole[..], &whole[..]].concat()).is_err());
}

#[test]
fn each_kind_of_damage_has_its_own_words() {
    let head = "mailferry routes 1\n";
    let line = |line: &str| sealed(&format!("{head}1 bob a\n{line}\n"), 2);
    let long = format!("1 bob {}", "%61".repeat(MAX_LINE_LEN / 3));
    let mut cases = vec![
        (Vec::new(), SnapshotError::Truncated),
        (b"mailferry route".to_vec(), SnapshotError::Truncated),
        (b"mailferry routed".to_vec(), SnapshotError::Foreign),
        (b"bob a\n".to_vec(), SnapshotError::Foreign),
        (sealed("mailferry routes 2\n1 bob a\n", 1), SnapshotError::OtherVersion),
        (sealed("mailferry routes 10\n", 0), SnapshotError::OtherVersion),
        (head.into(), SnapshotError::Truncated),
        (format!("{head}1 bob a\n").into(), SnapshotError::Truncated),
        (format!("{head}end 0 00\n").into(), SnapshotError::Truncated),
        (format!("{head}end 0 {:032x}\n", 0).into(), SnapshotError::Damaged),
        (sealed(&format!("{head}1 bob a\n"), 2), SnapshotError::Damaged),
        (sealed(&format!("{head}1 bob a\n"), 0), SnapshotError::Damaged),
    ];
    let bad_lines = [
        "",
        "1",
        "1 bob",
        "1 bob a b c",
        "1 bob a ",
        "1  a",
        "x bob a",
        "-1 bob a",
        "+1 bob a",
        "18446744073709551616 bob a",
        " 1 bob a",
        "1\tbob\ta",
        "1 b%6 a",
        "1 b%zz a",
        "1 b% a",
        "1 b%00b a",
        "1 bob %FF",
        "1 jürgen a",
        "1 bob a %0A",
        &long,
    ];
    cases.extend(bad_lines.iter().map(|bad| (line(bad), SnapshotError::BadLine(3))));
    for (content, error) in cases {
        assert_eq!(parse(&content), Err(error), "{}", String::from_utf8_lossy(&content));
    }
}

#[test]
fn islands_are_in_memory_once() {
    let entries = [entry(b"bob", "a", None, 1), entry(b"carol", "a", None, 1)];
    let parsed = parse(&written(&entries)).unwrap();
    assert!(std::ptr::eq(parsed[0].route.island.as_str(), parsed[1].route.island.as_str()));
}

fn name() -> impl Strategy<Value = UserName> {
    prop::collection::vec(any::<u8>(), 1..=255).prop_filter_map("lawful", |octets| UserName::new(&octets))
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let island = "\\PC{1,60}".prop_map(|name| IslandName::new(&name));
    let entry = (name(), island, prop::option::of(name()), any::<u64>());
    let entry = entry.prop_map(|(user, island, login, said)| Entry { user, route: Route { island, login }, said });
    prop::collection::vec(entry, 0..20)
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_again(entries in entries()) {
        let text = written(&entries);
        prop_assert!(text.iter().all(|octet| octet.is_ascii_graphic() || matches!(octet, b' ' | b'\n')));
        prop_assert_eq!(parse(&text).unwrap(), entries);
    }

    #[test]
    fn what_is_read_is_written_the_same(lines in "([0-9]{1,3} [a-f]{1,3} (%4[0-9A-F]){1,3}( x)?\n){0,5}1 a b") {
        parsing_is_sound(lines.as_bytes());
    }

    #[test]
    fn no_content_is_a_panic(content in any::<Vec<u8>>(), text in "[0-9a-f% \n]{0,200}") {
        let _ = parse(&content);
        let _ = parse(&[HEADER, &content[..]].concat());
        let _ = parse(&sealed(&format!("mailferry routes 1\n{text}\n"), 1));
    }
}
