//! What a balancer and a supervisor of processes ask, without a token: whether this process lives, and whether it wants
//! clients.
//!
//! It speaks of this process alone. An island or a directory that is down is so for every mailferry beside this one: if all
//! of them said that they are not ready, the balancer would turn all clients away, those too whose island is well and
//! whose route is in the cache. Whoever is refused has a reason that way, in words that his client shows.

use axum::http::StatusCode;

use super::Desk;
use super::view::Health;

impl Desk {
    /// Whoever answers lives.
    pub(super) fn alive() -> Health {
        Health { ok: true, reason: None }
    }

    /// No question is answered before the listeners accept, so what is left is the end.
    pub(super) fn ready(&self) -> (StatusCode, Health) {
        if self.context.standing.is_draining() {
            let reason = "this mailferry stops: send new clients elsewhere".to_owned();
            return (StatusCode::SERVICE_UNAVAILABLE, Health { ok: false, reason: Some(reason) });
        }
        (StatusCode::OK, Health { ok: true, reason: None })
    }
}
