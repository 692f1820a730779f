//! What balancers send in front of a connection: read the same in any chunking, never half, and written as it is read.
//!
//! Run it with `scripts/fuzz.sh 10 proxy_header`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::proto::proxy_header::proxy_header_is_sound;

fuzz_target!(|data: &[u8]| proxy_header_is_sound(data));
