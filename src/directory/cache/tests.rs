//! The cache against a scripted source. Every sleep is on a paused clock.

mod doubted;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::time::advance;

use super::*;
use crate::names::IslandName;

const SETTINGS: Settings = Settings {
    capacity: 100,
    ttl: Duration::from_secs(300),
    negative_ttl: Duration::from_secs(30),
    stale: Duration::from_secs(86_400),
    file: None,
};

/// Says the same until told otherwise, counts how often, and can keep everybody waiting.
struct Script {
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    gate: Semaphore,
}

impl Script {
    fn new(answer: Answer) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(answer), asked: AtomicUsize::new(0), gate: Semaphore::new(1000) })
    }

    fn now_says(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn ask(self: &Arc<Self>) -> impl FnOnce() -> std::pin::Pin<Box<dyn Future<Output = Answer> + Send>> + use<> {
        let script = Arc::clone(self);
        move || {
            Box::pin(async move {
                script.asked.fetch_add(1, Ordering::Relaxed);
                let _open = script.gate.acquire().await.unwrap();
                script.answer.lock().unwrap().clone()
            })
        }
    }
}

impl Cache {
    async fn locate<F>(
        &self,
        user: &UserName,
        edition: u64,
        ask: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Located, LookupError>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        match self.believed(user, edition).await {
            Some(known) => known,
            None => self.ask_for(user, edition, ask).await,
        }
    }
}

fn island(name: &str) -> Answer {
    Ok((Route { island: IslandName::new(name), login: None }, "ldap://x".into()))
}

fn down() -> Answer {
    Err(LookupError::Unavailable("down".into()))
}

fn bob() -> UserName {
    UserName::new(b"bob").unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The island and where it came from, in one word and with the age in seconds.
fn shown(located: Result<Located, LookupError>) -> String {
    let word = |route: Route, found: String| format!("{} {found}", route.island);
    match located {
        Ok(Located { route, found: Found::Asked(by) }) => word(route, format!("asked {by}")),
        Ok(Located { route, found: Found::Cached { age } }) => word(route, format!("cached {}", age.as_secs())),
        Ok(Located { route, found: Found::Stale { age } }) => word(route, format!("stale {}", age.as_secs())),
        Err(error) => error.to_string(),
    }
}

async fn locate(cache: &Cache, script: &Arc<Script>) -> String {
    locate_at(cache, script, 0).await
}

async fn locate_at(cache: &Cache, script: &Arc<Script>, edition: u64) -> String {
    shown(cache.locate(&bob(), edition, script.ask()).await)
}

async fn afresh(cache: &Cache, script: &Arc<Script>) -> String {
    cache.locate_afresh(&bob(), 0, script.ask()).await.map_or("not asked".into(), shown)
}

#[tokio::test(start_paused = true)]
async fn a_route_is_believed_for_its_lifetime_and_asked_again_afterwards() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
    assert_eq!(locate(&cache, &script).await, "a asked ldap://x");
    script.now_says(island("b"));
    advance(seconds(299)).await;
    assert_eq!(locate(&cache, &script).await, "a cached 299");
    advance(seconds(1)).await;
    assert_eq!(locate(&cache, &script).await, "b asked ldap://x");
    assert_eq!(script.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn look_ups_of_the_last_minute_are_told_with_those_that_needed_no_directory() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
    assert_eq!(cache.lately(), (0, 0));
    for _ in 0..4 {
        locate(&cache, &script).await;
    }
    afresh(&cache, &script).await;
    assert_eq!(cache.lately(), (0, 0), "of the running second");
    advance(seconds(1)).await;
    assert_eq!(cache.lately(), (4, 3), "a doubt is no look-up");
    let cache = cache.succeed(&Settings { ttl: seconds(1), ..SETTINGS });
    assert_eq!(cache.lately(), (4, 3), "also behind a reload");
    script.now_says(down());
    assert_eq!(locate(&cache, &script).await, "a stale 1");
    script.now_says(Err(LookupError::NotFound));
    locate(&cache, &script).await;
    locate(&cache, &script).await;
    advance(seconds(1)).await;
    assert_eq!(cache.lately(), (7, 4), "\"no such user\" was believed once");
    advance(seconds(59)).await;
    assert_eq!(cache.lately(), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn no_such_user_is_believed_for_less_long() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(Err(LookupError::NotFound)));
    assert_eq!(locate(&cache, &script).await, "no such user");
    script.now_says(island("a"));
    advance(seconds(29)).await;
    assert_eq!(locate(&cache, &script).await, "no such user");
    advance(seconds(1)).await;
    assert_eq!(locate(&cache, &script).await, "a asked ldap://x");
}

#[tokio::test(start_paused = true)]
async fn an_old_route_serves_while_the_directory_is_down_and_its_age_counts_from_the_directory() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
    locate(&cache, &script).await;
    script.now_says(down());
    advance(seconds(300)).await;
    assert_eq!(locate(&cache, &script).await, "a stale 300");
    advance(seconds(86_099)).await;
    assert_eq!(locate(&cache, &script).await, "a stale 86399");
    advance(seconds(1)).await;
    assert_eq!(locate(&cache, &script).await, "the directory is unavailable: down");
    assert_eq!(script.asked(), 4, "each login asks a directory that is down, which costs nothing in back-off");
}

#[tokio::test(start_paused = true)]
async fn users_who_were_never_seen_or_were_not_found_have_no_old_route() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(down()));
    assert_eq!(locate(&cache, &script).await, "the directory is unavailable: down");
    script.now_says(island("a"));
    locate(&cache, &script).await;
    advance(seconds(300)).await;
    script.now_says(Err(LookupError::NotFound));
    locate(&cache, &script).await;
    advance(seconds(30)).await;
    script.now_says(down());
    assert_eq!(locate(&cache, &script).await, "the directory is unavailable: down");
}

#[tokio::test(start_paused = true)]
async fn ambiguity_is_neither_cached_nor_covered_by_an_old_route_nor_the_end_of_it() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
    locate(&cache, &script).await;
    advance(seconds(300)).await;
    script.now_says(Err(LookupError::Ambiguous("two".into())));
    for asked in 2..4 {
        assert_eq!(locate(&cache, &script).await, "the directory's answer is ambiguous: two");
        assert_eq!(script.asked(), asked);
    }
    script.now_says(down());
    assert_eq!(locate(&cache, &script).await, "a stale 300");
}

#[tokio::test(start_paused = true)]
async fn what_an_older_edition_of_the_source_said_is_believed_no_more() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
    assert_eq!(locate_at(&cache, &script, 7).await, "a asked ldap://x");
    advance(seconds(1)).await;
    script.now_says(island("b"));
    assert_eq!(locate_at(&cache, &script, 7).await, "a cached 1");
    assert_eq!(locate_at(&cache, &script, 8).await, "b asked ldap://x");
    advance(seconds(1)).await;
    assert_eq!(locate_at(&cache, &script, 8).await, "b cached 1");
}

#[tokio::test(start_paused = true)]
async fn endless_lifetimes_are_lawful() {
    let endless = Duration::MAX;
    let settings = Settings { capacity: 1, ttl: endless, negative_ttl: endless, stale: endless, file: None };
    let (cache, script) = (Cache::new(&settings), Script::new(island("a")));
    assert_eq!(locate(&cache, &script).await, "a asked ldap://x");
    assert_eq!(locate(&cache, &script).await, "a cached 0");
}

#[tokio::test(start_paused = true)]
async fn without_lifetimes_every_login_asks_and_old_routes_still_serve() {
    let settings = Settings { ttl: Duration::ZERO, negative_ttl: Duration::ZERO, ..SETTINGS };
    let (cache, script) = (Cache::new(&settings), Script::new(island("a")));
    locate(&cache, &script).await;
    script.now_says(island("b"));
    assert_eq!(locate(&cache, &script).await, "b asked ldap://x");
    script.now_says(down());
    assert_eq!(locate(&cache, &script).await, "b stale 0");
    script.now_says(Err(LookupError::NotFound));
    assert_eq!(locate(&cache, &script).await, "no such user");
    script.now_says(island("c"));
    assert_eq!(locate(&cache, &script).await, "c asked ldap://x");
}

/// Starts that many lookups of one user and returns when all of them wait for the closed gate.
async fn crowd(
    cache: &Cache,
    script: &Arc<Script>,
    size: usize,
) -> Vec<tokio::task::JoinHandle<Result<Located, LookupError>>> {
    let lookup = |_| {
        let (cache, ask) = (cache.clone(), script.ask());
        tokio::spawn(async move { cache.locate(&bob(), 0, ask).await })
    };
    let lookups: Vec<_> = (0..size).map(lookup).collect();
    // Time only passes when nothing else can happen.
    advance(seconds(1)).await;
    tokio::time::sleep(seconds(1)).await;
    lookups
}

#[tokio::test(start_paused = true)]
async fn a_thousand_logins_at_once_are_one_flight_and_share_its_answer() {
    for (answer, text) in [(island("a"), "a asked ldap://x"), (down(), "the directory is unavailable: down")] {
        let (cache, script) = (Cache::new(&SETTINGS), Script::new(answer));
        let closed = script.gate.acquire_many(1000).await.unwrap();
        let lookups = crowd(&cache, &script, 1000).await;
        drop(closed);
        for lookup in lookups {
            assert_eq!(shown(lookup.await.unwrap()), text);
        }
        assert_eq!(script.asked(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn nobodys_hang_up_cancels_the_flight() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
    let closed = script.gate.acquire_many(1000).await.unwrap();
    let lookups = crowd(&cache, &script, 3).await;
    for lookup in &lookups {
        lookup.abort();
    }
    for lookup in lookups {
        assert!(lookup.await.unwrap_err().is_cancelled());
    }
    drop(closed);
    tokio::time::sleep(seconds(1)).await;
    script.now_says(island("b"));
    assert_eq!(locate(&cache, &script).await, "a cached 1");
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_unavailable_once_for_all() {
    let cache = Cache::new(&SETTINGS);
    let script = Script::new(island("a"));
    locate(&cache, &script).await;
    advance(seconds(300)).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let lookups: Vec<_> = (0..50)
        .map(|_| {
            let (cache, calls) = (cache.clone(), Arc::clone(&calls));
            let ask = move || async move {
                calls.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(seconds(1)).await;
                panic!("on purpose")
            };
            tokio::spawn(async move { shown(cache.locate(&bob(), 0, ask).await) })
        })
        .collect();
    for lookup in lookups {
        assert_eq!(lookup.await.unwrap(), "a stale 301");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_users_is_bounded() {
    let (cache, script) = (Cache::new(&Settings { capacity: 10, ..SETTINGS }), Script::new(island("a")));
    for number in 0..500 {
        let user = UserName::new(format!("user{number}").as_bytes()).unwrap();
        cache.locate(&user, 0, script.ask()).await.unwrap();
    }
    cache.heard.run_pending_tasks().await;
    cache.routes.run_pending_tasks().await;
    assert!(cache.heard.entry_count() <= 10 && cache.routes.entry_count() <= 10);
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_serves_only_as_an_old_route_of_its_true_age() {
    let wall = seconds(1_700_000_000);
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
    locate(&cache, &script).await;
    advance(seconds(1000)).await;
    let kept: Vec<Entry> = cache.known(wall).collect();
    let route = Route { island: IslandName::new("a"), login: None };
    assert_eq!(kept, [Entry { user: bob(), route, said: 1_699_999_000 }]);

    // Mailferry was away for an hour.
    let cache = Cache::new(&SETTINGS);
    assert_eq!(cache.restore(kept.clone(), wall + seconds(3600)), 1);
    script.now_says(down());
    assert_eq!(locate(&cache, &script).await, "a stale 4600");
    assert_eq!(afresh(&cache, &script).await, "the directory is unavailable: down");
    advance(seconds(86_400 - 4600 - 1)).await;
    assert_eq!(locate(&cache, &script).await, "a stale 86399");
    advance(seconds(1)).await;
    assert_eq!(locate(&cache, &script).await, "the directory is unavailable: down");
    assert_eq!(cache.known(wall).count(), 0, "too old to be kept again");

    let cache = Cache::new(&SETTINGS);
    cache.restore(kept, wall);
    script.now_says(island("b"));
    assert_eq!(locate(&cache, &script).await, "b asked ldap://x", "what was kept is not believed");
    script.now_says(Err(LookupError::NotFound));
    advance(seconds(300)).await;
    locate(&cache, &script).await;
    assert_eq!(cache.known(wall).count(), 0, "unknown users are not kept");
}

#[tokio::test(start_paused = true)]
async fn times_of_the_future_are_now_and_what_is_too_old_is_dropped() {
    let wall = seconds(1_700_000_000);
    let cases = [
        (1_700_000_000, "a stale 0"),
        (1_700_000_001, "a stale 0"),
        (u64::MAX, "a stale 0"),
        (1_700_000_000 - 86_399, "a stale 86399"),
        (1_700_000_000 - 86_400, "the directory is unavailable: down"),
        (0, "the directory is unavailable: down"),
    ];
    for (said, expected) in cases {
        let (cache, script) = (Cache::new(&SETTINGS), Script::new(down()));
        let entry = Entry { user: bob(), route: Route { island: IslandName::new("a"), login: None }, said };
        let restored = cache.restore(vec![entry], wall);
        assert_eq!(restored == 1, expected.contains("stale"), "{said}");
        assert_eq!(locate(&cache, &script).await, expected, "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_changes_the_old_routes_counts_as_a_change() {
    let (cache, script) = (Cache::new(&SETTINGS), Script::new(Err(LookupError::NotFound)));
    let mut seen = Vec::new();
    for answer in [Err(LookupError::NotFound), down(), island("a"), down(), Err(LookupError::NotFound)] {
        script.now_says(answer);
        locate(&cache, &script).await;
        advance(seconds(300)).await;
        seen.push(cache.changes());
    }
    assert_eq!(seen, [0, 0, 1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn many_kept_routes_come_back_whole_and_no_more_than_the_cache_may_hold() {
    let entry = |number: u32| Entry {
        user: UserName::new(format!("user{number}").as_bytes()).unwrap(),
        route: Route { island: IslandName::new("a"), login: None },
        said: 1_700_000_000,
    };
    for (capacity, expected) in [(10_000, 10_000), (100, 100)] {
        let cache = Cache::new(&Settings { capacity, ..SETTINGS });
        cache.restore((0..10_000).map(entry).collect(), seconds(1_700_000_000));
        cache.routes.run_pending_tasks().await;
        assert_eq!(cache.known(seconds(1_700_000_000)).count(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn routes_stay_under_other_settings_and_are_as_old_as_they_are() {
    let (old, script) = (Cache::new(&SETTINGS), Script::new(island("a")));
    locate(&old, &script).await;
    advance(seconds(100)).await;
    for capacity in [SETTINGS.capacity, 7] {
        let longer = old.succeed(&Settings { capacity, ttl: seconds(600), ..SETTINGS });
        assert_eq!(locate(&longer, &script).await, "a cached 100");
        assert_eq!(longer.changes(), old.changes());
        let shorter = old.succeed(&Settings { capacity, ttl: seconds(50), stale: seconds(200), ..SETTINGS });
        script.now_says(down());
        assert_eq!(locate(&shorter, &script).await, "a stale 100");
        script.now_says(island("a"));
    }
    let fewer = old.succeed(&Settings { capacity: 7, ..SETTINGS });
    assert_eq!(fewer.routes.policy().max_capacity(), Some(7));
    let same = old.succeed(&Settings { ttl: seconds(1), ..SETTINGS });
    same.locate(&UserName::new(b"new").unwrap(), 0, script.ask()).await.unwrap();
    assert!(old.has_old_route(&UserName::new(b"new").unwrap()).await, "it is the same table");
}
