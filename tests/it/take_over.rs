//! From one process to the next: the same sockets, and nobody who connects meanwhile can tell.

mod alone;
mod passed;
pub mod place;
mod spoilt;
mod store;
mod storm;
mod together;
