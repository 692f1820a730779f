//! SASL messages: no panic, no message that can be read in two ways, and none that means something else written again.
//!
//! Run it with `scripts/fuzz.sh 10 sasl`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::testkit::dialogues::sasl_is_unambiguous;
use mailferry::testkit::roundtrip::sasl_messages_mean_the_same_again;

fuzz_target!(|data: &[u8]| {
    sasl_is_unambiguous(data);
    sasl_messages_mean_the_same_again(data);
});
