//! Peers that end early, lie, or stop reading.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Write as _};
use std::pin::Pin;
use std::task::Poll;

use rustls::client::ClientConnection;
use rustls::{AlertDescription, Error};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::bench::{
    VERSIONS, assert_same, client, client_config, data, echo, listener, localhost, server, server_config, soon,
};
use crate::flights::{finish, hear, say};

#[tokio::test]
async fn an_end_without_close_notify_is_told_behind_what_came_before() {
    for version in 0..VERSIONS.len() {
        let (address, served) = server(version, b"", |mut stream| async move {
            let mut heard = Vec::new();
            let end = stream.read_to_end(&mut heard).await;
            Ok((heard, end.unwrap_err().kind()))
        })
        .await;
        let mut socket = TcpStream::connect(address).await.unwrap();
        let mut tls = ClientConnection::new(client_config(version), localhost()).unwrap();
        finish(&mut tls, &mut socket).await;
        tls.writer().write_all(b"all of this").unwrap();
        say(&mut tls, &mut socket).await;
        // Half a record, and nothing more.
        tls.writer().write_all(b"and never this").unwrap();
        let mut out = Vec::new();
        tls.write_tls(&mut out).unwrap();
        socket.write_all(&out[..out.len() - 1]).await.unwrap();
        socket.shutdown().await.unwrap();
        assert_eq!(soon(served).await.unwrap().unwrap(), (b"all of this".to_vec(), ErrorKind::UnexpectedEof));
    }
}

#[tokio::test]
async fn a_changed_record_is_an_error_behind_what_came_before_and_gets_an_alert() {
    for version in 0..VERSIONS.len() {
        let (address, served) = server(version, b"", |mut stream| async move {
            let mut heard = Vec::new();
            let end = stream.read_to_end(&mut heard).await.unwrap_err();
            // And it stays one; nothing more can be said either.
            assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::InvalidData);
            assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::InvalidData);
            let _ = stream.shutdown().await;
            Ok((heard, end.kind()))
        })
        .await;
        let mut socket = TcpStream::connect(address).await.unwrap();
        let mut tls = ClientConnection::new(client_config(version), localhost()).unwrap();
        finish(&mut tls, &mut socket).await;
        let mut out = Vec::new();
        for part in [b"good", b"evil", b"late"] {
            tls.writer().write_all(part).unwrap();
            tls.write_tls(&mut out).unwrap();
        }
        let place = out.len() / 2;
        out[place] ^= 1;
        socket.write_all(&out).await.unwrap();
        assert_eq!(soon(served).await.unwrap().unwrap(), (b"good".to_vec(), ErrorKind::InvalidData));
        let heard = hear(&mut tls, &mut socket).await;
        assert_eq!(heard, Err(Error::AlertReceived(AlertDescription::BadRecordMac)), "version {version}");
    }
}

#[tokio::test]
async fn octets_that_are_no_record_are_an_error_and_get_an_alert() {
    for version in 0..VERSIONS.len() {
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x17, 3, 3, 0xff, 0xff, 0, 0], &[0x19, 3, 3, 0, 1, 0]] {
            let (address, served) = server(version, b"", |stream| echo(stream, 4096, usize::MAX)).await;
            let mut socket = TcpStream::connect(address).await.unwrap();
            let mut tls = ClientConnection::new(client_config(version), localhost()).unwrap();
            finish(&mut tls, &mut socket).await;
            tls.writer().write_all(b"ping").unwrap();
            say(&mut tls, &mut socket).await;
            assert_eq!(hear(&mut tls, &mut socket).await.unwrap(), b"ping");
            socket.write_all(garbage).await.unwrap();
            assert_eq!(soon(served).await.unwrap().unwrap_err().kind(), ErrorKind::InvalidData, "{garbage:?}");
            let heard = hear(&mut tls, &mut socket).await;
            assert!(matches!(heard, Err(Error::AlertReceived(_))), "version {version}, {garbage:?}: {heard:?}");
        }
    }
}

/// In TLS 1.3, where what a server says behind the client's Finished is in no hurry, but for this.
#[tokio::test]
async fn a_changed_record_right_behind_the_handshake_gets_an_alert() {
    let version = 1;
    let (address, served) = server(version, b"", |stream| echo(stream, 4096, usize::MAX)).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut tls = ClientConnection::new(client_config(version), localhost()).unwrap();
    say(&mut tls, &mut socket).await;
    hear(&mut tls, &mut socket).await.unwrap();
    tls.writer().write_all(b"evil").unwrap();
    let mut out = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut out).unwrap();
    }
    *out.last_mut().unwrap() ^= 1;
    socket.write_all(&out).await.unwrap();
    assert_eq!(soon(served).await.unwrap().unwrap_err().kind(), ErrorKind::InvalidData);
    let heard = hear(&mut tls, &mut socket).await;
    assert_eq!(heard, Err(Error::AlertReceived(AlertDescription::BadRecordMac)));
}

#[tokio::test]
async fn an_end_or_a_reset_in_the_handshake_is_its_failure() {
    for version in 0..VERSIONS.len() {
        for part in [0, 1, 5, 100, usize::MAX] {
            for is_reset in [false, true] {
                let (address, served) = server(version, b"hello", |stream| echo(stream, 4096, usize::MAX)).await;
                let mut socket = TcpStream::connect(address).await.unwrap();
                let mut tls = ClientConnection::new(client_config(version), localhost()).unwrap();
                let mut hello = Vec::new();
                tls.write_tls(&mut hello).unwrap();
                socket.write_all(&hello[..part.min(hello.len())]).await.unwrap();
                if part == usize::MAX {
                    // Our flight must be there, or it is a race.
                    soon(socket.readable()).await.unwrap();
                }
                if is_reset {
                    socket.set_zero_linger().unwrap();
                } else {
                    socket.shutdown().await.unwrap();
                }
                let kept = (!is_reset).then_some(socket);
                let error = soon(served).await.unwrap().unwrap_err();
                let expected = if is_reset { ErrorKind::ConnectionReset } else { ErrorKind::UnexpectedEof };
                assert_eq!(error.kind(), expected, "version {version}, {part} octets: {error}");
                if !is_reset {
                    assert_eq!(error.to_string(), "tls handshake eof");
                }
                drop(kept);
            }
        }
    }
}

#[tokio::test]
async fn a_reset_behind_the_handshake_ends_what_waits() {
    for version in 0..VERSIONS.len() {
        let (address, served) = server(version, b"hello", |stream| echo(stream, 4096, usize::MAX)).await;
        let socket = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(client_config(version));
        let mut stream = soon(connector.connect(localhost(), socket)).await.unwrap();
        let mut first = [0; 5];
        soon(stream.read_exact(&mut first)).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        soon(stream.read_exact(&mut first[..1])).await.unwrap();
        stream.get_ref().0.set_zero_linger().unwrap();
        drop(stream);
        assert_eq!(soon(served).await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn who_has_said_its_close_notify_can_still_hear_and_who_heard_it_can_still_speak() {
    for version in 0..VERSIONS.len() {
        // Our side ends first.
        let (address, served) = server(version, b"", |mut stream| async move {
            stream.write_all(b"goodbye").await?;
            stream.shutdown().await?;
            assert_eq!(stream.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await?;
            Ok(heard)
        })
        .await;
        let socket = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(client_config(version));
        let mut stream = soon(connector.connect(localhost(), socket)).await.unwrap();
        let mut heard = Vec::new();
        soon(stream.read_to_end(&mut heard)).await.unwrap();
        assert_eq!(heard, b"goodbye");
        stream.write_all(b"last words").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(soon(served).await.unwrap().unwrap(), b"last words");
        // The other side does, and what it says behind its close_notify is not heard.
        let (address, served) = server(version, b"", |mut stream| async move {
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await?;
            stream.write_all(b"an answer").await?;
            stream.shutdown().await?;
            Ok(heard)
        })
        .await;
        let mut socket = TcpStream::connect(address).await.unwrap();
        let mut tls = ClientConnection::new(client_config(version), localhost()).unwrap();
        finish(&mut tls, &mut socket).await;
        tls.writer().write_all(b"a question").unwrap();
        tls.send_close_notify();
        say(&mut tls, &mut socket).await;
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut heard = Vec::new();
        while heard.len() < 9 {
            heard.extend(hear(&mut tls, &mut socket).await.unwrap());
        }
        assert_eq!(heard, b"an answer");
        assert_eq!(soon(served).await.unwrap().unwrap(), b"a question");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_stops_us_and_misses_nothing() {
    for version in 0..VERSIONS.len() {
        let data = data(64 << 20);
        let said = data.clone();
        let (listener, address) = listener().await;
        let (stopped, mut stop) = tokio::sync::mpsc::unbounded_channel();
        let served = tokio::spawn(async move {
            let (socket, _) = listener.accept().await?;
            let stream = mailferry::net::Stream::Clear(socket);
            let mut stream = stream.accept_tls(server_config(version), Vec::new(), b"").await?;
            let mut sent = 0;
            poll_fn(|cx| {
                while sent < said.len() {
                    match Pin::new(&mut stream).poll_write(cx, &said[sent..]) {
                        Poll::Ready(Ok(count)) => {
                            assert!((1..=128 * 1024).contains(&count), "{count}");
                            sent += count;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => {
                            let _ = stopped.send(sent);
                            return Poll::Pending;
                        }
                    }
                }
                Poll::Ready(Ok(()))
            })
            .await?;
            stream.shutdown().await
        });
        let socket = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(client_config(version));
        let mut stream = soon(connector.connect(localhost(), socket)).await.unwrap();
        let sent = soon(stop.recv()).await.unwrap();
        assert!(sent < data.len(), "it never waited");
        let mut heard = Vec::new();
        soon(stream.read_to_end(&mut heard)).await.unwrap();
        assert_same(&heard, &data, "all of it");
        soon(served).await.unwrap().unwrap();
    }
}

/// So that what waits goes in many small parts: with large buffers the kernel takes all of it at once, or nothing.
#[tokio::test]
async fn a_peer_that_reads_in_sips_through_small_buffers_misses_nothing() {
    const SMALL: usize = 4096;
    for version in 0..VERSIONS.len() {
        let data = data(1 << 20);
        let said = data.clone();
        let (listener, address) = listener().await;
        let served = tokio::spawn(async move {
            let (socket, _) = listener.accept().await?;
            socket2::SockRef::from(&socket).set_send_buffer_size(SMALL)?;
            let stream = mailferry::net::Stream::Clear(socket);
            let mut stream = stream.accept_tls(server_config(version), Vec::new(), b"").await?;
            let (mut sent, mut waits) = (0, 0);
            poll_fn(|cx| {
                while sent < said.len() {
                    let Poll::Ready(count) = Pin::new(&mut stream).poll_write(cx, &said[sent..])? else {
                        waits += 1;
                        return Poll::Pending;
                    };
                    sent += count;
                }
                Poll::Ready(io::Result::Ok(()))
            })
            .await?;
            // There is something left of the last part, and close_notify stands behind it.
            stream.shutdown().await?;
            Ok::<_, io::Error>(waits)
        });
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SMALL as u32).unwrap();
        let socket = socket.connect(address).await.unwrap();
        let connector = TlsConnector::from(client_config(version));
        let mut stream = soon(connector.connect(localhost(), socket)).await.unwrap();
        let mut heard = Vec::new();
        let hear = async {
            let mut sip = [0; 1000];
            loop {
                match stream.read(&mut sip).await.unwrap() {
                    0 => break,
                    count => heard.extend_from_slice(&sip[..count]),
                }
            }
        };
        soon(hear).await;
        assert_same(&heard, &data, "all of it, and an end in order");
        let waits = soon(served).await.unwrap().unwrap();
        assert!(waits > 3 * (data.len() / (64 * 1024)), "only {waits} waits: nothing went in parts");
    }
}

#[tokio::test]
async fn our_client_believes_no_stranger_and_says_why() {
    for version in 0..VERSIONS.len() {
        let (listener, address) = listener().await;
        let served = tokio::spawn(async move {
            let (socket, _) = listener.accept().await?;
            TlsAcceptor::from(server_config(version)).accept(socket).await
        });
        let socket = TcpStream::connect(address).await.unwrap();
        let wrong = "mail.example.net".try_into().unwrap();
        let refused = soon(mailferry::net::Stream::Clear(socket).connect_tls(client_config(version), wrong)).await;
        let refused = refused.err().unwrap();
        assert!(refused.to_string().contains("certificate not valid for name \"mail.example.net\""), "{refused}");
        // In TLS 1.3 the server hears it after its own part is done, or before.
        let heard = soon(served).await.unwrap().err().unwrap();
        assert!(heard.to_string().contains("received fatal alert"), "{heard}");
    }
    // What is no TLS is said so as well.
    let (listener, address) = listener().await;
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"* OK hello\r\n").await.unwrap();
        socket
    });
    let refused = soon(client(1, address)).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::InvalidData, "{refused}");
    drop(served);
}
