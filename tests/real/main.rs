//! mailferry between real clients and real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "a failed test shows the log")]

mod addresses;
mod clients;
mod commands;
mod load;
mod losing;
mod moves;
mod moving;
mod outages;
#[path = "../program/mod.rs"]
mod program;
mod reading;
mod refusing;
mod secrets;
mod site;
