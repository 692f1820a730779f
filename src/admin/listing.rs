//! `GET /v1/sessions`: who is there, told while it is looked for. Whatever the limit, and however slowly it is read, what is
//! kept of the answer is what stands in one piece of the registry.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{StreamExt as _, once, unfold};
use ipnet::IpNet;
use tokio::task::yield_now;

use super::moves::keys;
use super::people::Selection;
use super::refusal::Refusal;
use super::{Desk, view};
use crate::names::{Protocol, UserName, lower_case};
use crate::session::registry::{Session, Walk};

/// Sessions that are told where the question has no limit, and most that it may want.
pub(super) const LIMIT: usize = 100;
pub(super) const LIMIT_MAX: usize = 100_000;

/// How the answer begins. It is [`view::Sessions`], whose number of all that match is known at its end.
const BEGINNING: &str = "{\"sessions\":[";

/// An answer that is being told.
struct Listing {
    /// `None`: all of it is told.
    walk: Option<Walk>,
    selection: Selection,
    /// Names of users who are held, as they are compared.
    held: Vec<Vec<u8>>,
    limit: u64,
    matching: u64,
}

impl Desk {
    pub(super) async fn sessions(&self, filter: &view::Filter) -> Result<Response, Refusal> {
        let mut selection = Selection::default();
        selection.user.clone_from(&filter.user);
        if let Some(node) = &filter.node {
            let [port, _] = self.node(node)?;
            selection.node = Some(port);
        }
        if let Some(island) = &filter.island {
            selection.island = self.island(island)?.ports(Protocol::Imap).next();
        }
        if let Some(client) = &filter.client {
            selection.client = Some(network(client)?);
        }
        let limit = filter.limit.unwrap_or(LIMIT).min(LIMIT_MAX) as u64;
        let held = self.context.holds.all().iter().flat_map(keys).collect();
        let mut listing = Listing { walk: Some(self.context.registry.walk()), selection, held, limit, matching: 0 };
        // There is no way back from a good answer.
        let first = listing.more().await;
        if let Some(user) = filter.user.as_ref().filter(|_| listing.matching == 0) {
            return Err(self.no_session_of(user).await.into());
        }
        let rest = unfold(listing, |mut listing| async { listing.more().await.map(|text| (text, listing)) });
        let text = once(async { first.unwrap_or_default() }).chain(rest).map(Ok::<_, Infallible>);
        Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(text)).into_response())
    }
}

impl Listing {
    /// What is told next: some sessions, or the end. `None`: that was told.
    async fn more(&mut self) -> Option<String> {
        let mut text = String::new();
        while text.is_empty() {
            let Some(piece) = self.walk.as_mut()?.next() else {
                self.walk = None;
                let beginning = if self.matching.min(self.limit) == 0 { BEGINNING } else { "" };
                return Some(format!("{beginning}],\"matching\":{},\"unreached\":[]}}", self.matching));
            };
            for session in piece.iter().filter(|session| self.selection.has(session)) {
                if self.matching < self.limit {
                    text.push_str(if self.matching == 0 { BEGINNING } else { "," });
                    // It has no names that are no text, and no other way to fail.
                    text += &serde_json::to_string(&self.row(session)).unwrap_or_default();
                }
                self.matching += 1;
            }
            drop(piece);
            yield_now().await;
        }
        Some(text)
    }

    fn row(&self, session: &Session) -> view::Session {
        let port = session.port();
        let is_held = |user: &UserName| !self.held.is_empty() && self.held.contains(&lower_case(user.as_bytes()));
        view::Session {
            session: session.id().to_string(),
            predecessor: None,
            user: session.user().map(UserName::to_string),
            held: session.user().is_some_and(is_held),
            protocol: port.protocol.to_string(),
            client: session.client().to_string(),
            tls: session.tls().map(str::to_owned),
            island: port.table().island().name.to_string(),
            node: port.node().name.to_string(),
            age_s: session.began().elapsed().as_secs(),
            to_node: session.to_node(),
            to_client: session.to_client(),
        }
    }
}

/// A network, or an address.
fn network(text: &str) -> Result<IpNet, Refusal> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let unknown = || Refusal::usage(format!("{}: no address or network, as 192.0.2.0/24", text.escape_debug()));
    text.parse::<IpNet>().ok().or_else(address).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::time::Instant;

    use super::*;
    use crate::names::IslandName;
    use crate::routing::{Islands, NodePort};
    use crate::session::registry::{Registry, crowd};
    use crate::testkit::settings;

    fn port() -> NodePort {
        let islands = Islands::new(vec![settings::island(1)], None, Instant::now().into_std());
        islands.find(&IslandName::new("a")).unwrap().ports(Protocol::Imap).next().unwrap()
    }

    fn listing(registry: &Registry, user: Option<&str>, limit: u64) -> Listing {
        let selection = user.map_or_else(Selection::default, Selection::of_user);
        Listing { walk: Some(registry.walk()), selection, held: vec![b"user7".to_vec()], limit, matching: 0 }
    }

    /// All that is told, in pieces.
    async fn told(mut listing: Listing) -> Vec<String> {
        let mut pieces = Vec::new();
        while let Some(piece) = listing.more().await {
            pieces.push(piece);
        }
        pieces
    }

    fn read(pieces: &[String]) -> view::Sessions {
        serde_json::from_str(&pieces.concat()).unwrap()
    }

    #[tokio::test]
    async fn however_many_are_asked_for_a_bounded_part_of_the_answer_is_there_at_once() {
        let (registry, port) = (Registry::default(), port());
        let _crowd = crowd(&registry, &port, 40_000);
        let pieces = told(listing(&registry, None, 100_000)).await;
        let longest = pieces.iter().map(|piece| piece.matches("\"session\":").count()).max();
        assert_eq!(longest, Some(256), "of {}", pieces.len());
        let all = read(&pieces);
        let names: HashSet<&String> = all.sessions.iter().map(|it| &it.session).collect();
        assert_eq!((all.matching, all.sessions.len(), names.len()), (40_000, 40_000, 40_000));
        let held: Vec<_> = all.sessions.iter().filter(|it| it.held).filter_map(|it| it.user.as_deref()).collect();
        assert_eq!(held, ["user7"]);
    }

    #[tokio::test]
    async fn all_are_counted_and_as_many_told_as_are_wanted() {
        let (registry, port) = (Registry::default(), port());
        let _crowd = crowd(&registry, &port, 1000);
        for (user, limit, matching, count) in
            [(None, 10, 1000, 10), (None, 0, 1000, 0), (Some("user9"), 10, 1, 1), (Some("nobody"), 10, 0, 0)]
        {
            let all = read(&told(listing(&registry, user, limit)).await);
            assert_eq!((all.matching, all.sessions.len()), (matching, count), "{user:?} {limit}");
        }
        assert_eq!(read(&told(listing(&Registry::default(), None, 10)).await).matching, 0);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_keeps_no_session_and_no_lock() {
        let (registry, port) = (Registry::default(), port());
        let crowd = crowd(&registry, &port, 1000);
        let mut half = listing(&registry, None, 1000);
        let first = half.more().await.unwrap();
        drop(crowd);
        assert_eq!((registry.len(), port.sessions()), (0, 0));
        let rest = told(half).await;
        let all = read(&[vec![first], rest].concat());
        assert_eq!(all.matching, all.sessions.len() as u64, "those who have gone are neither told nor counted");
    }
}
