//! What nodes have said that they can do, and what all that are in service have in common.
//!
//! A client may be told of nothing that a node lacks to which its login could go, so one node that has said nothing yet
//! means that nothing is known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pace::Pace;
use crate::proto::Extensions;

/// How long what nodes have in common is not looked at again.
const KEPT: Duration = Duration::from_secs(1);

/// How often the operator is told that it has changed, and how often at once: a node may say something else each time.
const TELL_EVERY: Duration = Duration::from_secs(10);
const TELL_AT_ONCE: u32 = 6;

/// What one node has said, for one protocol.
#[derive(Default)]
pub(super) struct Abilities {
    before: Option<Extensions>,
    behind: Extensions,
    /// The octets in which it said so the last time. Logins by the thousand hear the same.
    said_before: Option<Box<[u8]>>,
    said_behind: Option<Box<[u8]>>,
    /// Both, put together when one of them changes.
    all: Option<Arc<Extensions>>,
}

impl Abilities {
    /// Before a login. The same octets, where there are any, mean the same.
    pub(super) fn learn(&mut self, said: Option<&[u8]>, before: impl FnOnce() -> Extensions) {
        if !is_news(&mut self.said_before, said) {
            return;
        }
        let before = before();
        if self.before.as_ref() != Some(&before) {
            self.all = Some(Arc::new(before.joined_with(&self.behind)));
            self.before = Some(before);
        }
    }

    /// Behind a login. The same as above; and a node that would not say has said it earlier, or has nothing more.
    pub(super) fn learn_behind(&mut self, said: Option<&[u8]>, behind: impl FnOnce() -> Extensions) {
        if !is_news(&mut self.said_behind, said) {
            return;
        }
        let behind = behind();
        if behind != Extensions::default() && behind != self.behind {
            self.all = self.before.as_ref().map(|before| Arc::new(before.joined_with(&behind)));
            self.behind = behind;
        }
    }

    /// All of it; `None` as long as the node has not said anything.
    pub(super) fn all(&self) -> Option<Arc<Extensions>> {
        self.all.clone()
    }
}

/// Whether this was not said the last time. It was, from now on.
fn is_news(last: &mut Option<Box<[u8]>>, said: Option<&[u8]>) -> bool {
    let is_news = said.is_none() || last.as_deref() != said;
    if is_news {
        *last = said.map(Box::from);
    }
    is_news
}

/// What nodes have in common, as it was when somebody last looked.
#[derive(Default)]
pub(super) struct Common {
    what: Arc<Extensions>,
    looked: Option<Instant>,
    /// What the operator knows.
    told: Arc<Extensions>,
    pace: Pace,
}

/// What nodes have in common is something else than the operator knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Turnover<K> {
    /// What clients are told of now, and were not.
    pub gained: Extensions,
    /// What they are not told of any more.
    pub lost: Extensions,
    /// The nodes that lack some of what was lost. None, where no node is in service.
    pub lacking: Vec<K>,
}

impl Common {
    /// Looks at the nodes, unless that was done less than a second ago.
    pub(super) fn of<I>(&mut self, nodes: impl FnOnce() -> I, now: Instant) -> Arc<Extensions>
    where
        I: Iterator<Item = Option<Arc<Extensions>>>,
    {
        if self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= KEPT) {
            self.looked = Some(now);
            let what = shared(nodes());
            if self.what != what {
                self.what = what;
            }
        }
        Arc::clone(&self.what)
    }

    /// What is to be told, if anything. Too many changes are told as the one that they came to.
    pub(super) fn news<K, I>(&mut self, nodes: impl FnOnce() -> I, now: Instant) -> Option<Turnover<K>>
    where
        I: Iterator<Item = (K, Option<Arc<Extensions>>)>,
    {
        if self.told == self.what || !self.pace.admit(now, TELL_EVERY, TELL_AT_ONCE) {
            return None;
        }
        let told = std::mem::replace(&mut self.told, Arc::clone(&self.what));
        let (gained, lost) = (self.what.without(&told), told.without(&self.what));
        let lacks = |all: &Option<Arc<Extensions>>| {
            let has = all.as_ref().map(|all| lost.shared_with(all)).unwrap_or_default();
            has != lost
        };
        let lacking = nodes().filter(|(_, all)| lacks(all)).map(|(node, _)| node).collect();
        Some(Turnover { gained, lost, lacking })
    }
}

/// What all have; nothing if one has not said anything, or if there are none. Most nodes say the same.
fn shared(mut nodes: impl Iterator<Item = Option<Arc<Extensions>>>) -> Arc<Extensions> {
    let Some(Some(first)) = nodes.next() else { return Arc::default() };
    let all = nodes.try_fold(first, |all, next| {
        let next = next?;
        Some(if next == all { all } else { Arc::new(all.shared_with(&next)) })
    });
    all.unwrap_or_default()
}
