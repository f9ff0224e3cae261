//! The tokio tasks that outlive a call: finishing a write that the kernel refused, and waiting for
//! the peer to close. They hold the socket and never the resource, so neither a blocked callback
//! nor the owner's death stops them.

use crate::atoms;
use crate::connection::Connection;
use crate::counters::FLUSHERS;
use crate::output::Ending;
use crate::runtime;
use crate::socket::Socket;
use rustler::{Atom, Encoder, LocalPid, OwnedEnv};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout, timeout_at};

/// How long output may take once the connection has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(5);
/// How long the peer gets to close behind our last byte.
const LINGER: Duration = Duration::from_secs(2);
/// How often a flusher looks whether the connection has ended meanwhile.
const TICK: Duration = Duration::from_millis(500);

/// The socket, as tokio polls it.
struct Polled(Arc<Socket>);

impl AsRawFd for Polled {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Polled {
    fn register(socket: &Arc<Socket>, interest: Interest) -> io::Result<AsyncFd<Self>> {
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

/// Starts the task that writes what waits in the queue of `connection`.
pub(crate) fn start(connection: Arc<Connection>, socket: Arc<Socket>) -> io::Result<()> {
    let counted = Counted::new();
    runtime::spawn(async move {
        let _counted = counted;
        let blame = flush(&connection, &socket).await.err();
        let (waiting, ending) = {
            let mut output = connection.output();
            if blame.is_some() {
                output.give_up();
            }
            let told = if matches!(blame, Some(Failure::Timeout)) { output.owner() } else { None };
            let (waiting, ending) = output.flushed();
            (
                told.map(|owner| (owner, atoms::send_timeout()))
                    .or(waiting.map(|owner| (owner, atoms::drained()))),
                ending,
            )
        };
        if let Some((owner, what)) = waiting {
            tell(owner, what);
        }
        match ending {
            Some(Ending::Linger) if blame.is_none() => wait_for_close(socket).await,
            Some(_) => socket.end(),
            None => {}
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

async fn flush(connection: &Arc<Connection>, socket: &Arc<Socket>) -> Result<(), Failure> {
    let polled = Polled::register(socket, Interest::WRITABLE)?;
    let send_timeout = connection.output().options().send_timeout;
    let mut progress = Instant::now();
    let mut ended = None;
    loop {
        let now = Instant::now();
        if let Ok(ready) = timeout(TICK, polled.writable()).await {
            let mut ready = ready?;
            match connection.output().flush(socket) {
                Ok(true) => return Ok(()),
                Ok(false) => progress = now,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
        if ended.is_none() && connection.output().ending().is_some() {
            ended = Some(now);
        }
        let expired = send_timeout.is_some_and(|limit| progress.elapsed() >= limit)
            || ended.is_some_and(|ended| ended.elapsed() >= LAST_OUTPUT);
        if expired {
            return Err(Failure::Timeout);
        }
    }
}

/// Ends our direction, and reads until the peer ends its own: closing with unread input would reset
/// the connection, and the peer would lose what we sent last.
pub(crate) fn linger(socket: Arc<Socket>) {
    let counted = Counted::new();
    let _ = runtime::spawn(async move {
        let _counted = counted;
        wait_for_close(socket).await;
    });
}

async fn wait_for_close(socket: Arc<Socket>) {
    socket.end_output();
    let deadline = Instant::now() + LINGER;
    if let Ok(polled) = Polled::register(&socket, Interest::READABLE) {
        let mut discarded = [0; 1024];
        while let Ok(Ok(mut ready)) = timeout_at(deadline, polled.readable()).await {
            match socket.receive(&mut [IoSliceMut::new(&mut discarded)]) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(_) => break,
            }
        }
    }
    socket.end();
}

/// Sends `{:"$mqtt", what}` from a thread of ours.
pub(crate) fn tell(owner: LocalPid, what: Atom) {
    let _ = OwnedEnv::new().send_and_clear(&owner, |env| (atoms::mqtt(), what).encode(env));
}
