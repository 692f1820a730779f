//! Questions and orders that concern the sessions of processes that were taken over as well (`predecessors`): they are carried
//! out here, then there, and told as one.
//!
//! What did not reach one of them is said in the answer, with the process, and never counted as nothing. A kick that did not is
//! a refusal, whatever it has ended elsewhere.

use axum::Json;
use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::Desk;
use super::listing::{LIMIT, LIMIT_MAX};
use super::operator::Operator;
use super::predecessors::{ANSWER_MAX, Answers, Unanswered};
use super::refusal::Refusal;
use super::view::{
    Filter, Held, Hold, HoldFilter, HoldOrder, Holds, Kick, Kicked, Predecessor, ReleaseOrder, Released, Sessions,
    Status, Unreached,
};

impl Desk {
    /// `query`: what the filter was made of. Beside other processes, all that is told is here at once.
    pub(super) async fn all_sessions(&self, filter: &Filter, query: Option<&str>) -> Result<Response, Refusal> {
        let own = self.sessions(filter).await;
        if self.is_alone() || own.as_ref().is_err_and(|refusal| !refusal.is_unknown()) {
            return own;
        }
        let (there, unreached) = parted(known(self.predecessors.look::<Sessions>("/v1/sessions", query).await));
        let (mut all, unknown) = match own {
            Ok(answer) => (read(answer).await?, None),
            Err(refusal) => (Sessions::default(), Some(refusal)),
        };
        if let Some(refusal) = unknown.filter(|_| there.is_empty() && unreached.is_empty()) {
            return Err(refusal);
        }
        all.unreached = unreached;
        for (process, theirs) in there {
            all.matching += theirs.matching;
            all.sessions.extend(theirs.sessions.into_iter().map(|mut session| {
                session.predecessor = Some(process);
                session
            }));
        }
        all.sessions.truncate(filter.limit.unwrap_or(LIMIT).min(LIMIT_MAX));
        Ok(Json(all).into_response())
    }

    pub(super) async fn kick_all(&self, kick: &Kick, by: Operator) -> Result<Kicked, Refusal> {
        let own = self.kick(kick, by).await;
        let is_done = own.is_ok() && kick.session.is_some();
        if is_done || self.is_alone() || own.as_ref().is_err_and(|refusal| !refusal.is_unknown()) {
            return own;
        }
        let (there, unreached) = parted(known(self.predecessors.order::<Kicked>("/v1/kick", kick).await));
        let none = Kicked { kicked: 0, over_ms: 0 };
        let mut all = own.as_ref().unwrap_or(&none).clone();
        for (_, theirs) in &there {
            all.kicked += theirs.kicked;
            all.over_ms = all.over_ms.max(theirs.over_ms);
        }
        if let Some(one) = unreached.first() {
            let kicked = all.kicked;
            return Err(Refusal::unreached(format!("{kicked} sessions end, and perhaps not all: {one}")));
        }
        if there.is_empty() { own } else { Ok(all) }
    }

    pub(super) async fn all_holds(&self, filter: &HoldFilter) -> Result<Holds, Refusal> {
        let mut all = self.holds(filter).await?;
        if self.is_alone() || all.holds.is_empty() {
            return Ok(all);
        }
        let (there, unreached) = parted(self.predecessors.look::<Holds>("/v1/holds", None).await);
        for hold in &mut all.holds {
            hold.unreached.clone_from(&unreached);
            for (process, theirs) in &there {
                add(hold, *process, theirs.holds.iter().find(|it| it.user == hold.user));
            }
        }
        Ok(all)
    }

    /// Who is held here is held there: a login that has begun at the other process waits, or counts as under way.
    pub(super) async fn hold_all(&self, order: &HoldOrder, by: Operator) -> Result<Held, Refusal> {
        let mut held = self.hold(order, by).await?;
        if self.is_alone() {
            return Ok(held);
        }
        // The word that a move may go on is given here.
        let order = HoldOrder { move_to: None, ticket: None, ..order.clone() };
        let (there, unreached) = parted(self.predecessors.order::<Held>("/v1/hold", &order).await);
        held.hold.unreached = unreached;
        for (process, theirs) in there {
            let hold = Some(&theirs.hold).filter(|it| it.user == held.hold.user);
            add(&mut held.hold, process, hold);
            held.doubt = held.doubt.or(theirs.doubt);
        }
        Ok(held)
    }

    pub(super) async fn release_all(&self, order: &ReleaseOrder, by: Operator) -> Result<Released, Refusal> {
        let own = self.release(order, by).await;
        let goes_on = own.as_ref().is_ok_and(|released| released.goes_on);
        // A hold that was left over there is ended by whoever has no other one in mind.
        let is_any = order.id.is_none() && order.ticket.is_none();
        let is_refused = own.as_ref().is_err_and(|refusal| !is_any || !refusal.is_unknown());
        if self.is_alone() || goes_on || is_refused {
            return own;
        }
        let order = ReleaseOrder { id: None, ticket: None, ..order.clone() };
        let (there, unreached) = parted(known(self.predecessors.order::<Released>("/v1/release", &order).await));
        let mut there = there.into_iter().map(|(_, released)| released);
        let mut all = match own {
            Ok(released) => released,
            Err(unknown) => there.next().ok_or(unknown)?,
        };
        all.waited += there.map(|theirs| theirs.waited).sum::<usize>();
        all.unreached = unreached;
        Ok(all)
    }

    pub(super) async fn whole_status(&self) -> Status {
        let mut status = self.status().await;
        let (there, unreached) = parted(self.predecessors.look::<Status>("/v1/status", None).await);
        let row = |(process, Status { version, sessions, ends_in_s, .. })| Predecessor {
            process,
            version,
            sessions,
            ends_in_s,
        };
        status.predecessors = there.into_iter().map(row).collect();
        status.unreached = unreached;
        status
    }

    fn is_alone(&self) -> bool {
        self.predecessors.is_empty()
    }
}

/// What this process tells of its own.
async fn read(answer: Response) -> Result<Sessions, Refusal> {
    let failed = |error: &dyn std::fmt::Display| Refusal::failed(error.to_string());
    let octets = to_bytes(answer.into_body(), ANSWER_MAX).await.map_err(|error| failed(&error))?;
    serde_json::from_slice(&octets).map_err(|error| failed(&error))
}

/// Without those who do not know the user, the node or the session: they have none of its sessions.
fn known<T>(answers: Answers<T>) -> Answers<T> {
    let knows = |answer: &Result<T, Unanswered>| !matches!(answer, Err(Unanswered::Refused(StatusCode::NOT_FOUND, _)));
    answers.into_iter().filter(|(_, answer)| knows(answer)).collect()
}

/// Those who have answered, and those who were not reached.
fn parted<T>(answers: Answers<T>) -> (Vec<(u32, T)>, Vec<Unreached>) {
    let (mut there, mut unreached) = (Vec::new(), Vec::new());
    for (process, answer) in answers {
        match answer {
            Ok(theirs) => there.push((process, theirs)),
            Err(reason) => unreached.push(Unreached { process, reason: reason.to_string() }),
        }
    }
    (there, unreached)
}

/// What the other process has of a user who is held.
fn add(hold: &mut Hold, process: u32, theirs: Option<&Hold>) {
    let Some(theirs) = theirs else {
        let reason = "it does not hold the user".to_owned();
        return hold.unreached.push(Unreached { process, reason });
    };
    hold.waiting += theirs.waiting;
    hold.under_way += theirs.under_way;
    hold.sessions += theirs.sessions;
}
