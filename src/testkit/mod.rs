//! The fakes that tests, benches and fuzz targets share.
//!
//! Behind the feature `testkit`; never part of an installed binary.

pub mod dialogues;
pub mod exposition;
pub mod lawful;
pub mod leaks;
pub mod log;
pub mod roundtrip;
pub mod settings;
pub mod tls;
