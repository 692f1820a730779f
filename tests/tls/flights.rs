//! What goes out with what: the greeting with the handshake, and each flight in one write.

use std::io;

use rustls::client::ClientConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bench::{VERSIONS, client_config, echo, localhost, server, soon};

/// Sends what the connection has to say.
pub async fn say(tls: &mut ClientConnection, socket: &mut (impl AsyncWrite + Unpin)) {
    let mut out = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut out).unwrap();
    }
    soon(socket.write_all(&out)).await.unwrap();
}

/// Reads once, and returns what it came to.
pub async fn hear(tls: &mut ClientConnection, socket: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, rustls::Error> {
    let mut octets = vec![0; 64 * 1024];
    let count = soon(socket.read(&mut octets)).await.unwrap();
    assert!(count > 0, "the end of the connection");
    take(tls, &octets[..count])
}

/// What these records come to.
pub fn take(tls: &mut ClientConnection, mut octets: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut plain = Vec::new();
    while !octets.is_empty() {
        tls.read_tls(&mut octets).unwrap();
        tls.process_new_packets()?;
        match io::Read::read_to_end(&mut tls.reader(), &mut plain) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    Ok(plain)
}

/// The whole handshake of a client.
pub async fn finish(tls: &mut ClientConnection, socket: &mut TcpStream) {
    say(tls, socket).await;
    while tls.is_handshaking() {
        hear(tls, socket).await.unwrap();
        say(tls, socket).await;
    }
}

#[tokio::test]
async fn the_first_words_come_with_the_first_flight_that_may_carry_them_in_one_write() {
    for version in 0..VERSIONS.len() {
        let (address, served) = server(version, b"* hello\r\n", |stream| echo(stream, 4096, usize::MAX)).await;
        let mut socket = TcpStream::connect(address).await.unwrap();
        let mut tls = ClientConnection::new(client_config(version), localhost()).unwrap();
        say(&mut tls, &mut socket).await;
        // One read gets what one write has sent; a second write would be another segment.
        let mut heard = hear(&mut tls, &mut socket).await.unwrap();
        if version == 0 {
            // TLS 1.2 has application data only behind both sides' Finished.
            assert_eq!(heard, b"");
            say(&mut tls, &mut socket).await;
            heard = hear(&mut tls, &mut socket).await.unwrap();
        }
        // In TLS 1.3 the client has not said its Finished yet.
        assert_eq!(heard, b"* hello\r\n", "version {version}");
        assert!(!tls.is_handshaking());
        assert!(!served.is_finished());
        // What is left of the handshake, the ticket, comes with the first answer.
        io::Write::write_all(&mut tls.writer(), b"a NOOP\r\n").unwrap();
        say(&mut tls, &mut socket).await;
        let before = tls.tls13_tickets_received();
        assert_eq!(hear(&mut tls, &mut socket).await.unwrap(), b"a NOOP\r\n", "version {version}");
        // The test's configuration has the usual number of them.
        assert_eq!((before, tls.tls13_tickets_received()), (0, if version == 1 { 2 } else { 0 }));
        tls.send_close_notify();
        say(&mut tls, &mut socket).await;
        assert_eq!(soon(served).await.unwrap().unwrap(), 8);
    }
}

#[tokio::test]
async fn a_handshake_whose_first_octets_were_read_before_goes_on_with_them() {
    for version in 0..VERSIONS.len() {
        for early in [0, 1, 5, 60, usize::MAX] {
            let (listener, address) = crate::bench::listener().await;
            let mut tls = ClientConnection::new(client_config(version), localhost()).unwrap();
            let mut hello = Vec::new();
            tls.write_tls(&mut hello).unwrap();
            let (unread, sent) = hello.split_at(early.min(hello.len()));
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(sent).await.unwrap();
            let (ours, _) = listener.accept().await.unwrap();
            let (unread, config) = (unread.to_vec(), crate::bench::server_config(version));
            let served = tokio::spawn(async move {
                let stream = mailferry::net::Stream::Clear(ours).accept_tls(config, unread, b"").await?;
                echo(stream, 4096, 4).await
            });
            while tls.is_handshaking() {
                hear(&mut tls, &mut socket).await.unwrap();
                say(&mut tls, &mut socket).await;
            }
            io::Write::write_all(&mut tls.writer(), b"ping").unwrap();
            say(&mut tls, &mut socket).await;
            let mut heard = Vec::new();
            while heard.len() < 4 {
                heard.extend(hear(&mut tls, &mut socket).await.unwrap());
            }
            assert_eq!(heard, b"ping", "version {version}, {early} octets before");
            assert_eq!(soon(served).await.unwrap().unwrap(), 4);
        }
    }
}
