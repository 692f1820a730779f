//! mailferry in this process, fake nodes behind it, scripted clients in front: what goes over the wire.
//!
//! Every server listens on a port that the kernel chose; nothing sleeps, everything that is waited for has a deadline.
//! A test that carries a requirement's number (`r_imap_04_…`) proves that requirement end to end; the dialogues have
//! tests of the same numbers beside them, which go through more cases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "modules of one binary")]

mod admin;
mod client;
mod failover;
mod failures;
mod handshakes;
mod hangup;
mod imap;
mod limits;
mod logs;
mod malice;
mod metrics;
mod node;
mod pipelining;
mod pop3;
mod privileges;
mod probes;
mod process;
#[path = "../program/mod.rs"]
mod program;
mod proxy;
mod reload;
mod resources;
mod said;
mod sasl;
mod secrets;
mod site;
mod stop;
mod stuck;
mod take_over;
mod tls;
mod usernames;
