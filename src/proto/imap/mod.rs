//! IMAP before the login: RFC 3501 and RFC 9051, with RFC 2971 (ID), 4959 (SASL-IR), 5530 (response codes) and 7888
//! (LITERAL-).
//!
//! `command` is the grammar of what clients may say, `client` the states towards them, `reply` every text we say;
//! `node` is the replay of a login, `response` what nodes say. No mailbox is known here: behind the login all octets
//! belong to the client and its node.

pub mod client;
mod command;
pub mod node;
mod reply;
mod response;

#[cfg(test)]
mod tests;
