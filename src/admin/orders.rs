//! What the operator orders: each order is carried out, told in the log with who gave it, and answered with what came of
//! it.

use std::str::FromStr as _;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{Level, info, warn};

use super::operator::Operator;
use super::people::Selection;
use super::refusal::{Refusal, Unknown};
use super::sight::{OPERATOR_STATES, in_service, operator_word, path_of};
use super::view::{
    FailBackOrder, FailedBack, FlushOrder, Flushed, Kick, Kicked, LevelOrder, Levels, NodeOrder, NodeState, Reloaded,
};
use super::{Desk, Reload};
use crate::logging::{self, LevelError, MODULES};
use crate::names::{Protocol, SessionId, UserName};
use crate::near::nearest;

impl Desk {
    pub(super) async fn kick(&self, kick: &Kick, by: Operator) -> Result<Kicked, Refusal> {
        let (mut over, mut is_held) = (Duration::ZERO, false);
        let (whom, selection) = match (&kick.user, &kick.session, &kick.node) {
            (Some(user), None, None) => {
                let selection;
                (selection, is_held) = self.sessions_of(user).await;
                (format!("user {}", user.escape_debug()), selection)
            }
            (None, Some(session), None) => {
                let id = session_id(session).filter(|id| self.context.registry.find(*id).is_some());
                let unknown = || Unknown::new("session", session, &[]);
                let id = id.ok_or_else(unknown)?;
                (format!("session {id}"), Selection::of_session(id))
            }
            (None, None, Some(node)) => {
                let [port, _] = self.node(node)?;
                over = port.table().island().disconnect_spread;
                (format!("node {}", path_of(&port)), Selection::of_node(port))
            }
            _ => return Err(Refusal::usage("name one of user, session and node".to_owned())),
        };
        let (kicked, over) = self.end_all(&selection, over).await;
        let over_ms = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
        info!(uid = by.uid, pid = by.pid, client = by.client(), whom, kicked, over_ms, "operator: kick");
        match &kick.user {
            Some(user) if kicked == 0 && !is_held => Err(self.no_session_of(user).await.into()),
            _ => Ok(Kicked { kicked, over_ms }),
        }
    }

    pub(super) async fn order_node(&self, order: &NodeOrder, by: Operator) -> Result<NodeState, Refusal> {
        let wanted = OPERATOR_STATES.iter().find(|(word, _)| *word == order.state);
        let Some((state, wanted)) = wanted else {
            return Err(Refusal::usage(format!("state: one of {}", OPERATOR_STATES.map(|(word, _)| word).join(", "))));
        };
        let [port, _] = self.node(&order.node)?;
        // One order at a time, so that of two the same one is the last in the file and in service.
        let mut states = self.states.lock().await;
        let was = port.operator_state();
        // In the file before in service: what is answered with success survives.
        let not_kept = states.keep(&port, *wanted).await.err();
        port.set_operator_state(*wanted);
        let (node, sessions, in_service) = (path_of(&port), port.sessions(), in_service(port.table()));
        let was = operator_word(was);
        info!(
            uid = by.uid,
            pid = by.pid,
            client = by.client(),
            node,
            was,
            state,
            sessions,
            in_service,
            "operator: node state"
        );
        if let Some(reason) = &not_kept {
            warn!(node, state, reason, "operator: the state will be forgotten at a restart");
        }
        let (was, state) = (was.to_owned(), (*state).to_owned());
        Ok(NodeState { node, was, state, sessions, in_service, not_kept })
    }

    pub(super) fn fail_back(&self, order: &FailBackOrder, by: Operator) -> Result<FailedBack, Refusal> {
        let table = self.island(&order.island)?;
        let now = Instant::now().into_std();
        let mut nodes = Vec::new();
        for port in Protocol::ALL.into_iter().flat_map(|protocol| table.ports(protocol)) {
            if port.is_held_back(now) {
                port.release();
                nodes.push(port.node().name.to_string());
            }
        }
        nodes.sort_unstable();
        nodes.dedup();
        let island = table.island().name.to_string();
        info!(uid = by.uid, pid = by.pid, client = by.client(), island, nodes = nodes.join(","), "operator: fail back");
        Ok(FailedBack { island, nodes })
    }

    pub(super) async fn flush(&self, order: &FlushOrder, by: Operator) -> Result<Flushed, Refusal> {
        let directory = self.directory();
        let Some(user) = &order.user else {
            let flushed = directory.flush(None).await;
            info!(uid = by.uid, pid = by.pid, client = by.client(), flushed, "operator: flush of the whole cache");
            return Ok(Flushed { flushed });
        };
        let none = || Refusal::usage("a user name has 1 to 255 octets and no line end".to_owned());
        let typed = UserName::new(user.as_bytes()).ok_or_else(none)?;
        let names = self.context.site().settings.usernames.apply(&typed, None, None);
        let mut flushed = directory.flush(Some(&typed)).await;
        if let Some(names) = names.filter(|names| names.looked_up != typed) {
            flushed |= directory.flush(Some(&names.looked_up)).await;
        }
        info!(uid = by.uid, pid = by.pid, client = by.client(), user = typed.to_string(), flushed, "operator: flush");
        Ok(Flushed { flushed })
    }

    pub(super) async fn reload(&self, by: Operator) -> Result<Reloaded, Refusal> {
        info!(uid = by.uid, pid = by.pid, client = by.client(), "operator: reload");
        let (answer, answered) = oneshot::channel();
        let stops = || Refusal::failed("mailferry stops".to_owned());
        self.reloads.send(Reload(answer)).await.map_err(|_| stops())?;
        answered.await.map_err(|_| stops())?.map_err(Refusal::failed)
    }

    pub(super) fn set_level(order: &LevelOrder, by: Operator) -> Result<Levels, Refusal> {
        let level = Level::from_str(&order.level).ok().filter(|_| order.level.parse::<u8>().is_err());
        let none = || Refusal::usage("level: one of error, warn, info, debug, trace".to_owned());
        let levels = logging::set_level(order.module.as_deref(), level.ok_or_else(none)?);
        let levels = levels.map_err(|error| match error {
            LevelError::Unknown(_) => {
                let name = order.module.as_deref().unwrap_or_default();
                let module = name.split("::").next().unwrap_or_default();
                let meant = nearest(module, MODULES.into_iter()).map(str::to_owned);
                Unknown { meant, ..Unknown::new("module", name, &[]) }.into()
            }
            LevelError::TooMany => Refusal::usage(error.to_string()),
            LevelError::NotOurs => Refusal::failed(error.to_string()),
        })?;
        let level = &order.level;
        info!(
            uid = by.uid,
            pid = by.pid,
            client = by.client(),
            module = order.module.as_deref(),
            level,
            "operator: log level"
        );
        Ok(shown(&levels))
    }

    pub(super) fn levels() -> Result<Levels, Refusal> {
        logging::levels().map(|levels| shown(&levels)).map_err(|error| Refusal::failed(error.to_string()))
    }
}

fn shown(levels: &logging::Levels) -> Levels {
    let word = |level: &Level| level.as_str().to_ascii_lowercase();
    let modules = levels.modules.iter().map(|(module, level)| (module.clone(), word(level)));
    Levels { level: word(&levels.level), modules: modules.collect() }
}

/// `6540-ff`, as the log has it.
fn session_id(text: &str) -> Option<SessionId> {
    let (run, number) = text.split_once('-')?;
    Some(SessionId { run: u32::from_str_radix(run, 16).ok()?, number: u64::from_str_radix(number, 16).ok()? })
}
