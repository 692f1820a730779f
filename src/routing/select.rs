//! Which nodes of an island a login tries, and in which order.

use std::fmt;
use std::sync::Arc;

use super::island::{Island, Node};

/// The nodes that one login may try, best first.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The island.
    pub island: Arc<Island>,
    /// In the order of trying.
    pub candidates: Vec<Candidate>,
}

/// One node of a plan.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The node.
    pub node: Arc<Node>,
    /// Why it stands where it stands.
    pub reason: Reason,
}

/// Why a node has its place in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// First in the configuration's order.
    Preferred,
    /// Tried when those before it fail.
    Fallback,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preferred => "preferred",
            Self::Fallback => "fallback",
        })
    }
}

impl Plan {
    /// All nodes of the island, in the configuration's order.
    pub fn new(island: &Arc<Island>) -> Self {
        let candidates = island.nodes.iter().enumerate().map(|(rank, node)| Candidate {
            node: Arc::clone(node),
            reason: if rank == 0 { Reason::Preferred } else { Reason::Fallback },
        });
        Self { island: Arc::clone(island), candidates: candidates.collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Islands, NodeTls};
    use super::*;
    use crate::names::{IslandName, NodeName};

    fn node(name: &str) -> Arc<Node> {
        let (name, host) = (NodeName::new(name), "127.0.0.1".to_owned());
        Arc::new(Node { name, tls_name: host.clone(), host, imap_port: 143, pop3_port: 110 })
    }

    fn islands() -> Islands {
        let island = |name: &str, spellings: &[&str], nodes: &[&str]| Island {
            name: IslandName::new(name),
            spellings: spellings.iter().map(|s| IslandName::new(s)).collect(),
            tls: NodeTls::Off,
            ca: None,
            connect_timeout: Duration::from_secs(1),
            greeting_timeout: Duration::from_secs(1),
            login_timeout: Duration::from_secs(1),
            nodes: nodes.iter().map(|n| node(n)).collect(),
        };
        Islands::new(vec![
            island("a", &["a", "store-a.example.net"], &["left", "right"]),
            island("b", &["b"], &["only"]),
        ])
    }

    #[test]
    fn an_island_is_found_by_every_spelling_and_by_no_other() {
        let islands = islands();
        let found = |spelling: &str| islands.find(&IslandName::new(spelling)).map(|i| i.name.to_string());
        assert_eq!(found("a").as_deref(), Some("a"));
        assert_eq!(found("store-a.example.net").as_deref(), Some("a"));
        assert_eq!(found("b").as_deref(), Some("b"));
        assert_eq!(found("A"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn a_plan_has_every_node_in_the_configured_order() {
        let islands = islands();
        let plan = Plan::new(islands.find(&IslandName::new("a")).unwrap());
        let order: Vec<_> = plan.candidates.iter().map(|c| (c.node.name.as_str(), c.reason)).collect();
        assert_eq!(order, [("left", Reason::Preferred), ("right", Reason::Fallback)]);
    }
}
