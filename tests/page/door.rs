//! A way for a browser to the unix socket, with tokens.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// Of one who may order.
pub const OPERATOR: &str = "operator-token";

pub struct Door(SocketAddr);

impl Door {
    pub async fn open(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(pass(stream, socket.clone()));
            }
        });
        Self(address)
    }

    pub fn address(&self) -> String {
        format!("http://{}/", self.0)
    }
}

async fn pass(mut stream: TcpStream, socket: PathBuf) {
    let mut head = Vec::new();
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        let mut octets = [0; 4096];
        let Ok(count @ 1..) = stream.read(&mut octets).await else { return };
        head.extend_from_slice(&octets[..count]);
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    if text.contains(" /v1/") && !text.contains(&format!("authorization: bearer {OPERATOR}\r\n")) {
        let body = "{\"error\":\"no\",\"meant\":[]}";
        let answer = format!("HTTP/1.1 401 no\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    }
    let Ok(mut node) = UnixStream::connect(socket).await else { return };
    node.write_all(&head).await.unwrap();
    let _ = copy_bidirectional(&mut stream, &mut node).await;
}
