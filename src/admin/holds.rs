//! Users who are held: the operator's orders, the list, and the end of holds that nobody ends.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::moves::{forget, keys};
use super::operator::Operator;
use super::refusal::Refusal;
use super::state::{HOLD_MAX, StateFile};
use super::{Desk, view};
use crate::directory::LookupError;
use crate::drain::Drain;
use crate::names::{UserName, lower_case};
use crate::session::Context;
use crate::session::holds::{HELD_MAX, Hold, NotHeld};

/// How long a hold lasts where the order does not say.
const HOLD: Duration = Duration::from_secs(10 * 60);

/// The longest ticket, in octets.
const TICKET_MAX: usize = 64;

impl Desk {
    pub(super) async fn holds(&self, filter: &view::HoldFilter) -> Result<view::Holds, Refusal> {
        let holds = match &filter.user {
            Some(user) => vec![self.held_by_name(user)?],
            None => self.context.holds.all(),
        };
        Ok(view::Holds { holds: self.shown(&holds).await })
    }

    pub(super) async fn hold(&self, order: &view::HoldOrder, by: Operator) -> Result<view::Held, Refusal> {
        if let Some(island) = &order.move_to {
            self.island(island)?;
        }
        let lasts = order.for_s.map_or(HOLD, Duration::from_secs);
        if lasts.is_zero() || lasts > HOLD_MAX {
            return Err(Refusal::usage(format!("a hold lasts a second to {} hours", HOLD_MAX.as_secs() / 3600)));
        }
        let ticket = order.ticket.as_deref().map(ticket).transpose()?;
        if let Some(hold) = ticket.and_then(|ticket| self.context.holds.of_ticket(ticket)) {
            return self.answer(hold, false, None, None).await;
        }
        let user = self.looked_up(&order.user)?;
        let (account, doubt) = match self.ask(&user).await {
            Ok((route, _)) => (route.login, None),
            Err(LookupError::NotFound) => return Err(self.no_user(&user).await.into()),
            Err(error) if order.move_to.is_some() => return Err(Refusal::failed(format!("{user}: {error}"))),
            Err(error) => (None, Some(error.to_string())),
        };
        let until = Instant::now() + lasts;
        let (hold, was_held) = loop {
            let (names, times, move_to) =
                ((user.clone(), account.clone()), (SystemTime::now(), until), order.move_to.clone());
            match self.context.holds.hold_by(ticket.map(Box::from), names, times, move_to) {
                Ok(hold) => break (hold, false),
                Err(NotHeld::Already(hold)) if ticket.is_some() && hold.ticket.as_deref() == ticket => {
                    return self.answer(*hold, false, doubt, None).await;
                }
                Err(NotHeld::Already(hold)) if order.move_to.is_none() && hold.move_to.is_none() => {
                    let prolong = |hold: &mut Hold| {
                        hold.until = until;
                        // The directory may not have known when it began.
                        hold.account = hold.account.take().or_else(|| account.clone());
                    };
                    // It may have ended just now.
                    if let Some(hold) = self.context.holds.change(hold.id, prolong) {
                        break (hold, true);
                    }
                }
                Err(NotHeld::Already(hold)) => {
                    let why = if hold.move_to.is_some() { "being moved" } else { "held" };
                    return Err(Refusal::conflict(format!(
                        "{} is {why} already, since {}",
                        hold.user,
                        since_of(&hold)
                    )));
                }
                Err(NotHeld::TooMany) => return Err(Refusal::conflict(format!("{HELD_MAX} users are held already"))),
                Err(NotHeld::TakenBack) => {
                    return Err(Refusal::conflict("this order was taken back before it came".to_owned()));
                }
            }
        };
        let not_kept = self.keep_holds().await;
        let (user, for_s) = (hold.user.to_string(), lasts.as_secs());
        info!(uid = by.uid, pid = by.pid, client = by.client(), user, for_s, move_to = hold.move_to, "operator: hold");
        self.answer(hold, was_held, doubt, not_kept).await
    }

    async fn answer(
        &self,
        hold: Hold,
        was_held: bool,
        doubt: Option<String>,
        not_kept: Option<String>,
    ) -> Result<view::Held, Refusal> {
        let hold = self.with_names(hold).await;
        let mut shown = self.shown(std::slice::from_ref(&hold)).await;
        let over = || Refusal::conflict("somebody has released the user meanwhile".to_owned());
        Ok(view::Held { hold: shown.pop().ok_or_else(over)?, was_held, doubt, not_kept })
    }

    pub(super) async fn release(&self, order: &view::ReleaseOrder, by: Operator) -> Result<view::Released, Refusal> {
        let holds = &self.context.holds;
        let user = order.user.escape_debug();
        let is_over = || Refusal::conflict(format!("{user}: that hold is over, whether the user is held again or not"));
        let hold = match (order.id, order.ticket.as_deref().map(ticket).transpose()?) {
            (None, None) => self.held(&order.user).await?,
            (Some(id), None) => holds.of_id(id).ok_or_else(is_over)?,
            (id, Some(ticket)) => {
                let hold = holds.take_back(ticket).filter(|hold| id.is_none_or(|id| id == hold.id));
                hold.ok_or_else(is_over)?
            }
        };
        let user = hold.user.to_string();
        let held_s = hold.since.elapsed().unwrap_or_default().as_secs();
        let is_a_word = order.id.is_none() && order.ticket.is_none();
        if is_a_word && hold.move_to.is_some() && !hold.go_on {
            let hold = holds.change(hold.id, |hold| hold.go_on = true).ok_or_else(is_over)?;
            self.keep_holds().await;
            info!(uid = by.uid, pid = by.pid, client = by.client(), user, "operator: the move may go on");
            return Ok(view::Released {
                user,
                waited: hold.waiting,
                held_s,
                goes_on: true,
                not_kept: None,
                unreached: Vec::new(),
            });
        }
        forget(&self.directory(), &hold).await;
        let waited = holds.release(hold.id).ok_or_else(is_over)?.waiting;
        let not_kept = self.keep_holds().await;
        info!(uid = by.uid, pid = by.pid, client = by.client(), user, waited, held_s, "operator: release");
        Ok(view::Released { user, waited, held_s, goes_on: false, not_kept, unreached: Vec::new() })
    }

    /// Says why the holds are not kept over a restart, if they are not.
    async fn keep_holds(&self) -> Option<String> {
        let not_kept = self.states.lock().await.keep_holds(&self.context.holds).await.err();
        if let Some(reason) = &not_kept {
            warn!(reason, "operator: who is held will be forgotten at a restart");
        }
        not_kept
    }

    async fn shown(&self, holds: &[Hold]) -> Vec<view::Hold> {
        let places = Places::of(holds.iter().map(keys));
        // Before the sessions: who comes into the relay meanwhile is seen here, or there, or in both.
        let mut under_way = vec![0; holds.len()];
        self.context.holds.look_under_way(|keys| {
            let place = keys.iter().find_map(|key| places.by_key.get(key));
            if let Some(count) = place.and_then(|place| under_way.get_mut(*place)) {
                *count += 1;
            }
        });
        let mut sessions = vec![0; holds.len()];
        let look = self.context.registry.look(|session| {
            let place = session.user().and_then(|user| places.find(user));
            if let Some(count) = place.and_then(|place| sessions.get_mut(place)) {
                *count += 1;
            }
        });
        look.await;
        holds.iter().zip(sessions.into_iter().zip(under_way)).map(|(hold, counts)| row(hold, counts)).collect()
    }
}

fn row(hold: &Hold, (sessions, under_way): (u64, usize)) -> view::Hold {
    view::Hold {
        id: hold.id,
        user: hold.user.to_string(),
        account: hold.account.as_ref().map(ToString::to_string),
        since: since_of(hold),
        held_s: hold.since.elapsed().unwrap_or_default().as_secs(),
        ends_in_s: hold.until.saturating_duration_since(Instant::now()).as_millis().div_ceil(1000) as u64,
        waiting: hold.waiting,
        under_way,
        sessions,
        move_to: hold.move_to.clone(),
        go_on: hold.go_on,
        unreached: Vec::new(),
    }
}

/// Which hold is whose, for many names: few are of anybody who is held.
struct Places {
    /// By the names as they are compared.
    by_key: HashMap<Vec<u8>, usize>,
    /// Of these names, in octets.
    lengths: HashSet<usize>,
}

impl Places {
    fn of(keys: impl Iterator<Item = Vec<Vec<u8>>>) -> Self {
        let each = |(place, keys): (usize, Vec<Vec<u8>>)| keys.into_iter().map(move |key| (key, place));
        let by_key: HashMap<Vec<u8>, usize> = keys.enumerate().flat_map(each).collect();
        let lengths = by_key.keys().map(Vec::len).collect();
        Self { by_key, lengths }
    }

    fn find(&self, user: &UserName) -> Option<usize> {
        let user = user.as_bytes();
        self.may_be(user).then(|| self.by_key.get(&lower_case(user)).copied()).flatten()
    }

    /// Whether it is worth a copy in lower case, which is as long as the name unless that has other letters than ASCII's.
    fn may_be(&self, user: &[u8]) -> bool {
        !user.is_ascii() || self.lengths.contains(&user.len())
    }
}

/// What may be one.
fn ticket(text: &str) -> Result<&str, Refusal> {
    let is_one = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    let it = Some(text).filter(|text| (1..=TICKET_MAX).contains(&text.len()) && text.bytes().all(is_one));
    it.ok_or_else(|| Refusal::usage(format!("a ticket has 1 to {TICKET_MAX} letters, digits and hyphens")))
}

fn since_of(hold: &Hold) -> String {
    humantime::format_rfc3339_seconds(hold.since).to_string()
}

/// Ends holds that nobody has ended in their time, and says so. Until told to stop.
pub(super) async fn watch(context: Arc<Context>, states: Arc<Mutex<StateFile>>, drain: Drain) {
    loop {
        let overdue = tokio::select! {
            overdue = context.holds.overdue() => overdue,
            () = drain.signalled() => return,
        };
        forget(&context.site().directory, &overdue).await;
        let Some(hold) = context.holds.expire(overdue.id) else { continue };
        let (user, waited) = (hold.user.to_string(), hold.waiting);
        let held_s = hold.since.elapsed().unwrap_or_default().as_secs();
        warn!(user, held_s, waited, "a hold has ended by itself: nobody has released the user");
        if let Err(reason) = states.lock().await.keep_holds(&context.holds).await {
            warn!(reason, "who is held will be forgotten at a restart");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_held_is_found_in_every_spelling_and_names_of_other_lengths_are_not_copied() {
        let keys = [vec![b"anna".to_vec(), b"a.nna".to_vec()], vec!["käthe".into()]];
        let places = Places::of(keys.into_iter());
        for (user, expected) in [
            ("anna", Some(0)),
            ("A.nna", Some(0)),
            ("KÄTHE", Some(1)),
            // The sign for kelvin, which is longer than its small letter.
            ("\u{212a}äthe", Some(1)),
            ("otto", None),
            ("annabella", None),
            ("ännä", None),
        ] {
            assert_eq!(places.find(&UserName::new(user.as_bytes()).unwrap()), expected, "{user}");
        }
        assert!(!places.may_be(b"annabella") && !places.may_be(b"bob"));
    }
}
