//! The words themselves: two mailferries of different ages say the same.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::TakeOverError;
use super::wire::{Talk, VERSION, Word};

#[test]
fn the_words_are_these_for_ever() {
    assert_eq!(VERSION, 1);
    for (word, line) in [
        (Word::Ask { version: 1 }, r#"{"say":"ask","version":1}"#),
        (
            Word::Offer { listeners: 3, control: Some((1, 2)), predecessors: 2, run: 5 },
            r#"{"say":"offer","listeners":3,"control":[1,2],"predecessors":2,"run":5}"#,
        ),
        (
            Word::Offer { listeners: 0, control: None, predecessors: 0, run: 0 },
            r#"{"say":"offer","listeners":0,"control":null,"predecessors":0,"run":0}"#,
        ),
        (Word::Ready, r#"{"say":"ready"}"#),
        (Word::Yielded, r#"{"say":"yielded"}"#),
        (Word::Confirm { control: true }, r#"{"say":"confirm","control":true}"#),
        (Word::Done, r#"{"say":"done"}"#),
        (Word::No { why: "x".to_owned() }, r#"{"say":"no","why":"x"}"#),
    ] {
        assert_eq!(serde_json::to_string(&word).unwrap(), line);
        assert_eq!(serde_json::from_str::<Word>(&format!("  {line}")).unwrap(), word, "behind descriptors");
    }
    let newer = r#"{"say":"ask","version":2,"more":[1]}"#;
    assert_eq!(serde_json::from_str::<Word>(newer).unwrap(), Word::Ask { version: 2 });
}

#[tokio::test(start_paused = true)]
async fn what_is_heard_instead_of_a_word_is_told_apart() {
    for (said, expected) in [
        (Some("{\"say\":\"no\",\"why\":\"busy\"}\n"), "the other process does not go on: busy"),
        (Some("HTTP/1.1 400 Bad Request\n"), "the other process says what is not understood"),
        (Some("{\"say\":\"rea"), "the other process has gone before it could test"),
        (None, "the other process did not test in time"),
    ] {
        let (ours, mut others) = UnixStream::pair().unwrap();
        let mut talk = Talk::new(ours);
        let held = match said {
            Some(said) => {
                others.write_all(said.as_bytes()).await.unwrap();
                drop(others);
                None
            }
            None => Some(others),
        };
        let error = talk.hear(Duration::from_secs(5), "test").await.unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(matches!(error, TakeOverError::Late(_)), held.is_some());
    }
}

fn pair() -> (Talk, Talk) {
    let (ours, others) = UnixStream::pair().unwrap();
    (Talk::new(ours), Talk::new(others))
}

#[tokio::test(start_paused = true)]
async fn a_last_word_that_nobody_waits_for_any_more_cannot_be_said() {
    let (mut ours, others) = pair();
    let error = ours.hear_last(Duration::from_secs(5), "test").await.unwrap_err();
    assert!(matches!(error, TakeOverError::Late(_)), "{error}");
    // While the connection is there still.
    assert!(matches!(others.say(&Word::Done, &[]).await, Err(TakeOverError::Broken(_))));
    drop(ours);
}

#[tokio::test(start_paused = true)]
async fn a_last_word_that_was_said_is_heard_however_late_it_is() {
    let (mut ours, others) = pair();
    others.say(&Word::Done, &[]).await.unwrap();
    // The time is over before anybody has looked.
    assert_eq!(ours.hear_last(Duration::ZERO, "test").await.unwrap(), Word::Done);
    let (mut ours, others) = pair();
    others.refuse(&"busy").await;
    let error = ours.hear_last(Duration::ZERO, "test").await.unwrap_err();
    assert!(matches!(error, TakeOverError::Refused(_)), "{error}");
    let (mut ours, others) = pair();
    drop(others);
    let error = ours.hear_last(Duration::from_secs(5), "test").await.unwrap_err();
    assert!(matches!(error, TakeOverError::Gone(_)), "dead, and not slow: {error}");
}
