//! What the cache of a large site takes: users put into it, and the memory of the process before and after.
//!
//! No benchmark of time. `cargo bench --bench memory` fills it with a million users; `-- --test` with a thousand.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints what it measures")]

use std::time::Duration;

use mailferry::directory::{Directory, Route, cache};
use mailferry::names::{IslandName, UserName};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Seconds after which the memory is looked at.
const SETTLING: u64 = 12;

/// Anonymous memory of this process that is in RAM, in octets.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

async fn fill(users: u64, settling: u64, has_logins: bool) -> Option<(Directory, u64)> {
    let settings = cache::Settings {
        capacity: users,
        ttl: Duration::from_secs(3600),
        negative_ttl: Duration::from_secs(30),
        stale: Duration::from_secs(86_400),
        file: None,
    };
    let islands: Vec<_> = (0..16).map(|island| IslandName::new(&format!("island{island}"))).collect();
    let directory = Directory::scripted(&settings, move |user| {
        let island = islands.get(user.as_bytes().len() % islands.len()).cloned();
        let login = has_logins.then(|| UserName::new(&[user.local(), b"@internal.example.net"].concat())).flatten();
        Box::pin(async move { Ok(Route { island: island.ok_or(mailferry::directory::LookupError::NotFound)?, login }) })
    });
    let before = resident()?;
    let locate = async |number: u64| {
        let user = UserName::new(format!("firstname.lastname{number}@example.net").as_bytes())?;
        directory.locate(&user).await.ok()
    };
    for number in 0..users {
        locate(number).await?;
    }
    // No site fills it within a minute. What the flights leave behind is given back in a few seconds, by later ones.
    for later in 1..=settling {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for number in 0..100 {
            locate(users * later + number).await?;
        }
    }
    let grown = resident()?.saturating_sub(before);
    Some((directory, grown))
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (users, settling) = if is_test { (1_000, 0) } else { (1_000_000, SETTLING) };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    let mut filled = Vec::new();
    for (has_logins, what) in [(false, ""), (true, ", each with a name of 45 octets on the node")] {
        let Some((directory, grown)) = runtime.block_on(fill(users, settling, has_logins)) else {
            eprintln!("this machine does not tell what memory a process has, or the directory did not answer");
            std::process::exit(1);
        };
        println!("{users} users of 36 octets{what}: {:.0} MB, {} octets each", grown as f64 / 1e6, grown / users);
        // Its memory must not be the next one's.
        filled.push(directory);
    }
}
