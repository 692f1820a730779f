//! One client connection, as simple as a mail client can be: it waits for each answer before it goes on.

use std::io;
use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::{Protocol, Stage, Target, User};

/// Octets of an answer's line that are read; a server that goes on is not one.
const LINE_MAX: u64 = 16 * 1024;

/// A connection to a mail server.
pub(crate) struct Session {
    protocol: Protocol,
    wire: BufReader<Box<dyn Wire>>,
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Session {
    /// Connects, agrees on TLS and reads the greeting; `enter` is told of each stage that begins.
    pub(crate) async fn open(
        target: &Target,
        from: Option<Ipv4Addr>,
        mut enter: impl FnMut(Stage),
    ) -> Result<Self, String> {
        enter(Stage::Connect);
        let socket = connect(&target.address, from).await.map_err(|error| error.to_string())?;
        let wire: Box<dyn Wire> = match &target.tls {
            None => Box::new(socket),
            Some((connector, name)) => {
                enter(Stage::Tls);
                Box::new(connector.connect(name.clone(), socket).await.map_err(|error| error.to_string())?)
            }
        };
        enter(Stage::Greeting);
        let mut session = Self { protocol: target.protocol, wire: BufReader::new(wire) };
        let greeting = session.line().await?;
        let welcome = match session.protocol {
            Protocol::Imap => "* OK",
            Protocol::Pop3 => "+OK",
        };
        if greeting.starts_with(welcome) { Ok(session) } else { Err(greeting) }
    }

    /// Returns when the server agrees. Its words never hold the password.
    pub(crate) async fn log_in(&mut self, user: &User) -> Result<(), String> {
        let answer = match self.protocol {
            Protocol::Imap => self.imap(&imap_login(user)).await.map(drop),
            Protocol::Pop3 => self.pop3_login(user).await,
        };
        answer.map_err(|words| words.replace(&user.password, "(password)"))
    }

    async fn pop3_login(&mut self, user: &User) -> Result<(), String> {
        self.pop3(&format!("USER {}", user.name)).await?;
        self.pop3(&format!("PASS {}", user.password)).await.map(drop)
    }

    /// One question that only the mailbox can answer.
    pub(crate) async fn look_into_mailbox(&mut self) -> Result<(), String> {
        match self.protocol {
            Protocol::Imap => {
                let answers = self.imap("STATUS INBOX (MESSAGES)").await?;
                let found = answers.iter().any(|line| line.starts_with("* STATUS "));
                if found { Ok(()) } else { Err(format!("no status in {answers:?}")) }
            }
            Protocol::Pop3 => self.pop3("STAT").await.map(drop),
        }
    }

    /// Says goodbye, and hears it.
    pub(crate) async fn log_out(&mut self) -> Result<(), String> {
        match self.protocol {
            Protocol::Imap => self.imap("LOGOUT").await.map(drop),
            Protocol::Pop3 => self.pop3("QUIT").await.map(drop),
        }
    }

    /// Says nothing and waits until the server ends the connection, in whichever way.
    pub(crate) async fn wait_for_end(&mut self) {
        let mut waste = [0; 512];
        while self.wire.read(&mut waste).await.is_ok_and(|count| count > 0) {}
    }

    /// Sends a command and returns the untagged lines before the agreement.
    async fn imap(&mut self, command: &str) -> Result<Vec<String>, String> {
        self.send(&format!("a {command}\r\n")).await?;
        let mut untagged = Vec::new();
        loop {
            let line = self.line().await?;
            match line.strip_prefix("a ") {
                Some(answer) if answer.starts_with("OK") => return Ok(untagged),
                Some(_) => return Err(line),
                None => untagged.push(line),
            }
        }
    }

    async fn pop3(&mut self, command: &str) -> Result<String, String> {
        self.send(&format!("{command}\r\n")).await?;
        let line = self.line().await?;
        if line.starts_with("+OK") { Ok(line) } else { Err(line) }
    }

    async fn send(&mut self, text: &str) -> Result<(), String> {
        let sent = async {
            self.wire.write_all(text.as_bytes()).await?;
            self.wire.flush().await
        };
        sent.await.map_err(|error| error.to_string())
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let read = (&mut self.wire).take(LINE_MAX).read_until(b'\n', &mut line).await;
        read.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        match line.last() {
            Some(b'\n') => Ok(text),
            Some(_) => Err(format!("a broken line: {text}")),
            None => Err("the connection was closed".into()),
        }
    }
}

/// LOGIN with quoted strings; AUTHENTICATE PLAIN for what these cannot hold.
fn imap_login(user: &User) -> String {
    if [&user.name, &user.password].iter().all(|text| text.bytes().all(|octet| matches!(octet, b' '..=b'~'))) {
        return format!("LOGIN {} {}", quoted(&user.name), quoted(&user.password));
    }
    let plain = format!("\0{}\0{}", user.name, user.password);
    format!("AUTHENTICATE PLAIN {}", STANDARD.encode(plain))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

async fn connect(address: &str, from: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(address).await };
    let to = lookup_host(address).await?.find(|to| to.is_ipv4());
    let to = to.ok_or_else(|| io::Error::other("no IPv4 address to reach from a chosen one"))?;
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let socket = socket.connect(to).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}
