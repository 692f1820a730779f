//! What a node announces that it can do: the words of an IMAP capability list, or the lines of POP3's.
//!
//! A set, bounded however much a node says. Words that are no words are left out, so what is in here may be said to a
//! client. It must not decide what *is* said: that is `reply`'s.

use std::collections::BTreeSet;

/// Most words that are kept of one list.
const WORDS_MAX: usize = 128;

/// Longest word that is kept, in octets.
const WORD_MAX: usize = 64;

/// Words in upper case, each of printable ASCII. A POP3 line with arguments is one word with spaces; its mechanisms
/// stand as in IMAP, each as `AUTH=…`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(BTreeSet<Box<str>>);

impl Extensions {
    /// Adds a word, if it is one. Words beyond 128, and octets beyond 64, are left out.
    pub fn add(&mut self, word: &[u8]) {
        let lawful = (1..=WORD_MAX).contains(&word.len()) && word.iter().all(|octet| matches!(octet, b' '..=b'~'));
        if lawful && self.0.len() < WORDS_MAX {
            self.0.insert(String::from_utf8_lossy(word).to_ascii_uppercase().into());
        }
    }

    /// Whether the word is among them.
    pub fn has(&self, word: &str) -> bool {
        self.0.contains(word)
    }

    /// All of them, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// What both have.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// What the other one has not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    /// What either has.
    #[must_use]
    pub fn joined_with(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).take(WORDS_MAX).cloned().collect())
    }
}

impl<'a> FromIterator<&'a [u8]> for Extensions {
    fn from_iter<T: IntoIterator<Item = &'a [u8]>>(words: T) -> Self {
        let mut these = Self::default();
        words.into_iter().for_each(|word| these.add(word));
        these
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Extensions {
        words.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn words_are_compared_without_case() {
        assert!(of("idle Namespace").has("NAMESPACE"));
        assert_eq!(of("IDLE move UIDPLUS").shared_with(&of("uidplus IDLE X")), of("IDLE UIDPLUS"));
        assert_eq!(of("IDLE move").without(&of("MOVE UIDPLUS")), of("IDLE"));
        assert_eq!(of("IDLE").joined_with(&of("MOVE")), of("MOVE IDLE"));
    }

    #[test]
    fn what_could_not_be_said_to_a_client_is_left_out() {
        let long = [b'X'; WORD_MAX + 1];
        let odd: [&[u8]; 5] = [b"", b"A\rB", b"\xffA", b"A\0", &long];
        assert_eq!(odd.into_iter().collect::<Extensions>(), Extensions::default());
        let many: Vec<String> = (0..1000).map(|number| format!("X{number}")).collect();
        assert_eq!(many.iter().map(String::as_bytes).collect::<Extensions>().iter().count(), WORDS_MAX);
    }
}
