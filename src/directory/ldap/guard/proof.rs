//! What a fuzz target and tests assert of the guard. Behind the feature `testkit`; never part of an installed binary.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use ldap3::LdapResult;
use ldap3::asn1::{PL, StructureTag, Tag, TagClass, parse_tag};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::answer::Entry;
use super::{Asked, CHUNK, DEPTH_MAX, Fault, MESSAGE_MAX, MESSAGES_MAX, PARTS_MAX, agree_on_tls, replies};

/// Most octets of a message's tag and length.
const HEAD_MAX: usize = 6;
/// Most octets that a server says here, however often it repeats itself.
const SAID_MAX: usize = 128 * 1024;
/// Up to here a server also says them one by one.
const OCTETS_MAX: usize = 4096;
/// Most octets of a reason: of a server's own text two hundred characters are shown, each escaped.
const REASON_MAX: usize = 4096;

/// Asserts that nothing gets to the library that it would fall over, nor more than was asked for; that this does not
/// depend on how the octets are cut; and that no more is held than the message that is not complete.
///
/// The first octet chooses what was asked for, the second how often the rest is said, so that limits are in reach.
pub fn guarding_is_sound(data: &[u8]) {
    let [requests, times, said @ ..] = data else { return };
    let octets = said_often(said, *times);
    let whole = guarded(*requests, &octets, &mut || usize::MAX);
    assert_eq!(whole, guarded(*requests, &octets, &mut sizes(said)), "cut into reads");
    if octets.len() <= OCTETS_MAX {
        assert_eq!(whole, guarded(*requests, &octets, &mut || 1), "one octet at a time");
    }
    agreement_is_the_last_that_is_heard(&octets, &mut || usize::MAX);
    agreement_is_the_last_that_is_heard(&octets, &mut sizes(said));
}

/// Its low four bits are the power of two; with the next one, all of it are the parts of one entry.
fn said_often(octets: &[u8], times: u8) -> Vec<u8> {
    let most = SAID_MAX.checked_div(octets.len()).unwrap_or_default().max(1);
    let repeated = octets.repeat(most.min(1 << (times & 0x0f)));
    if times & 0x10 == 0 {
        return repeated;
    }
    let long = |tag: u8, content: &[u8]| {
        let len = u32::try_from(content.len()).unwrap_or(u32::MAX);
        [&[tag, 0x84][..], &len.to_be_bytes(), content].concat()
    };
    long(0x30, &[b"\x02\x01\x07", &long(0x64, &repeated)[..]].concat())
}

/// Reads of 1 to 16 octets or of up to 32 KiB, as these say, over and over.
fn sizes(octets: &[u8]) -> impl FnMut() -> usize {
    let mut sizes = octets.iter().cycle();
    move || match sizes.next() {
        Some(size @ 0x80..) => 1 << (size >> 3 & 0x0f),
        Some(size) => usize::from(size % 16) + 1,
        None => 1,
    }
}

/// What has got to the library, and why there is no more.
fn guarded(requests: u8, octets: &[u8], sizes: &mut dyn FnMut() -> usize) -> (Vec<u8>, Option<Fault>) {
    let (requests, is_searching) = (requests & 3, requests & 4 != 0);
    let asked = Asked::nothing();
    (0..requests).for_each(|_| asked.raise());
    asked.is_searching.store(is_searching, Ordering::Relaxed);

    let (taken, passed) = (Cell::new(0), RefCell::new(Vec::new()));
    let server = Server { octets, taken: &taken, sizes, passed: &passed };
    let Some(fault) = replies(server, Library(&passed), &asked).now_or_never() else {
        panic!("it waits, and the server has said everything");
    };
    let passed = passed.into_inner();
    assert!(octets.starts_with(&passed), "something else than was said");

    let (mut rest, mut count) = (&passed[..], 0);
    while !rest.is_empty() {
        let Some((message, behind)) = extent(rest).and_then(|len| rest.split_at_checked(len)) else {
            panic!("half a message");
        };
        is_taken_by_the_library(message, is_searching);
        (rest, count) = (behind, count + 1);
    }
    let requests = u32::from(requests);
    assert!(count <= 1 + requests * MESSAGES_MAX, "{count} messages for {requests} requests");
    assert!(passed.len() <= CHUNK + requests as usize * MESSAGE_MAX, "too many octets for {requests} requests");
    let left = octets.get(passed.len()..).unwrap_or_default();
    let is_whole = extent(left).is_some_and(|len| len <= left.len());
    assert!(fault.is_some() || !is_whole, "a whole message has not got through, and nothing is wrong");
    (passed, fault)
}

/// Where a message ends whose length is there.
fn extent(octets: &[u8]) -> Option<usize> {
    let &[_, first, ref rest @ ..] = octets else { return None };
    let count = usize::from(first).checked_sub(0x80);
    let Some(count) = count else { return Some(2 + usize::from(first)) };
    let len = rest.get(..count)?.iter().fold(0, |len: usize, octet| len.saturating_mul(256) | usize::from(*octet));
    Some(len.saturating_add(2 + count))
}

/// Reads a message as the library does, with whatever that asserts; what of it cannot be called is repeated here.
fn is_taken_by_the_library(message: &[u8], is_searching: bool) {
    assert!(message.len() <= MESSAGE_MAX + HEAD_MAX, "a message of {} octets", message.len());
    let Ok((b"", tag)) = parse_tag(message) else { panic!("the library finds another end than the guard") };
    let mut parts = 0;
    let levels = levels(&tag, &mut parts);
    assert!(levels <= DEPTH_MAX, "{levels} levels");
    assert!(parts <= PARTS_MAX, "{parts} parts");

    let Some(mut fields) = tag.expect_constructed() else { panic!("not a sequence") };
    let mut next = || match fields.pop() {
        Some(field) => field,
        None => panic!("a field is missing"),
    };
    let mut operation = next();
    if operation.class == TagClass::Context && [0, 10].contains(&operation.id) {
        if operation.id == 0 {
            are_controls(operation);
        }
        operation = next();
    }
    let id = next().match_class(TagClass::Universal).and_then(|tag| tag.match_id(2));
    let Some(id) = id.and_then(StructureTag::expect_primitive) else { panic!("no message id") };
    let is_notice = id.iter().all(|octet| *octet == 0);
    assert!(fields.is_empty(), "something stands before the message id");

    assert_eq!(operation.class, TagClass::Application);
    let is_for_searches = ![1, 24].contains(&operation.id);
    assert!(is_notice || is_for_searches == is_searching, "nobody waits for it");
    match operation.id {
        1 | 5 | 24 => drop(LdapResult::from(Tag::StructureTag(operation))),
        4 => drop(Entry::parse(operation)),
        19 | 25 => {}
        other => panic!("operation {other}"),
    }
}

/// How deep the brackets are, while it counts the parts.
fn levels(tag: &StructureTag, parts: &mut u32) -> usize {
    *parts += 1;
    match &tag.payload {
        PL::P(_) => 0,
        PL::C(tags) => 1 + tags.iter().map(|tag| levels(tag, parts)).max().unwrap_or_default(),
    }
}

/// What the library's `parse_controls` asserts.
fn are_controls(tag: StructureTag) {
    let Some(controls) = tag.expect_constructed() else { panic!("controls that are none") };
    for control in controls {
        let Some(fields) = control.expect_constructed() else { panic!("a control that is none") };
        let mut fields = fields.into_iter();
        let kind = fields.next().and_then(StructureTag::expect_primitive).map(String::from_utf8);
        assert!(matches!(kind, Some(Ok(_))), "a control of no kind");
        let value = match fields.next() {
            Some(StructureTag { id: 1, payload, .. }) => {
                assert!(matches!(payload, PL::P(octets) if !octets.is_empty()), "no criticality");
                fields.next()
            }
            Some(value) if value.id == 4 => Some(value),
            Some(other) => panic!("{} in a control", other.id),
            None => None,
        };
        assert!(value.is_none_or(|value| value.expect_primitive().is_some()), "no value");
    }
}

/// Nothing that was said in clear text is heard once TLS is agreed on; and a reason fits a line of a log.
fn agreement_is_the_last_that_is_heard(octets: &[u8], sizes: &mut dyn FnMut() -> usize) {
    let (taken, passed) = (Cell::new(0), RefCell::new(Vec::new()));
    let mut server = Server { octets, taken: &taken, sizes, passed: &passed };
    match agree_on_tls(&mut server).now_or_never() {
        Some(Ok(())) => {
            assert_eq!(extent(octets), Some(taken.get()), "octets behind the agreement were read");
            let Ok((_, tag)) = parse_tag(octets) else { panic!("not a message") };
            let operation = tag.expect_constructed().and_then(|fields| fields.into_iter().nth(1));
            let result = operation.map(|operation| (operation.id, LdapResult::from(Tag::StructureTag(operation)).rc));
            assert_eq!(result, Some((24, 0)), "this is no agreement");
        }
        Some(Err(reason)) => {
            assert!(reason.len() <= REASON_MAX && !reason.contains(char::is_control), "{reason:?}");
        }
        None => panic!("it waits, and the server has said everything"),
    }
}

/// A server that says its octets and then closes. It takes what it is sent for nothing.
struct Server<'a> {
    octets: &'a [u8],
    /// How many of them were read.
    taken: &'a Cell<usize>,
    sizes: &'a mut dyn FnMut() -> usize,
    /// What the library has got of them.
    passed: &'a RefCell<Vec<u8>>,
}

impl AsyncRead for Server<'_> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let server = self.get_mut();
        let held = server.octets.get(server.passed.borrow().len()..server.taken.get()).unwrap_or_default();
        match extent(held) {
            None => assert!(held.len() < HEAD_MAX, "{} octets are held that are no message", held.len()),
            Some(len) => {
                assert!(len <= MESSAGE_MAX + HEAD_MAX, "it waits for a message of {len} octets");
                assert!(held.len() < len, "it reads on, and a whole message is there");
            }
        }
        assert!(buf.remaining() <= CHUNK, "a read of {} octets", buf.remaining());
        let rest = server.octets.get(server.taken.get()..).unwrap_or_default();
        let size = (server.sizes)().min(rest.len()).min(buf.remaining());
        buf.put_slice(rest.get(..size).unwrap_or_default());
        server.taken.set(server.taken.get() + size);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Server<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What keeps all that it gets.
struct Library<'a>(&'a RefCell<Vec<u8>>);

impl AsyncWrite for Library<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
