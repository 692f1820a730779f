//! Nodes, clients and waiting lines at their worst, in virtual time: nodes that are slow, silent, frozen or refuse by
//! turns, clients that hang up, queues into nodes that die, users who are moved while their island is dead.
//!
//! The clock is paused and the nodes are in memory, so a bound on how long a login took is logic and not speed: the same
//! on every machine. The bounds are those that docs/failure-modes.md promises. Everything between the client's octets and
//! the node's is the production code, with its probes.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "helpers of tests are tests")]

#[path = "adversity/held.rs"]
mod held;
#[path = "adversity/moved.rs"]
mod moved;
#[path = "adversity/queues.rs"]
mod queues;
#[path = "adversity/server.rs"]
mod server;
#[path = "adversity/silent.rs"]
mod silent;
#[path = "adversity/slow.rs"]
mod slow;
#[path = "adversity/trials.rs"]
mod trials;
#[path = "adversity/world.rs"]
mod world;
