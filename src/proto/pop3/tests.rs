//! The POP3 dialogues as transcripts. Every test sends its octets at once and one at a time, and wants the same steps.

mod client;
mod node;

use proptest::prelude::*;

use crate::proto::Protocol;
use crate::testkit::dialogues::{client_is_chunking_proof, node_is_chunking_proof};

/// Asserts that each entry of a transcript begins as expected; texts behind the codes are free to change.
#[track_caller]
fn assert_transcript(actual: &[String], expected: &[&str]) {
    let same = actual.len() == expected.len() && actual.iter().zip(expected).all(|(a, e)| a.starts_with(e));
    assert!(same, "\n  actual: {actual:#?}\nexpected: {expected:#?}");
}

/// Lines that get a dialogue further than arbitrary octets would.
fn octets(lines: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        30 => prop::sample::select(lines).prop_map(<[u8]>::to_vec),
        8 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::sample::select(&[700_usize, 1025, 8200, 66_000][..]).prop_map(|count| vec![b'x'; count]),
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
}

const CLIENT_LINES: &[&[u8]] = &[
    b"CAPA\r\n",
    b"STLS\r\n",
    b"USER bob\r\n",
    b"PASS  secret \r\n",
    b"AUTH\r\n",
    b"AUTH PLAIN\r\n",
    b"AUTH PLAIN ",
    b"AGJvYgBzZWNyZXQ=\r\n",
    b"AUTH LOGIN\r\n",
    // user=bob ^A auth=Bearer x ^A ^A
    b"AUTH XOAUTH2 dXNlcj1ib2IBYXV0aD1CZWFyZXIgeAEB\r\n",
    // n,a=bob, ^A auth=Bearer x ^A ^A
    b"AUTH OAUTHBEARER\r\nbixhPWJvYiwBYXV0aD1CZWFyZXIgeAEB\r\n",
    b"XCLIENT ADDR=192.0.2.7 PORT=4711 TTL=3\r\n",
    b"Ym9i\r\n",
    b"*\r\n",
    b"=\r\n",
    b"NOOP\n",
    b"\r\n",
    b"\r",
    b"QUIT\r\n",
    b"GET ",
    b"\x16",
    b"\x03",
    b"\0",
];

const NODE_LINES: &[&[u8]] = &[
    b"+OK hello\r\n",
    b"+OK\r\n",
    b"+OK\n",
    b"-ERR [AUTH] no\r\n",
    b"-ERR [SYS/TEMP] later\r\n",
    b"+ \r\n",
    b"+\r\n",
    b"SASL PLAIN LOGIN\r\n",
    b"USER\r\n",
    b".\r\n",
    b"\r",
    b"\0",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn r_pop_01_whatever_a_client_says_it_hears_the_same_lawful_lines_in_any_chunking(choice: u8, data in octets(CLIENT_LINES)) {
        client_is_chunking_proof(Protocol::Pop3, &[&[choice], data.as_slice()].concat());
    }

    #[test]
    fn a_nodes_octets_give_the_same_steps_in_any_chunking(choice: u8, data in octets(NODE_LINES)) {
        node_is_chunking_proof(Protocol::Pop3, &[&[choice], data.as_slice()].concat());
    }
}
