//! Every secret that the tests of this crate's modules make, looked for in every line that they log.
//!
//! Making a secret is what begins it, so that no test can handle a password without it.

use std::collections::{HashMap, HashSet};
use std::iter::once;
use std::sync::{Mutex, PoisonError};

use super::leaks;

/// Shortest secret that is looked for, in octets: a shorter one may be logged by chance.
const LEN_MIN: usize = 6;

/// What is logged for other reasons and not looked for as it is, but in its other forms and in the messages around it. The
/// first is a password in the tests of `proto` only, which has no log, and a word of rustls; the others are IMAP strings
/// and therefore secrets, but addresses.
const BY_CHANCE: [&str; 3] = ["secret", "127.0.0.1", "2001:db8::1"];

static WATCH: Mutex<Option<Watch>> = Mutex::new(None);

/// By which forms of secrets and lines find one another, for there are too many of both to look for each in each: a form's
/// first octets. No form of a secret that is looked for is shorter; one that were would have nothing but zeros, as all lines do.
type Start = [u8; LEN_MIN];

fn start(form: &str) -> Start {
    form.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The starts of all forms that a line may hold.
fn starts(line: &str) -> impl Iterator<Item = Start> {
    let windows = line.as_bytes().windows(LEN_MIN);
    windows.filter_map(|window| window.first_chunk().copied()).chain(once(Start::default()))
}

/// All secrets and all lines so far, so that it does not matter which came first.
#[derive(Default)]
struct Watch {
    forms: HashMap<Start, HashSet<String>>,
    lines: HashSet<String>,
    in_lines: HashSet<Start>,
}

impl Watch {
    fn secret(&mut self, secret: &[u8]) -> Option<String> {
        if secret.len() < LEN_MIN {
            return None;
        }
        let forms = leaks::forms(secret).into_iter().filter(|form| !BY_CHANCE.contains(&form.as_str()));
        let mut new = forms.filter(|form| self.forms.entry(start(form)).or_default().insert(form.clone()));
        new.find_map(|form| {
            let mut lines = self.in_lines.contains(&start(&form)).then_some(&self.lines).into_iter().flatten();
            lines.find(|line| line.contains(&form)).map(|line| found(&form, line))
        })
    }

    fn line(&mut self, line: &str) -> Option<String> {
        if !self.lines.insert(line.to_owned()) {
            return None;
        }
        self.in_lines.extend(starts(line));
        let mut forms = starts(line).filter_map(|start| self.forms.get(&start)).flatten();
        forms.find(|form| line.contains(form.as_str())).map(|form| found(form, line))
    }
}

fn found(form: &str, line: &str) -> String {
    format!("{form:?} in {line}")
}

/// Ends the process when any thread logs this secret, at any level, or has logged it before.
pub(crate) fn secret(secret: &[u8]) {
    super::subscribe();
    end_if_found(|watch| watch.secret(secret));
}

pub(super) fn line(line: &str) {
    end_if_found(|watch| watch.line(line));
}

fn end_if_found(look: impl FnOnce(&mut Watch) -> Option<String>) {
    let mut watch = WATCH.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = look(watch.get_or_insert_default()) {
        super::end(&found);
    }
}

mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_whether_the_line_or_the_secret_comes_first() {
        let lines = ["TRACE said=\"a LOGIN bob hunter2\"", "TRACE octets=[104, 117, 110, 116, 101, 114, 50]"];
        for line in lines {
            let (mut before, mut behind) = (Watch::default(), Watch::default());
            assert_eq!((before.line(line), behind.secret(b"hunter2")), (None, None));
            assert!(before.secret(b"hunter2").is_some_and(|found| found.ends_with(line)), "{line}");
            assert!(behind.line(line).is_some_and(|found| found.ends_with(line)), "{line}");
        }
    }

    #[test]
    fn every_form_is_found_wherever_it_stands_in_a_line_and_beside_others_that_begin_alike() {
        for secret in [&b"hunter2"[..], b"\xff\x00 \"\xc3\xbc", b"123456", &[0; LEN_MIN]] {
            for form in leaks::forms(secret) {
                assert!(form.len() >= LEN_MIN, "{form:?} is too short");
                for line in
                    [form.clone(), format!("{form} behind"), format!("before {form}"), format!("u\u{fc}{form}.")]
                {
                    let (mut before, mut behind) = (Watch::default(), Watch::default());
                    // As long as it can be without being another form of the secret.
                    let other = form.get(..LEN_MIN.min(form.len() - 1)).unwrap_or_default();
                    assert_eq!((before.line(other), behind.secret(secret)), (None, None));
                    assert_eq!((before.line(&line), behind.line("nothing of it")), (None, None));
                    assert!(before.secret(secret).is_some_and(|found| found.contains(&line)), "{line}");
                    assert!(behind.line(&line).is_some_and(|found| found.contains(&line)), "{line}");
                }
            }
        }
    }

    #[test]
    fn what_a_short_secret_has_in_common_with_a_line_is_chance() {
        let mut watch = Watch::default();
        assert_eq!(
            (watch.secret(b"bob"), watch.secret(b"secret"), watch.line("bob has no secret")),
            (None, None, None)
        );
    }
}
