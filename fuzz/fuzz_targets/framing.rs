//! Lines and literals: cut the same in any chunking, and where their own words say.
//!
//! Run it with `scripts/fuzz.sh 10 framing`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::proto::imap::client::proof::framing_is_sound;

fuzz_target!(|data: &[u8]| framing_is_sound(data));
