//! What must be true of every history, whatever happened in it.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Relay;
use crate::ledger::{Answer, Flight, Login, Pages, Silence};
use crate::node::Node;
use crate::script::{Mood, Step};
use crate::world::{DETECTION, LATE_DETECTION, LOGIN_TIMEOUT, World, home, is_unknown};

/// A login that begins so long after its connection may have used up the connection's time.
const FRESH: Duration = Duration::from_secs(5);

/// For how long the directory has to be there before a login, so that no look-up that failed still counts.
const LOOKUP: Duration = Duration::from_secs(5);

/// The longest that a login takes with nodes that are well.
const ORDINARY: Duration = Duration::from_millis(400);

/// A directory's answer to a doubt that is so young is not asked for again: a second, and what the look-up takes.
const JUST_NOW: Duration = Duration::from_secs(2);

/// Judges a history that is over.
pub fn judge(world: &World, relays: &[Option<(Relay, Duration)>]) {
    let found = {
        let pages = world.ledger.pages();
        let judge = Judge { world, pages: &pages };
        let logins = pages.logins.iter().enumerate();
        let mut found: Vec<String> = logins.flat_map(|(number, login)| judge.login(number, login)).collect();
        found.extend(pages.flights.iter().filter_map(|flight| judge.island(flight)));
        found.extend(relays.iter().enumerate().filter_map(|(client, relay)| judge.relay(client, relay.as_ref()?)));
        found
    };
    for violation in found {
        world.ledger.violation(violation);
    }
}

struct Judge<'a> {
    world: &'a World,
    pages: &'a Pages,
}

impl Judge<'_> {
    fn login(&self, number: usize, login: &Login) -> Vec<String> {
        let mut found = Vec::new();
        let mut check = |holds: bool, what: &str| {
            if !holds {
                found.push(format!("login {number} ({login}): {what}: {:?}", login.answer));
            }
        };
        let (Some(ended), Some(answer)) = (login.ended, login.answer) else {
            check(false, "the client is lost");
            return found;
        };
        let mut flights: Vec<&Flight> = self.pages.flights.iter().filter(|flight| flight.login == number).collect();
        flights.sort_by_key(|flight| flight.from);
        let one_after_the_other = flights.windows(2).all(|pair| pair[0].to.is_some_and(|to| to <= pair[1].from));
        check(one_after_the_other, "two nodes have its credentials");
        let was_cut = self.restarts(login.connected, ended);
        let is_told = !matches!(answer, Answer::Closed | Answer::Never);
        let is_too_late = login.began >= login.connected + LOGIN_TIMEOUT;
        check(is_told || was_cut || is_too_late, "no answer");
        if answer == Answer::Accepted {
            check(login.is_right && !is_unknown(login.user), "accepted");
            check(flights.last().is_some_and(|flight| flight.accepted), "accepted, but not by the last node asked");
            check(flights.iter().all(|flight| flight.from <= ended), "asked a node after the answer");
        }
        if is_unknown(login.user) {
            check(flights.is_empty(), "a node was asked for a user that is nowhere");
        }
        if was_cut || answer == Answer::HungUp {
            return found;
        }
        let directory = self.directory_is_there(login.began.saturating_sub(LOOKUP), ended);
        if is_unknown(login.user) {
            check(!directory || answer == Answer::WrongPassword, "unknown users sound like wrong passwords");
            let knew = self.said_lately(login, Silence::NotFound);
            check(knew || answer == Answer::Unavailable, "nobody said that the user is unknown");
            return found;
        }
        let was_moved = self.moved(login.user, login.began.saturating_sub(JUST_NOW), ended);
        if login.is_right {
            let may_be_refused = was_moved || (!directory && self.moved(login.user, Duration::ZERO, ended));
            check(answer != Answer::WrongPassword || may_be_refused, "a right password is refused");
        }
        if directory && answer == Answer::Unavailable && login.began < login.connected + FRESH {
            let patience = self.patience(login, ended);
            check(login.began + patience <= ended, "nobody waited for a node to return");
        }
        if directory && login.began < login.connected + FRESH && self.has_healthy_nodes(login, ended) && !was_moved {
            let expected = if login.is_right { Answer::Accepted } else { Answer::WrongPassword };
            check(answer == expected, "lost although a healthy node was there");
            let longest = self.longest(login, ended);
            let is_soon = longest.is_none_or(|longest| ended - login.began <= longest);
            check(is_soon || answer != Answer::Accepted, "slow although a healthy node was there");
        }
        found
    }

    /// Credentials go only where the directory says, or said as long ago as the cache may believe it.
    fn island(&self, flight: &Flight) -> Option<String> {
        let login = &self.pages.logins[flight.login];
        let about = || self.pages.said.iter().filter(|said| said.user == login.user && said.at <= flight.from);
        let known = about().rfind(|said| said.at < login.began && said.what != Err(Silence::Unavailable));
        let is_old = |at: Duration| {
            let directory = self.directory_is_there(login.began.saturating_sub(LOOKUP), flight.from);
            directory && at + self.world.script.ttl + LOOKUP < login.began
        };
        let from_cache = known.is_some_and(|said| said.what == Ok(flight.island) && !is_old(said.at));
        let asked = about().any(|said| said.at >= login.began && said.what == Ok(flight.island));
        let (island, number) = (flight.island, flight.login);
        (!from_cache && !asked).then(|| format!("login {number} ({login}): reaches island {island}, which nobody said"))
    }

    /// A session on a node that stays well, with a mailferry that stays, is whole.
    fn relay(&self, client: usize, relay: &(Relay, Duration)) -> Option<String> {
        let (how, ended) = *relay;
        let number = self
            .pages
            .logins
            .iter()
            .position(|login| login.client == client && login.answer == Some(Answer::Accepted))?;
        let login = &self.pages.logins[number];
        let flight = self.pages.flights.iter().rev().find(|flight| flight.login == number)?;
        let node = &self.world.nodes[flight.island][flight.node];
        let is_well = node.is_healthy(flight.from, ended) && !self.restarts(login.connected, ended);
        (how == Relay::Cut && is_well).then(|| format!("login {number} ({login}): the session on a healthy node broke"))
    }

    /// How long a login may take where hedging decides it: every node of the island is in one mood all the time, which
    /// is good or shows before the credentials are given away.
    fn longest(&self, login: &Login, ended: Duration) -> Option<Duration> {
        let [island] = self.islands(login, ended)[..] else { return None };
        let (script, nodes) = (&self.world.script.islands[island], &self.world.nodes[island]);
        let shows_early = |node: &Arc<Node>| {
            let moods: Vec<Mood> = node.moods(login.began, ended).collect();
            match moods[..] {
                [Mood::Healthy | Mood::Dead | Mood::Unplugged | Mood::Frozen | Mood::Slow(_)] => true,
                [Mood::Silent(step) | Mood::Closes(step)] => matches!(step, Step::Accept | Step::Greeting),
                _ => false,
            }
        };
        let is_certain = !self.world.script.clients[login.client].pieces && nodes.iter().all(shows_early);
        let others = u32::try_from(nodes.len() - 1).ok()?;
        is_certain.then_some(script.hedge? * others + ORDINARY)
    }

    /// The least patience of the islands that the user may be sent to.
    fn patience(&self, login: &Login, ended: Duration) -> Duration {
        let islands = self.islands(login, ended).into_iter();
        islands.map(|island| self.world.script.islands[island].patience).min().unwrap_or_default()
    }

    /// Every island that the user may be sent to has a node that is well all the time.
    fn has_healthy_nodes(&self, login: &Login, ended: Duration) -> bool {
        let is_patient = !self.patience(login, ended).is_zero();
        let detection = if is_patient { DETECTION } else { LATE_DETECTION };
        self.islands(login, ended).into_iter().all(|island| {
            let is_healthy = |node: &Arc<Node>| node.is_healthy(login.began.saturating_sub(detection), ended);
            self.world.nodes[island].iter().any(is_healthy)
        })
    }

    /// Where the user lives or has lived, as long ago as the cache may know.
    fn islands(&self, login: &Login, ended: Duration) -> Vec<usize> {
        let script = &self.world.script;
        let since = login.began.saturating_sub(script.ttl + LOOKUP);
        let at = |time| home(&script.homes, &script.moves, login.user, time);
        let moves =
            script.moves.iter().filter(|(when, user, _)| *user == login.user && *when > since && *when <= ended);
        moves.map(|(_, _, to)| *to).chain(at(since)).collect()
    }

    fn restarts(&self, from: Duration, to: Duration) -> bool {
        self.world.script.restarts.iter().any(|at| from <= *at && *at <= to)
    }

    fn directory_is_there(&self, from: Duration, to: Duration) -> bool {
        self.world.script.losses.iter().all(|(begins, ends, _)| *ends < from || *begins > to)
    }

    fn moved(&self, user: usize, from: Duration, to: Duration) -> bool {
        self.world.script.moves.iter().any(|(when, who, _)| *who == user && from <= *when && *when <= to)
    }

    /// Whether the directory has said so during the login, or so shortly before that it is believed.
    fn said_lately(&self, login: &Login, what: Silence) -> bool {
        let since = login.began.saturating_sub(LOOKUP);
        self.pages.said.iter().any(|said| {
            said.user == login.user && said.what == Err(what) && said.at >= since && Some(said.at) <= login.ended
        })
    }
}
