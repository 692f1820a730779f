//! `mailferry move`: a user goes to another island, and what goes wrong is put back.
//!
//! The steps are taken here, in the operator's own process: the one that serves may not run programs, and must not be in
//! the middle of anything when this one dies. It knows the hold alone, which ends by itself.

mod outside;
mod terminal;
mod words;

use std::cell::Cell;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::StatusCode;
use tokio::time::Instant;

use self::outside::{Interrupted, Outside, Ran};
use self::words::Step;
use super::client::{Asking, Unanswered, code_of};
use super::print::complain;
use super::{EXIT_UNAVAILABLE, EXIT_USAGE, runtime};
use crate::admin::view::{Held, Hold, HoldOrder, Holds, Kick, Kicked, ReleaseOrder, Released, Route, Whom};

/// EX_TEMPFAIL of sysexits.h: not moved, and everything is as it was.
const EXIT_PUT_BACK: u8 = 75;

/// How often mailferry is asked whether logins and sessions are gone.
const LOOK: Duration = Duration::from_millis(200);

/// How often the directory is, and mailferry while the operator moves the mail by hand.
const POLL: Duration = Duration::from_secs(1);

/// How much longer than the move the hold lasts: for the end of the command and the last words.
const GRACE: Duration = Duration::from_secs(60);

/// How long a mailferry that does not answer is asked again: it may be restarting.
const RESTART: Duration = Duration::from_secs(15);

/// Who goes where, and how.
#[derive(Args)]
pub(super) struct Moving {
    /// The user, as a client would type the name, with its domain if names have one here.
    #[arg(value_name = "USER")]
    user: String,
    /// The island to go to.
    #[arg(value_name = "ISLAND")]
    island: String,
    /// Moves the mail and changes the directory: run by /bin/sh, with MAILFERRY_USER, MAILFERRY_ACCOUNT (the name on the
    /// nodes), MAILFERRY_FROM and MAILFERRY_TO (the islands). Without it that is done by hand.
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// End the user's sessions before the mail is moved, and not only after: right where the command copies the mail once, and
    /// what a client changes meanwhile would be lost.
    #[arg(long)]
    kick_first: bool,
    /// For all of it; then everything is put back.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Why a user is not moved.
enum Trouble {
    /// Nobody was held for it.
    NotHeld(Unanswered),
    /// While the user was not held yet, the directory was changed.
    Changed,
    /// What was waited for when the time was over.
    Timeout(&'static str),
    Interrupted,
    Command(String),
    /// Another process, which still has sessions of the user perhaps, cannot be asked.
    Unreached(String),
    /// Somebody else has ended the hold, or it has ended by itself.
    HoldOver,
    Unanswered(Unanswered),
}

impl From<Interrupted> for Trouble {
    fn from(Interrupted: Interrupted) -> Self {
        Self::Interrupted
    }
}

pub(super) fn move_user(moving: &Moving, asking: &Asking) -> Result<ExitCode, ExitCode> {
    let Moving { user, island, timeout, .. } = moving;
    let mut outside = Outside::listen(runtime()?);
    let deadline = Instant::now() + *timeout;
    let whom = Whom { user: user.clone(), island: Some(island.clone()) };
    let route: Route = asking.try_post("/v1/route", &whom).map_err(Unanswered::tell)?;
    let is_json = asking.wants_json();
    if route.island == *island {
        Step::There { user: &route.user, island }.tell(is_json);
        return Ok(ExitCode::SUCCESS);
    }
    let is_escaped = |name: &String| name.contains('\\');
    if moving.command.is_some() && (is_escaped(&route.user) || route.account.as_ref().is_some_and(is_escaped)) {
        // A command that hears another name than the user's would move another user's mail, or nobody's.
        let why = "or the account has a backslash, a quote or what cannot be printed, which no command is given";
        complain(&format!("{}: the name {why}: move the mail by hand, without --command", route.user));
        return Err(ExitCode::from(EXIT_USAGE));
    }
    Step::checked(&route, island).tell(is_json);
    let (route, outside, ticket) = (&route, &mut outside, ticket());
    let mut under_way = UnderWay { moving, asking, route, ticket, hold: None, deadline, outside };
    match under_way.steps() {
        Ok(code) => Ok(code),
        Err(Trouble::NotHeld(unanswered)) => Err(unanswered.tell()),
        Err(trouble) => Ok(under_way.put_back(trouble)),
    }
}

/// What nobody else calls an order of his.
fn ticket() -> String {
    format!("move-{:x}-{:016x}", std::process::id(), fastrand::u64(..))
}

/// Whether a refusal says that there is no such hold any more. Others are about the token, or about mailferry.
fn is_over(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::CONFLICT)
}

/// Notes that an order may have been carried out whose answer was lost.
fn noted<T>(is_lost: &Cell<bool>, answer: Result<T, Unanswered>) -> Result<T, Unanswered> {
    is_lost.set(is_lost.get() || matches!(answer, Err(Unanswered::Lost(_))));
    answer
}

/// A move whose user is held, or may be.
struct UnderWay<'a> {
    moving: &'a Moving,
    asking: &'a Asking,
    route: &'a Route,
    /// By which the order that holds the user is known, and its hold is ended, whether its answer came or not.
    ticket: String,
    /// The hold's number.
    hold: Option<u64>,
    deadline: Instant,
    outside: &'a mut Outside,
}

impl UnderWay<'_> {
    fn steps(&mut self) -> Result<ExitCode, Trouble> {
        let island = &self.moving.island;
        let hold = self.hold()?;
        self.tell(&Step::held(&hold));
        self.hold = Some(hold.id);
        if let Some(one) = hold.unreached.first() {
            return Err(Trouble::Unreached(one.to_string()));
        }
        self.until("logins that were under way", |hold| hold.under_way == 0)?;
        self.tell(&Step::Quiet);
        // Another move of the user's may have ended between the first look and the hold.
        let now = self.look(|_| true)?;
        if (&now.island, &now.account) != (&self.route.island, &self.route.account) {
            return Err(Trouble::Changed);
        }
        if self.moving.kick_first {
            self.kick()?;
        }
        match &self.moving.command {
            Some(command) => self.run(command)?,
            None => self.wait_for_word()?,
        }
        self.tell(&Step::Looking { island });
        let found = self.look(|route| route.island == *island)?;
        self.tell(&Step::Found { island, answered: found.answered.as_deref() });
        self.kick()?;
        let released = self.release()?;
        self.tell(&Step::Released { waited: released.waited, held_s: released.held_s });
        let now = self.directory().ok();
        if let Some(now) = now.as_ref().filter(|now| now.island != *island) {
            let reason = "the directory says another island again";
            self.tell(&Step::PutBack { user: &now.user, reason, island: Some(&now.island) });
            return Ok(ExitCode::from(EXIT_PUT_BACK));
        }
        self.tell(&Step::Moved { user: &self.route.user, island, verified: now.is_some() });
        Ok(ExitCode::SUCCESS)
    }

    /// Holds the user. An order whose answer is lost is given again: it is still one order, and one hold.
    fn hold(&mut self) -> Result<Hold, Trouble> {
        let Moving { user, island, timeout, .. } = self.moving;
        let (for_s, ticket) = (Some((*timeout + GRACE).as_secs()), Some(self.ticket.clone()));
        let order = HoldOrder { user: user.clone(), for_s, move_to: Some(island.clone()), ticket };
        let is_lost = Cell::new(false);
        match self.ask(|asking| noted(&is_lost, asking.try_post("/v1/hold", &order))) {
            Ok(Held { hold, .. }) => Ok(hold),
            Err(Trouble::Unanswered(unanswered)) if !is_lost.get() => Err(Trouble::NotHeld(unanswered)),
            Err(trouble) => Err(trouble),
        }
    }

    /// Sessions of the user's end, and are gone when this returns: nobody writes into the old mailbox any more.
    fn kick(&mut self) -> Result<(), Trouble> {
        let kick = Kick { user: Some(self.moving.user.clone()), ..Kick::default() };
        let Kicked { kicked, .. } = loop {
            match self.ask(|asking| asking.try_post("/v1/kick", &kick)) {
                // It has not reached an older process, which may write into the old mailbox as long as it lives.
                Err(Trouble::Unanswered(Unanswered::Refused(StatusCode::BAD_GATEWAY, _))) => {
                    self.pause(POLL, "an older mailferry that does not answer")?;
                }
                kicked => break kicked?,
            }
        };
        self.until("sessions that are to end", |hold| hold.sessions == 0)?;
        self.tell(&Step::Kicked { kicked });
        Ok(())
    }

    fn run(&mut self, command: &str) -> Result<(), Trouble> {
        self.tell(&Step::Command { command });
        let Route { user, island: from, account, .. } = self.route;
        let variables = [
            ("MAILFERRY_USER", user.as_str()),
            ("MAILFERRY_ACCOUNT", account.as_ref().unwrap_or(user)),
            ("MAILFERRY_FROM", from),
            ("MAILFERRY_TO", &self.moving.island),
        ];
        match self.outside.run(command, &variables, self.deadline)? {
            Ran::Ended(status) if status.success() => Ok(()),
            Ran::Ended(status) => Err(Trouble::Command(format!("the command has failed: {status}"))),
            Ran::Not(error) => Err(Trouble::Command(format!("the command cannot be run: {error}"))),
            Ran::TooLong => Err(Trouble::Timeout("the command")),
        }
    }

    fn wait_for_word(&mut self) -> Result<(), Trouble> {
        let enter = self.outside.hear_enter();
        self.tell(&Step::Waiting { user: &self.route.user, enter });
        loop {
            if self.outside.has_entered() || self.held()?.go_on {
                return Ok(());
            }
            // That may take hours. Enter ends the pause.
            self.pause(POLL, "the word that the mail is moved")?;
        }
    }

    /// Waits until the directory says such a route.
    fn look(&mut self, is_it: impl Fn(&Route) -> bool) -> Result<Route, Trouble> {
        loop {
            self.held()?;
            match self.directory() {
                Ok(route) if is_it(&route) => return Ok(route),
                // The directory may be unavailable for a moment, or be changed just now.
                Ok(_) | Err(Trouble::Unanswered(Unanswered::Refused(..))) => {}
                Err(trouble) => return Err(trouble),
            }
            self.pause(POLL, "the directory")?;
        }
    }

    fn directory(&mut self) -> Result<Route, Trouble> {
        let whom = Whom { user: self.moving.user.clone(), island: None };
        self.ask(|asking| asking.try_post("/v1/route", &whom))
    }

    /// Ends the hold. What is refused is ordered again until the hold has ended by itself, or the operator wants an end.
    fn release(&mut self) -> Result<Released, Trouble> {
        let user = &self.moving.user;
        let order = ReleaseOrder { user: user.clone(), id: None, ticket: Some(self.ticket.clone()) };
        let is_lost = Cell::new(false);
        let release = |asking: &Asking| noted(&is_lost, asking.try_post("/v1/release", &order));
        loop {
            match self.ask(release) {
                // Done by the order before, whose answer was lost.
                Err(Trouble::Unanswered(Unanswered::Refused(status, _))) if is_over(status) && is_lost.get() => {
                    return Ok(Released {
                        user: user.clone(),
                        waited: 0,
                        held_s: 0,
                        goes_on: false,
                        not_kept: None,
                        unreached: Vec::new(),
                    });
                }
                Err(Trouble::Unanswered(Unanswered::Refused(status, problem))) if !is_over(status) => {
                    if Instant::now() >= self.deadline + GRACE || self.outside.pause(POLL).is_err() {
                        return Err(Trouble::Unanswered(Unanswered::Refused(status, problem)));
                    }
                }
                answer => return answer,
            }
        }
    }

    fn until(&mut self, what: &'static str, is_so: impl Fn(&Hold) -> bool) -> Result<(), Trouble> {
        loop {
            let hold = self.held()?;
            match hold.unreached.first() {
                None if is_so(&hold) => return Ok(()),
                None => self.pause(LOOK, what)?,
                Some(_) => self.pause(POLL, "an older mailferry that does not answer")?,
            }
        }
    }

    /// The hold as it is now.
    fn held(&mut self) -> Result<Hold, Trouble> {
        let user = &self.moving.user;
        let answer: Holds = loop {
            match self.ask(|asking| asking.try_get("/v1/holds", &[("user", user)])) {
                Err(Trouble::Unanswered(Unanswered::Refused(status, _))) if is_over(status) => {
                    return Err(Trouble::HoldOver);
                }
                // That says nothing of the hold, and may pass.
                Err(Trouble::Unanswered(Unanswered::Refused(..))) => self.pause(POLL, "mailferry, which refuses")?,
                answer => break answer?,
            }
        };
        answer.holds.into_iter().find(|hold| Some(hold.id) == self.hold).ok_or(Trouble::HoldOver)
    }

    fn pause(&mut self, time: Duration, what: &'static str) -> Result<(), Trouble> {
        if Instant::now() >= self.deadline {
            return Err(Trouble::Timeout(what));
        }
        Ok(self.outside.pause(time)?)
    }

    /// Asks again for a while, where nobody answers.
    fn ask<T>(&mut self, ask: impl Fn(&Asking) -> Result<T, Unanswered>) -> Result<T, Trouble> {
        let give_up = Instant::now() + RESTART;
        loop {
            match ask(self.asking) {
                Err(unanswered) if unanswered.may_pass() && Instant::now() < give_up => self.outside.pause(LOOK)?,
                answer => return answer.map_err(Trouble::Unanswered),
            }
        }
    }

    /// The logins go on, to wherever the directory says, and no session is ended.
    fn put_back(&mut self, trouble: Trouble) -> ExitCode {
        let user = &self.route.user;
        let (reason, code) = match trouble {
            Trouble::Timeout(what) => (format!("too long for {what}"), EXIT_PUT_BACK),
            Trouble::Interrupted => ("interrupted".to_owned(), EXIT_PUT_BACK),
            Trouble::Command(reason) | Trouble::Unreached(reason) => (reason, EXIT_PUT_BACK),
            Trouble::Changed => ("the directory was changed before the user was held".to_owned(), EXIT_PUT_BACK),
            Trouble::HoldOver => ("somebody has ended the hold, or it has ended by itself".to_owned(), EXIT_PUT_BACK),
            Trouble::Unanswered(Unanswered::Refused(status, problem)) => (problem.error, code_of(status)),
            Trouble::Unanswered(unanswered) | Trouble::NotHeld(unanswered) => {
                unanswered.tell();
                ("mailferry does not answer".to_owned(), EXIT_UNAVAILABLE)
            }
        };
        let released = loop {
            match self.release() {
                // Impatience does not make it faster.
                Err(Trouble::Interrupted) => {}
                Ok(_) => break true,
                Err(Trouble::Unanswered(Unanswered::Refused(status, _))) if is_over(status) => break true,
                Err(Trouble::Unanswered(refused @ Unanswered::Refused(..))) => {
                    refused.tell();
                    break false;
                }
                Err(_) => break false,
            }
        };
        if released {
            let island = self.directory().ok().map(|route| route.island);
            self.tell(&Step::PutBack { user, reason: &reason, island: island.as_deref() });
            return ExitCode::from(code);
        }
        let ends_in_s = (self.deadline + GRACE).saturating_duration_since(Instant::now()).as_secs();
        self.tell(&Step::Left { user, reason: &reason, ends_in_s });
        ExitCode::from(EXIT_UNAVAILABLE)
    }

    fn tell(&self, step: &Step<'_>) {
        step.tell(self.asking.wants_json());
    }
}

#[cfg(test)]
mod tests;
