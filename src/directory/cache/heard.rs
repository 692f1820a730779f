//! How a flight to the directory has ended, and for how long that is believed and kept.

use std::sync::Arc;
use std::time::Duration;

use moka::Expiry;
use tokio::time::Instant;

use super::super::{LookupError, Route};
use crate::names::UserName;

/// Lifetimes beyond this are cut to it; moka refuses those of more than a thousand years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// An answer so young to a doubt is not doubted again: many connections of one client fail together, and guessed
/// passwords are doubts as well.
pub(super) const JUST_NOW: Duration = Duration::from_secs(1);

/// For those who asked when a flight was about to land.
const LANDING: Duration = Duration::from_millis(50);

/// The end of a flight.
#[derive(Clone)]
pub(super) struct Heard {
    pub(super) outcome: Result<Arc<(Route, Arc<str>)>, LookupError>,
    pub(super) at: Instant,
    pub(super) edition: u64,
    /// Whether it was asked for in doubt of an answer that the cache had.
    pub(super) in_doubt: bool,
}

impl Heard {
    /// Neither a route nor "no such user".
    pub(super) fn is_trouble(&self) -> bool {
        match self.outcome {
            Ok(_) | Err(LookupError::NotFound) => false,
            Err(LookupError::Ambiguous(_) | LookupError::Unavailable(_)) => true,
        }
    }
}

/// For how long what is believed.
#[derive(Clone, Copy)]
pub(super) struct Lifetimes {
    pub(super) ttl: Duration,
    negative_ttl: Duration,
    pub(super) stale: Duration,
}

impl Lifetimes {
    pub(super) fn new(ttl: Duration, negative_ttl: Duration, stale: Duration) -> Self {
        let [ttl, negative_ttl, stale] = [ttl, negative_ttl, stale].map(|lifetime| lifetime.min(LONGEST));
        Self { ttl, negative_ttl, stale }
    }

    fn of(&self, heard: &Heard) -> Duration {
        match heard.outcome {
            Ok(_) => self.ttl,
            Err(LookupError::NotFound) => self.negative_ttl,
            Err(LookupError::Ambiguous(_) | LookupError::Unavailable(_)) => Duration::ZERO,
        }
    }

    /// Is this still believed, when the source is at this edition?
    pub(super) fn cover(&self, heard: &Heard, now: Instant, edition: u64) -> bool {
        heard.edition == edition && now.saturating_duration_since(heard.at) < self.of(heard)
    }

    /// How long the end of a flight is kept. A route is in the other table too.
    fn kept(&self, heard: &Heard) -> Duration {
        let lifetime = self.of(heard);
        match heard.outcome {
            Ok(_) if heard.in_doubt => lifetime.min(JUST_NOW),
            Ok(_) => lifetime.min(LANDING),
            Err(_) => lifetime,
        }
    }
}

impl Expiry<UserName, Heard> for Lifetimes {
    fn expire_after_create(&self, _: &UserName, heard: &Heard, _: std::time::Instant) -> Option<Duration> {
        Some(self.kept(heard))
    }

    fn expire_after_update(
        &self,
        _: &UserName,
        heard: &Heard,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.kept(heard))
    }
}
