//! What all of these tests need: a connection with our TLS on one side, an echo, data, programs.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use mailferry::net::Stream;
use mailferry::testkit::tls::{Configurations, configurations};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A hang is a failure after this time.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

static CONFIGURATIONS: LazyLock<[Configurations; 2]> = LazyLock::new(|| VERSIONS.map(|it| configurations(it).unwrap()));

/// For this version.
pub fn server_config(version: usize) -> Arc<ServerConfig> {
    Arc::clone(&CONFIGURATIONS[version].0)
}

/// For this version; it trusts the certificate of [`file`].
pub fn client_config(version: usize) -> Arc<ClientConfig> {
    Arc::clone(&CONFIGURATIONS[version].1)
}

pub fn localhost() -> ServerName<'static> {
    "localhost".try_into().unwrap()
}

/// The certificate (`chain.pem`) or its key (`key.pem`).
pub fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "src", "testkit", "tls", name].iter().collect()
}

/// Waits, but not for ever.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("nothing more happens")
}

pub async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Our server: the next connection's handshake, and then this.
pub async fn server<F, T>(
    version: usize,
    first: &'static [u8],
    then: impl FnOnce(Stream) -> F + Send + 'static,
) -> (SocketAddr, JoinHandle<io::Result<T>>)
where
    F: Future<Output = io::Result<T>> + Send,
    T: Send + 'static,
{
    let (listener, address) = listener().await;
    let serve = async move {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let stream = Stream::Clear(socket).accept_tls(server_config(version), Vec::new(), first).await?;
        then(stream).await
    };
    (address, tokio::spawn(serve))
}

/// Our client.
pub async fn client(version: usize, address: SocketAddr) -> io::Result<Stream> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Stream::Clear(socket).connect_tls(client_config(version), localhost()).await
}

/// Says everything that it hears, with reads of this size, until so much was heard or the peer ends; then ends in order.
pub async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin, read: usize, most: usize) -> io::Result<usize> {
    let (mut octets, mut sum) = (vec![0; read], 0);
    while sum < most {
        let count = stream.read(&mut octets).await?;
        if count == 0 {
            break;
        }
        stream.write_all(&octets[..count]).await?;
        stream.flush().await?;
        sum += count;
    }
    stream.shutdown().await?;
    Ok(sum)
}

/// Says this and hears as much, both at once. Then the peer must end in order.
pub async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, data: &[u8], write: usize) -> Vec<u8> {
    let (mut from, mut to) = tokio::io::split(stream);
    let say = async {
        for part in data.chunks(write) {
            to.write_all(part).await.unwrap();
        }
        to.flush().await.unwrap();
    };
    let hear = async {
        let mut heard = Vec::new();
        while heard.len() < data.len() {
            let mut octets = vec![0; 64 * 1024];
            let count = from.read(&mut octets).await.unwrap();
            assert!(count > 0, "the end after {} of {} octets", heard.len(), data.len());
            heard.extend_from_slice(&octets[..count]);
        }
        heard
    };
    soon(async { tokio::join!(say, hear).1 }).await
}

/// Octets of which no part is like another.
pub fn data(len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(len as u64);
    (0..len).map(|_| random.u8(..)).collect()
}

/// Two large things that must be the same, without printing them.
pub fn assert_same(left: &[u8], right: &[u8], what: &str) {
    assert_eq!(left.len(), right.len(), "{what}");
    let differs = left.iter().zip(right).position(|(left, right)| left != right);
    assert_eq!(differs, None, "{what}");
}

/// Reads what a program prints until this stands in it so often.
pub fn until(pipe: &mut impl io::Read, said: &mut String, word: &str, times: usize) {
    while said.matches(word).count() < times {
        let mut octets = [0; 4096];
        let count = pipe.read(&mut octets).unwrap();
        assert!(count > 0, "{word} not {times} times in {said}");
        said.push_str(&String::from_utf8_lossy(&octets[..count]));
    }
}

/// A program with pipes; it ends with the test.
pub struct Program(pub Child);

impl Program {
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(name);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap_or_else(|error| panic!("{name}: {error}: apt install openssl python3-minimal")))
    }

    /// Everything that it prints, after its input was closed.
    pub async fn output(mut self) -> (bool, Vec<u8>, String) {
        drop(self.0.stdin.take());
        let (stdout, stderr) = (self.0.stdout.take().unwrap(), self.0.stderr.take().unwrap());
        let all = |mut pipe: Box<dyn io::Read + Send>| {
            tokio::task::spawn_blocking(move || {
                let mut octets = Vec::new();
                pipe.read_to_end(&mut octets).unwrap();
                octets
            })
        };
        let (stdout, stderr) = soon(async { tokio::join!(all(Box::new(stdout)), all(Box::new(stderr))) }).await;
        let is_well = self.0.wait().unwrap().success();
        (is_well, stdout.unwrap(), String::from_utf8_lossy(&stderr.unwrap()).into_owned())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
