//! `/metrics`: looks into all parts and writes down what they have counted, for Prometheus.
//!
//! What it costs is paid by whoever asks: sessions are looked at one by one, and nobody waits for that. Nothing is said of
//! a user, of a client's address, or in a peer's words.

mod process;

use std::collections::HashMap;

use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;

use self::process::Process;
use super::Desk;
use super::sight::{operator_word, state_word};
use crate::metrics::families as of;
use crate::metrics::{Done, Format, NodePort as NodeTally, Page, Word};
use crate::names::Protocol;
use crate::routing::{NodePort, OperatorState, State};

/// What is known of the sessions of a node and protocol that live now.
#[derive(Clone, Copy, Default)]
struct Living {
    sessions: u64,
    to_node: u64,
    to_client: u64,
}

/// A node and protocol of the present configuration.
struct Port {
    port: NodePort,
    /// Octets of sessions that have ended.
    ended: (u64, u64),
    living: Living,
}

impl Port {
    fn labels(&self) -> [&str; 3] {
        [self.port.table().island().name.as_str(), self.port.node().name.as_str(), self.port.protocol.word()]
    }

    fn tally(&self) -> &NodeTally {
        self.port.tally()
    }
}

impl Desk {
    /// The whole page, in the format that is asked for.
    pub(super) async fn metrics(&self, headers: &HeaderMap) -> Response {
        let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let format = Format::accepted(&accepts.collect::<Vec<_>>().join(","));
        let process = spawn_blocking(Process::look).await.unwrap_or_default();
        let ports = self.ports().await;
        let mut page = Page::new(format);
        self.process(&mut page, &process);
        self.connections(&mut page, &ports);
        self.logins(&mut page);
        nodes(&mut page, &ports);
        self.lookups(&mut page).await;
        self.upkeep(&mut page);
        let content_type = HeaderValue::from_static(format.content_type());
        ([(CONTENT_TYPE, content_type)], page.finish()).into_response()
    }

    /// Every node and protocol, with its sessions. Those on nodes that a reload has taken out are nobody's.
    async fn ports(&self) -> Vec<Port> {
        let islands = self.islands();
        let ports = islands.iter().flat_map(|table| Protocol::ALL.into_iter().flat_map(|it| table.ports(it)));
        // In this order, so that a session which ends meanwhile is missed, and not counted twice.
        let ended = |port: &NodePort| (port.tally().to_node.get(), port.tally().to_client.get());
        let mut ports: Vec<Port> =
            ports.map(|port| Port { ended: ended(&port), port, living: Living::default() }).collect();
        // By its address: the tables before and behind a reload have the same one for the same node.
        let place = |tally: &NodeTally| std::ptr::from_ref(tally).addr();
        let mut living: HashMap<usize, Living> = HashMap::new();
        self.context
            .registry
            .look(|session| {
                let it = living.entry(place(session.port().tally())).or_default();
                it.sessions += 1;
                it.to_node += session.to_node();
                it.to_client += session.to_client();
            })
            .await;
        for port in &mut ports {
            port.living = living.get(&place(port.tally())).copied().unwrap_or_default();
        }
        ports
    }

    fn process(&self, page: &mut Page, process: &Process) {
        page.family(&of::BUILD).count(&[env!("CARGO_PKG_VERSION")], 1);
        page.family(&of::START_TIME).count(&[], self.context.run().into());
        let Process { cpu_seconds, resident, size, open, most } = *process;
        cpu_seconds.into_iter().for_each(|it| page.family(&of::CPU).number(&[], it));
        for (family, number) in
            [(&of::RESIDENT, resident), (&of::VIRTUAL, size), (&of::OPEN_FDS, open), (&of::MAX_FDS, most)]
        {
            number.into_iter().for_each(|it| page.family(family).count(&[], it));
        }
    }

    fn connections(&self, page: &mut Page, ports: &[Port]) {
        let (before_login, all) = self.context.limits.connections();
        let mut connections = page.family(&of::CONNECTIONS);
        connections.count(&["before_login"], before_login.into());
        connections.count(&["authenticated"], all.saturating_sub(before_login).into());
        page.family(&of::ACCEPTED).count(&[], self.context.begun());
        let tally = self.context.registry.tally();
        let mut ended = page.family(&of::ENDED);
        tally.ends().iter().for_each(|(labels, count)| ended.count(labels, *count));
        let mut looks = page.family(&of::LOOKS);
        tally.looks.iter().for_each(|(protocol, it)| looks.count(&[protocol.word()], it.get()));
        let mut handshakes = page.family(&of::HANDSHAKES);
        tally.handshakes.iter().for_each(|(protocol, it)| handshakes.histogram(&[protocol.word()], it));
        let mut sessions = page.family(&of::SESSIONS);
        ports.iter().for_each(|port| sessions.count(&port.labels(), port.living.sessions));
        let mut bytes = page.family(&of::BYTES);
        for port in ports {
            let [island, node, protocol] = port.labels();
            let (told_to_node, told_to_client) = &port.tally().told;
            // Never less than the last time.
            let to_node = told_to_node.reach(port.ended.0 + port.living.to_node);
            let to_client = told_to_client.reach(port.ended.1 + port.living.to_client);
            bytes.count(&[island, node, protocol, "to_node"], to_node);
            bytes.count(&[island, node, protocol, "to_client"], to_client);
        }
        let mut limits = page.family(&of::LIMITS);
        self.context.limits.tally().hits.iter().for_each(|(limit, it)| limits.count(&[limit.word()], it.get()));
    }

    fn logins(&self, page: &mut Page) {
        let islands = self.islands();
        let mut logins = page.family(&of::LOGINS);
        let nowhere = ("", &self.context.registry.tally().logins);
        let named = islands.iter().map(|table| (table.island().name.as_str(), &table.tally().logins));
        for (island, tally) in std::iter::once(nowhere).chain(named) {
            for (protocol, outcome, stage, count) in tally.iter() {
                // Nobody is accepted without an island.
                if count > 0 || !island.is_empty() {
                    logins.count(&[protocol.word(), island, outcome.word(), stage.word()], count);
                }
            }
        }
        let tallies = || islands.iter().map(|table| (table.island().name.as_str(), table.tally()));
        let mut family = page.family(&of::LOGIN_TIME);
        tallies().for_each(|(island, tally)| family.histogram(&[island], &tally.took));
        let mut family = page.family(&of::CONNECT_TIME);
        tallies().for_each(|(island, tally)| family.histogram(&[island], &tally.connect));
        let mut family = page.family(&of::REPLAY_TIME);
        tallies().for_each(|(island, tally)| family.histogram(&[island], &tally.replay));
        let mut family = page.family(&of::WAIT_TIME);
        tallies().for_each(|(island, tally)| family.histogram(&[island], &tally.waits));
        let mut family = page.family(&of::HEDGES);
        tallies().for_each(|(island, tally)| family.count(&[island], tally.hedges.get()));
        let mut family = page.family(&of::RETRIES);
        tallies().for_each(|(island, tally)| family.count(&[island], tally.retries.get()));
    }

    async fn lookups(&self, page: &mut Page) {
        let mut lookups = page.family(&of::LOOKUPS);
        self.context.registry.tally().lookups.iter().for_each(|(result, it)| lookups.histogram(&[result.word()], it));
        let directory = self.directory();
        let tally = directory.tally();
        let mut cache = page.family(&of::CACHE);
        for (result, counter) in [
            ("hit", &tally.hits),
            ("negative", &tally.negative),
            ("stale", &tally.stale),
            ("miss", &tally.misses),
            ("doubt", &tally.doubts),
        ] {
            cache.count(&[result], counter.get());
        }
        let (users, capacity) = directory.cached().await;
        page.family(&of::CACHE_USERS).count(&[], users);
        page.family(&of::CACHE_CAPACITY).count(&[], capacity);
        let mut up = page.family(&of::SERVER_UP);
        directory.servers().iter().for_each(|server| up.flag(&[&server.name], server.out.is_none()));
        let tallies = directory.tallies();
        let mut searches = page.family(&of::SEARCHES);
        tallies.iter().for_each(|(server, tally)| searches.histogram(&[server], &tally.answered));
        let mut failed = page.family(&of::SEARCHES_FAILED);
        tallies.iter().for_each(|(server, tally)| failed.count(&[server], tally.failed.get()));
    }

    fn upkeep(&self, page: &mut Page) {
        let upkeep = &self.context.upkeep;
        let mut certificates = page.family(&of::CERTIFICATES);
        for (file, expires) in upkeep.expiries() {
            certificates.number(&[&file.display().to_string()], expires as f64);
        }
        let done = |done: Done| done.word();
        let mut family = page.family(&of::CERTIFICATES_READ);
        upkeep.certificates_read.iter().for_each(|(it, count)| family.count(&[done(it)], count.get()));
        let mut family = page.family(&of::RELOADS);
        upkeep.reloads.iter().for_each(|(it, count)| family.count(&[done(it)], count.get()));
        let (is_current, at) = upkeep.last_reload();
        page.family(&of::RELOAD_OK).flag(&[], is_current);
        page.family(&of::RELOAD_TIME).count(&[], at);
        page.family(&of::UNTOLD).count(&[], self.context.limits.tally().untold.get());
    }
}

fn nodes(page: &mut Page, ports: &[Port]) {
    let mut in_service = page.family(&of::IN_SERVICE);
    ports.iter().for_each(|port| in_service.flag(&port.labels(), port.port.takes_logins()));
    let mut states = page.family(&of::STATE);
    for port in ports {
        let [island, node, protocol] = port.labels();
        let is = port.port.state();
        for state in [State::InService, State::Suspect, State::Down, State::Probation] {
            states.flag(&[island, node, protocol, state_word(state)], state == is);
        }
    }
    let mut wanted = page.family(&of::OPERATOR_STATE);
    // The operator's word is for all protocols.
    for port in ports.iter().filter(|port| port.port.protocol == Protocol::Imap) {
        let [island, node, _] = port.labels();
        let is = port.port.operator_state();
        for state in [OperatorState::InService, OperatorState::Draining, OperatorState::Maintenance] {
            wanted.flag(&[island, node, operator_word(state)], state == is);
        }
    }
    let mut logins = page.family(&of::NODE_LOGINS);
    for port in ports {
        let ([island, node, protocol], tally) = (port.labels(), port.tally());
        for (result, counter) in [("accepted", &tally.accepted), ("refused", &tally.refused), ("failed", &tally.failed)]
        {
            logins.count(&[island, node, protocol, result], counter.get());
        }
    }
    let mut probes = page.family(&of::PROBES);
    for port in ports {
        let ([island, node, protocol], tally) = (port.labels(), port.tally());
        probes.count(&[island, node, protocol, "passed"], tally.probes_passed.get());
        probes.count(&[island, node, protocol, "failed"], tally.probes_failed.get());
    }
    let mut greetings = page.family(&of::GREETING);
    for port in ports {
        let greeted_in = port.port.notes().greeted_in;
        greeted_in.into_iter().for_each(|took| greetings.number(&port.labels(), took.as_secs_f64()));
    }
}
