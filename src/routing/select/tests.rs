//! The order of a plan: tables for each policy, and properties over any nodes.

#![allow(clippy::disallowed_methods, reason = "a beginning to which times are added; nothing here waits")]

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::names::NodeName;
use crate::routing::island::OperatorState;

const STANDINGS: [Standing; 7] = [
    Standing::Trial,
    Standing::InService,
    Standing::HeldBack,
    Standing::Suspect,
    Standing::Returning,
    Standing::Down,
    Standing::Excluded,
];

fn node(name: &str, rank: u32, weight: u32, zone: Option<&str>) -> Node {
    Node {
        name: NodeName::new(name),
        host: name.to_owned(),
        imap_port: 143,
        pop3_port: 110,
        tls_name: name.to_owned(),
        weight: NonZeroU32::new(weight).unwrap(),
        rank,
        zone: zone.map(ZoneName::new),
        state: OperatorState::InService,
    }
}

/// A node and what is known of it.
#[derive(Clone, Debug)]
struct Known {
    node: Node,
    standing: Standing,
    sessions: u64,
    /// Seconds after some instant.
    since: u64,
}

fn known(name: &str, standing: Standing, rank: u32, weight: u32, zone: &str, sessions: u64) -> Known {
    let zone = Some(zone).filter(|zone| !zone.is_empty());
    Known { node: node(name, rank, weight, zone), standing, sessions, since: 0 }
}

fn plan(policy: Policy, nodes: &[Known], zone: Option<&str>, user: &str, may_guess: bool) -> Vec<(usize, Reason)> {
    let (start, zone) = (Instant::now(), zone.map(ZoneName::new));
    let mut views = Vec::new();
    for Known { node, standing, sessions, since } in nodes {
        let since = start + Duration::from_secs(*since);
        views.push(View { node, standing: *standing, since, sessions: *sessions });
    }
    let user = UserName::new(user.as_bytes()).unwrap();
    order(policy, &views, Asker { user: &user, zone: zone.as_ref(), may_guess })
}

/// The names of a plan's nodes.
fn names(nodes: &[Known], plan: &[(usize, Reason)]) -> String {
    plan.iter().map(|(place, _)| nodes[*place].node.name.as_str()).collect()
}

#[test]
fn prefer_goes_by_rank_then_zone_then_as_written() {
    let in_service = |name, rank, zone| known(name, Standing::InService, rank, 1, zone, 9);
    let cases = [
        ("as written", [in_service("a", 0, ""), in_service("b", 0, ""), in_service("c", 0, "")], None, "abc"),
        ("by rank", [in_service("a", 2, ""), in_service("b", 0, ""), in_service("c", 1, "")], None, "bca"),
        (
            "zone among equals",
            [in_service("a", 0, "x"), in_service("b", 0, "y"), in_service("c", 0, "")],
            Some("y"),
            "bac",
        ),
        (
            "rank above zone",
            [in_service("a", 1, "y"), in_service("b", 0, "x"), in_service("c", 0, "y")],
            Some("y"),
            "cba",
        ),
        ("we have no zone", [in_service("a", 0, "x"), in_service("b", 0, ""), in_service("c", 0, "y")], None, "abc"),
    ];
    for (name, nodes, zone, expected) in cases {
        let plan = plan(Policy::Prefer, &nodes, zone, "bob", true);
        assert_eq!(names(&nodes, &plan), expected, "{name}");
        assert_eq!(plan[0].1, Reason::Preferred, "{name}");
        assert!(plan[1..].iter().all(|(_, reason)| *reason == Reason::Fallback), "{name}");
    }
}

#[test]
fn balance_goes_by_zone_then_sessions_for_the_weight() {
    let in_service = |name, weight, zone, sessions| known(name, Standing::InService, 0, weight, zone, sessions);
    let cases = [
        ("fewest", [in_service("a", 1, "", 5), in_service("b", 1, "", 3), in_service("c", 1, "", 4)], None, "bca"),
        (
            "by weight",
            [in_service("a", 1, "", 10), in_service("b", 3, "", 27), in_service("c", 2, "", 22)],
            None,
            "bac",
        ),
        (
            "a tie as written",
            [in_service("a", 2, "", 20), in_service("b", 1, "", 10), in_service("c", 1, "", 9)],
            None,
            "cab",
        ),
        (
            "zone first",
            [in_service("a", 1, "x", 0), in_service("b", 1, "y", 900), in_service("c", 1, "", 1)],
            Some("y"),
            "bac",
        ),
        (
            "no overflow",
            [in_service("a", u32::MAX, "", u64::MAX), in_service("b", 1, "", u64::MAX), in_service("c", 9, "", 0)],
            None,
            "cab",
        ),
    ];
    for (name, nodes, zone, expected) in cases {
        let plan = plan(Policy::Balance, &nodes, zone, "bob", true);
        assert_eq!(names(&nodes, &plan), expected, "{name}");
        assert_eq!(plan[0].1, Reason::FewestSessions, "{name}");
    }
}

#[test]
fn the_standing_goes_before_every_policy_and_gives_the_reason() {
    use Standing::{Down, Excluded, HeldBack, InService, Returning, Suspect, Trial};
    let cases: [(&[Standing], &str, &[Reason]); 9] = [
        (
            &[Excluded, Down, Returning, Suspect, HeldBack, InService, Trial],
            "gfedc",
            &[Reason::Trial, Reason::Preferred, Reason::HeldBack, Reason::Suspect, Reason::Returning],
        ),
        (&[Suspect, InService, InService], "bca", &[Reason::Preferred, Reason::Fallback, Reason::Suspect]),
        (&[InService, Trial, InService], "bac", &[Reason::Trial, Reason::Preferred, Reason::Fallback]),
        (&[HeldBack, HeldBack], "ab", &[Reason::HeldBack, Reason::HeldBack]),
        (&[Down, Returning], "b", &[Reason::Returning]),
        (&[Down, Suspect], "b", &[Reason::Suspect]),
        (&[Excluded, Excluded], "", &[]),
        (&[Down, Excluded], "a", &[Reason::BestGuess]),
        (&[], "", &[]),
    ];
    for (standings, expected, reasons) in cases {
        let known = |(place, standing): (usize, &Standing)| known(&"abcdefg"[place..=place], *standing, 0, 1, "", 0);
        let nodes: Vec<Known> = standings.iter().enumerate().map(known).collect();
        let plan = plan(Policy::Prefer, &nodes, None, "bob", true);
        assert_eq!(names(&nodes, &plan), expected, "{standings:?}");
        assert_eq!(plan.iter().map(|(_, reason)| *reason).collect::<Vec<_>>(), reasons, "{standings:?}");
    }
}

#[test]
fn the_best_guess_is_the_one_that_went_down_last() {
    let mut nodes = ["a", "b", "c"].map(|name| known(name, Standing::Down, 0, 1, "", 0));
    for (node, since) in nodes.iter_mut().zip([10, 30, 20]) {
        node.since = since;
    }
    assert_eq!(plan(Policy::Prefer, &nodes, None, "bob", true), [(1, Reason::BestGuess)]);
    assert_eq!(plan(Policy::Prefer, &nodes, None, "bob", false), []);
    nodes[0].standing = Standing::Suspect;
    assert_eq!(plan(Policy::Prefer, &nodes, None, "bob", true), [(0, Reason::Suspect)], "nobody guesses without need");
}

/// The user's own node among these.
fn home<'a>(nodes: &'a [Known], user: &str) -> &'a str {
    let plan = plan(Policy::Sticky, nodes, None, user, false);
    nodes[plan[0].0].node.name.as_str()
}

#[test]
fn sticky_is_the_same_in_every_release() {
    // Changing these moves users between nodes, for as long as two releases run side by side.
    let nodes = ["left", "right", "third"].map(|name| known(name, Standing::InService, 0, 1, "", 0));
    let homes: Vec<&str> = ["anna", "bob", "carl", "dora", "emil", "fritz"].map(|user| home(&nodes, user)).to_vec();
    assert_eq!(homes, ["right", "right", "right", "left", "third", "left"]);
    assert_eq!(home(&nodes, "Bob@Example.NET"), home(&nodes, "bob@example.net"), "one mailbox, however it is typed");
}

#[test]
fn sticky_spreads_users_by_weight() {
    let weights = [1, 2, 5];
    let nodes: Vec<Known> =
        weights.iter().map(|weight| known(&format!("n{weight}"), Standing::InService, 0, *weight, "", 0)).collect();
    let users = 16_000;
    let mut counts = [0; 3];
    for user in 0..users {
        let plan = plan(Policy::Sticky, &nodes, None, &format!("user{user}@example.net"), false);
        counts[plan[0].0] += 1;
    }
    for (count, weight) in counts.iter().zip(weights) {
        let expected = users * weight / 8;
        // Five standard deviations are below 6 %.
        assert!(u32::abs_diff(*count, expected) < expected * 8 / 100, "{counts:?}");
    }
}

prop_compose! {
    fn any_nodes(standings: &'static [Standing])(
        nodes in prop::collection::vec(
            (select(standings), 0..3u32, 1..4u32, select(&["", "x", "y"][..]), 0..20u64, 0..9u64),
            0..7,
        )
    ) -> Vec<Known> {
        let known = |(place, (standing, rank, weight, zone, sessions, since))| Known {
            since,
            ..known(&format!("node{place}"), standing, rank, weight, zone, sessions)
        };
        nodes.into_iter().enumerate().map(known).collect()
    }
}

fn any_policy() -> impl Strategy<Value = Policy> {
    select(&[Policy::Prefer, Policy::Balance, Policy::Sticky][..])
}

proptest! {
    #[test]
    fn a_plan_has_each_usable_node_once_and_no_other_unless_all_are_down(
        policy in any_policy(), nodes in any_nodes(&STANDINGS), zone in select(&[None, Some("x")][..]),
        may_guess in any::<bool>(), user in "[a-z]{1,8}",
    ) {
        let plan = plan(policy, &nodes, zone, &user, may_guess);
        let mut planned: Vec<usize> = plan.iter().map(|(place, _)| *place).collect();
        prop_assert!(planned.windows(2).all(|pair| nodes[pair[0]].standing <= nodes[pair[1]].standing));
        planned.sort_unstable();
        let usable = |node: &Known| !matches!(node.standing, Standing::Down | Standing::Excluded);
        let expected: Vec<usize> = (0..nodes.len()).filter(|place| usable(&nodes[*place])).collect();
        let is_guess = plan.iter().any(|(_, reason)| *reason == Reason::BestGuess);
        let down = nodes.iter().filter(|node| node.standing == Standing::Down).count();
        prop_assert_eq!(is_guess, may_guess && expected.is_empty() && down > 0);
        if is_guess {
            prop_assert_eq!(plan.len(), 1);
            prop_assert_eq!(nodes[plan[0].0].standing, Standing::Down);
        } else {
            prop_assert_eq!(planned, expected);
        }
    }

    #[test]
    fn balance_picks_nobody_with_more_sessions_for_its_weight_than_another_of_its_zone(
        nodes in any_nodes(&[Standing::InService]),
    ) {
        let plan = plan(Policy::Balance, &nodes, Some("x"), "bob", false);
        let is_near = |node: &Known| node.node.zone == Some(ZoneName::new("x"));
        let per_weight = |node: &Known| node.sessions as f64 / f64::from(node.node.weight.get());
        for pair in plan.windows(2) {
            let (first, second) = (&nodes[pair[0].0], &nodes[pair[1].0]);
            prop_assert!(is_near(first) >= is_near(second));
            prop_assert!((is_near(first) && !is_near(second)) || per_weight(first) <= per_weight(second));
        }
    }

    #[test]
    fn sticky_asks_in_the_same_order_however_the_nodes_are_listed_and_whoever_is_missing(
        nodes in any_nodes(&[Standing::InService]).prop_shuffle(), missing in any::<prop::sample::Index>(),
        user in "[a-z]{1,8}",
    ) {
        prop_assume!(!nodes.is_empty());
        let in_order = |nodes: &[Known]| -> Vec<String> {
            let plan = plan(Policy::Sticky, nodes, None, &user, false);
            plan.iter().map(|(place, _)| nodes[*place].node.name.to_string()).collect()
        };
        let all = in_order(&nodes);
        let mut listed = nodes.clone();
        listed.sort_by(|a, b| a.node.name.cmp(&b.node.name));
        prop_assert_eq!(&in_order(&listed), &all, "zone, rank, sessions and place in the list say nothing");
        // Without any one node the others keep their order: only that node's users move.
        let gone = nodes[missing.index(nodes.len())].node.name.to_string();
        listed.retain(|node| node.node.name.as_str() != gone);
        let without: Vec<String> = all.into_iter().filter(|name| *name != gone).collect();
        prop_assert_eq!(in_order(&listed), without);
    }
}
