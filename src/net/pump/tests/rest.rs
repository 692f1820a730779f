//! When nothing is under way, as far as octets tell, and what a client can be told then.

use std::future::poll_fn;

use super::*;

/// A pump that is driven by hand.
struct Rig {
    client: DuplexStream,
    node: DuplexStream,
    client_far: DuplexStream,
    node_far: DuplexStream,
    pump: Pump,
}

fn begun(to_node: &[u8], to_client: &[u8]) -> Rig {
    let (client, client_far) = duplex(64);
    let (node, node_far) = duplex(64);
    Rig { client, node, client_far, node_far, pump: Pump::new(to_node.to_vec(), to_client.to_vec()) }
}

impl Rig {
    /// Moves what can be moved, and says whether the pump is at rest.
    async fn is_at_rest(&mut self) -> bool {
        let Self { client_far, node_far, pump, .. } = self;
        poll_fn(|cx| Poll::Ready(pump.poll(cx, client_far, node_far, |_| Duration::from_secs(9)).is_pending())).await;
        self.pump.is_at_rest()
    }

    async fn client_says(&mut self, octets: &[u8]) -> bool {
        self.client.write_all(octets).await.unwrap();
        self.is_at_rest().await
    }

    async fn node_says(&mut self, octets: &[u8]) -> bool {
        self.node.write_all(octets).await.unwrap();
        self.is_at_rest().await
    }

    async fn is_client_gone(&mut self) -> bool {
        let Self { client_far, node_far, pump, .. } = self;
        poll_fn(|cx| Poll::Ready(pump.poll_client_gone(cx, client_far, node_far).is_ready())).await
    }

    /// What the client reads of these words, and nothing else.
    async fn hears(&mut self, words: &[u8]) -> Vec<u8> {
        while tokio::time::timeout(Duration::from_secs(1), self.client.read(&mut [0; 64])).await.is_ok() {}
        let Self { client_far, pump, .. } = self;
        let leave = poll_fn(|cx| {
            pump.take_leave(cx, client_far, words);
            Poll::Ready(())
        });
        leave.await;
        client_far.shutdown().await.unwrap();
        read_all(&mut self.client).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_at_rest_when_the_client_has_its_answer_and_the_line_is_over() {
    let mut rig = begun(b"", b"a OK\r\n");
    assert!(!rig.pump.is_at_rest(), "its login's answer is not delivered");
    assert!(rig.is_at_rest().await);
    assert!(!rig.client_says(b"b NOOP\r\n").await, "the client waits for an answer");
    assert!(rig.node_says(b"b OK\r\n").await);
    assert!(!rig.node_says(b"* 1 FETCH (BODY[] {100}\r\nabc").await, "inside a literal");
    assert!(!rig.node_says(b"abc\r").await, "half of a line end is none");
    assert!(rig.node_says(b"\n").await);
    assert!(!rig.node_says(b"\n").await);
    assert!(rig.node_says(b"\r\n").await);
    assert_eq!(rig.hears(b"* BYE\r\n").await, b"* BYE\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_sent_ahead_of_its_login_waits_for_an_answer() {
    let mut rig = begun(b"b NOOP\r\n", b"a OK\r\n");
    assert!(!rig.is_at_rest().await);
    assert!(rig.node_says(b"b OK\r\n").await);
}

#[tokio::test(start_paused = true)]
async fn what_the_node_says_unasked_is_no_answer() {
    let mut rig = begun(b"", b"a OK\r\n");
    assert!(rig.is_at_rest().await);
    assert!(rig.node_says(b"* 1 EXISTS\r\n").await, "nobody waits");
    assert!(!rig.client_says(b"b SEARCH\r\n").await);
    assert!(!rig.node_says(b"* OK Searched 23%\r\n").await);
    assert!(!rig.node_says(b"* OK Sear").await);
    assert!(!rig.node_says(b"ched 46%\r\n").await, "the line had begun before");
    read_some(&mut rig.client, 56).await;
    assert!(!rig.node_says(b"* 1 EXISTS\r\n* 2 EXISTS\r\n").await);
    assert!(!rig.node_says(b"b OK").await);
    assert!(!rig.node_says(b" done\r").await);
    assert!(rig.node_says(b"\n").await);
    read_some(&mut rig.client, 35).await;
    assert!(!rig.client_says(b"c NOOP\r\n").await);
    assert!(!rig.node_says(b"* 3 EXISTS\r\nc OK\r\n* 4 EX").await);
    assert!(rig.node_says(b"ISTS\r\n").await, "the answer was before it");
    assert!(!rig.client_says(b"d IDLE\r\n").await);
    assert!(rig.node_says(b"+ idling\r\n* 5 EXISTS\r\n").await);
    read_some(&mut rig.client, 52).await;
    assert!(rig.node_says(b"* OK Still here\r\n").await);
    assert_eq!(rig.hears(b"* BYE\r\n").await, b"* BYE\r\n");
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_the_tag_of_the_last_command_is_one_whatever_the_node_says_behind_it() {
    // What the client says and the node then, in turn, and whether the client has its answer at the end.
    for (talk, expected) in [
        (&["b NOOP\r\n", "b OK done\r\n* 5 EXISTS\r\n"][..], true),
        (&["b NOOP\r\n", "* 4 EXISTS\r\nb no\r\n* 5 EXISTS\r\n* 1 RECENT\r\n"], true),
        (&["b IDLE\r\n", "+ idling\r\n", "DONE\r\n", "b OK\r\n* 5 EXISTS\r\n"], true),
        (&["b NOOP\r\nc NOOP\r\n", "b OK\r\nc OK\r\n* 5 EXISTS\r\n"], true),
        // The one before is answered, or none.
        (&["b NOOP\r\nc NOOP\r\n", "b OK\r\n* 5 EXISTS\r\n"], false),
        (&["b NOOP\r\n", "", "c NOOP\r\n", "b OK\r\n* 5 EXISTS\r\n"], false),
        (&["b NOOP\r\n", "b OKAY\r\n* 5 EXISTS\r\n"], false),
        (&["b NOOP\r\n", "x\r\n* b OK\r\n* 5 EXISTS\r\n"], false),
        (&["b NOOP\r\n", "* 1 FETCH", "", " x\r\n* 5 EXISTS\r\n"], false),
        // The rest of the command is still to come, or where it began was not seen.
        (&["b NOOP\r\n", "", "c AP", "b OK\r\n* 5 EXISTS\r\n"], false),
        (&["b NO", "", "OP\r\n", "b OK\r\n* 5 EXISTS\r\n"], false),
    ] {
        let mut rig = begun(b"", b"a OK\r\n");
        let mut is_at_rest = rig.is_at_rest().await;
        assert!(is_at_rest);
        for turn in talk.chunks(2) {
            assert!(turn[0].is_empty() || !rig.client_says(turn[0].as_bytes()).await, "{talk:?}");
            is_at_rest = rig.node_says(turn[1].as_bytes()).await;
        }
        assert_eq!(is_at_rest, expected, "{talk:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn octets_that_are_not_taken_are_under_way() {
    let mut rig = begun(b"", b"a OK\r\n");
    assert!(!rig.node_says(&[b'x'; 58]).await);
    read_some(&mut rig.client, 64).await;
    rig.node_says(&[b'x'; 62]).await;
    assert!(!rig.node_says(b"\r\n* 1\r\n").await, "the client does not read");
    read_some(&mut rig.client, 64).await;
    assert!(rig.is_at_rest().await);
    let mut rig = begun(&[b'x'; 70], b"");
    rig.is_at_rest().await;
    assert!(!rig.node_says(b"* OK\r\n").await, "the node does not read");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_where_the_line_is_not_known_to_be_over() {
    let mut rig = begun(b"", b"");
    assert!(rig.is_at_rest().await, "nothing was said");
    assert_eq!(rig.hears(b"* BYE\r\n").await, b"");
    let mut rig = begun(b"", b"* 1 FETCH (BODY[] {100}\r\nabc");
    assert!(!rig.is_at_rest().await);
    assert_eq!(rig.hears(b"* BYE\r\n").await, b"");
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_node_is_gone_can_be_told_so_while_it_is_held_back() {
    let mut rig = begun(b"", b"a OK\r\n");
    assert!(!rig.client_says(b"b NOOP\r\n").await);
    rig.node.shutdown().await.unwrap();
    assert!(rig.is_at_rest().await, "nobody will answer it");
    assert_eq!(rig.hears(b"* BYE\r\n").await, b"* BYE\r\n");
    let mut rig = begun(b"", b"* 1 FETCH (BODY[] {100}\r\nabc");
    rig.node.shutdown().await.unwrap();
    assert!(!rig.is_at_rest().await, "the node was gone inside a line");
}

#[tokio::test(start_paused = true)]
async fn who_was_told_is_read_into_nothing_until_he_ends() {
    let mut rig = begun(b"", b"a OK\r\n");
    assert!(rig.is_at_rest().await);
    rig.hears(b"* BYE\r\n").await;
    rig.client.write_all(b"b LOGOUT\r\n").await.unwrap();
    assert!(!rig.is_client_gone().await);
    rig.client.shutdown().await.unwrap();
    assert!(rig.is_client_gone().await);
    let Rig { node_far, mut node, .. } = rig;
    drop(node_far);
    assert_eq!(read_all(&mut node).await, b"");
}
