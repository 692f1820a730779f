//! A password among whatever a client sends: no log tells it.
//!
//! Run it with `scripts/fuzz.sh 10 credentials`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::testkit::leaks::no_log_tells_a_password;

fuzz_target!(|data: &[u8]| no_log_tells_a_password(data));
