//! The tokio tasks that outlive a call: finishing a write that the kernel refused, and waiting for
//! the peer to close. They hold the socket and never the resource, so neither a blocked callback
//! nor the owner's death stops them. A peer decides how often their loops turn, so each turn asks
//! the runtime whether it is somebody else's.

use crate::atoms;
use crate::connection::Connection;
use crate::counters::FLUSHERS;
use crate::output::{Ending, Flushed};
use crate::runtime;
use crate::socket::Socket;
use rustler::{Atom, Encoder, LocalPid, OwnedEnv};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::consume_budget;
use tokio::time::{Instant, timeout, timeout_at};

/// How long output may take once the connection has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(5);
/// How long the peer gets to close behind our last byte, and how much it may say meanwhile.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;
/// How often a flusher looks whether the connection has ended meanwhile.
const TICK: Duration = Duration::from_millis(500);

/// The socket, as tokio polls it.
pub(crate) struct Polled(Arc<Socket>);

impl AsRawFd for Polled {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Polled {
    pub(crate) fn register(socket: &Arc<Socket>, interest: Interest) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is always that of the socket, which `Polled` keeps open.
        unsafe { AsyncFd::register_with_interest(Self(socket.clone()), interest) }
            .map_err(Into::into)
    }
}

/// Counts a task while it lives.
struct Counted;

impl Counted {
    fn new() -> Self {
        FLUSHERS.add(1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        FLUSHERS.subtract(1);
    }
}

/// A flusher at work. However it ends, the output learns of it, and the owner if it waits.
struct Flusher {
    connection: Arc<Connection>,
    socket: Arc<Socket>,
    _counted: Counted,
}

impl Flusher {
    /// Nothing more can be sent. The socket is ended, so that the input ends as well.
    fn fail(&self, timed_out: bool) {
        let waiting = {
            let mut output = self.connection.output();
            let owner = output.owner();
            let waiting = output.failed();
            if timed_out { owner } else { waiting }
        };
        // Told first, because the end of the socket is told as well, by another reason.
        if let Some(owner) = waiting {
            tell(owner, if timed_out { atoms::send_timeout() } else { atoms::drained() });
        }
        self.socket.end();
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // Not reached otherwise than by a panic: the work was not finished.
        if std::thread::panicking() {
            self.fail(false);
        }
    }
}

/// Starts the task that writes what waits in the queue of `connection`.
pub(crate) fn start(connection: Arc<Connection>, socket: Arc<Socket>) -> io::Result<()> {
    let flusher = Flusher { connection, socket, _counted: Counted::new() };
    runtime::spawn(async move {
        loop {
            match flush(&flusher.connection, &flusher.socket).await {
                Err(Failure::Timeout) => return flusher.fail(true),
                Err(Failure::Broken) => return flusher.fail(false),
                Ok(()) => {}
            }
            // The descriptor is out of the poll set by now, as it has to be before there can be
            // another flusher; and meanwhile there may be more to write.
            let outcome = flusher.connection.output().flushed();
            match outcome {
                Flushed::NotYet => {}
                Flushed::Done(waiting, ending) => {
                    if let Some(owner) = waiting {
                        tell(owner, atoms::drained());
                    }
                    match ending {
                        Some(Ending::Linger) => wait_for_close(&flusher.socket).await,
                        Some(Ending::Close) => flusher.socket.end_before_close(),
                        None => {}
                    }
                    return;
                }
            }
        }
    })
}

enum Failure {
    /// The kernel took nothing for too long.
    Timeout,
    /// The peer is gone.
    Broken,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

/// Writes until nothing waits.
async fn flush(connection: &Arc<Connection>, socket: &Arc<Socket>) -> Result<(), Failure> {
    // One that ended while a writer sent.
    if connection.output().queued() == 0 {
        return Ok(());
    }
    let polled = Polled::register(socket, Interest::WRITABLE)?;
    let send_timeout = connection.output().options().send_timeout;
    let mut progress = Instant::now();
    let mut ended = None;
    loop {
        if let Ok(ready) = timeout(TICK, polled.writable()).await {
            let mut ready = ready?;
            match connection.output().flush(socket) {
                Ok(true) => return Ok(()),
                Ok(false) => progress = Instant::now(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
        if ended.is_none() && connection.output().ending().is_some() {
            ended = Some(Instant::now());
        }
        let expired = send_timeout.is_some_and(|limit| progress.elapsed() >= limit)
            || ended.is_some_and(|ended| ended.elapsed() >= LAST_OUTPUT);
        if expired {
            return Err(Failure::Timeout);
        }
        consume_budget().await;
    }
}

/// Ends our direction, and reads until the peer ends its own: closing with unread input would reset
/// the connection, and the peer would lose what we sent last.
pub(crate) fn linger(socket: Arc<Socket>) {
    // Most peers have closed already, or do not speak.
    let mut discarded = [0; 1024];
    if matches!(socket.receive(&mut [IoSliceMut::new(&mut discarded)]), Ok(0)) {
        return socket.end_before_close();
    }
    socket.end_output();
    let counted = Counted::new();
    let lingering = socket.clone();
    let spawned = runtime::spawn(async move {
        let _counted = counted;
        wait_for_close(&lingering).await;
    });
    if spawned.is_err() {
        socket.end();
    }
}

async fn wait_for_close(socket: &Arc<Socket>) {
    socket.end_output();
    let deadline = Instant::now() + LINGER;
    let mut left = LINGER_BYTES;
    if let Ok(polled) = Polled::register(socket, Interest::READABLE) {
        while let Ok(Ok(mut ready)) = timeout_at(deadline, polled.readable()).await {
            match discard(socket) {
                Ok(0) => break,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(_) => break,
            }
            if left == 0 || Instant::now() >= deadline {
                break;
            }
            consume_budget().await;
        }
    }
    socket.end_before_close();
}

fn discard(socket: &Socket) -> io::Result<usize> {
    socket.receive(&mut [IoSliceMut::new(&mut [0; 16 * 1024])])
}

/// Sends `{:"$mqtt", what}` from a thread of ours.
pub(crate) fn tell(owner: LocalPid, what: Atom) {
    let _ = OwnedEnv::new().send_and_clear(&owner, |env| (atoms::mqtt(), what).encode(env));
}
