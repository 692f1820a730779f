//! `GET /v1/events`: all that the status page shows, once a second, for as long as somebody listens.
//!
//! An event is made when its listener is ready for it, so that one who does not read costs nothing and holds up nobody. How
//! many may listen, and how long, is `serve`'s. What seldom changes is told when it has.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;
use tokio::time::{Instant, sleep_until};

use super::Desk;
use super::view::{Curve, Curves, Event, Failure, Failures};
use crate::names::UserName;
use crate::session::minutes::STEP;
use crate::session::recent::{Failed, Whose};

/// From one event to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// One listener, and what he knows already.
struct Listener {
    desk: Arc<Desk>,
    may_order: bool,
    due: Instant,
    step: Option<u64>,
    failures: Option<u64>,
}

/// Events until the connection ends. `may_order`: whether orders of this listener would be carried out.
pub(super) fn stream(desk: Arc<Desk>, may_order: bool) -> Response {
    let listener = Listener { desk, may_order, due: Instant::now(), step: None, failures: None };
    let events = unfold(listener, |mut listener| async {
        sleep_until(listener.due).await;
        listener.due = Instant::now() + INTERVAL;
        let event = listener.event().await;
        // JSON has no line ends.
        let text = serde_json::to_string(&event).map(|json| format!("data: {json}\n\n")).unwrap_or_default();
        Some((Ok::<_, Infallible>(text), listener))
    });
    let head = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (head, Body::from_stream(events)).into_response()
}

impl Listener {
    async fn event(&mut self) -> Event {
        let registry = &self.desk.context.registry;
        let (step, failures) = (registry.minutes().step(), registry.recent().version());
        let curves = (self.step.replace(step) != Some(step)).then(|| self.desk.curves());
        let failures = (self.failures.replace(failures) != Some(failures)).then(|| self.desk.failures().failures);
        Event {
            may_order: self.may_order,
            ready: self.desk.ready().1,
            status: self.desk.whole_status().await,
            islands: self.desk.all_islands().islands,
            curves,
            failures,
        }
    }
}

impl Desk {
    fn curves(&self) -> Curves {
        let nodes = self.context.registry.minutes().all().into_iter();
        let nodes = nodes.map(|(island, node, logins)| Curve { node: format!("{island}/{node}"), logins }).collect();
        Curves { step_s: STEP.as_secs(), nodes }
    }

    pub(super) fn failures(&self) -> Failures {
        let (_, all) = self.context.registry.recent().all();
        Failures { failures: all.iter().map(row).collect() }
    }
}

fn row(failed: &Failed) -> Failure {
    let time = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let whose = match failed.whose {
        Whose::Site => "site",
        Whose::Client => "client",
    };
    Failure {
        last: time(failed.last),
        first: time(failed.first),
        times: failed.times,
        whose: whose.to_owned(),
        session: failed.session.to_string(),
        user: failed.user.as_ref().map(UserName::to_string),
        client: failed.client.to_string(),
        protocol: failed.protocol.to_string(),
        stage: failed.stage.clone(),
        why: failed.why.clone(),
        reason: failed.reason.clone(),
        island: failed.island.as_ref().map(ToString::to_string),
        node: failed.node.as_ref().map(ToString::to_string),
    }
}
