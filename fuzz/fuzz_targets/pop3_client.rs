//! What a POP3 client sends: no panic, and the same steps in any chunking.
//!
//! Run it with `RUSTC_BOOTSTRAP=1 cargo fuzz run pop3_client`; a nightly toolchain needs no variable.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mailferry::proto::Protocol;
use mailferry::testkit::dialogues::client_is_chunking_proof;

fuzz_target!(|data: &[u8]| client_is_chunking_proof(Protocol::Pop3, data));
