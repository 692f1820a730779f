//! What passes to the library, and what never does.

use proptest::prelude::*;

use super::*;

/// An element of BER in its shortest form.
fn ber(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut head = vec![tag];
    match len {
        0..=0x7f => head.push(len as u8),
        0x80..=0xff => head.extend([0x81, len as u8]),
        0x100..=0xffff => head.extend([0x82, (len >> 8) as u8, len as u8]),
        _ => head.extend([0x83, (len >> 16) as u8, (len >> 8) as u8, len as u8]),
    }
    [&head, content].concat()
}

fn message(operation: &[u8], behind: &[u8]) -> Vec<u8> {
    ber(0x30, &[b"\x02\x01\x07", operation, behind].concat())
}

const SUCCESS: &[u8] = b"\x0a\x01\x00\x04\x00\x04\x00";

#[test]
fn lawful_messages_pass() {
    let entry = ber(0x64, &[&ber(4, b"cn=bob")[..], &ber(0x30, &ber(0x30, &ber(4, b"mailHost")))].concat());
    let referral = [SUCCESS, &ber(0xa3, &ber(4, b"ldap://x"))].concat();
    let control = |fields: &[u8]| ber(0xa0, &ber(0x30, fields));
    for lawful in [
        message(&entry, b""),
        message(&ber(0x65, SUCCESS), b""),
        message(&ber(0x61, &[SUCCESS, b"\x87\x01x"].concat()), b""),
        message(&ber(0x78, &[SUCCESS, b"\x8a\x031.2", b"\x8b\x01\xff"].concat()), b""),
        message(&ber(0x65, &referral), b""),
        message(&ber(0x73, &ber(4, b"ldap://x")), b""),
        message(&ber(0x65, SUCCESS), &control(b"\x04\x031.2")),
        message(&ber(0x65, SUCCESS), &control(b"\x04\x031.2\x01\x01\xff\x04\x01v")),
        message(&ber(0x65, SUCCESS), &control(b"\x04\x031.2\x04\x01v")),
        message(&ber(0x78, SUCCESS), b"\x8a\x031.2"),
        // Active Directory's lengths.
        b"\x30\x84\x00\x00\x00\x0c\x02\x01\x07\x65\x07\x0a\x01\x00\x04\x00\x04\x00".to_vec(),
    ] {
        assert_eq!(message_len(&lawful), Ok(Some(lawful.len())), "{}", lawful.escape_ascii());
        assert_eq!(check(&lawful).map(|(id, _)| id), Ok(7), "{}", lawful.escape_ascii());
    }
}

#[test]
fn what_the_library_would_fall_over_never_passes() {
    let done = |result: &[u8]| message(&ber(0x65, result), b"");
    let behind = |behind: &[u8]| message(&ber(0x65, SUCCESS), behind);
    for bad in [
        b"\x30\x00".to_vec(),
        b"\x30\x03\x02\x01\x07".to_vec(),
        b"\x30\x05\x02\x01\x07\x7e\x00".to_vec(),
        b"\x30\x05\x02\x01\x07\x65\x00".to_vec(),
        ber(0x30, &[b"\x04\x01\x07", &ber(0x65, SUCCESS)[..]].concat()),
        ber(0x30, &[b"\x02\x00", &ber(0x65, SUCCESS)[..]].concat()),
        ber(0x30, &[b"\x02\x05\x01\x01\x01\x01\x01", &ber(0x65, SUCCESS)[..]].concat()),
        done(b"\x0a\x01\x00\x04\x00"),
        done(b"\x02\x01\x00\x04\x00\x04\x00"),
        done(b"\x0a\x00\x04\x00\x04\x00"),
        done(b"\x0a\x01\x00\x04\x01\xff\x04\x00"),
        done(b"\x0a\x01\x00\x04\x00\x04\x01\xff"),
        done(b"\x0a\x01\x00\x04\x00\x24\x00"),
        done(&[SUCCESS, b"\x83\x01x"].concat()),
        done(&[SUCCESS, b"\xa3\x03\x04\x01\xff"].concat()),
        done(&[SUCCESS, b"\x8a\x01\xff"].concat()),
        done(&[SUCCESS, b"\xab\x00"].concat()),
        behind(b"\xa0\x02\x04\x00"),
        behind(b"\xa0\x02\x30\x00"),
        behind(b"\xa0\x05\x30\x03\x04\x01\xff"),
        behind(b"\xa0\x07\x30\x05\x04\x01x\x01\x00"),
        behind(b"\xa0\x07\x30\x05\x04\x01x\x02\x00"),
        behind(b"\x80\x00"),
        behind(b"\x04\x00\x04\x00"),
        // A tag of several octets, an indefinite length, a length beyond its surroundings.
        message(b"\x7f\x24\x00", b""),
        message(b"\x65\x80\x00\x00", b""),
        message(b"\x64\x05\x04", b""),
    ] {
        assert_eq!(check(&bad).err(), Some(Fault::NotLdap), "{}", bad.escape_ascii());
    }
}

#[test]
fn lengths_depths_and_numbers_are_bounded_before_anything_is_stored() {
    for (octets, expected) in [
        (&b""[..], Ok(None)),
        (b"\x30", Ok(None)),
        (b"\x30\x84\x00\x40", Ok(None)),
        (b"\x30\x83\x40\x00\x00", Ok(Some(MESSAGE_MAX + 5))),
        (b"\x30\x83\x40\x00\x01", Err(Fault::TooLong)),
        (b"\x30\x84\xff\xff\xff\xff", Err(Fault::TooLong)),
        (b"\x30\x85\x01\x00\x00\x00\x00", Err(Fault::TooLong)),
        (b"\x30\x80", Err(Fault::NotLdap)),
        (b"* OK ready\r\n", Err(Fault::NotLdap)),
    ] {
        assert_eq!(message_len(octets), expected, "{}", octets.escape_ascii());
    }
    let nested = |levels: usize| (0..levels).fold(Vec::new(), |inner, _| ber(0x30, &inner));
    let entry = |inner: &[u8]| message(&ber(0x64, inner), b"");
    // The message and its operation are two levels.
    assert!(check(&entry(&nested(DEPTH_MAX - 2))).is_ok());
    assert_eq!(check(&entry(&nested(DEPTH_MAX - 1))).err(), Some(Fault::TooDeep));
    assert_eq!(check(&entry(&nested(10_000))).err(), Some(Fault::TooDeep));
    // Three parts are the message's own.
    let parts = |count: u32| entry(&b"\x04\x00".repeat(count as usize));
    assert!(check(&parts(PARTS_MAX - 3)).is_ok());
    assert_eq!(check(&parts(PARTS_MAX - 2)).err(), Some(Fault::TooManyParts));
}

#[test]
fn only_what_was_asked_for_is_admitted() {
    let asked = Asked::nothing();
    asked.raise();
    let (bind, done) = (message(&ber(0x61, SUCCESS), b""), message(&ber(0x65, SUCCESS), b""));
    let notice = ber(0x30, &[b"\x02\x01\x00", &ber(0x78, SUCCESS)[..]].concat());
    assert_eq!(admit(&done, &asked), Err(Fault::NotLdap));
    assert_eq!(admit(&bind, &asked), Ok(()));
    asked.is_searching.store(true, Ordering::Relaxed);
    assert_eq!(admit(&bind, &asked), Err(Fault::NotLdap));
    assert_eq!(admit(&notice, &asked), Ok(()));
    for _ in 0..MESSAGES_MAX - 1 {
        assert_eq!(admit(&done, &asked), Ok(()));
    }
    assert_eq!(admit(&done, &asked), Err(Fault::TooMany), "so many messages for one request");
    asked.raise();
    // The first request has left most of its octets.
    let entry = message(&ber(0x64, &ber(4, &vec![b'x'; MESSAGE_MAX / 2])), b"");
    let admitted = (0..10).take_while(|_| admit(&entry, &asked).is_ok()).count();
    assert!((2..=4).contains(&admitted), "{admitted} entries with half of what one request may have");
    assert_eq!(admit(&entry, &asked), Err(Fault::TooMany));
    for _ in 0..1000 {
        asked.raise();
    }
    assert_eq!(asked.messages.load(Ordering::Relaxed), REQUESTS_MAX * MESSAGES_MAX);
    assert_eq!(asked.octets.load(Ordering::Relaxed), REQUESTS_MAX as usize * MESSAGE_MAX);
}

#[test]
fn searches_are_told_from_other_requests() {
    for (head, is_search) in [
        (&b"\x30\x0c\x02\x01\x02\x63\x07"[..], true),
        (b"\x30\x81\x90\x02\x02\x01\x00\x63\x81", true),
        (b"\x30\x0c\x02\x01\x01\x60\x07", false),
        (STARTTLS, false),
        (b"\x30", false),
        (b"", false),
    ] {
        assert_eq!(begins_search(head), is_search, "{}", head.escape_ascii());
    }
}

proptest! {
    #[test]
    fn whatever_comes_it_is_judged(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = message_len(&octets);
        let _ = check(&octets);
        let _ = check(&message(&ber(0x65, &octets), b""));
        let _ = check(&message(&ber(0x65, SUCCESS), &ber(0xa0, &octets)));
        for front in [&b"\x05\x00"[..], b"\x05\x13"] {
            guarding_is_sound(&[front, &octets].concat());
            guarding_is_sound(&[front, &message(&ber(0x65, &octets), b"")].concat());
            guarding_is_sound(&[front, &message(&ber(0x65, SUCCESS), &ber(0xa0, &octets))].concat());
        }
    }
}
