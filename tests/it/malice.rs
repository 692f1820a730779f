//! Nodes that are malicious, broken or slow, behind a whole mailferry: the kit. What they do stands in the files below.
//!
//! Whatever a node does, its client hears one of the answers that docs/protocols.md allows and stays connected; what the
//! node said is in no log, and it cannot have mailferry take more octets than the limits allow.

mod answers;
mod credentials;
mod introduction;
mod silence;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailferry::proto::Protocol;
use tokio::time::sleep;

use crate::client::{Client, DEADLINE};
use crate::node::parking::Shared;
use crate::node::{Conn, FakeNode};
use crate::site::{Door, Site, Spec};

const PASSWORD: &str = "malice-Pa55";

/// Stands in all that a malicious node says, and may stand in no log.
const MARK: &str = "eViLw0rds";

/// What a client hears when it was not about its login.
const UNAVAILABLE: [&str; 2] = [
    "a NO [UNAVAILABLE] Temporary failure, please try again later",
    "-ERR [SYS/TEMP] the mail store is out of reach, try again later",
];

/// What a client hears when a node did not understand us.
const OUR_BUG: [&str; 2] =
    ["a NO [SERVERBUG] Internal error, the login was not completed", "-ERR [SYS/PERM] internal error"];

/// Far more than any limit and than what the kernel holds of a connection.
const ENDLESS: usize = 32 * 1024 * 1024;

/// What a node does, one after the other; in the end it waits for the other side to hang up.
#[derive(Clone)]
enum Act {
    /// Hears a line.
    Hear,
    Say(Vec<u8>),
    /// Says this until nobody listens any more.
    Forever(Vec<u8>),
    /// The same with one octet, slowly.
    Drip(u8),
    HangUp,
}

fn say(octets: impl AsRef<[u8]>) -> Act {
    Act::Say(octets.as_ref().to_vec())
}

fn forever(octets: impl AsRef<[u8]>) -> Act {
    Act::Forever(octets.as_ref().repeat(100))
}

/// A site of which one node is malicious, and never given up, whatever it does.
struct Stage {
    site: Site,
    protocol: Protocol,
    node: FakeNode,
    script: Arc<Shared<Vec<Act>>>,
}

impl Stage {
    async fn new(protocol: Protocol) -> Self {
        Self::with(protocol, |_| {}).await
    }

    async fn with(protocol: Protocol, tune: impl FnOnce(&mut Spec)) -> Self {
        let script = Arc::new(Shared::<Vec<Act>>::default());
        let scripted = Arc::clone(&script);
        let node = FakeNode::start(move |conn| play(conn, scripted.get())).await;
        let mut spec = Spec::new(&[node.port]);
        spec.probe.fall = u32::MAX;
        tune(&mut spec);
        Self { site: Site::start(spec).await, protocol, node, script }
    }

    fn of<'a>(&self, texts: [&'a str; 2]) -> &'a str {
        texts[usize::from(self.protocol == Protocol::Pop3)]
    }

    async fn client(&self) -> Client {
        self.site.greeted(if self.protocol == Protocol::Imap { Door::ImapClear } else { Door::Pop3Clear }).await
    }

    /// The lines that a login hears from mailferry when the node does this.
    async fn login(&self, client: &mut Client, acts: Vec<Act>) -> Vec<String> {
        self.script.with(|script| *script = acts);
        match self.protocol {
            Protocol::Imap => {
                client.send(format!("a LOGIN alice {PASSWORD}\r\n")).await;
                client.answer("a").await
            }
            Protocol::Pop3 => {
                assert!(client.ask("USER alice").await.starts_with("+OK"));
                vec![client.ask(&format!("PASS {PASSWORD}")).await]
            }
        }
    }

    /// A login hears this and nothing more, and the session stays open.
    async fn hears(&self, acts: Vec<Act>, expected: &str, what: &str) {
        let mut client = self.client().await;
        assert_eq!(self.login(&mut client, acts).await, [expected], "{what}");
        self.is_open(&mut client).await;
    }

    async fn is_open(&self, client: &mut Client) {
        match self.protocol {
            Protocol::Imap => {
                client.send("n NOOP\r\n").await;
                assert!(client.line().await.starts_with("n OK "));
            }
            Protocol::Pop3 => {
                assert!(client.ask("CAPA").await.starts_with("+OK"));
                client.until_dot().await;
            }
        }
    }

    /// Ends the site. The log has no word of the node's and no password, and nothing was taken without end.
    async fn end(self) {
        self.site.end(&[PASSWORD, MARK]).await;
        self.node.all_closed(DEADLINE).await;
        assert_eq!(self.node.seen.swallowed.load(Ordering::SeqCst), 0, "endless words were taken to the end");
    }
}

/// All that a node has heard.
fn text(node: &FakeNode) -> String {
    crate::client::text(&node.seen.octets.get())
}

/// The message of PLAIN in base64.
fn plain(user: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{password}"))
}

async fn play(mut conn: Conn, script: Vec<Act>) {
    for act in script {
        match act {
            Act::Hear => {
                if conn.line().await.is_none() {
                    return;
                }
            }
            Act::Say(octets) => conn.send(octets).await,
            Act::Forever(octets) => return conn.flood(&octets, ENDLESS).await,
            Act::Drip(octet) => {
                while !conn.has_hung_up() {
                    conn.send([octet]).await;
                    sleep(Duration::from_millis(5)).await;
                }
                return;
            }
            Act::HangUp => return,
        }
    }
    conn.closed().await;
}
