//! One measuring client: it waits for each answer before it goes on, and reads messages without looking at them.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use super::door::{Door, Tls};
use crate::engine::Protocol;

/// Octets of an answer's line that are read; a server that goes on is not one.
const LINE_MAX: u64 = 16 * 1024;

/// Octets of the buffer for answers.
const BUFFER: usize = 2048;

/// The password of everybody.
pub(crate) const PASSWORD: &str = "secret";

/// A connection to the server.
pub(crate) struct Client {
    protocol: Protocol,
    wire: BufReader<Box<dyn Wire>>,
}

/// What a client talks over.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Client {
    /// Connects, agrees on TLS, reads the greeting and logs in.
    pub(crate) async fn log_in(door: &Door, turn: u64) -> Result<Self, String> {
        let socket = connect(door, turn).await.map_err(|error| format!("connect: {error}"))?;
        let mut client = Self::greet(door, Box::new(socket)).await?;
        client.authenticate(&door.user(turn)).await?;
        Ok(client)
    }

    /// Gives the user's password.
    pub(super) async fn authenticate(&mut self, user: &str) -> Result<(), String> {
        match self.protocol {
            Protocol::Imap => self.command(&format!("LOGIN {user} {PASSWORD}")).await,
            Protocol::Pop3 => {
                self.command(&format!("USER {user}")).await?;
                self.command(&format!("PASS {PASSWORD}")).await
            }
        }
    }

    /// Agrees on TLS over a connection that is there, and reads the greeting.
    pub(super) async fn greet(door: &Door, socket: Box<dyn Wire>) -> Result<Self, String> {
        let told = |error: io::Error| error.to_string();
        let protocol = door.protocol;
        let boxed = |wire: Box<dyn Wire>| Self { protocol, wire: BufReader::with_capacity(BUFFER, wire) };
        let mut client = match &door.tls {
            None => boxed(socket),
            Some((Tls::Off | Tls::Implicit, tls, name)) => {
                boxed(Box::new(tls.connect(name.clone(), socket).await.map_err(told)?))
            }
            Some((Tls::Starttls, tls, name)) => {
                let mut clear = boxed(socket);
                clear.greeting().await?;
                let word = if protocol == Protocol::Imap { "STARTTLS" } else { "STLS" };
                clear.command(word).await?;
                if !clear.wire.buffer().is_empty() {
                    return Err("the server went on behind STARTTLS".into());
                }
                let tls = tls.connect(name.clone(), clear.wire.into_inner()).await.map_err(told)?;
                return Ok(boxed(Box::new(tls)));
            }
        };
        client.greeting().await?;
        Ok(client)
    }

    async fn greeting(&mut self) -> Result<(), String> {
        let greeting = self.line().await?;
        let welcome = match self.protocol {
            Protocol::Imap => "* OK",
            Protocol::Pop3 => "+OK",
        };
        if greeting.starts_with(welcome) { Ok(()) } else { Err(greeting) }
    }

    /// Sends a command and waits until the server agrees.
    pub(crate) async fn command(&mut self, command: &str) -> Result<(), String> {
        match self.protocol {
            Protocol::Imap => self.send(format!("a {command}\r\n").as_bytes()).await?,
            Protocol::Pop3 => self.send(format!("{command}\r\n").as_bytes()).await?,
        }
        self.agreement().await
    }

    /// IMAP: begins to wait for news. POP3 has nothing of the kind, its clients are just silent.
    pub(crate) async fn idle(&mut self) -> Result<(), String> {
        if self.protocol == Protocol::Pop3 {
            return Ok(());
        }
        self.send(b"a IDLE\r\n").await?;
        let answer = self.line().await?;
        if answer.starts_with('+') { Ok(()) } else { Err(answer) }
    }

    /// Ends the wait, and asks once whether the server is there.
    pub(crate) async fn wake(&mut self) -> Result<(), String> {
        if self.protocol == Protocol::Imap {
            self.send(b"DONE\r\n").await?;
            self.agreement().await?;
        }
        self.command("NOOP").await
    }

    /// Fetches a message of so many octets.
    pub(crate) async fn download(&mut self, octets: u64, scratch: &mut [u8]) -> Result<(), String> {
        let command = match self.protocol {
            Protocol::Imap => format!("a FETCH 1 BODY.PEEK[]<0.{octets}>\r\n"),
            Protocol::Pop3 => format!("RETR {octets}\r\n"),
        };
        self.send(command.as_bytes()).await?;
        let announced = self.line().await?;
        let expected = match self.protocol {
            Protocol::Imap => format!("* 1 FETCH (BODY[]<0> {{{octets}}}"),
            Protocol::Pop3 => format!("+OK {octets} octets"),
        };
        if announced != expected {
            return Err(announced);
        }
        let mut rest = octets;
        while rest > 0 {
            let most = usize::try_from(rest).unwrap_or(usize::MAX).min(scratch.len());
            let read = self.wire.read(&mut scratch[..most]).await.map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("the connection was closed in a message".into());
            }
            rest -= read as u64;
        }
        let end = self.line().await?;
        match (self.protocol, end.as_str()) {
            (Protocol::Imap, ")") => self.agreement().await,
            (Protocol::Pop3, ".") => Ok(()),
            _ => Err(end),
        }
    }

    /// Stores a message of so many octets (IMAP).
    pub(crate) async fn upload(&mut self, octets: u64, scratch: &[u8]) -> Result<(), String> {
        self.send(format!("a APPEND INBOX {{{octets}+}}\r\n").as_bytes()).await?;
        let mut rest = octets;
        while rest > 0 {
            let most = usize::try_from(rest).unwrap_or(usize::MAX).min(scratch.len());
            self.wire.write_all(&scratch[..most]).await.map_err(|error| error.to_string())?;
            rest -= most as u64;
        }
        self.send(b"\r\n").await?;
        self.agreement().await
    }

    /// Ends the connection without a word of the mail protocol, TLS politely.
    pub(crate) async fn close(mut self) {
        let _ = self.wire.shutdown().await;
    }

    async fn agreement(&mut self) -> Result<(), String> {
        loop {
            let line = self.line().await?;
            let (good, goes_on) = match self.protocol {
                Protocol::Imap => (line.starts_with("a OK"), line.starts_with("* ")),
                Protocol::Pop3 => (line.starts_with("+OK"), false),
            };
            match (good, goes_on) {
                (true, _) => return Ok(()),
                (false, true) => {}
                (false, false) => return Err(line),
            }
        }
    }

    async fn send(&mut self, octets: &[u8]) -> Result<(), String> {
        let sent = async {
            self.wire.write_all(octets).await?;
            self.wire.flush().await
        };
        sent.await.map_err(|error| error.to_string())
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let read = (&mut self.wire).take(LINE_MAX).read_until(b'\n', &mut line).await;
        read.map_err(|error| error.to_string())?;
        match line.last() {
            Some(b'\n') => Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            _ => Err("the connection was closed".into()),
        }
    }
}

/// A connection from the address whose turn it is.
pub(super) async fn connect(door: &Door, turn: u64) -> io::Result<TcpStream> {
    let socket = if door.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = door.source(turn) {
        socket.set_reuseaddr(true)?;
        socket.bind((source, 0).into())?;
    }
    let socket = socket.connect(door.address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}
