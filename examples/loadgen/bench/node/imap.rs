//! IMAP as the node speaks it: enough for proxies and measuring clients, and no mailbox behind it.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::{LINE_MAX, Visitor, add};

const ABILITIES: &str = "IMAP4rev1 SASL-IR LITERAL+ ID IDLE AUTH=PLAIN";

/// From the greeting to the end.
pub(super) async fn serve<W: AsyncRead + AsyncWrite + Unpin>(visitor: &mut Visitor<'_, W>) -> io::Result<()> {
    visitor.say(&format!("* OK [CAPABILITY {ABILITIES}] ready\r\n")).await?;
    while let Some(command) = read(visitor).await? {
        let text = String::from_utf8_lossy(&command);
        let mut words = text.split_ascii_whitespace();
        let (tag, verb) = (words.next().unwrap_or("*"), words.next().unwrap_or_default().to_ascii_uppercase());
        if visitor.logged_in {
            add(&visitor.counts.commands, 1);
        }
        let answer = match verb.as_str() {
            "LOGIN" => {
                visitor.log_in();
                format!("{tag} OK [CAPABILITY {ABILITIES}] Logged in\r\n")
            }
            "AUTHENTICATE" => {
                if words.nth(1).is_none() && !go_on(visitor, "+ \r\n").await? {
                    return Ok(());
                }
                visitor.log_in();
                format!("{tag} OK [CAPABILITY {ABILITIES}] Logged in\r\n")
            }
            "IDLE" => {
                if !go_on(visitor, "+ idling\r\n").await? {
                    return Ok(());
                }
                format!("{tag} OK done\r\n")
            }
            "FETCH" => {
                let octets = wanted(&text).unwrap_or(0);
                visitor.say(&format!("* 1 FETCH (BODY[]<0> {{{octets}}}\r\n")).await?;
                visitor.send(octets).await?;
                format!(")\r\n{tag} OK done\r\n")
            }
            "CAPABILITY" => format!("* CAPABILITY {ABILITIES}\r\n{tag} OK done\r\n"),
            "ID" => format!("* ID NIL\r\n{tag} OK done\r\n"),
            "STATUS" => format!("* STATUS INBOX (MESSAGES 0)\r\n{tag} OK done\r\n"),
            "LOGOUT" => return visitor.say(&format!("* BYE\r\n{tag} OK done\r\n")).await,
            "" => format!("{tag} BAD no command\r\n"),
            _ => format!("{tag} OK done\r\n"),
        };
        visitor.say(&answer).await?;
    }
    Ok(())
}

/// Asks the client to go on and reads its line; false when there is none.
async fn go_on<W: AsyncRead + AsyncWrite + Unpin>(visitor: &mut Visitor<'_, W>, text: &str) -> io::Result<bool> {
    visitor.say(text).await?;
    visitor.line(&mut Vec::new()).await
}

/// A command with its literals; what is uploaded is not kept.
async fn read<W: AsyncRead + AsyncWrite + Unpin>(visitor: &mut Visitor<'_, W>) -> io::Result<Option<Vec<u8>>> {
    let mut command = Vec::new();
    loop {
        let from = command.len();
        if !visitor.line(&mut command).await? {
            return Ok(None);
        }
        let Some((octets, waits)) = literal(&command[from..]) else { return Ok(Some(command)) };
        if waits {
            visitor.say("+ go on\r\n").await?;
        }
        if visitor.logged_in {
            visitor.sink(octets).await?;
        } else if octets <= LINE_MAX {
            (&mut visitor.wire).take(octets).read_to_end(&mut command).await?;
        } else {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// The size of the literal that the line announces, and whether the client waits for leave (RFC 9051 §4.3).
fn literal(line: &[u8]) -> Option<(u64, bool)> {
    let line = std::str::from_utf8(line).ok()?.trim_end_matches(['\r', '\n']);
    let inside = line.strip_suffix('}')?.rsplit_once('{')?.1;
    let digits = inside.strip_suffix('+').unwrap_or(inside);
    Some((digits.parse().ok()?, digits == inside))
}

/// How much of the message the client wants, from `<0.N>`.
fn wanted(command: &str) -> Option<u64> {
    command.rsplit_once("<0.")?.1.split_once('>')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_sizes_are_read() {
        for (line, expected) in [
            ("a LOGIN {4}\r\n", Some((4, true))),
            (" {10+}\r\n", Some((10, false))),
            ("a APPEND INBOX {1000000+}\n", Some((1_000_000, false))),
            ("a LOGIN a {b}\r\n", None),
            ("a LOGIN {4} b\r\n", None),
            ("\r\n", None),
        ] {
            assert_eq!(literal(line.as_bytes()), expected, "{line}");
        }
        assert_eq!(wanted("a FETCH 1 BODY.PEEK[]<0.77>\r\n"), Some(77));
        assert_eq!(wanted("a FETCH 1 BODY[]\r\n"), None);
    }
}
