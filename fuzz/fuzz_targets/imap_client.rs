//! What an IMAP client sends: no panic, and the same steps in any chunking.
//!
//! Run it with `scripts/fuzz.sh 10 imap_client`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::proto::Protocol;
use mailferry::testkit::dialogues::client_is_chunking_proof;

fuzz_target!(|data: &[u8]| client_is_chunking_proof(Protocol::Imap, data));
