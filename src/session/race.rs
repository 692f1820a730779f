//! Which node greets first: the plan's nodes are dialled one after the other, the next one when the one before has
//! failed or takes longer than the island's `hedge`. When all of them take that long, the login's patience runs.
//!
//! No credentials are known here. Whoever loses the race is closed before it has seen any.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::Site;
use super::admit::admit;
use super::failure::Failure;
use super::greet::greet;
use super::patience::Patience;
use super::wire::Wire;
use crate::proto::{Introduction, NodeHello};
use crate::routing::{Candidate, NodePort, Reason, Seat, State, Table, Trial};

/// What is slow where there is no `hedge` to say it.
const SLOW: Duration = Duration::from_millis(250);

/// What happens in a race, in order.
pub(super) enum News {
    /// A node is being dialled; beside another one, or not.
    Dialled { is_hedge: bool },
    /// A node has not greeted in time; the next one, if there is one and there is a hedge, is dialled beside it.
    Slow(NodePort),
    /// A node failed, and is out.
    Failed(NodePort, Failure),
}

/// A node that is ready for a login.
pub(super) struct Ready {
    pub(super) port: NodePort,
    pub(super) wire: Wire,
    pub(super) hello: NodeHello,
    pub(super) seat: Seat,
    /// The node is not in service: the login finds out whether it serves.
    pub(super) is_test: bool,
    /// No other one does so meanwhile.
    pub(super) trial: Option<Trial>,
}

/// The first node that greets. Nothing: all have failed, or all are silent and either the patience is over or another
/// node has returned. Those that were not dialled, or lost, stay in `candidates`.
pub(super) async fn race(
    site: &Site,
    table: &Table,
    introduction: Option<&Introduction>,
    candidates: &mut VecDeque<Candidate>,
    patience: &mut Patience,
    mut tell: impl FnMut(News),
) -> Option<Ready> {
    let hedge = table.island().hedge;
    // Of the one that was dialled last.
    let is_let_in = AtomicBool::new(false);
    let mut waiting: VecDeque<Candidate> = std::mem::take(candidates);
    let mut dialled: Vec<Candidate> = Vec::new();
    let mut running = Vec::new();
    let mut slow = pin!(None);
    let (mut dial_next, mut all_are_slow) = (true, false);
    loop {
        if std::mem::take(&mut dial_next) {
            match next(&mut waiting) {
                Some((candidate, trial)) => {
                    slow.set(None);
                    is_let_in.store(false, Ordering::Relaxed);
                    tell(News::Dialled { is_hedge: !running.is_empty() });
                    let queue_until = table.island().max_login_rate.map(|_| patience.would_end());
                    let dial = dial(site, introduction, candidate.clone(), trial, queue_until, &is_let_in);
                    running.push(Box::pin(dial));
                    dialled.push(candidate);
                }
                None if running.is_empty() => return None,
                // Unless the last one was dialled just now.
                None => all_are_slow = slow.is_none(),
            }
        }
        tokio::select! {
            biased;
            first = first(&mut running, slow.as_mut(), &is_let_in, hedge.unwrap_or(SLOW)) => match first {
                First::Done((port, greeted)) => {
                    dialled.retain(|candidate| !candidate.port.is_node_of(&port));
                    match greeted {
                        Ok(ready) => {
                            candidates.extend(dialled.into_iter().chain(waiting));
                            return Some(ready);
                        }
                        Err(failure) => tell(News::Failed(port, failure)),
                    }
                    // Without a hedge there was no other one.
                    dial_next = true;
                }
                First::Slow => {
                    slow.set(None);
                    dial_next = hedge.is_some();
                    all_are_slow = waiting.is_empty();
                    if let Some(slow) = dialled.last() {
                        tell(News::Slow(slow.port.clone()));
                    }
                }
            },
            () = patience.node_or_end(), if all_are_slow && !table.island().patience.is_zero() => {
                if patience.is_over() {
                    // They may need longer than the client could wait, so nothing is said of their health.
                    dialled.into_iter().for_each(|silent| tell(News::Failed(silent.port, Failure::Silent)));
                    return None;
                }
                if is_another_there(&dialled) {
                    return None;
                }
                patience.begin_round();
            }
        }
    }
}

/// What happens first.
enum First<T> {
    /// One is done.
    Done(T),
    /// The one that was dialled last takes too long.
    Slow,
}

/// The first of these to be done, which is taken out, unless the time is over before: it runs from when one is let in. All
/// are looked at whenever the task is woken: there is one most often, and seldom more than two.
async fn first<F: Future>(
    running: &mut Vec<Pin<Box<F>>>,
    mut slow: Pin<&mut Option<Sleep>>,
    is_let_in: &AtomicBool,
    time: Duration,
) -> First<F::Output> {
    poll_fn(|cx| {
        for at in 0..running.len() {
            if let Some(Poll::Ready(done)) = running.get_mut(at).map(|it| it.as_mut().poll(cx)) {
                drop(running.swap_remove(at));
                return Poll::Ready(First::Done(done));
            }
        }
        // Said by one of them when it was looked at.
        if is_let_in.swap(false, Ordering::Relaxed) {
            slow.set(Some(sleep(time)));
        }
        let timer = slow.as_mut().as_pin_mut();
        timer.map_or(Poll::Pending, |timer| timer.poll(cx).map(|()| First::Slow))
    })
    .await
}

/// The next candidate to dial. What has changed since the plan was made counts: nobody dials a node that went down, and
/// two logins do not put one node to the test.
fn next(waiting: &mut VecDeque<Candidate>) -> Option<(Candidate, Option<Trial>)> {
    while let Some(candidate) = waiting.pop_front() {
        match candidate.reason {
            Reason::BestGuess => return Some((candidate, None)),
            _ if candidate.port.state() == State::Down => {}
            Reason::Trial => {
                if let Some(trial) = candidate.port.begin_trial() {
                    return Some((candidate, Some(trial)));
                }
            }
            _ => return Some((candidate, None)),
        }
    }
    None
}

/// Whether a node has returned that is not being dialled.
fn is_another_there(dialled: &[Candidate]) -> bool {
    let Some(Candidate { port, .. }) = dialled.first() else { return true };
    let is_dialled = |other: &NodePort| dialled.iter().any(|candidate| candidate.port.is_node_of(other));
    port.table().ports(port.protocol).any(|other| other.is_back() && !is_dialled(&other))
}

/// One node, from the queue into it to its greeting. A node that others find down meanwhile is not waited for.
async fn dial(
    site: &Site,
    introduction: Option<&Introduction>,
    Candidate { port, reason }: Candidate,
    trial: Option<Trial>,
    queue_until: Option<Instant>,
    is_let_in: &AtomicBool,
) -> (NodePort, Result<Ready, Failure>) {
    // Before the queue, so that those who wait in it are the node's load as well.
    let seat = port.seat();
    let greeted = async {
        if let Some(until) = queue_until {
            admit(&port, until).await?;
        }
        is_let_in.store(true, Ordering::Relaxed);
        greet(site, &port, introduction).await
    };
    let greeted = tokio::select! {
        biased;
        greeted = greeted => greeted,
        () = port.is_down(), if reason != Reason::BestGuess => Err(Failure::WentDown),
    };
    let is_test = !reason.is_in_service();
    let ready = greeted.map(|(wire, hello)| Ready { port: port.clone(), wire, hello, seat, is_test, trial });
    (port, ready)
}

#[cfg(test)]
mod tests;
