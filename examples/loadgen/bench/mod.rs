//! What a proxy costs: a mail server that costs next to nothing, clients that measure, and figures that are compared.
//!
//! The server (`node`) counts logins and octets: what never arrived is never counted. The proxy's CPU and memory are
//! read from `/proc` for the whole tree of its processes. Linux only.

pub(crate) mod bulk;
pub(crate) mod certificates;
mod client;
mod counts;
mod cpu;
mod door;
mod figures;
mod fuse;
pub(crate) mod hold;
pub(crate) mod logins;
pub(crate) mod lookup;
mod measured;
pub(crate) mod node;
pub(crate) mod noop;
pub(crate) mod page;
mod plot;
mod processes;
mod proxy;
pub(crate) mod soak;
#[cfg(test)]
mod tests;
