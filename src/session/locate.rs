//! User → island: the directory's route, and the island that it means.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::failure::Failure;
use super::holds::{Overdue, Way, wait_until};
use super::origin::Login;
use super::record::Record;
use super::{Door, Site};
use crate::directory::{Found, Located};
use crate::drain::Ear;
use crate::limits::{Admission, Guess};
use crate::names::UserName;
use crate::proto::introduction::TTL_IS_OVER;
use crate::routing::Table;
use crate::usernames::Names;

/// Where a login goes.
pub(super) struct Destination {
    pub(super) table: Arc<Table>,
    /// The name to log in with on the node.
    pub(super) login: UserName,
    /// The name under which the user's sessions are counted: not as it was typed, of which there may be many spellings.
    pub(super) counted: UserName,
    /// Whether the route may be out of date: it was not asked for this login.
    pub(super) is_old: bool,
}

/// The user's names by the site's rules, if this login may be tried at all.
pub(super) async fn names(
    site: &Site,
    door: &Door,
    login: &Login<'_>,
    guess: &mut Guess,
    record: &mut Record,
) -> Result<Names, Failure> {
    let (listener, sni) = (door.default_domain.as_deref(), login.origin.server_name());
    let names = site.settings.usernames.apply(&login.request.user, listener, sni);
    names.iter().for_each(|names| record.looks_up(names));
    if login.origin.ttl <= TTL_IS_OVER {
        return Err(Failure::Loop);
    }
    admitted(guess).await?;
    names.ok_or(Failure::ForbiddenName)
}

/// Waits until the login may be tried, which it may be already.
async fn admitted(guess: &mut Guess) -> Result<(), Failure> {
    while !guess.is_admitted() {
        match guess.admit(Instant::now().into_std()) {
            Admission::Granted => return Ok(()),
            Admission::Denied => return Err(Failure::TooManyFailures),
            Admission::Later(turn) => turn.comes().await,
        }
    }
    Ok(())
}

/// Asks the directory, as soon as the user is not held. There is no default island: a user whose look-up failed is sent
/// nowhere.
pub(super) async fn locate(
    site: &Site,
    names: &Names,
    login: &Login<'_>,
    guess: &mut Guess,
    (record, way): (&mut Record, &mut Way<'_>),
    ear: &Ear,
) -> Result<Destination, Failure> {
    let until = wait_until(Instant::now(), site.settings.hold_timeout, login.deadline);
    let user = &names.looked_up;
    let mut is_news = pass(way, &[user], until, guess, record, ear).await?;
    loop {
        let (began, ended) = (Instant::now(), way.ended());
        // Who was held has most likely been moved: no old route, and nothing that the cache has.
        let afresh = if is_news { site.directory.locate_afresh(user).await } else { None };
        let located = match afresh {
            Some(located) => located,
            None => site.directory.locate(user).await,
        };
        record.looked_up(&located, began.elapsed());
        let (destination, found) = destination(site, names, located?)?;
        // Another name of somebody who is held. The directory has just said whose it is, or the cache.
        let has_waited = pass(way, &[user, &destination.counted], until, guess, record, ear).await?;
        // A hold that has ended since it was asked may have been of this mailbox, and the answer from before.
        if !has_waited && way.ended() == ended {
            record.routed(&found, &destination.table);
            return Ok(destination);
        }
        is_news = true;
    }
}

/// Waits while the user is held, unless mailferry stops. Says whether that was so. Others of the client's network do not
/// wait for it meanwhile, and it is admitted again behind that.
async fn pass(
    way: &mut Way<'_>,
    names: &[&UserName],
    until: Instant,
    guess: &mut Guess,
    record: &mut Record,
    ear: &Ear,
) -> Result<bool, Failure> {
    let mut began = None;
    let queued = || guess.rest(began.get_or_insert_with(Instant::now).into_std());
    let passed = tokio::select! {
        biased;
        passed = way.pass(names, until, queued) => passed,
        // The stop must not wait for the operator, who releases the user somewhere else.
        () = ear.asked() => Err(Overdue),
    };
    if !matches!(passed, Ok(false)) {
        record.was_held(began.map_or(Duration::ZERO, |began| began.elapsed()));
    }
    let has_waited = passed.map_err(|_| Failure::Held)?;
    admitted(guess).await?;
    Ok(has_waited)
}

/// The login has failed on `old`: whether the user has been moved, and where to. The directory is asked again, unless
/// that was done just now or too much is asked; if it does not know better, the failure stands. Where that is the mailbox of
/// somebody who is held, the next try waits for it.
pub(super) async fn moved(
    site: &Site,
    names: &Names,
    old: &Destination,
    guess: &mut Guess,
    (record, way): (&mut Record, &mut Way<'_>),
    ear: &Ear,
) -> Option<Result<Destination, Failure>> {
    let began = Instant::now();
    let located = site.directory.locate_afresh(&names.looked_up).await?;
    record.looked_up(&located, began.elapsed());
    let (new, found) = match destination(site, names, located.ok()?) {
        Ok(new) => new,
        // To an island that we do not know: nothing that the old one says counts any more.
        Err(failure) => return Some(Err(failure)),
    };
    if Arc::ptr_eq(&new.table, &old.table) && new.login == old.login {
        return None;
    }
    if new.counted != old.counted {
        match pass(way, &[&names.looked_up, &new.counted], Instant::now(), guess, record, ear).await {
            Ok(false) => {}
            Ok(true) => return Some(Err(Failure::Held)),
            Err(failure) => return Some(Err(failure)),
        }
    }
    record.routed(&found, &new.table);
    Some(Ok(new))
}

fn destination(site: &Site, names: &Names, located: Located) -> Result<(Destination, Found), Failure> {
    let Located { route, found } = located;
    let Some(table) = site.islands.find(&route.island) else {
        return Err(Failure::UnknownIsland(route.island));
    };
    let is_old = !matches!(found, Found::Asked(_));
    let counted = route.login.clone().unwrap_or_else(|| names.looked_up.clone());
    let login = route.login.unwrap_or_else(|| names.on_node.clone());
    Ok((Destination { table: Arc::clone(table), login, counted, is_old }, found))
}

#[cfg(test)]
mod tests;
