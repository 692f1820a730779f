//! What it costs to find a login's way: the user's names, the filter, the cache, the plan of nodes.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use mailferry::directory::template::FilterTemplate;
use mailferry::directory::{Directory, Route, cache};
use mailferry::names::{IslandName, Protocol, UserName};
use mailferry::routing::{Island, Islands, Policy, Table};
use mailferry::testkit::settings;
use mailferry::usernames::{DomainRule, Rules};
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// As it is typed on a telephone.
const TYPED: &[u8] = b"Bob.Builder@Example.Net";

fn user(octets: &[u8]) -> UserName {
    let Some(user) = UserName::new(octets) else { unreachable!("it is a name") };
    user
}

/// A site that wants names in lower case and with a domain.
fn rules() -> Rules {
    let default_domain = Some("example.net".into());
    Rules { lower_case: true, domain: DomainRule::Add, default_domain, ..settings::usernames() }
}

fn names(c: &mut Criterion) {
    let (rules, typed) = (rules(), user(TYPED));
    c.bench_function("names", |b| b.iter(|| rules.apply(black_box(&typed), None, None)));
}

fn filter(c: &mut Criterion) {
    let Ok(template) = FilterTemplate::parse("(&(objectClass=inetOrgPerson)(|(mail={user})(uid={local})))") else {
        unreachable!("it is a template")
    };
    for (name, typed) in [("filter", TYPED), ("filter, with octets to escape", b"(*)(uid=\\*)\xff@x")] {
        let user = user(typed);
        c.bench_function(name, |b| b.iter(|| template.render(black_box(&user))));
    }
}

/// Answers are there at once: what is measured is the way to them.
fn directory() -> Directory {
    let settings = cache::Settings {
        capacity: 200_000,
        ttl: Duration::from_secs(3600),
        negative_ttl: Duration::from_secs(30),
        stale: Duration::from_secs(86_400),
        file: None,
    };
    Directory::scripted(&settings, |_| Box::pin(async { Ok(Route { island: IslandName::new("a"), login: None }) }))
}

fn cached(c: &mut Criterion) {
    let Ok(runtime) = Runtime::new() else { unreachable!("there is memory for a runtime") };
    let _inside = runtime.enter();
    let (directory, rules, typed) = (directory(), rules(), user(TYPED));
    // From the octets that were typed to the island.
    let locate = || async {
        let names = rules.apply(black_box(&typed), None, None)?;
        directory.locate(&names.looked_up).await.ok()
    };
    assert!(runtime.block_on(locate()).is_some(), "the directory knows nobody");
    c.bench_function("cache hit, with the names", |b| b.iter(|| runtime.block_on(locate())));
    let next = AtomicU64::new(0);
    c.bench_function("cache miss", |b| {
        b.iter(|| {
            let name = user(format!("user{}@example.net", next.fetch_add(1, Ordering::Relaxed)).as_bytes());
            runtime.block_on(directory.locate(&name))
        });
    });
}

fn table(nodes: u32, policy: Policy) -> Arc<Table> {
    let island = Island { policy, ..settings::island(nodes) };
    let islands = Islands::new(vec![island], None, Instant::now().into_std());
    let Some(table) = islands.find(&IslandName::new("a")) else { unreachable!("it is the only one") };
    Arc::clone(table)
}

fn plan(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan");
    for nodes in [2, 64] {
        for (name, policy) in POLICIES {
            let (table, user, now) = (table(nodes, policy), user(TYPED), Instant::now().into_std());
            group.bench_function(format!("{name}, {nodes} nodes"), |b| {
                b.iter(|| table.plan(Protocol::Imap, black_box(&user), true, now));
            });
        }
    }
    group.finish();
}

const POLICIES: [(&str, Policy); 3] =
    [("prefer", Policy::Prefer), ("balance", Policy::Balance), ("sticky", Policy::Sticky)];

criterion_group!(benches, names, filter, cached, plan);
criterion_main!(benches);
