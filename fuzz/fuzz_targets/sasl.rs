//! SASL messages: no panic, and no message that can be read in two ways.
//!
//! Run it with `RUSTC_BOOTSTRAP=1 cargo fuzz run sasl`; a nightly toolchain needs no variable.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::testkit::dialogues::sasl_is_unambiguous;

fuzz_target!(|data: &[u8]| sasl_is_unambiguous(data));
