//! The operator's way in: the real program with its socket in a folder of its own, and its commands as processes.

mod commands;
pub mod description;
mod events;
mod examples;
mod moves;
mod orders;
mod reload;
mod remote;
mod site;
mod socket;
