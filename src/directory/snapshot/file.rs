//! The file that routes are kept in: read at the start, replaced as a whole, readable by mailferry alone.
//!
//! There is never half a file under its name: a new one is written beside it, synced, and renamed over it. Everything
//! here blocks, so it runs at the start of the program or in the pool for that.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Entry, MAX_LEN, NAME, SnapshotError, no_header, parse, write};

/// Who may read the file: users' names are nobody else's business.
const MODE: u32 = 0o600;
/// A half-written file that has not changed for so long is nobody's any more.
const LEFT_AFTER: Duration = Duration::from_secs(3600);

/// Could routes be kept in this file? Its folder is there, and the file, if there is one, can be read and is
/// mailferry's own by its first octets. What else it holds is not looked at. Blocks.
///
/// # Errors
/// What is wrong with the path, or [`SnapshotError::Foreign`].
pub fn check(path: &Path) -> Result<(), SnapshotError> {
    path.file_name().ok_or(SnapshotError::NoName)?;
    match fs::metadata(folder(path)) {
        Ok(metadata) if metadata.is_dir() => refuse_foreign(path),
        Ok(_) => Err(SnapshotError::NoFolder("not a folder".into())),
        Err(error) => Err(SnapshotError::NoFolder(error.to_string())),
    }
}

fn refuse_foreign(path: &Path) -> Result<(), SnapshotError> {
    let Some(file) = open(path)? else { return Ok(()) };
    let mut first = Vec::new();
    file.take(NAME.len() as u64).read_to_end(&mut first).map_err(unreadable)?;
    let wrong = no_header(&first);
    if wrong == SnapshotError::Foreign { Err(wrong) } else { Ok(()) }
}

/// What is kept; `None` where nothing is, which is how it begins. Blocks.
pub(in crate::directory) fn load(path: &Path) -> Result<Option<Vec<Entry>>, SnapshotError> {
    let Some(file) = open(path)? else { return Ok(None) };
    let mut content = Vec::new();
    // One octet more than is lawful, so that the parser sees that it is too much.
    file.take(MAX_LEN + 1).read_to_end(&mut content).map_err(unreadable)?;
    parse(&content).map(Some)
}

/// Replaces the file. Returns how many entries it has. Blocks.
pub(in crate::directory) fn save(path: &Path, entries: impl Iterator<Item = Entry>) -> Result<u64, SnapshotError> {
    let mut fresh_name = fresh_prefix(path).ok_or(SnapshotError::NoName)?;
    // Two mailferries may have the same file while one takes over from the other. Who is killed while it writes
    // leaves this file behind, which nobody reads; a later start removes it.
    fresh_name.push(format!("{:016x}", fastrand::u64(..)));
    let fresh = path.with_file_name(fresh_name);
    let saved = save_as(&fresh, path, entries);
    if saved.is_err() {
        // If it cannot be removed, there is nothing more to be done, and the reason is told already.
        let _ = fs::remove_file(&fresh);
    }
    saved.map_err(|error| SnapshotError::Unwritable(error.to_string()))
}

/// Removes what savings that were killed have left beside the file: regular files with exactly the names that
/// [`save`] gives, not changed for an hour. What cannot be removed stays. Blocks.
pub(in crate::directory) fn sweep(path: &Path) {
    let (Some(prefix), Ok(beside)) = (fresh_prefix(path), fs::read_dir(folder(path))) else { return };
    for entry in beside.flatten() {
        let name = entry.file_name();
        let Some(number) = name.as_bytes().strip_prefix(prefix.as_bytes()) else { continue };
        let is_number = number.len() == 16 && number.iter().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
        // Of a link itself, never of what it leads to.
        if is_number && entry.metadata().is_ok_and(|metadata| metadata.is_file() && is_left(&metadata)) {
            // The next start tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_left(metadata: &fs::Metadata) -> bool {
    let changed = metadata.modified().ok();
    changed.and_then(|changed| changed.elapsed().ok()).is_some_and(|age| age > LEFT_AFTER)
}

/// What the names of half-written files begin with; sixteen hexadecimal digits follow.
fn fresh_prefix(path: &Path) -> Option<OsString> {
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name()?);
    prefix.push(".");
    Some(prefix)
}

fn save_as(fresh: &Path, path: &Path, entries: impl Iterator<Item = Entry>) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(fresh)?;
    let mut out = BufWriter::new(file);
    let count = write(&mut out, entries, MAX_LEN)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    fs::rename(fresh, path)?;
    File::open(folder(path))?.sync_all()?;
    Ok(count)
}

fn open(path: &Path) -> Result<Option<File>, SnapshotError> {
    // Before it is opened, because opening a pipe would wait.
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(SnapshotError::NotAFile),
        Ok(metadata) if metadata.len() > MAX_LEN => return Err(SnapshotError::TooLarge),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    File::open(path).map(Some).map_err(unreadable)
}

fn unreadable(error: io::Error) -> SnapshotError {
    SnapshotError::Unreadable(error.to_string())
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests;
