//! Two TLS drivers that talk over a wire that cuts and changes: what arrives was said, and all of it where nothing was
//! changed.
//!
//! Run it with `scripts/fuzz.sh 10 tls_driver`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::testkit::tls::driver_is_sound;

fuzz_target!(|data: &[u8]| driver_is_sound(data));
