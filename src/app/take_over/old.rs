//! The part of the process that serves: it gives its sockets away and ends, or goes on as if nobody had asked.
//!
//! Meanwhile no reload begins. Nothing waits for ever for the other process, and nobody gets anything who is not of our
//! own user, or root.

use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use super::TakeOverError;
use super::wire::{Talk, VERSION, Word, unexpected};
use crate::admin::take_over::{Control, FIRST_OCTET, TakeOver};
use crate::app::reload::Reloader;
use crate::app::running::Running;
use crate::drain::Drain;
use crate::net::courier::Courier;

/// From the connect to its question.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// For a reload that is under way.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// From the offer until the other process could serve.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// For reading what is written here. Orders of operators wait so long.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// Hears those who ask, one after the other, until one has taken over, which `handed` tells, or the signal is given.
pub(in crate::app) async fn serve(
    reloader: Reloader,
    mut asked: mpsc::Receiver<TakeOver>,
    handed: watch::Sender<bool>,
    closing: Drain,
) {
    loop {
        let asker = tokio::select! {
            biased;
            () = closing.signalled() => return,
            asker = asked.recv() => asker,
        };
        let Some(TakeOver { stream, uid, pid }) = asker else { return };
        info!(uid, pid, "another process asks to take over");
        let mut talk = heard_first(stream);
        let handing_over = async {
            one_of_us(uid, pid)?;
            hand_over(&reloader, &mut talk).await
        };
        let done = tokio::select! {
            biased;
            done = handing_over => done,
            () = closing.signalled() => Err(TakeOverError::Stopping),
        };
        match done {
            Ok(successor) => {
                // There was none before, so there is place.
                let _ = successor.try_send(talk.into_courier());
                info!(pid, "handed over: the other process accepts now");
                handed.send_replace(true);
                return;
            }
            Err(reason) => {
                talk.refuse(&reason).await;
                warn!(pid, %reason, "not handed over: everything goes on as before");
            }
        }
    }
}

/// The talk behind the first octet.
fn heard_first(stream: UnixStream) -> Talk {
    let mut octet = [!FIRST_OCTET];
    // It is there: somebody has seen it.
    let _ = stream.try_read(&mut octet);
    Talk::new(stream)
}

/// Whoever may have everything.
fn one_of_us(uid: Option<u32>, pid: Option<i32>) -> Result<(), TakeOverError> {
    if uid.is_some_and(|uid| uid == 0 || uid == geteuid().as_raw()) {
        return Ok(());
    }
    let told = |number: Option<String>| number.unwrap_or_else(|| "unknown".to_owned());
    let (uid, pid) = (told(uid.map(|it| it.to_string())), told(pid.map(|it| it.to_string())));
    Err(TakeOverError::Stranger { uid, pid })
}

/// Says where the connection goes when all is said.
async fn hand_over(reloader: &Reloader, talk: &mut Talk) -> Result<mpsc::Sender<Courier>, TakeOverError> {
    match talk.hear(ASK_TIMEOUT, "ask").await? {
        Word::Ask { version: VERSION } => {}
        Word::Ask { version } => {
            let why = format!("version {version} of the talk, and not {VERSION}");
            return Err(TakeOverError::Confused(why));
        }
        word => return Err(unexpected(&word)),
    }
    let running = timeout(RELOAD_TIMEOUT, reloader.lock()).await;
    let mut running = running.map_err(|_| TakeOverError::Late("end its reload"))?;
    let running = running.as_mut().ok_or(TakeOverError::Stopping)?;
    nobody_is_moved(running)?;
    running.write_routes().await;
    offer(running, talk).await?;
    match talk.hear(READY_TIMEOUT, "become ready").await? {
        Word::Ready => {}
        word => return Err(unexpected(&word)),
    }
    let paused = running.admin().pause().await;
    // Since then nobody can have begun.
    nobody_is_moved(running)?;
    running.end_writing_routes().await;
    let confirmed = async {
        talk.say(&Word::Yielded, &[]).await?;
        let control = match talk.hear(CONFIRM_TIMEOUT, "confirm").await? {
            Word::Confirm { control } => control,
            word => return Err(unexpected(&word)),
        };
        // Before the word, and not behind it: whoever hears it accepts at once, and finds everybody who comes from then on.
        let closed = running.pause_listeners();
        talk.say(&Word::Done, &[]).await?;
        Ok((control, closed))
    };
    match confirmed.await {
        Ok((control, closed)) => {
            // Nothing here waits: there is no way back.
            let successor = paused.give_away(control);
            running.leave_listeners();
            drop(closed);
            Ok(successor)
        }
        Err(reason) => {
            running.begin_writing_routes();
            Err(reason)
        }
    }
}

/// The steps of a move are the operator's own process's, and know one mailferry.
fn nobody_is_moved(running: &Running) -> Result<(), TakeOverError> {
    let is_moved = running.context.holds.all().iter().any(|hold| hold.move_to.is_some());
    if is_moved { Err(TakeOverError::Moving) } else { Ok(()) }
}

async fn offer(running: &Running, talk: &Talk) -> Result<(), TakeOverError> {
    let mut sockets = running.copies()?;
    let listeners = sockets.len();
    let control = running.admin().control()?;
    let control = control.map(|Control { socket, inode }| {
        sockets.push(socket);
        inode
    });
    let mut older = running.admin().predecessors().await?;
    let predecessors = older.len();
    sockets.append(&mut older);
    let borrowed: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
    talk.say(&Word::Offer { listeners, control, predecessors, run: running.context.run() }, &borrowed).await
}
