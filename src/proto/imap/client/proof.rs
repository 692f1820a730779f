//! What fuzz targets and tests assert of IMAP's framing. Behind the feature `testkit`; never part of an installed binary.

use super::framing::{Behind, Collected, Collector, Discard, Discarded, Limit};
use crate::proto::Input;

/// Most octets of a literal here.
const LITERAL_MAX: usize = 1000;

/// Asserts that lines and literals are cut the same however the octets arrive, and where their own words say. The first
/// octet chooses the limit of a command, the second the size of the reads.
pub fn framing_is_sound(data: &[u8]) {
    let [limit, read, octets @ ..] = data else { return };
    let max = usize::from(*limit) * 4;
    for limit in [Limit::InAll(max), Limit::WithoutLiterals(max)] {
        let whole = cut(octets, usize::MAX, limit);
        assert_eq!(whole, cut(octets, usize::from(*read) % 32 + 1, limit), "in small reads");
        assert_eq!(whole, cut(octets, 1, limit), "one octet at a time");
    }
    assert_eq!(cut(octets, 7, Limit::InAll(usize::MAX - 2)), cut_simply(octets), "not where the octets say");
}

/// The commands that the collector finds, refused ones as `None`. Without a last `None`, the next one is not complete.
fn cut(octets: &[u8], read: usize, limit: Limit) -> Vec<Option<Vec<u8>>> {
    let (mut input, mut rest) = (Input::new(), octets);
    let mut more = |input: &mut Input| {
        let (next, behind) = rest.split_at(read.min(rest.len()));
        input.push(next);
        rest = behind;
        !next.is_empty()
    };
    let mut commands = Vec::new();
    loop {
        let mut held = Collector::default();
        loop {
            match held.line(&mut input, limit) {
                Collected::More if more(&mut input) => {}
                Collected::More => return commands,
                Collected::Line => {
                    let Some(mut missing) = announced(held.octets()) else {
                        commands.push(Some(held.octets().to_vec()));
                        break;
                    };
                    held.begin_literal();
                    while missing > 0 {
                        missing = held.literal(&mut input, missing);
                        if missing > 0 && !more(&mut input) {
                            return commands;
                        }
                    }
                }
                Collected::TooLong => {
                    commands.push(None);
                    if !is_behind(held.discard(), &mut input, &mut more) {
                        return commands;
                    }
                    break;
                }
            }
        }
    }
}

/// Whether the next command begins somewhere behind a refused one.
fn is_behind(mut rest: Discard, input: &mut Input, more: &mut impl FnMut(&mut Input) -> bool) -> bool {
    loop {
        match rest.run(input) {
            Discarded::More(_) if !more(input) => return false,
            Discarded::More(same) => rest = same,
            Discarded::TooMuch => return false,
            Discarded::LineEnd(ended) => match ended.behind_line() {
                Behind::Command => return true,
                Behind::TooMuch => return false,
                Behind::Rest(same) => rest = same,
            },
        }
    }
}

/// The same with everything at hand and no limit, in the plainest way.
fn cut_simply(mut octets: &[u8]) -> Vec<Option<Vec<u8>>> {
    let (mut commands, mut held) = (Vec::new(), Vec::new());
    while let Some(end) = octets.iter().position(|&octet| octet == b'\n') {
        let (line, rest) = octets.split_at(end);
        held.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        octets = rest.get(1..).unwrap_or_default();
        match announced(&held) {
            None => commands.push(Some(std::mem::take(&mut held))),
            Some(size) if size > octets.len() => break,
            Some(size) => {
                let (literal, rest) = octets.split_at(size);
                held.extend_from_slice(b"\r\n");
                held.extend_from_slice(literal);
                octets = rest;
            }
        }
    }
    commands
}

/// The size of the literal that the last octets announce, for whoever does not look at what stands before.
fn announced(octets: &[u8]) -> Option<usize> {
    let inside = octets.strip_suffix(b"}")?;
    let inside = inside.strip_suffix(b"+").unwrap_or(inside);
    let digits = inside.rsplit(|&octet| octet == b'{').next().filter(|digits| digits.len() < inside.len())?;
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let size = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (is_number && size <= LITERAL_MAX).then_some(size)
}
