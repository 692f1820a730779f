//! systemd's store of descriptors: we are systemd, get the sockets, and give them to the next process, also behind a
//! crash.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;

use super::place::{Place, listener};
use crate::client::{Client, DEADLINE};
use crate::node::FakeNode;

/// What a service tells us.
struct Systemd(UnixDatagram);

impl Systemd {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(socket)
    }

    /// The next message, and the descriptor that it has.
    async fn hear(&self) -> (String, Option<OwnedFd>) {
        let socket = self.0.try_clone().unwrap();
        let heard = spawn_blocking(move || {
            let mut octets = [0; 4096];
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(4))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let received =
                recvmsg(&socket, &mut [IoSliceMut::new(&mut octets)], &mut ancillary, RecvFlags::CMSG_CLOEXEC);
            let count = received.expect("no message in time").bytes;
            let descriptors = ancillary.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            });
            let mut descriptors: Vec<OwnedFd> = descriptors.flatten().collect();
            assert!(descriptors.len() <= 1);
            (String::from_utf8(octets[..count].to_vec()).unwrap(), descriptors.pop())
        });
        heard.await.unwrap()
    }

    /// A socket that is to be kept, by its name.
    async fn stored(&self) -> (String, OwnedFd) {
        let (said, socket) = self.hear().await;
        let name = said.strip_prefix("FDSTORE=1\nFDNAME=").and_then(|rest| rest.strip_suffix('\n'));
        let name = name.unwrap_or_else(|| panic!("{said:?}")).to_owned();
        assert!(name.len() < 256 && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':'), "{name}");
        (name, socket.unwrap())
    }
}

fn name_of(address: SocketAddr) -> String {
    format!("mailferry_{}_{}", address.ip(), address.port())
}

#[tokio::test]
async fn systemd_keeps_the_sockets_over_a_crash_and_over_what_becomes_of_the_configuration() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    let systemd = Systemd::at(&place.path("notify"));
    let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let one = place.configuration();
    let both = one.replace("[directory]", &format!("{}[directory]", listener(other)));
    place.write(&both);
    let program = place.start_notifying(&place.path("notify")).ready().await;
    let (first, second) = (systemd.stored().await, systemd.stored().await);
    assert_eq!((&first.0, &second.0), (&name_of(place.address), &name_of(other)));
    assert_eq!(systemd.hear().await.0, "READY=1\n", "before it says that it serves");
    program.signal(Signal::KILL);
    program.ended().await;
    // Whoever comes now waits.
    let waiting = TcpStream::connect(place.address).await.unwrap();
    let names = format!("{}:{}", first.0, second.0);
    let copies = [first.1.try_clone().unwrap(), second.1.try_clone().unwrap()];
    let program = place.pass(copies, &names, Some(&place.path("notify"))).ready().await;
    assert_eq!(systemd.hear().await.0, "READY=1\n", "it has them already");
    let mut octets = [0; 4];
    let mut waiting = waiting;
    tokio::time::timeout(DEADLINE, tokio::io::AsyncReadExt::read_exact(&mut waiting, &mut octets))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&octets, b"* OK");
    Client::clear(other).await.line().await;
    // A listener goes by a reload, and its socket with it.
    place.write(&one);
    place.said(&["reload"]).await;
    assert!(systemd.hear().await.0.starts_with("RELOADING=1\n"));
    assert_eq!(systemd.hear().await.0, format!("FDSTOREREMOVE=1\nFDNAME={}\n", name_of(other)));
    assert_eq!(systemd.hear().await.0, "READY=1\n");
    program.signal(Signal::KILL);
    program.ended().await;
    // As if that word had been lost: a socket that nobody wants is given back.
    let program = place.pass([first.1, second.1], &names, Some(&place.path("notify"))).ready().await;
    assert_eq!(systemd.hear().await.0, format!("FDSTOREREMOVE=1\nFDNAME={}\n", name_of(other)));
    assert_eq!(systemd.hear().await.0, "READY=1\n");
    assert_eq!(program.lines(&["INFO", "a socket that systemd has kept is closed"]).len(), 1);
    assert!(TcpStream::connect(other).await.is_err(), "it is closed");
    // A new one is kept as well.
    place.write(&both);
    place.said(&["reload"]).await;
    assert!(systemd.hear().await.0.starts_with("RELOADING=1\n"));
    assert_eq!(systemd.stored().await.0, name_of(other));
    assert_eq!(systemd.hear().await.0, "READY=1\n");
    program.signal(Signal::TERM);
    assert_eq!(systemd.hear().await.0, "STOPPING=1\n");
}
