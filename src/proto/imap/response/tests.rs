//! Status responses, read by us and by a grammar that knows all of IMAP.

use imap_proto::{Response as Whole, Status as Known};
use proptest::prelude::*;

use super::*;

/// What imap-proto makes of a line of printable ASCII.
fn by_grammar(line: &str, tag: &str) -> Result<Response, NodeFault> {
    let text = line.splitn(3, ' ').nth(2).unwrap_or_default().as_bytes().to_vec();
    match imap_proto::Response::parse(format!("{line}\r\n").as_bytes()) {
        Ok((_, Whole::Data { status: Known::Ok, .. })) => Ok(Response::Ok(text)),
        Ok((_, Whole::Data { status: Known::Bye, .. })) => Ok(Response::Bye),
        Ok((_, Whole::Data { status: Known::PreAuth, .. })) => Ok(Response::Preauth),
        Ok((_, Whole::Data { status: Known::No | Known::Bad, .. })) => Ok(Response::Data),
        Ok((_, Whole::Done { tag: echoed, status, .. })) if echoed.as_bytes() == tag.as_bytes() => match status {
            Known::Ok => Ok(Response::Accepted(text)),
            Known::No => Ok(Response::Refused(text)),
            Known::Bad => Ok(Response::Bad),
            Known::Bye | Known::PreAuth => Err(NodeFault::Garbage),
        },
        _ => Err(NodeFault::Garbage),
    }
}

proptest! {
    /// Where a line is no data: of those, the grammar knows more kinds than we need to.
    #[test]
    fn a_status_is_what_the_grammar_takes_it_for(
        front in prop::sample::select(vec!["* ", "f3 ", "f4 ", "F3 ", "f3", "*", "+", " ", "f3  ", "*  ", ""]),
        word in prop::sample::select(vec!["OK", "no", "Bad", "BYE", "preauth", "OKAY", "CAPABILITY", "O", "BYE]", ""]),
        behind in "( (\\[(CAPABILITY IMAP4rev1|ALERT|UIDNEXT [0-9]{1,12}|[A-Z]{1,8})\\]?)?[ -Z^-~]{0,20})?",
    ) {
        let line = format!("{front}{word}{behind}");
        let is_continuation = line == "+" || line.starts_with("+ ");
        prop_assume!(!is_data(line.as_bytes()) && !is_continuation);
        prop_assert_eq!(parse(format!("{line}\r\n").as_bytes(), b"f3"), by_grammar(&line, "f3"), "{:?}", line);
    }
}

#[test]
fn a_status_is_its_word_and_its_tag_and_what_follows_them() {
    let ok = |text: &[u8]| Ok(Response::Ok(text.to_vec()));
    let cases: [(&[u8], Result<Response, NodeFault>); 15] = [
        (b"* OK ready\r\n", ok(b"ready")),
        (b"* ok\n", ok(b"")),
        (b"* OK  two\r\n", ok(b" two")),
        (b"* OK \xff\xc3\xa9\r\n", ok(b"\xff\xc3\xa9")),
        (b"* BYE\r\n", Ok(Response::Bye)),
        (b"* NO no\r\n", Ok(Response::Data)),
        (b"f3 OK [X] y\r\n", Ok(Response::Accepted(b"[X] y".to_vec()))),
        (b"f3 OK a\rb\0c\r\n", Ok(Response::Accepted(b"abc".to_vec()))),
        (b"f3 no\r\n", Ok(Response::Refused(Vec::new()))),
        (b"f3 BAD x\r\n", Ok(Response::Bad)),
        (b"f3 PREAUTH x\r\n", Err(NodeFault::Garbage)),
        (b"f4 OK x\r\n", Err(NodeFault::Garbage)),
        (b"f3 OK\r\r\n", Err(NodeFault::Garbage)),
        (b"f3\r\n", Err(NodeFault::Garbage)),
        (b"* OK a\rb\r\n", Err(NodeFault::Garbage)),
    ];
    for (line, expected) in cases {
        assert_eq!(parse(line, b"f3"), expected, "{}", line.escape_ascii());
    }
}

#[test]
fn a_list_is_announced_word_by_word() {
    for (list, announced) in [
        (&b""[..], &b""[..]),
        (b"IMAP4rev1", b"IMAP4rev1"),
        (b"  IMAP4rev1  IDLE ", b"IMAP4rev1 IDLE"),
        (b"A] unauthenticate IDLE X\xff", b"IDLE"),
    ] {
        assert_eq!(announceable(list), announced);
    }
}
