//! Every secret that the tests of this crate's modules make, looked for in every line that they log.
//!
//! Making a secret is what begins it, so that no test can handle a password without it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::leaks;

/// Shortest secret that is looked for, in octets: a shorter one may be logged by chance.
const LEN_MIN: usize = 6;

/// What is logged for other reasons and not looked for as it is, but in its other forms and in the messages around it. The
/// first is a password in the tests of `proto` only, which has no log, and a word of rustls; the others are IMAP strings
/// and therefore secrets, but addresses.
const BY_CHANCE: [&str; 3] = ["secret", "127.0.0.1", "2001:db8::1"];

static WATCH: Mutex<Option<Watch>> = Mutex::new(None);

/// All secrets and all lines so far, so that it does not matter which came first.
#[derive(Default)]
struct Watch {
    forms: HashSet<String>,
    lines: HashSet<String>,
}

impl Watch {
    fn secret(&mut self, secret: &[u8]) -> Option<String> {
        if secret.len() < LEN_MIN {
            return None;
        }
        let forms = leaks::forms(secret).into_iter().filter(|form| !BY_CHANCE.contains(&form.as_str()));
        let mut new = forms.filter(|form| self.forms.insert(form.clone()));
        new.find_map(|form| self.lines.iter().find(|line| line.contains(&form)).map(|line| found(&form, line)))
    }

    fn line(&mut self, line: &str) -> Option<String> {
        if !self.lines.insert(line.to_owned()) {
            return None;
        }
        self.forms.iter().find(|form| line.contains(form.as_str())).map(|form| found(form, line))
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
    fn what_a_short_secret_has_in_common_with_a_line_is_chance() {
        let mut watch = Watch::default();
        assert_eq!(
            (watch.secret(b"bob"), watch.secret(b"secret"), watch.line("bob has no secret")),
            (None, None, None)
        );
    }
}
