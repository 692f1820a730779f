//! User → island: the directory's route, and the island that it means.

use std::sync::Arc;

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
    loop {
        match guess.admit(Instant::now().into_std()) {
            Admission::Granted => return Ok(()),
            Admission::Denied => return Err(Failure::TooManyFailures),
            Admission::Later(turn) => turn.comes().await,
        }
    }
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
        let began = Instant::now();
        // Who was held has most likely been moved: no old route, and nothing that the cache has.
        let afresh = if is_news { site.directory.locate_afresh(user).await } else { None };
        let located = match afresh {
            Some(located) => located,
            None => site.directory.locate(user).await,
        };
        record.looked_up(&located, began.elapsed());
        let (destination, found) = destination(site, names, located?)?;
        // Another name of somebody who is held. The directory has just said whose it is, or the cache.
        if !pass(way, &[user, &destination.counted], until, guess, record, ear).await? {
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
    let began = Instant::now();
    let passed = tokio::select! {
        biased;
        passed = way.pass(names, until, || guess.rest(Instant::now().into_std())) => passed,
        // The stop must not wait for the operator, who releases the user somewhere else.
        () = ear.asked() => Err(Overdue),
    };
    if !matches!(passed, Ok(false)) {
        record.was_held(began.elapsed());
    }
    let has_waited = passed.map_err(|_| Failure::Held)?;
    admitted(guess).await?;
    Ok(has_waited)
}

/// The login has failed on `old`: whether the user has been moved, and where to. The directory is asked again, unless
/// that was done just now or too much is asked; if it does not know better, the failure stands.
pub(super) async fn moved(
    site: &Site,
    names: &Names,
    old: &Destination,
    record: &mut Record,
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
mod tests {
    use std::net::SocketAddr;
    use std::num::NonZeroU32;
    use std::time::{Duration, SystemTime};

    use futures_util::FutureExt as _;

    use super::super::holds::Holds;
    use super::super::registry::Registry;
    use super::*;
    use crate::drain;
    use crate::limits::Limits;
    use crate::names::SessionId;
    use crate::proto::Protocol;
    use crate::testkit::settings;

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_hold_keeps_nobody_of_his_network_waiting_and_is_admitted_again() {
        let mut settings = settings::limits();
        settings.failed_logins_per_network = NonZeroU32::new(1);
        let limits = Limits::new(settings, 100);
        let client = SocketAddr::from(([192, 0, 2, 1], 1000));
        let guess = || limits.guess(client.ip());
        let (holds, anna) = (Holds::default(), UserName::new(b"anna").unwrap());
        let until = Instant::now() + Duration::from_secs(30);
        let hold = holds.hold((anna.clone(), None), (SystemTime::now(), until), None).unwrap();
        let id = SessionId { run: 1, number: 1 };
        let mut record = Record::new(id, Protocol::Imap, client, &Registry::default());
        let (mut way, mut held, mut other, names) = (holds.way(id), guess(), guess(), [&anna]);
        let (_stop, drain) = drain::channel();
        let ear = drain.ear();
        admitted(&mut held).await.unwrap();
        let mut waiting = Box::pin(pass(&mut way, &names, until, &mut held, &mut record, &ear));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(matches!(admitted(&mut other).now_or_never(), Some(Ok(()))), "it does not wait for a hold");
        holds.release(hold.id).unwrap();
        assert!(waiting.as_mut().now_or_never().is_none(), "there may be one wrong password, and not two");
        other.take_back(Instant::now().into_std());
        assert!(matches!(waiting.await, Ok(true)));
        assert!(admitted(&mut guess()).now_or_never().is_none(), "it counts again");
        held.refused(Instant::now().into_std());
        assert!(matches!(admitted(&mut guess()).now_or_never(), Some(Err(Failure::TooManyFailures))));
    }
}
