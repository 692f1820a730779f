//! `[[island]]`: the side that mail is on. Its nodes are in `node`, how they are checked in `probe`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use super::document::{Notes, Section};
use super::files::NamedFile;
use super::node::{self, Manner};
use super::probe;
use super::reference::{ISLAND, shown};
use super::value::{self, Wrong, wrong};
use crate::names::IslandName;
use crate::routing::{FailBack, Forward, Island, NodeTls, Policy};

/// Longest time behind `after`.
const FAIL_BACK_MAX: Duration = Duration::from_secs(7 * 86_400);

/// All islands, and what they are called.
pub(super) struct Islands {
    /// `None`: something is wrong, which was noted.
    pub(super) settings: Option<Vec<Island>>,
    /// Names and matches; `None` when not all of them could be read.
    pub(super) spellings: Option<BTreeSet<IslandName>>,
}

/// `whole` is the whole time that a login has; `None` where that is not known.
pub(super) fn read(root: &DeTable<'_>, notes: &Notes, whole: Option<&Spanned<Duration>>) -> Islands {
    let mut taken = BTreeMap::new();
    let sections = Section::many(root, &ISLAND, notes);
    // Collected twice, so that all are read and not only those before the first wrong one.
    let (named, islands): (Vec<_>, Vec<_>) =
        sections.iter().enumerate().map(|(at, section)| island(section, at, &mut taken, whole)).unzip();
    if islands.is_empty() {
        return Islands { settings: None, spellings: None };
    }
    let all_named = named.into_iter().all(|named| named);
    let spellings = all_named.then(|| taken.keys().map(|spelling| IslandName::new(spelling)).collect());
    Islands { settings: islands.into_iter().collect(), spellings }
}

/// Spellings that have a meaning already: which island, and where the file says so.
type Taken = BTreeMap<String, (usize, Range<usize>)>;

/// Whether its names could be read, and the island.
fn island(
    section: &Section<'_>,
    at: usize,
    taken: &mut Taken,
    whole: Option<&Spanned<Duration>>,
) -> (bool, Option<Island>) {
    let names = names(section, at, taken);
    let policy = policy(section);
    let fail_back = fail_back(section, policy);
    let tls = node_tls(section);
    let ca = ca(section, tls);
    let forward = forward(section);
    let connect_timeout = section.duration("connect_timeout");
    let greeting_timeout = section.duration("greeting_timeout");
    let login_timeout = section.duration("login_timeout");
    let hedge = section.duration_or_off("hedge");
    if let (Some(hedge), Some(connect), Some(greeting)) = (&hedge, &connect_timeout, &greeting_timeout) {
        refuse_late_hedge(section, *hedge.get_ref(), *connect.get_ref() + *greeting.get_ref());
    }
    let patience = section.duration("patience");
    if let (Some(patience), Some(whole)) = (&patience, whole) {
        refuse_endless_patience(section, patience, whole);
    }
    let disconnect_spread = section.duration("disconnect_spread");
    let max_login_rate = max_login_rate(section);
    if let (Some(patience), Some(_)) = (&patience, max_login_rate) {
        refuse_queue_without_patience(section, *patience.get_ref());
    }
    let probe = section.table().and_then(|island| probe::read(island, section.notes()));
    let nodes = node::read(section, Manner { tls, policy });
    let is_named = names.is_some();
    let island = || {
        let (name, spellings) = names?;
        Some(Island {
            name,
            spellings,
            policy: policy?,
            fail_back: fail_back?,
            tls: tls?,
            forward: forward?,
            ca,
            connect_timeout: connect_timeout?.into_inner(),
            greeting_timeout: greeting_timeout?.into_inner(),
            login_timeout: login_timeout?.into_inner(),
            hedge: hedge?.into_inner(),
            patience: patience?.into_inner(),
            disconnect_spread: disconnect_spread?.into_inner(),
            max_login_rate,
            probe: probe?,
            nodes: nodes?,
        })
    };
    (is_named, island())
}

/// The name, and all the spellings that mean this island and no other.
fn names(section: &Section<'_>, at: usize, taken: &mut Taken) -> Option<(IslandName, Vec<IslandName>)> {
    let name = section.parsed("name", name);
    let others = section.parsed_list("match", self::name);
    let mut spellings = Vec::new();
    for spelling in name.iter().chain(others.iter().flatten()) {
        if is_new(section, spelling, at, taken) {
            spellings.push(IslandName::new(spelling.get_ref()));
        }
    }
    others?;
    Some((IslandName::new(name?.get_ref()), spellings))
}

fn name(text: &str) -> Result<String, Wrong> {
    value::printable(text).map(|()| text.to_owned())
}

/// Whether no spelling like this was seen before. The same one twice for one island is harmless.
fn is_new(section: &Section<'_>, spelling: &Spanned<String>, at: usize, taken: &mut Taken) -> bool {
    match taken.get(spelling.get_ref()) {
        None => {
            taken.insert(spelling.get_ref().clone(), (at, spelling.span()));
            true
        }
        Some((island, first)) => {
            if *island != at {
                let (message, remedy) = ("this spelling means two islands", "each one must belong to one island only");
                section.notes().contradiction(spelling.span(), message, remedy, (first.clone(), "the other island"));
            }
            false
        }
    }
}

fn policy(section: &Section<'_>) -> Option<Policy> {
    let words = [("prefer", Policy::Prefer), ("balance", Policy::Balance), ("sticky", Policy::Sticky)];
    section.choice("policy", &words).map(Spanned::into_inner)
}

/// A node that returned has the fewest sessions, so under `balance` there is nothing to give back.
fn fail_back(section: &Section<'_>, policy: Option<Policy>) -> Option<FailBack> {
    let fail_back = section.parsed("fail_back", |text| match text {
        "now" => Ok(FailBack::Now),
        "manual" => Ok(FailBack::Manual),
        text => after(text).map(FailBack::After).ok_or_else(|| {
            let most = shown(FAIL_BACK_MAX);
            wrong(
                "is no such time",
                format!("write \"now\", \"manual\", or as \"after 60s\", at most \"after {most}\""),
            )
        }),
    });
    if policy == Some(Policy::Balance) {
        section.refuse("fail_back", "with policy = \"balance\"", "remove it, or write another policy");
        return Some(FailBack::Now);
    }
    fail_back.map(Spanned::into_inner)
}

fn after(text: &str) -> Option<Duration> {
    value::duration_text(text.strip_prefix("after ")?.trim(), Duration::ZERO, FAIL_BACK_MAX).ok()
}

fn refuse_late_hedge(section: &Section<'_>, hedge: Option<Duration>, ready: Duration) {
    if hedge.is_some_and(|hedge| hedge >= ready) {
        let place = ["hedge", "connect_timeout", "greeting_timeout"].iter().find_map(|name| section.span_of(name));
        let message =
            "`hedge` is not less than `connect_timeout` and `greeting_timeout` together: it would never begin";
        let remedy = format!("write less than \"{}\" for `hedge`, or \"off\"", shown(ready));
        section.notes().problem(place.unwrap_or_else(|| section.span()), message, remedy);
    }
}

/// Where the file leaves one of the two to its default, the section stands for it.
fn refuse_endless_patience(section: &Section<'_>, patience: &Spanned<Duration>, whole: &Spanned<Duration>) {
    if patience.get_ref() >= whole.get_ref() {
        let message = "`patience` is not less than `login_timeout` in [server]: nobody would hear that it is over";
        let remedy = format!("write less than \"{}\" for `patience`", shown(*whole.get_ref()));
        section.notes().contradiction(patience.span(), message, remedy, (whole.span(), "the whole time of a login"));
    }
}

/// The queue into a node would refuse two logins that come at once.
fn refuse_queue_without_patience(section: &Section<'_>, patience: Duration) {
    if patience.is_zero() {
        let place = section.span_of("max_login_rate").unwrap_or_else(|| section.span());
        let message = "logins beyond the rate wait in a queue for as long as `patience` lasts, which is no time";
        section.notes().problem(place, message, "set `patience`, or remove `max_login_rate`");
    }
}

/// A wrong one was noted, and the settings are dropped anyway.
fn max_login_rate(section: &Section<'_>) -> Option<NonZeroU32> {
    let rate = section.integer("max_login_rate")?;
    u32::try_from(rate.into_inner()).ok().and_then(NonZeroU32::new)
}

fn node_tls(section: &Section<'_>) -> Option<NodeTls> {
    let words = [("implicit", NodeTls::Implicit), ("starttls", NodeTls::StartTls), ("off", NodeTls::Off)];
    section.choice("tls", &words).map(Spanned::into_inner)
}

fn forward(section: &Section<'_>) -> Option<Forward> {
    let words = [("off", Forward::Off), ("proxy", Forward::Proxy), ("id", Forward::Id)];
    section.choice("forward", &words).map(Spanned::into_inner)
}

fn ca(section: &Section<'_>, tls: Option<NodeTls>) -> Option<PathBuf> {
    if let (None, Some(NodeTls::Implicit | NodeTls::StartTls)) = (section.span_of("ca"), tls) {
        let span = section.span_of("tls").unwrap_or_else(|| section.span());
        section.notes().file(NamedFile::SystemAuthorities { span });
    }
    let ca = section.path("ca")?;
    if tls == Some(NodeTls::Off) {
        section.notes().problem(ca.span(), "`ca` has no meaning without TLS", "remove it, or write tls = \"starttls\"");
    }
    section.notes().file(NamedFile::Authorities { path: ca.get_ref().clone(), span: ca.span() });
    Some(ca.into_inner())
}
