//! proxy.toml from outside: the example, the reference, and every message that an operator may meet. No log and no message
//! tells a password (`searched`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests")]

#[path = "config/docs.rs"]
mod docs;
#[path = "config/example.rs"]
mod example;
#[path = "config/files.rs"]
mod files;
#[path = "config/keys.rs"]
mod keys;
#[path = "config/messages.rs"]
mod messages;
#[path = "config/reload.rs"]
mod reload;
#[path = "config/samples.rs"]
mod samples;
#[path = "config/searched.rs"]
mod searched;
#[path = "config/settings.rs"]
mod settings;
