//! The stop signal that every task holds, and the way to wait until all have heard it.
//!
//! A task keeps its [`Drain`] for as long as it runs: dropping it *is* the book-keeping.

use tokio::sync::watch;

/// Gives the signal; kept by whoever runs mailferry.
#[derive(Debug)]
pub struct Signal(watch::Sender<bool>);

/// Receives the signal; cloned into every task.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

/// A signal and its first receiver.
pub fn channel() -> (Signal, Drain) {
    let (sender, receiver) = watch::channel(false);
    (Signal(sender), Drain(receiver))
}

impl Signal {
    /// Tells every task to come to its end, and waits until all have.
    pub async fn stop(self) {
        self.0.send_replace(true);
        self.0.closed().await;
    }
}

impl Drain {
    /// Returns when the signal is given, or was.
    pub async fn signalled(&self) {
        // An error means that the signal's owner is gone, which is the end as well.
        let _ = self.0.clone().wait_for(|stop| *stop).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stopping_waits_for_the_last_task() {
        let (signal, drain) = channel();
        let other = drain.clone();
        let task = tokio::spawn(async move { drain.signalled().await });
        let mut stop = Box::pin(signal.stop());
        assert!(futures_pending(&mut stop).await, "a receiver is still held");
        task.await.unwrap();
        assert!(futures_pending(&mut stop).await, "another receiver is still held");
        drop(other);
        stop.await;
    }

    async fn futures_pending(future: &mut std::pin::Pin<Box<impl Future<Output = ()>>>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }
}
