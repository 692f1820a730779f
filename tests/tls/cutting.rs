//! A wire that cuts what is sent anywhere. Each run has another seed, which a failure prints.

use std::net::SocketAddr;

use rustls::client::ClientConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::bench::{
    VERSIONS, assert_same, client, client_config, data, echo, exchange, listener, localhost, server, server_config,
    soon,
};

/// Passes one connection on, cut into parts of 1 to `most` octets.
async fn wire(to: SocketAddr, seed: u64, most: usize) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let ((near_from, near_to), (far_from, far_to)) = (near.into_split(), far.into_split());
        tokio::spawn(cut(near_from, far_to, seed, most));
        tokio::spawn(cut(far_from, near_to, seed ^ 1, most));
    });
    address
}

async fn cut(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, seed: u64, most: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut octets = vec![0; 32 * 1024];
    while let Ok(count @ 1..) = from.read(&mut octets).await {
        let mut left = &octets[..count];
        while !left.is_empty() {
            let (part, rest) = left.split_at(random.usize(1..=most).min(left.len()));
            if to.write_all(part).await.is_err() {
                return;
            }
            left = rest;
            tokio::task::yield_now().await;
        }
    }
    let _ = to.shutdown().await;
}

/// How much is sent, and the largest part of the wire.
const CUTS: [(usize, usize); 4] = [(10_000, 3), (200_000, 100), (1 << 20, 5_000), (5 << 20, 30_000)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_server_and_another_client_hear_each_other_however_the_wire_cuts() {
    for version in 0..VERSIONS.len() {
        for (len, most) in CUTS {
            let seed = fastrand::u64(..);
            let what = format!("version {version}, {len} octets in parts of {most}, seed {seed}");
            println!("{what}");
            let data = data(len);
            // Reads of a login, reads of a relay, and such that never fit.
            let read = [4096, 64 * 1024, 777][seed as usize % 3];
            let (address, served) = server(version, b"", move |stream| echo(stream, read, usize::MAX)).await;
            let socket = TcpStream::connect(wire(address, seed, most).await).await.unwrap();
            let connector = TlsConnector::from(client_config(version));
            let mut stream = soon(connector.connect(localhost(), socket)).await.unwrap();
            assert_same(&exchange(&mut stream, &data, 10_000).await, &data, &what);
            if version == 1 {
                stream.get_mut().1.refresh_traffic_keys().unwrap();
            }
            assert_same(&exchange(&mut stream, &data[..5000], 1).await, &data[..5000], &what);
            stream.shutdown().await.unwrap();
            assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0, "{what}: an end in order");
            assert_eq!(soon(served).await.unwrap().unwrap(), len + 5000);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_and_another_server_hear_each_other_however_the_wire_cuts() {
    for version in 0..VERSIONS.len() {
        for (len, most) in CUTS {
            let seed = fastrand::u64(..);
            let what = format!("version {version}, {len} octets in parts of {most}, seed {seed}");
            println!("{what}");
            let data = data(len);
            let (listener, address) = listener().await;
            let served = tokio::spawn(async move {
                let (socket, _) = listener.accept().await?;
                let mut stream = TlsAcceptor::from(server_config(version)).accept(socket).await?;
                if version == 1 {
                    stream.get_mut().1.refresh_traffic_keys().map_err(std::io::Error::other)?;
                }
                echo(stream, 10_000, usize::MAX).await
            });
            let mut stream = soon(client(version, wire(address, seed, most).await)).await.unwrap();
            assert_same(&exchange(&mut stream, &data, 100_000).await, &data, &what);
            stream.shutdown().await.unwrap();
            assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0, "{what}: an end in order");
            assert_eq!(soon(served).await.unwrap().unwrap(), len);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_server_and_our_client_hear_each_other_however_the_wire_cuts() {
    for version in 0..VERSIONS.len() {
        for (len, most) in CUTS {
            let seed = fastrand::u64(..);
            let what = format!("version {version}, {len} octets in parts of {most}, seed {seed}");
            println!("{what}");
            let data = data(len);
            let (address, served) = server(version, b"hello", |stream| echo(stream, 64 * 1024, usize::MAX)).await;
            let mut stream = soon(client(version, wire(address, seed, most).await)).await.unwrap();
            let mut first = [0; 5];
            soon(stream.read_exact(&mut first)).await.unwrap();
            assert_eq!(&first, b"hello", "{what}");
            assert_same(&exchange(&mut stream, &data, 200_000).await, &data, &what);
            stream.shutdown().await.unwrap();
            assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0, "{what}: an end in order");
            assert_eq!(soon(served).await.unwrap().unwrap(), len);
        }
    }
}

#[tokio::test]
async fn records_of_one_octet_and_of_the_largest_size_arrive() {
    for version in 0..VERSIONS.len() {
        for (record, count) in [(1, 5_000), (16 * 1024, 40)] {
            let data = data(record * count);
            let (address, served) = server(version, b"", |stream| echo(stream, 4096, usize::MAX)).await;
            let mut socket = TcpStream::connect(address).await.unwrap();
            let mut tls = ClientConnection::new(client_config(version), localhost()).unwrap();
            crate::flights::finish(&mut tls, &mut socket).await;
            tls.set_buffer_limit(None);
            let mut out = Vec::new();
            for part in data.chunks(record) {
                std::io::Write::write_all(&mut tls.writer(), part).unwrap();
            }
            while tls.wants_write() {
                tls.write_tls(&mut out).unwrap();
            }
            assert!(out.len() >= data.len() + count * 20, "not so many records: {}", out.len());
            let (mut from, mut to) = socket.split();
            let say = async { to.write_all(&out).await.unwrap() };
            let hear = async {
                let mut heard = Vec::new();
                while heard.len() < data.len() {
                    heard.extend(crate::flights::hear(&mut tls, &mut from).await.unwrap());
                }
                heard
            };
            let ((), heard) = soon(async { tokio::join!(say, hear) }).await;
            assert_same(&heard, &data, &format!("version {version}, records of {record}"));
            drop(socket);
            assert_eq!(soon(served).await.unwrap().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        }
    }
}
