//! Headers as balancers send them, headers that are none, and our own.

use super::v2::{PROXY, SIGNATURE, TCP4, TCP6};
use super::*;
use crate::proto::Introduction;

/// TCP4, 192.0.2.7:50000 to 198.51.100.1:993.
const V4: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0xc3, 0x50, 0x03, 0xe1];

fn peers(client: &str, connected: &str) -> Option<Peers> {
    Some(Peers { client: client.parse().unwrap(), connected: connected.parse().unwrap() })
}

/// A header of version 2 in full.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &len, block].concat()
}

/// Addresses and these TLVs.
fn with(tlvs: &[&[u8]]) -> Vec<u8> {
    v2(PROXY, TCP4, &[V4, &tlvs.concat()].concat())
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// However it is cut, and with a command behind it, which is left alone.
fn read_all(octets: &[u8]) -> Result<Option<Header>, BadHeader> {
    let whole = read_cut(octets, octets.len());
    assert_eq!(whole, read_cut(octets, 1), "{}", octets.escape_ascii());
    if let Ok(Some((_, len))) = &whole {
        assert_eq!(*len, octets.len());
        let mut input = Input::new();
        input.push(&[octets, b"a1 NOOP\r\n"].concat());
        assert!(matches!(read(&mut input), Ok(Some(_))));
        assert_eq!(input.as_bytes(), b"a1 NOOP\r\n");
    }
    whole.map(|found| found.map(|(header, _)| header))
}

#[test]
fn version_1_says_addresses_in_one_spelling() {
    let cases = [
        ("TCP4 192.0.2.7 198.51.100.1 50000 993", peers("192.0.2.7:50000", "198.51.100.1:993")),
        ("TCP4 0.0.0.0 255.255.255.255 0 65535", peers("0.0.0.0:0", "255.255.255.255:65535")),
        ("TCP6 2001:db8::7 2001:DB8:0:0:0:0:0:1 1 2", peers("[2001:db8::7]:1", "[2001:db8::1]:2")),
        // HAProxy's word for a client of IPv4 at an address of IPv6.
        ("TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2", peers("192.0.2.7:1", "[2001:db8::1]:2")),
        ("UNKNOWN", None),
        ("UNKNOWN ff:ff 1 2 3 whatever\0\x7f", None),
    ];
    for (line, expected) in cases {
        let header = read_all(format!("PROXY {line}\r\n").as_bytes());
        assert_eq!(header, Ok(Some(Header { peers: expected, ..Header::default() })), "{line}");
    }
}

#[test]
fn r_pp_02_malformed_lines_of_version_1_are_refused() {
    let lines = [
        "PROXY \r\n",
        "PROXY  TCP4 192.0.2.7 198.51.100.1 50000 993\r\n",
        "PROXY TCP4 192.0.2.7  198.51.100.1 50000 993\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 993 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 993 1\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 50000 993\r\n",
        "PROXY TCP5 192.0.2.7 198.51.100.1 50000 993\r\n",
        "PROXY TCP4 2001:db8::7 198.51.100.1 50000 993\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 50000 993\r\n",
        "PROXY TCP6 fe80::1%eth0 fe80::2 50000 993\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 50000 993\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 50000 993\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.1 50000 993\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 050000 993\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 00 993\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 993\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +1 993\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 -1 993\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 993\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 993\r\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 993\rx\n",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \u{ff} 192.0.2.7 198.51.100.1 50000 993\r\n",
    ];
    for line in lines {
        assert_eq!(read_all(line.as_bytes()), Err(BadHeader::Line), "{line:?}");
    }
    let others =
        ["proxy UNKNOWN\r\n", "PROXY\r\n", "PROXY\tTCP4", "P\r\n", "a1 NOOP\r\n", "USER bob\r\n", "\n", "\x16\x03\x01"];
    for line in others {
        assert_eq!(read_all(line.as_bytes()), Err(BadHeader::NotOne), "{line:?}");
    }
}

#[test]
fn a_line_of_107_octets_passes_and_one_more_does_not() {
    let line = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16));
    assert_eq!(read_all(line(107).as_bytes()), Ok(Some(Header::default())));
    assert_eq!(read_all(line(108).as_bytes()), Err(BadHeader::TooLong));
    assert_eq!(read_all("PROXY UNKNOWN ".repeat(9).as_bytes()), Err(BadHeader::TooLong));
}

#[test]
fn version_2_says_addresses_in_octets() {
    let v6 = [
        &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 1],
        &[0, 1, 0, 2],
    ];
    let cases = [
        (v2(0x21, 0x11, V4), peers("192.0.2.7:50000", "198.51.100.1:993")),
        (v2(0x21, 0x21, &v6.concat()), peers("[2001:db8::7]:1", "198.51.100.1:2")),
        (v2(0x21, 0x31, &[b'/'; 216]), None),
        (v2(0x21, 0x00, b""), None),
        (with(&[&tlv(0x01, b"imap"), &tlv(0x04, &[0; 9]), &tlv(0x30, b"blue"), &tlv(0xee, b"")]), {
            peers("192.0.2.7:50000", "198.51.100.1:993")
        }),
    ];
    for (octets, expected) in cases {
        let header = read_all(&octets);
        assert_eq!(header, Ok(Some(Header { peers: expected, ..Header::default() })), "{}", octets.escape_ascii());
    }
}

#[test]
fn r_pp_06_local_means_nothing_but_its_length() {
    for (family, block) in [(0x00, &b""[..]), (0x11, V4), (0xff, &[0x03; 999]), (0x11, b"\x20\xff\xff")] {
        assert_eq!(read_all(&v2(0x20, family, block)), Ok(Some(Header::default())));
    }
}

#[test]
fn r_pp_02_malformed_headers_of_version_2_are_refused() {
    let ssl = |value: &[u8]| with(&[&tlv(0x20, value)]);
    let cases = [
        // Versions, commands and families.
        (v2(0x11, 0x11, V4), BadHeader::Unknown),
        (v2(0x31, 0x11, V4), BadHeader::Unknown),
        (v2(0x01, 0x11, V4), BadHeader::Unknown),
        (v2(0x22, 0x11, V4), BadHeader::Unknown),
        (v2(0x2f, 0x11, V4), BadHeader::Unknown),
        (v2(0x21, 0x12, V4), BadHeader::Unknown),
        (v2(0x21, 0x10, V4), BadHeader::Unknown),
        (v2(0x21, 0x41, V4), BadHeader::Unknown),
        // Addresses that are not there.
        (v2(0x21, 0x11, b""), BadHeader::Block),
        (v2(0x21, 0x11, &V4[..11]), BadHeader::Block),
        (v2(0x21, 0x21, &[0; 35]), BadHeader::Block),
        (v2(0x21, 0x31, &[0; 215]), BadHeader::Block),
        // TLVs behind the end, whole or in part.
        (with(&[&[0x04]]), BadHeader::Block),
        (with(&[&[0x04, 0]]), BadHeader::Block),
        (with(&[&[0x04, 0, 1]]), BadHeader::Block),
        (with(&[&tlv(0x04, b"x"), &[0x01, 0xff, 0xff, 0]]), BadHeader::Block),
        (v2(0x21, 0x00, &[1]), BadHeader::Block),
        (with(&[&tlv(0x02, &[b'a'; 256])]), BadHeader::Block),
        (with(&[&tlv(0x05, &[b'a'; 129])]), BadHeader::Block),
        (with(&[&tlv(0x02, b"a"), &tlv(0x02, b"a")]), BadHeader::Block),
        (with(&[&tlv(0xe0, &[5]), &tlv(0xe0, &[6])]), BadHeader::Block),
        (ssl(&[1, 0, 0, 0]), BadHeader::Block),
        (ssl(&[1, 0, 0, 0, 0, 0x21]), BadHeader::Block),
        (ssl(&[1, 0, 0, 0, 0, 0x21, 0, 9, b'T']), BadHeader::Block),
    ];
    for (octets, expected) in cases {
        assert_eq!(read_all(&octets), Err(expected), "{}", octets.escape_ascii());
    }
    for at in 0..SIGNATURE.len() {
        let mut octets = v2(0x21, 0x11, V4);
        octets[at] ^= 0x40;
        assert_eq!(read_all(&octets), Err(BadHeader::NotOne), "octet {at}");
    }
}

#[test]
fn a_block_of_4096_octets_passes_and_one_more_is_refused_at_once() {
    assert_eq!(read_all(&v2(0x20, 0, &[0; 4096])), Ok(Some(Header::default())));
    assert_eq!(read_all(&v2(0x20, 0, &[0; 4097])[..16]), Err(BadHeader::TooLong));
}

#[test]
fn r_pp_04_a_part_of_a_header_is_no_header_yet() {
    let headers = [b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 993\r\n".to_vec(), with(&[&tlv(0x04, b"x")])];
    for header in headers {
        for end in 0..header.len() {
            assert_eq!(read_all(&header[..end]), Ok(None), "{}", header[..end].escape_ascii());
        }
    }
}

#[test]
fn r_pp_07_a_checksum_is_verified_wherever_it_stands() {
    assert_eq!(crc32c(0, b"123456789"), 0xe306_9283, "the check value of everybody's CRC32C");
    assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xe306_9283);
    let checked = |others: [&[u8]; 2]| {
        let mut octets = with(&[others[0], &tlv(0x03, &[0; 4]), others[1]]);
        let (end, sum) = (octets.len() - others[1].len(), crc32c(0, &octets));
        octets[end - 4..end].copy_from_slice(&sum.to_be_bytes());
        octets
    };
    let noop = tlv(0x04, b"xy");
    for others in [[&b""[..], b""], [&noop, b""], [b"", &noop], [&noop, &noop]] {
        let octets = checked(others);
        assert!(matches!(read_all(&octets), Ok(Some(_))));
        // An octet of the addresses, and the last one of each half of the checksum.
        for at in [16, octets.len() - others[1].len() - 3, octets.len() - others[1].len() - 1] {
            let mut damaged = octets.clone();
            damaged[at] ^= 1;
            assert_eq!(read_all(&damaged), Err(BadHeader::Checksum), "octet {at}");
        }
    }
    for wrong in [&b""[..], &[0; 3], &[0; 5]] {
        assert_eq!(read_all(&with(&[&tlv(0x03, wrong)])), Err(BadHeader::Block));
    }
}

#[test]
fn tls_that_the_balancer_has_ended_is_told_in_known_words() {
    let read = |flags: u8, subs: &[&[u8]], authority: &[u8]| {
        let ssl = [&[flags, 0, 0, 0, 1], &subs.concat()[..]].concat();
        read_all(&with(&[&tlv(0x20, &ssl), &tlv(0x02, authority)])).unwrap().unwrap().tls
    };
    let facts = |version: &str, cipher: Option<&str>, name: Option<&str>| {
        Some(TlsFacts { version: version.into(), cipher: cipher.map(Into::into), server_name: name.map(Into::into) })
    };
    let (version, cipher) = (tlv(0x21, b"TLSv1.3"), tlv(0x23, b"TLS_AES_256_GCM_SHA384"));
    let name = tlv(0x22, b"CN of a client\r\n");
    assert_eq!(
        read(1, &[&version, &name, &cipher], b"Mail.Example.NET"),
        facts("TLSv1.3", Some("TLS_AES_256_GCM_SHA384"), Some("mail.example.net"))
    );
    assert_eq!(read(7, &[], b""), facts("TLS", None, None));
    // Not a word of it, since the client did not use TLS.
    assert_eq!(read(0, &[&version, &cipher], b"mail.example.net"), None);
    // Nothing that could be more than a name.
    for odd in [&b"mail\r\n"[..], b"a b", b"\xc3\xbc", b"(x)", b"a\0"] {
        let told = read(1, &[&tlv(0x21, odd), &tlv(0x23, odd)], odd);
        assert_eq!(told, facts("TLS", None, None), "{}", odd.escape_ascii());
    }
}

#[test]
fn hops_are_one_octet_and_any_other_length_is_somebody_elses() {
    let read = |value: &[u8]| read_all(&with(&[&tlv(0xe0, value)])).unwrap().unwrap().ttl;
    assert_eq!(read(&[5]), Some(5));
    assert_eq!(read(&[0]), Some(0));
    assert_eq!(read(b""), None);
    assert_eq!(read(&[0, 0, 0, 0, 0, 0, 0, 5]), None);
}

fn introduction(client: &str, connected: &str, tls: Option<TlsFacts>) -> Introduction {
    let (client, connected) = (client.parse().unwrap(), connected.parse().unwrap());
    Introduction { session: "65400000-ff".into(), client, connected, tls, ttl: 6 }
}

#[test]
fn our_own_header_octet_for_octet() {
    let tls = TlsFacts {
        version: "TLSv1.3".into(),
        cipher: Some("TLS_AES_128_GCM_SHA256".into()),
        server_name: Some("mail.example.net".into()),
    };
    let mut expected = [
        &SIGNATURE[..],
        &[0x21, 0x11, 0, 99],
        V4,
        b"\x02\0\x10mail.example.net",
        b"\x20\0\x28\x01\0\0\0\x01\x21\0\x07TLSv1.3\x23\0\x16TLS_AES_128_GCM_SHA256",
        b"\x05\0\x0b65400000-ff",
        b"\xe0\0\x01\x06",
        b"\x03\0\x04\0\0\0\0",
    ]
    .concat();
    let sum = crc32c(0, &expected).to_be_bytes();
    let at = expected.len() - 4;
    expected[at..].copy_from_slice(&sum);
    let written = introducing(&introduction("192.0.2.7:50000", "198.51.100.1:993", Some(tls)));
    assert_eq!(written.escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_eq!(local(), [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat());
}

#[test]
fn what_is_written_is_read_back() {
    let tls = TlsFacts { version: "TLSv1.2".into(), cipher: None, server_name: None };
    let cases = [
        introduction("192.0.2.7:50000", "198.51.100.1:993", None),
        introduction("[2001:db8::7]:50000", "[2001:db8::1]:995", Some(tls.clone())),
        introduction("192.0.2.7:1", "[2001:db8::1]:2", Some(tls)),
        introduction("[2001:db8::7]:1", "198.51.100.1:2", None),
    ];
    for case in cases {
        let header = read_all(&introducing(&case)).unwrap().unwrap();
        let peers = Some(Peers { client: case.client, connected: case.connected });
        assert_eq!(header, Header { peers, tls: case.tls, ttl: Some(6) });
    }
    assert_eq!(read_all(&local()), Ok(Some(Header::default())));
}

#[test]
fn reading_is_sound() {
    let mut random = fastrand::Rng::with_seed(7);
    proxy_header_is_sound(b"");
    for family in [TCP4, TCP6] {
        proxy_header_is_sound(&[tlv(0xe0, &[family]), tlv(0x20, &[1, 0, 0, 0, 0]), tlv(0x02, b"A.b")].concat());
    }
    for _ in 0..2000 {
        let mut octets: Vec<u8> = (0..random.usize(..300)).map(|_| random.u8(..)).collect();
        let begins: [&[u8]; 4] = [b"", b"PROXY TCP4 ", &SIGNATURE, &with(&[])];
        octets.splice(..0, begins[random.usize(..4)].iter().copied());
        proxy_header_is_sound(&octets);
    }
}
