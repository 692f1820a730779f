//! When a certificate expires, read off its DER (RFC 5280 §4.1). Nothing else of it is looked at: rustls judges
//! certificates, and this only tells the operator how long he still has.
//!
//! What cannot be read has no expiry, and never panics; nothing is copied.

/// Tags of DER (X.690).
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The end of its validity, in seconds since 1970.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = take(certificate, SEQUENCE)?;
    let (signed, _) = take(certificate, SEQUENCE)?;
    // Absent in certificates of version 1.
    let rest = take(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = take(rest, INTEGER)?;
    let (_algorithm, rest) = take(rest, SEQUENCE)?;
    let (_issuer, rest) = take(rest, SEQUENCE)?;
    let (validity, _) = take(rest, SEQUENCE)?;
    let (_not_before, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    match tag {
        // Two digits of the year, of 1950 to 2049.
        UTC_TIME => {
            let (year, rest) = digits(time, 2)?;
            seconds(if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits(time, 4)?;
            seconds(year, rest)
        }
        _ => None,
    }
}

/// The content of an element that must have this tag, and what is behind it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(is, ..)| *is == tag).map(|(_, content, rest)| (content, rest))
}

/// The first element: its tag, its content, and what is behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = der.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // So many octets of length. No file of ours has more than three have room for.
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// A number of so many digits, and what is behind it.
fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (number, rest) = text.split_at_checked(count)?;
    let number =
        number.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))?;
    Some((number, rest))
}

/// `MMDDhhmmssZ` of a year.
fn seconds(year: i64, text: &[u8]) -> Option<i64> {
    let (month, text) = digits(text, 2)?;
    let (day, text) = digits(text, 2)?;
    let (hour, text) = digits(text, 2)?;
    let (minute, text) = digits(text, 2)?;
    let (second, text) = digits(text, 2)?;
    let is_time = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if text != b"Z" || !is_time {
        return None;
    }
    // Years begin in March here, so that the day which some have more is the last one.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["mail.example.net".to_owned()]).unwrap();
        params.not_before = date_time_ymd(1975, 1, 1);
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_that_of_the_certificate() {
        for (year, month, day) in
            [(1970, 1, 2), (1999, 12, 31), (2000, 2, 29), (2026, 11, 22), (2049, 12, 31), (2050, 1, 1), (2100, 3, 1)]
        {
            let expected = date_time_ymd(year, month, day).unix_timestamp();
            assert_eq!(not_after(&certificate(year, month, day)), Some(expected), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn what_is_cut_or_no_certificate_has_none() {
        let whole = certificate(2031, 6, 30);
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None, "{end}");
        }
        for octets in [&b"\x30\x80\x00\x00"[..], b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x30\x7f", b"no certificate"] {
            assert_eq!(not_after(octets), None);
        }
        for time in [&b"1301000000Z"[..], b"0132000000Z", b"0101240000Z", b"0101000000", b"01010000000", b"01010000-1Z"]
        {
            assert_eq!(seconds(2031, time), None, "{time:?}");
        }
    }
}
