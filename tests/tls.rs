//! Our TLS against that of others, both sides of it, over sockets: tokio-rustls, OpenSSL and Python.
//!
//! `peers` is about what must work, `cutting` is a wire that cuts it anywhere, `bad` is about peers that end early, lie or
//! stop reading. A missing openssl or python3 is a failure that names the package, never a skip.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests are tests")]

#[path = "tls/bad.rs"]
mod bad;
#[path = "tls/bench.rs"]
mod bench;
#[path = "tls/cutting.rs"]
mod cutting;
#[path = "tls/flights.rs"]
mod flights;
#[path = "tls/peers.rs"]
mod peers;
