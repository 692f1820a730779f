//! How fast octets go from a node to a client: in clear text and under TLS, over real sockets of the loopback.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use std::{future, thread};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mailferry::net::Stream;
use mailferry::net::pump::Pump;
use mailferry::net::tls::{CertificateFiles, ServerSettings, Version, client_config, load_roots, server_config};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConfig, StreamOwned};

/// Octets of one transfer.
const TRANSFER: usize = 16 * 1024 * 1024;

/// Octets that the node writes at once, and the client reads.
const AT_ONCE: usize = 256 * 1024;

/// Who reads.
trait Client: Read {}
impl<T: Read> Client for T {}

/// Two connected ends.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    Ok((near, far))
}

/// A relay in a thread of its own, between two sockets. It ends with them.
fn relay(client: TcpStream, node: TcpStream, tls: Option<Arc<ServerConfig>>) {
    thread::spawn(move || -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut client = stream(client)?;
            let mut node = stream(node)?;
            if let Some(config) = tls {
                client = client.accept_tls(config, Vec::new(), &[]).await?;
            }
            let mut pump = Pump::new(Vec::new(), Vec::new());
            future::poll_fn(|cx| pump.poll(cx, &mut client, &mut node, |_| Duration::ZERO)).await;
            Ok(())
        })
    });
}

fn stream(socket: TcpStream) -> io::Result<Stream> {
    socket.set_nonblocking(true)?;
    Ok(Stream::Clear(tokio::net::TcpStream::from_std(socket)?))
}

/// A node that sends as much as it is told to.
fn node(mut socket: TcpStream) -> Sender<usize> {
    let (sender, orders): (_, Receiver<usize>) = channel();
    thread::spawn(move || -> io::Result<()> {
        let octets = vec![b'x'; AT_ONCE];
        for mut left in orders {
            while left > 0 {
                let count = left.min(AT_ONCE);
                socket.write_all(octets.get(..count).unwrap_or_default())?;
                left -= count;
            }
        }
        Ok(())
    });
    sender
}

/// TLS for both ends, with a certificate of its own making.
fn under_tls(socket: TcpStream) -> Result<(Arc<ServerConfig>, impl Client + 'static), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let files = CertificateFiles { chain: folder.path().join("chain.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.chain, made.cert.pem())?;
    std::fs::write(&files.key, made.signing_key.serialize_pem())?;
    let roots = load_roots(&files.chain)?;
    let settings = ServerSettings { certificates: vec![files], min_version: Version::Tls13 };
    let server = server_config(&settings, b"imap", None)?;
    let connection = ClientConnection::new(client_config(roots)?, ServerName::try_from("localhost")?)?;
    Ok((server, StreamOwned::new(connection, socket)))
}

fn download(c: &mut Criterion, name: &str, tls: bool) -> Result<(), Box<dyn std::error::Error>> {
    let ((client, our_client), (our_node, far_node)) = (pair()?, pair()?);
    let mut client: Box<dyn Client> = if tls {
        let (config, client) = under_tls(client)?;
        relay(our_client, our_node, Some(config));
        Box::new(client)
    } else {
        relay(our_client, our_node, None);
        Box::new(client)
    };
    let order = node(far_node);
    let mut octets = vec![0; AT_ONCE];
    let mut group = c.benchmark_group("relay");
    group.throughput(Throughput::Bytes(TRANSFER as u64)).sample_size(10);
    group.bench_function(name, |b| {
        b.iter_batched(
            || order.send(TRANSFER).is_ok(),
            |ordered| {
                assert!(ordered, "the node is gone");
                let mut left = TRANSFER;
                while left > 0 {
                    let room = octets.get_mut(..left.min(AT_ONCE)).unwrap_or_default();
                    let Ok(count @ 1..) = client.read(room) else { unreachable!("the relay is gone") };
                    left -= count;
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    Ok(())
}

fn downloads(c: &mut Criterion) {
    for (name, tls) in [("download, clear text", false), ("download, TLS", true)] {
        assert!(download(c, name, tls).is_ok(), "{name} does not work");
    }
}

criterion_group!(benches, downloads);
criterion_main!(benches);
