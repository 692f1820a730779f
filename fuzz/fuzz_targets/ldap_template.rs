//! A user's name in an LDAP filter: it is data, whatever octets it has.
//!
//! Run it with `scripts/fuzz.sh 10 ldap_template`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::directory::template::rendering_is_sound;

fuzz_target!(|data: &[u8]| rendering_is_sound(data));
