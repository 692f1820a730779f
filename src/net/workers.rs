//! The threads that serve sessions: each has a runtime of its own, and a session stays with the one that it began in.
//!
//! What one thread moves wakes no other one: a login is a dozen short waits, and a thread that is woken for work that is
//! gone when it comes costs as much as the work. In exchange a session never moves, so that it matters where it begins.
//!
//! Nothing may block a worker's thread. Work that others wait for, as a look-up of a user, is done elsewhere: a thread may
//! have thousands of handshakes to do.

use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, EnterGuard, Handle, RuntimeMetrics};
use tokio::sync::watch;
use tokio::time::timeout;

/// So many tasks more than elsewhere are no reason to wake somebody.
const SLACK: usize = 4;

/// A worker looks at its clock so often. A timer that is due before all others costs a call of the kernel and a wake-up
/// (tokio's thread wakes itself), and each login sets some; so there is one that is due before theirs, which are seldom
/// shorter than this.
const TICK: Duration = Duration::from_millis(200);

/// Of so many tasks that a worker takes up, one is of those that other threads have woken or given to it, if there are any.
/// With tokio's own 31, answers of the directory would wait for hundreds of handshakes in a storm.
const REMOTE_INTERVAL: u32 = 4;

/// The threads that serve sessions. A clone is the same; they end with the last one.
#[derive(Clone)]
pub struct Workers(Arc<[Worker]>);

/// One of them.
pub struct Worker {
    runtime: Handle,
    load: RuntimeMetrics,
    /// The thread ends when it is dropped.
    _end: Option<watch::Sender<()>>,
}

/// The number of threads that this stands for.
fn number(threads: Option<NonZeroU32>) -> usize {
    match threads {
        Some(threads) => usize::try_from(threads.get()).unwrap_or(usize::MAX),
        // An error: this cannot be known here.
        None => thread::available_parallelism().map_or(1, NonZeroUsize::get),
    }
}

impl Workers {
    /// Starts so many threads; `None`: as many as there are processors for this process.
    ///
    /// # Errors
    /// The system has no more threads or descriptors.
    pub fn start(threads: Option<NonZeroU32>) -> io::Result<Self> {
        let threads = number(threads);
        (0..threads).map(Worker::start).collect::<io::Result<_>>().map(Self)
    }

    /// No threads: everything happens in the runtime of whoever asks. Must be called inside one.
    pub fn here() -> Self {
        Self([Worker::new(Handle::current(), None)].into())
    }

    /// So many threads.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The place of a listener, of whom there are `before` others: each worker has some.
    pub fn place(&self, before: usize) -> Place {
        Place { workers: self.clone(), at: before % self.0.len() }
    }
}

impl Worker {
    fn new(runtime: Handle, end: Option<watch::Sender<()>>) -> Self {
        Self { load: runtime.metrics(), runtime, _end: end }
    }

    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().global_queue_interval(REMOTE_INTERVAL).enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, mut ended) = watch::channel(());
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            runtime.block_on(async {
                // An error is the end.
                while timeout(TICK, ended.changed()).await.is_err() {}
            });
            // A name look-up that hangs in the system's resolver is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self::new(handle, Some(end)))
    }

    /// While this lives, what is spawned and registered belongs to this worker.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// A task for this worker.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// So much has it to do: tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.load.num_alive_tasks()
    }
}

/// Where a listener works. A clone is the same place.
#[derive(Clone)]
pub struct Place {
    workers: Workers,
    at: usize,
}

impl Place {
    /// Who accepts here.
    pub fn own(&self) -> &Worker {
        &self.workers.0[self.at]
    }

    /// Who should serve the next session: the listener's own worker, unless another one has clearly less to do. One of
    /// them, by chance, is looked at: it is asked for each session, and for some that do not come.
    pub fn for_session(&self) -> &Worker {
        let (own, all) = (self.own(), &self.workers.0);
        if all.len() == 1 {
            return own;
        }
        let other = &all[(self.at + fastrand::usize(1..all.len())) % all.len()];
        if other.tasks() + SLACK < own.tasks() { other } else { own }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use tokio::sync::oneshot;

    use super::*;

    fn of(threads: u32) -> Workers {
        Workers::start(NonZeroU32::new(threads)).unwrap()
    }

    async fn answer<T: Send + 'static>(worker: &Worker, ask: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, asked) = oneshot::channel();
        worker.spawn(async { drop(answer.send(ask())) });
        asked.await.unwrap()
    }

    #[tokio::test]
    async fn each_worker_is_a_thread_and_listeners_are_with_each_in_turn() {
        let workers = of(3);
        let mut names = Vec::new();
        for before in 0..6 {
            names.push(
                answer(workers.place(before).own(), || thread::current().name().map(str::to_owned)).await.unwrap(),
            );
        }
        assert_eq!(names, ["worker-0", "worker-1", "worker-2", "worker-0", "worker-1", "worker-2"]);
    }

    #[tokio::test]
    async fn what_is_registered_and_spawned_inside_belongs_to_the_worker() {
        let workers = of(1);
        let place = workers.place(0);
        let of_task = {
            let _there = place.own().enter();
            tokio::spawn(async { thread::current().name().map(str::to_owned) })
        };
        assert_eq!(of_task.await.unwrap().as_deref(), Some("worker-0"));
    }

    #[tokio::test]
    async fn a_session_goes_where_there_is_clearly_less_to_do() {
        let workers = of(3);
        let place = workers.place(1);
        let mut chosen = [0; 3];
        for _ in 0..300 {
            let worker = place.for_session();
            let number = workers.0.iter().position(|it| std::ptr::eq(it, worker)).unwrap();
            chosen[number] += 1;
            worker.spawn(pending());
        }
        assert_eq!(chosen.iter().sum::<usize>(), 300);
        // Its own has some more than each other one, and those are chosen by chance.
        assert!([0, 2].iter().all(|other| chosen[1] > chosen[*other] && chosen[*other] > 60), "{chosen:?}");
    }

    #[tokio::test]
    async fn what_other_threads_give_it_does_not_wait_for_all_that_a_worker_has_to_do() {
        let workers = of(1);
        let place = workers.place(0);
        let taken_up = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let taken_up = Arc::clone(&taken_up);
            // Has to be done again as soon as it is done.
            place.own().spawn(poll_fn(move |cx| {
                taken_up.fetch_add(1, Ordering::Relaxed);
                cx.waker().wake_by_ref();
                Poll::Pending
            }));
        }
        for _ in 0..20 {
            let (answer, asked) = oneshot::channel();
            let (other, taken_up) = (place.clone(), Arc::clone(&taken_up));
            let give = move || {
                let before = taken_up.load(Ordering::Relaxed);
                other.own().spawn(async move {
                    answer.send(taken_up.load(Ordering::Relaxed) - before).unwrap();
                });
            };
            // The worker waits for the other thread, and does nothing meanwhile.
            place.own().spawn(async { thread::spawn(give).join().unwrap() });
            let waited = asked.await.unwrap();
            assert!(waited <= REMOTE_INTERVAL as usize, "{waited}");
        }
    }

    #[tokio::test]
    async fn one_alone_stays_where_it_was_accepted() {
        let workers = of(2);
        let place = workers.place(0);
        for _ in 0..20 {
            let worker = place.for_session();
            assert!(std::ptr::eq(worker, place.own()));
            answer(worker, || ()).await;
        }
    }

    #[tokio::test]
    async fn the_threads_end_with_the_last_of_those_who_have_them() {
        let workers = of(2);
        let place = workers.place(1);
        let (held, mut ended) = oneshot::channel::<()>();
        place.own().spawn(async move {
            pending::<()>().await;
            drop(held);
        });
        drop(workers);
        answer(place.own(), || ()).await;
        assert!(ended.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        drop(place);
        timeout(Duration::from_secs(60), ended).await.expect("the thread goes on").unwrap_err();
    }

    #[tokio::test]
    async fn without_threads_all_is_here() {
        let place = Workers::here().place(7);
        let here = thread::current().id();
        assert_eq!(answer(place.for_session(), move || thread::current().id()).await, here);
    }

    #[test]
    fn as_many_as_are_wanted_or_as_there_are_processors() {
        assert_eq!(number(NonZeroU32::new(7)), 7);
        assert_eq!(number(None), thread::available_parallelism().unwrap().get());
    }
}
