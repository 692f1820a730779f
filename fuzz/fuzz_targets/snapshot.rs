//! Routes that were kept over a restart: no panic, and what is read means the same when it is written again.
//!
//! Run it with `scripts/fuzz.sh 10 snapshot`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::directory::snapshot::parsing_is_sound;

fuzz_target!(|data: &[u8]| parsing_is_sound(data));
