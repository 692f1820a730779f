//! POP3 as the node speaks it: a message's number is its size.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Visitor, add};

/// From the greeting to the end.
pub(super) async fn serve<W: AsyncRead + AsyncWrite + Unpin>(visitor: &mut Visitor<'_, W>) -> io::Result<()> {
    visitor.say("+OK ready\r\n").await?;
    let mut line = Vec::new();
    while visitor.line(&mut line).await? {
        let text = String::from_utf8_lossy(&line).into_owned();
        line = Vec::new();
        let mut words = text.split_ascii_whitespace();
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        if visitor.logged_in {
            add(&visitor.counts.commands, 1);
        }
        let answer = match verb.as_str() {
            "PASS" => {
                visitor.log_in();
                "+OK Logged in.\r\n"
            }
            "AUTH" => {
                if words.nth(1).is_none() {
                    visitor.say("+ \r\n").await?;
                    if !visitor.line(&mut Vec::new()).await? {
                        return Ok(());
                    }
                }
                visitor.log_in();
                "+OK Logged in.\r\n"
            }
            "CAPA" => "+OK\r\nTOP\r\nUIDL\r\nUSER\r\nSASL PLAIN\r\nPIPELINING\r\n.\r\n",
            "STAT" => "+OK 0 0\r\n",
            "LIST" | "UIDL" => "+OK\r\n.\r\n",
            "RETR" => {
                let octets = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                visitor.say(&format!("+OK {octets} octets\r\n")).await?;
                visitor.send(octets).await?;
                ".\r\n"
            }
            "QUIT" => return visitor.say("+OK bye\r\n").await,
            _ => "+OK\r\n",
        };
        visitor.say(answer).await?;
    }
    Ok(())
}
