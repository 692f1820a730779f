//! POP3 (RFC 1939, 2449, 5034) up to the login.
//!
//! `command` is the grammar of what clients send, `client` the states towards them and `reply` every text we say;
//! `node` is the states towards the node and `response` what nodes say. None of them may do I/O or echo what a client
//! sent.

pub mod client;
pub mod node;

mod command;
mod reply;
mod response;

#[cfg(test)]
mod tests;
