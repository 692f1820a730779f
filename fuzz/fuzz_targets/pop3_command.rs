//! A login that a POP3 client says means the same to the node that gets it.
//!
//! Run it with `scripts/fuzz.sh 10 pop3_command`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::proto::Protocol;
use mailferry::testkit::roundtrip::logins_mean_the_same_to_a_node;

fuzz_target!(|data: &[u8]| logins_mean_the_same_to_a_node(Protocol::Pop3, data));
