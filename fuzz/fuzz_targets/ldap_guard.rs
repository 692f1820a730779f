//! What an LDAP server answers: only what the library can take gets through to it, in any chunking.
//!
//! Run it with `scripts/fuzz.sh 10 ldap_guard`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::directory::ldap::guarding_is_sound;

fuzz_target!(|data: &[u8]| guarding_is_sound(data));
