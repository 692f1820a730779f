//! The record of a session in the relay: what the end record needs and nothing more, because every idle client has one.
//! Its one line is written when it is dropped, also if the task dies.

use super::super::end::{End, Stage, Who, Why};
use super::super::recent::Whose;
use super::super::registry::{Entry, How, Session};
use super::line::{Line, Relay};

/// What is left of the record in the relay: the session in the registry, and how it ended.
pub(in crate::session) struct RelayRecord {
    entry: Entry,
    end: Option<End>,
}

impl RelayRecord {
    pub(super) fn new(entry: Entry) -> Self {
        Self { entry, end: None }
    }

    /// The session as others see it.
    pub(in crate::session) fn session(&self) -> &Session {
        self.entry.session()
    }

    /// So many octets were delivered until now, and whether nothing is under way.
    pub(in crate::session) fn moved(&self, to_node: u64, to_client: u64, is_at_rest: bool) {
        self.entry.moved(to_node, to_client, is_at_rest);
    }

    /// Whether the session may be told that mailferry stops.
    pub(in crate::session) fn is_quiet(&self) -> bool {
        self.entry.is_quiet()
    }

    /// The session is over. The line is written when the record is dropped.
    pub(in crate::session) fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
    }
}

/// The one line; also of a session whose task died.
impl Drop for RelayRecord {
    fn drop(&mut self) {
        let session = self.entry.session();
        let port = session.port();
        let (to_node, to_client) = (session.to_node(), session.to_client());
        let line = Line {
            id: session.id(),
            protocol: port.protocol,
            client: session.client(),
            began: session.began(),
            stage: Stage::Relay,
            tls: session.tls(),
            refused: None,
            user: session.user(),
            island: Some(&port.table().island().name),
            node: Some(&port.node().name),
            relay: Some(Relay { began: session.began() + session.login_took(), to_node, to_client }),
        };
        let died = End::new(Who::Proxy, Why::Defect);
        let end = self.end.as_ref().unwrap_or(&died);
        self.entry.registry().tally().ended(port.protocol, Stage::Relay, end);
        line.log(end, false);
        self.entry.ended(match end.why {
            Why::Drained => How::Told,
            Why::Shutdown => How::Cut,
            _ => How::ByItself,
        });
        if let Some(whose) = Whose::end(end) {
            line.keep(self.entry.registry(), whose, end.why.to_string(), None);
        }
    }
}
