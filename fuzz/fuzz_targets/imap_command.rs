//! A login that an IMAP client says means the same to the node that gets it.
//!
//! Run it with `scripts/fuzz.sh 10 imap_command`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::proto::Protocol;
use mailferry::testkit::roundtrip::logins_mean_the_same_to_a_node;

fuzz_target!(|data: &[u8]| logins_mean_the_same_to_a_node(Protocol::Imap, data));
