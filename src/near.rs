//! What somebody may have meant: the most similar of the names that there are. It knows nothing of what they name.

/// Fewer octets at the beginning of a name say nothing.
const BEGINNING_MIN: usize = 4;

/// The most similar name, if it is similar at all: one slip for every three letters and one at least, or one name is
/// the beginning of the other.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let written = name.to_ascii_lowercase().replace('-', "_");
    let slips = |known: &str| match known.starts_with(&written) || written.starts_with(known) {
        true if written.len().min(known.len()) >= BEGINNING_MIN => 1,
        _ => strsim::osa_distance(&written, known),
    };
    let best = known.min_by_key(|known| slips(known))?;
    (slips(best) <= (written.chars().count() / 3).max(1)).then_some(best)
}
