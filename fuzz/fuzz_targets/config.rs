//! The configuration file: no panic, and every problem has its place in the text.
//!
//! Run it with `scripts/fuzz.sh 10 config`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::config::parsing_is_sound;

fuzz_target!(|data: &[u8]| parsing_is_sound(data));
