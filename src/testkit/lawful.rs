//! What a client may hear before its login, as the grammars have it (RFC 3501 §9, RFC 1939 §3, RFC 2449 §4).
//!
//! Stricter than they are, because all that we say there is printable ASCII. It must not know our texts.

use crate::proto::Protocol;

/// Longest line of a POP3 answer, in octets with its CRLF (RFC 2449 §4). A challenge has no limit.
const POP3_LINE_MAX: usize = 512;

/// Panics unless these are whole lines that a client of the protocol may hear.
pub fn answer_is_lawful(protocol: Protocol, answer: &[u8]) {
    let text = String::from_utf8_lossy(answer);
    let mut lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines.pop(), Some(""), "no line end: {text:?}");
    let is_printable = |line: &&str| line.bytes().all(|octet| matches!(octet, b' '..=b'~'));
    assert!(!lines.is_empty() && lines.iter().all(is_printable), "{text:?}");
    match protocol {
        Protocol::Imap => lines.iter().for_each(|line| assert!(is_imap(line), "{line:?}")),
        Protocol::Pop3 => assert!(is_pop3(&lines), "{lines:?}"),
    }
}

fn is_imap(line: &str) -> bool {
    let Some((tag, rest)) = line.split_once(' ') else { return false };
    let is_status = |words: &[&str]| {
        rest.split_once(' ').is_some_and(|(status, text)| words.contains(&status) && is_imap_text(text))
    };
    match tag {
        "+" => true,
        "*" => is_status(&["OK", "BAD", "BYE"]) || rest.starts_with("CAPABILITY IMAP4rev1 ") || rest == "ID NIL",
        tag => {
            let is_tag = |octet: u8| octet.is_ascii_graphic() && !b"(){%*\"\\+".contains(&octet);
            (1..=64).contains(&tag.len()) && tag.bytes().all(is_tag) && is_status(&["OK", "NO", "BAD"])
        }
    }
}

/// Words, behind one code or none.
fn is_imap_text(text: &str) -> bool {
    match text.strip_prefix('[').map(|inside| inside.split_once("] ")) {
        None => !text.is_empty(),
        Some(None) => false,
        Some(Some((code, words))) => {
            let is_code = code.starts_with("CAPABILITY IMAP4rev1 ") || !code.contains(' ');
            is_code && !code.is_empty() && !words.is_empty() && !words.starts_with('[')
        }
    }
}

/// One line, or the lines of a list with a dot behind them.
fn is_pop3(lines: &[&str]) -> bool {
    let Some((first, list)) = lines.split_first() else { return false };
    let is_status = ["+OK", "-ERR"].iter().any(|status| {
        first.strip_prefix(status).is_some_and(|text| text.is_empty() || text.starts_with(' ') && text.len() > 1)
    });
    let is_list = match list.split_last() {
        None => true,
        Some((last, list)) => {
            *first == "+OK" && *last == "." && list.iter().all(|line| !line.is_empty() && !line.starts_with('.'))
        }
    };
    let is_short = lines.iter().all(|line| line.len() + 2 <= POP3_LINE_MAX);
    is_list && (is_status && is_short || list.is_empty() && first.starts_with("+ "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_lawful(protocol: Protocol, answer: &str) -> bool {
        std::panic::catch_unwind(|| answer_is_lawful(protocol, answer.as_bytes())).is_ok()
    }

    #[test]
    fn what_no_client_may_hear_is_found() {
        let tag = "t".repeat(65);
        for (answer, lawful) in [
            ("* OK [CAPABILITY IMAP4rev1 ID] x ready\r\n", true),
            ("* BYE x\r\na OK x\r\n", true),
            ("+ \r\n", true),
            ("a]b NO [LIMIT] x\r\n", true),
            ("* ID NIL\r\na OK x\r\n", true),
            ("", false),
            ("a OK x", false),
            ("a OK x\n", false),
            ("a OK x\r\n\r\n", false),
            ("a OK\r\n", false),
            ("a OK \r\n", false),
            ("a NO [LIMIT]\r\n", false),
            ("a NO [LIMIT x] y\r\n", false),
            ("a NO [A] [B] y\r\n", false),
            ("a BYE x\r\n", false),
            ("a+ OK x\r\n", false),
            ("* LIST x\r\n", false),
            ("+\r\n", false),
            ("a OK \u{fc}\r\n", false),
            (&format!("{tag} OK x\r\n"), false),
        ] {
            assert_eq!(is_lawful(Protocol::Imap, answer), lawful, "{answer:?}");
        }
        let long = "x".repeat(506);
        for (answer, lawful) in [
            ("+OK\r\n", true),
            ("-ERR [AUTH] x\r\n", true),
            ("+OK\r\nTOP\r\n.\r\n", true),
            ("+ YQ==\r\n", true),
            (&format!("-ERR {}\r\n", &long[1..]), true),
            (&format!("-ERR {long}\r\n"), false),
            ("+OKAY\r\n", false),
            ("+OK \r\n", false),
            ("-ERR x\r\n-ERR y\r\n", false),
            ("+OK\r\nTOP\r\n", false),
            ("+OK\r\n.TOP\r\n.\r\n", false),
            ("-ERR\r\n.\r\n", false),
            ("+ YQ==\r\n.\r\n", false),
        ] {
            assert_eq!(is_lawful(Protocol::Pop3, answer), lawful, "{answer:?}");
        }
    }
}
