//! mailferry: an IMAP and POP3 routing proxy.
//!
//! THE MAP. Floors import only downwards; `tests/tidy.rs` holds the code to it, `docs/architecture.md` explains it.

// Words used by all (floor 0).
pub mod drain;
pub mod logging;
pub mod metrics;
pub mod names;
pub mod near;
pub mod pace;
pub mod privileges;
pub mod sandbox;
pub mod secret;

// What is on the wire before the login, without I/O (floor 1).
pub mod proto;
// The site's rules for user names (floor 1).
pub mod usernames;

// Four siblings that do not see each other (floor 2): sockets; user → island; island → ordered nodes; how much is too much.
pub mod directory;
pub mod limits;
pub mod net;
pub mod routing;

// The way of a connection (floors 3 and 4), and beside it what looks after the nodes, and the operator's way in.
pub mod admin;
pub mod probe;
pub mod server;
pub mod session;

// The file that the operator writes (floor 5), other proxies' files that become it, and what makes a process of it all
// (floors 6 and 7).
pub mod app;
pub mod cli;
pub mod config;
pub mod import;

#[cfg(feature = "testkit")]
pub mod testkit;
