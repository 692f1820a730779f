//! The form in which routes are kept over a restart: a text of one line a user, with a version and a checksum.
//!
//! ```text
//! mailferry routes 1
//! 1700000000 bob@example.net a
//! 1700000042 j%C3%BCrgen b juergen
//! end 2 00112233445566778899aabbccddeeff
//! ```
//!
//! A line is when the directory said it (seconds since 1970), the user, the island, and the login name where there is
//! one. The trailer has the number of lines and the checksum of everything before it. Nothing secret is in it, and
//! nothing but routes that were found: "no such user" is never kept. It is used as a whole or not at all, and never a
//! panic, whatever it holds. Pure, but for `file`, which reads and writes it.

pub(super) mod file;

use std::collections::HashSet;
use std::hash::Hasher as _;
use std::io::{self, Write};

use siphasher::sip128::{Hasher128 as _, SipHasher13};

pub use self::file::check;

use super::Route;
use crate::names::{IslandName, UserName};

/// The first line, with the version.
const HEADER: &[u8] = b"mailferry routes 1\n";
/// What every version begins with.
const NAME: &[u8] = b"mailferry routes ";
/// Largest file, in octets: about ten million users. Nothing larger is written, read or parsed.
const MAX_LEN: u64 = 512 * 1024 * 1024;
/// Longest line, in octets: two names and an island, every octet of them escaped, the time, and the blanks.
const MAX_LINE_LEN: usize = 2 * 3 * UserName::MAX_LEN + 3 * MAX_ISLAND_LEN + 24;
/// Longest trailer, in octets: the word, a number and the checksum.
const MAX_TRAILER_LEN: u64 = 64;
/// Longest island name, in octets: what the directory's sources accept.
const MAX_ISLAND_LEN: usize = 255;
/// The checksum finds damage, not forgery: whoever may write the file may write any route into it. The keys are "mailferry
/// routes" in octets, so that the sum of some other program's file does not fit by chance.
const CHECKSUM_KEYS: (u64, u64) = (0x6d61_696c_6665_7272, 0x7920_726f_7574_6573);

/// A route as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub user: UserName,
    /// Where to.
    pub route: Route,
    /// When the directory said so, in seconds since 1970. May lie in the future, where clocks were set.
    pub said: u64,
}

/// Why kept routes cannot be used, or not be kept. The texts are for the operator and say the remedy; nothing of the
/// file's content is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system's reason.
    #[error("its folder cannot be used: {0}: create the folder, writable for mailferry")]
    NoFolder(String),
    /// A path like `/` or `..`.
    #[error("it names no file: write the path of a file")]
    NoName,
    /// Something else stands there.
    #[error("it is not a regular file: give the routes a file of their own")]
    NotAFile,
    /// The operating system's reason.
    #[error("it cannot be read: {0}: let mailferry read it, or remove it")]
    Unreadable(String),
    /// The operating system's reason.
    #[error("it cannot be written: {0}: let mailferry write to its folder")]
    Unwritable(String),
    /// Larger than what is ever written.
    #[error("it is larger than {MAX_LEN} octets: remove it")]
    TooLarge,
    /// Another kind of file.
    #[error("it does not begin with \"mailferry routes\": give the routes a file of their own")]
    Foreign,
    /// Of some other mailferry.
    #[error("another version of mailferry wrote it: remove it, or let it be written over")]
    OtherVersion,
    /// No trailer, so the end is missing.
    #[error("its end is missing: remove it, or let it be written over")]
    Truncated,
    /// Checksum or number of lines.
    #[error("its checksum is wrong: remove it, or let it be written over")]
    Damaged,
    /// A line that is no entry, although the checksum is right.
    #[error("line {0} is no route: remove it, or let it be written over")]
    BadLine(usize),
}

/// All the entries, in the file's order, or why there are none. Takes the memory of the entries, at most about
/// twenty times the content.
///
/// # Errors
/// See [`SnapshotError`]: too large, foreign, truncated, damaged.
pub fn parse(content: &[u8]) -> Result<Vec<Entry>, SnapshotError> {
    if content.len() as u64 > MAX_LEN {
        return Err(SnapshotError::TooLarge);
    }
    let Some(body) = content.strip_prefix(HEADER) else { return Err(no_header(content)) };
    let lines = body.strip_suffix(b"\n").ok_or(SnapshotError::Truncated)?;
    let lines = &lines[..lines.iter().rposition(|octet| *octet == b'\n').map_or(0, |end| end + 1)];
    let (summed, trailer) = content.split_at(HEADER.len() + lines.len());
    let (count, checksum) = parse_trailer(trailer).ok_or(SnapshotError::Truncated)?;
    let mut sum = Sum::default();
    sum.0.write(summed);
    if sum.text() != checksum {
        return Err(SnapshotError::Damaged);
    }
    let mut islands = HashSet::new();
    let mut entries = Vec::new();
    for line in lines.split_inclusive(|octet| *octet == b'\n') {
        // The header is line 1.
        let number = entries.len() + 2;
        entries.push(parse_line(line, &mut islands).ok_or(SnapshotError::BadLine(number))?);
    }
    if entries.len() as u64 == count { Ok(entries) } else { Err(SnapshotError::Damaged) }
}

/// What is wrong with a file that begins with these octets, if not with those of the header. An empty one is nobody's,
/// so it counts as ours.
fn no_header(first: &[u8]) -> SnapshotError {
    match first.get(..NAME.len()) {
        Some(NAME) => SnapshotError::OtherVersion,
        None if NAME.starts_with(first) => SnapshotError::Truncated,
        _ => SnapshotError::Foreign,
    }
}

impl SnapshotError {
    /// Whether a new file may take the place of the one that is wrong in this way: only where that one is mailferry's
    /// own. What is too large is not, because mailferry never writes so much.
    pub(super) fn may_be_replaced(&self) -> bool {
        match self {
            Self::OtherVersion | Self::Truncated | Self::Damaged | Self::BadLine(_) => true,
            Self::NoFolder(_)
            | Self::NoName
            | Self::NotAFile
            | Self::Unreadable(_)
            | Self::Unwritable(_)
            | Self::TooLarge
            | Self::Foreign => false,
        }
    }
}

/// Writes as many entries as fit into the limit, in octets, as a whole snapshot. Returns how many they are.
fn write(out: &mut impl Write, entries: impl Iterator<Item = Entry>, limit: u64) -> io::Result<u64> {
    let (mut sum, mut len, mut count) = (Sum::default(), 0, 0);
    let mut put = |octets: &[u8]| {
        sum.0.write(octets);
        out.write_all(octets)
    };
    put(HEADER)?;
    len += HEADER.len() as u64;
    let mut line = Vec::with_capacity(MAX_LINE_LEN);
    for entry in entries {
        line.clear();
        if !format_line(&entry, &mut line) {
            continue;
        }
        len += line.len() as u64;
        if len + MAX_TRAILER_LEN > limit {
            break;
        }
        put(&line)?;
        count += 1;
    }
    writeln!(out, "end {count} {}", sum.text())?;
    Ok(count)
}

/// Panics unless parsing stands any octets, and what it takes means the same when it is written again. Also as lines
/// between a header and a trailer that fit, because no fuzzer guesses a checksum.
#[cfg(feature = "testkit")]
pub fn parsing_is_sound(octets: &[u8]) {
    let lines = [HEADER, octets, b"\n"].concat();
    let mut sum = Sum::default();
    sum.0.write(&lines);
    let count = lines.iter().filter(|octet| **octet == b'\n').count() - 1;
    let sealed = [&lines[..], format!("end {count} {}\n", sum.text()).as_bytes()].concat();
    for content in [octets, &sealed] {
        if let Ok(entries) = parse(content) {
            let mut again = Vec::new();
            let written = write(&mut again, entries.iter().cloned(), MAX_LEN);
            assert_eq!(written.ok(), Some(entries.len() as u64));
            assert_eq!(parse(&again), Ok(entries));
        }
    }
}

#[derive(Clone)]
struct Sum(SipHasher13);

impl Default for Sum {
    fn default() -> Self {
        Self(SipHasher13::new_with_keys(CHECKSUM_KEYS.0, CHECKSUM_KEYS.1))
    }
}

impl Sum {
    fn text(&self) -> String {
        format!("{:032x}", self.0.finish128().as_u128())
    }
}

/// The number of lines and the checksum.
fn parse_trailer(trailer: &[u8]) -> Option<(u64, String)> {
    let trailer = std::str::from_utf8(trailer).ok()?;
    let (count, checksum) = trailer.strip_prefix("end ")?.strip_suffix('\n')?.split_once(' ')?;
    let is_checksum = checksum.len() == 32 && checksum.bytes().all(|octet| octet.is_ascii_hexdigit());
    is_checksum.then_some((parse_number(count)?, checksum.to_owned()))
}

/// Digits and nothing else: what [`str::parse`] takes has a sign, too.
fn parse_number(digits: &str) -> Option<u64> {
    digits.bytes().all(|octet| octet.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// One line with its end. Islands are few, so each name is in memory once.
fn parse_line(line: &[u8], islands: &mut HashSet<IslandName>) -> Option<Entry> {
    let line = line.strip_suffix(b"\n")?;
    if line.len() >= MAX_LINE_LEN {
        return None;
    }
    let mut fields = line.split(|octet| *octet == b' ');
    let said = parse_number(std::str::from_utf8(fields.next()?).ok()?)?;
    let user = UserName::new(&unescape(fields.next()?)?)?;
    let island = unescape(fields.next()?)?;
    let island = std::str::from_utf8(&island).ok().filter(|name| (1..=MAX_ISLAND_LEN).contains(&name.len()))?;
    let login = match fields.next() {
        Some(login) => Some(UserName::new(&unescape(login)?)?),
        None => None,
    };
    if fields.next().is_some() {
        return None;
    }
    let island = IslandName::new(island);
    let island = match islands.get(&island) {
        Some(known) => known.clone(),
        None => {
            islands.insert(island.clone());
            island
        }
    };
    Some(Entry { user, route: Route { island, login }, said })
}

/// Appends the line, or nothing where it could not be parsed again: one such line would make the others useless.
fn format_line(Entry { user, route: Route { island, login }, said }: &Entry, line: &mut Vec<u8>) -> bool {
    if !(1..=MAX_ISLAND_LEN).contains(&island.as_str().len()) {
        return false;
    }
    line.extend_from_slice(said.to_string().as_bytes());
    let fields = [Some(user.as_bytes()), Some(island.as_str().as_bytes()), login.as_ref().map(UserName::as_bytes)];
    for octets in fields.into_iter().flatten() {
        line.push(b' ');
        escape(octets, line);
    }
    line.push(b'\n');
    true
}

/// Printable ASCII as it is, but for the blank and `%`; every other octet as `%` and two hexadecimal digits.
fn escape(octets: &[u8], line: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for octet in octets {
        if octet.is_ascii_graphic() && *octet != b'%' {
            line.push(*octet);
        } else {
            line.extend_from_slice(&[b'%', DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
        }
    }
}

fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut octets = Vec::with_capacity(field.len());
    let mut rest = field;
    loop {
        rest = match *rest {
            [] => return Some(octets),
            [b'%', high, low, ref rest @ ..] => {
                octets.push(digit(high)? << 4 | digit(low)?);
                rest
            }
            [octet, ref rest @ ..] if octet.is_ascii_graphic() && octet != b'%' => {
                octets.push(octet);
                rest
            }
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests;
