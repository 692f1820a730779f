//! What nginx asks who serves a user (its `auth_http`): always the same node. A process of its own, so that its CPU can
//! be added to nginx's.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::node::listen;

/// Octets of a request; nginx's are some 300.
const REQUEST_MAX: u64 = 16 * 1024;

/// Answers nginx's auth_http: everybody may log in, on the node that is named here.
#[derive(Args)]
pub(crate) struct Lookup {
    /// Where to listen. Port 0 takes a free one; the first line that is written is lookup=ADDRESS.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// The node for IMAP.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) imap: SocketAddr,
    /// The node for POP3.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) pop3: SocketAddr,
}

impl Lookup {
    /// Answers until it is killed.
    pub(crate) async fn run(&self) -> Result<(), String> {
        let wrong = |error: io::Error| format!("{}: {error}", self.listen);
        let listener = listen(self.listen).map_err(wrong)?;
        let line = format!("lookup={}\n", listener.local_addr().map_err(wrong)?);
        io::stdout().write_all(line.as_bytes()).map_err(|error| error.to_string())?;
        let nodes = Arc::new((self.imap, self.pop3));
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            let nodes = Arc::clone(&nodes);
            tokio::spawn(async move { answer(socket, nodes.0, nodes.1).await });
        }
    }
}

async fn answer(socket: TcpStream, imap: SocketAddr, pop3: SocketAddr) -> io::Result<()> {
    let mut wire = BufReader::new(socket);
    let mut node = imap;
    let mut line = String::new();
    loop {
        line.clear();
        let read = (&mut wire).take(REQUEST_MAX).read_line(&mut line).await?;
        match line.trim_end() {
            "" if read == 0 => return Ok(()),
            "" => break,
            header if header.eq_ignore_ascii_case("Auth-Protocol: pop3") => node = pop3,
            _ => {}
        }
    }
    let (host, port) = (node.ip(), node.port());
    let answer = format!("HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: {host}\r\nAuth-Port: {port}\r\n\r\n");
    wire.write_all(answer.as_bytes()).await?;
    wire.shutdown().await
}
