//! Which nodes a login tries, and in which order: pure, from what is known of each.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::island::{Node, Policy};
use crate::names::{UserName, ZoneName};

/// How a node stands, from the first to be asked to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It may be back: this login finds out. The next node is there if not.
    Trial,
    /// In service.
    InService,
    /// In service again, and its users are still with another node.
    HeldBack,
    /// Something failed lately.
    Suspect,
    /// Probes pass again, but not enough of them yet.
    Returning,
    /// Down.
    Down,
    /// The operator wants no logins there.
    Excluded,
}

/// One node as the selection sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What the configuration says.
    pub node: &'a Node,
    /// How it stands.
    pub standing: Standing,
    /// When its state began.
    pub since: std::time::Instant,
    /// Sessions and logins that it has now.
    pub sessions: u64,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Who logs in: the name on the node.
    pub user: &'a UserName,
    /// Where this mailferry stands.
    pub zone: Option<&'a ZoneName>,
    /// Whether a node that is down may be tried because nothing better is left.
    pub may_guess: bool,
}

/// Why a node has its place in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// First by rank.
    Preferred,
    /// The fewest sessions for its weight.
    FewestSessions,
    /// The user's own by hashing.
    Sticky,
    /// Tried when those before it fail.
    Fallback,
    /// In service again; `fail_back` keeps its users elsewhere.
    HeldBack,
    /// Asked last because something failed lately.
    Suspect,
    /// Finds out whether it is back.
    Trial,
    /// Its probes pass again, and nothing better is left.
    Returning,
    /// All are down, and this one was in service last.
    BestGuess,
}

impl Reason {
    /// Whether the node takes logins as a matter of course. Others are tried for want of better ones, or to find out.
    pub fn is_in_service(self) -> bool {
        match self {
            Self::Preferred | Self::FewestSessions | Self::Sticky | Self::Fallback | Self::HeldBack | Self::Suspect => {
                true
            }
            Self::Trial | Self::Returning | Self::BestGuess => false,
        }
    }
}

/// The places of the nodes to try in `views`, best first.
pub fn order(policy: Policy, views: &[View<'_>], asker: Asker<'_>) -> Vec<(usize, Reason)> {
    let mut places: Vec<usize> = (0..views.len()).collect();
    places.sort_by(|&a, &b| match (views.get(a), views.get(b)) {
        (Some(a), Some(b)) => a.standing.cmp(&b.standing).then_with(|| compare(policy, a, b, asker)),
        _ => Ordering::Equal,
    });
    let mut plan: Vec<(usize, Reason)> = Vec::new();
    for place in places {
        let Some(view) = views.get(place) else { continue };
        let is_first = !plan.iter().any(|(_, reason)| *reason != Reason::Trial);
        let reason = match (view.standing, policy) {
            (Standing::Excluded | Standing::Down, _) => continue,
            (Standing::Trial, _) => Reason::Trial,
            (Standing::HeldBack, _) => Reason::HeldBack,
            (Standing::Suspect, _) => Reason::Suspect,
            (Standing::Returning, _) => Reason::Returning,
            (Standing::InService, _) if !is_first => Reason::Fallback,
            (Standing::InService, Policy::Prefer) => Reason::Preferred,
            (Standing::InService, Policy::Balance) => Reason::FewestSessions,
            (Standing::InService, Policy::Sticky) => Reason::Sticky,
        };
        plan.push((place, reason));
    }
    if plan.is_empty() && asker.may_guess {
        let down = views.iter().enumerate().filter(|(_, view)| view.standing == Standing::Down);
        plan.extend(down.max_by_key(|(_, view)| view.since).map(|(place, _)| (place, Reason::BestGuess)));
    }
    plan
}

/// The policy, among nodes of one standing.
fn compare(policy: Policy, a: &View<'_>, b: &View<'_>, asker: Asker<'_>) -> Ordering {
    // `false` comes first.
    let is_elsewhere = |view: &View<'_>| asker.zone.is_some() && view.node.zone.as_ref() != asker.zone;
    let zones = || is_elsewhere(a).cmp(&is_elsewhere(b));
    match policy {
        Policy::Prefer => a.node.rank.cmp(&b.node.rank).then_with(zones),
        Policy::Balance => zones().then_with(|| load(a, b).cmp(&load(b, a))),
        Policy::Sticky => score(b.node, asker.user).total_cmp(&score(a.node, asker.user)),
    }
}

/// `a`'s sessions for its weight, in a unit common to both.
fn load(a: &View<'_>, b: &View<'_>) -> u128 {
    u128::from(a.sessions) * u128::from(b.node.weight.get())
}

/// Weighted rendezvous hashing: the node with the highest score is the user's. Only names go into it, so that every
/// mailferry computes the same; a node that goes or comes moves nobody but its own users.
fn score(node: &Node, user: &UserName) -> f64 {
    // Fixed keys, and a fixed algorithm: the standard library promises neither.
    let mut hasher = SipHasher13::new();
    hasher.write(&user.as_bytes().to_ascii_lowercase());
    hasher.write_u8(0);
    hasher.write(node.name.as_str().as_bytes());
    // 52 bits and a half, the most that a float holds exactly; never 0 and never 1.
    let fraction = ((hasher.finish() >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
    -f64::from(node.weight.get()) / fraction.ln()
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preferred => "preferred",
            Self::FewestSessions => "fewest sessions",
            Self::Sticky => "sticky",
            Self::Fallback => "fallback",
            Self::HeldBack => "held back",
            Self::Suspect => "suspect",
            Self::Trial => "trial",
            Self::Returning => "returning",
            Self::BestGuess => "best guess",
        })
    }
}

#[cfg(test)]
mod tests;
