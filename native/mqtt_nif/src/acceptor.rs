//! Accepting on tokio: the limits first, then waiting for a complete CONNECT, and only then a
//! process. Garbage, port scans and slow clients never cost one.

use crate::clock;
use crate::connection::Connection;
use crate::flusher::{self, Polled};
use crate::listener::{Greeted, Shared};
use crate::socket::Socket;
use mqtt_core::{self as core, Event, Received};
use rustix::net::SocketFlags;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::consume_budget;
use tokio::time::{sleep, timeout};

/// How long to wait when there are no descriptors or no memory for another connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Accepts until it is cancelled, which closes the listening socket.
pub(crate) async fn accept(shared: Arc<Shared>, listener: AsyncFd<OwnedFd>) {
    while let Ok(mut ready) = listener.readable().await {
        match accept_one(listener.get_ref()) {
            Ok((fd, peer)) => enter(&shared, fd, peer),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => ready.clear_ready(),
                // The client was gone before it was accepted.
                io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                _ => sleep(EXHAUSTED).await,
            },
        }
        // Those who wait for a CONNECT have their turn.
        consume_budget().await;
    }
}

fn accept_one(listener: &OwnedFd) -> io::Result<(OwnedFd, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (fd, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(|peer| peer.try_into().ok());
    Ok((fd, peer.ok_or(io::ErrorKind::ConnectionAborted)?))
}

/// The limits, and a client within them.
fn enter(shared: &Arc<Shared>, fd: OwnedFd, peer: SocketAddr) {
    let Some(slot) = shared.gate.enter(peer.ip()) else {
        shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
    let socket = Arc::new(Socket::accepted(fd, Arc::new(slot)));
    let mut greeting = Greeting { shared: shared.clone(), socket, peer, received: Vec::new() };
    // Under load most have sent their CONNECT by now, and cost no task.
    match greeting.read() {
        Progress::Part | Progress::Nothing => shared.greetings.start(greeting.wait()),
        Progress::Done(outcome) => greeting.finish(outcome),
    }
}

/// A client whose CONNECT has not come whole.
struct Greeting {
    shared: Arc<Shared>,
    socket: Arc<Socket>,
    peer: SocketAddr,
    received: Vec<u8>,
}

enum Progress {
    /// There may be more to read.
    Part,
    /// Nothing has come.
    Nothing,
    Done(Outcome),
}

enum Outcome {
    Connect,
    /// It sent something else than a CONNECT that is taken; the answer may be empty.
    Refused(Vec<u8>),
    /// It went away, or was silent for too long.
    Gone,
}

impl Greeting {
    /// Reads once. What comes behind CONNECT stays in `received` as well. The state machine
    /// is only asked; the owner runs its own over the bytes.
    fn read(&mut self) -> Progress {
        // Not kept across a wait, so that a silent client costs no more than its task.
        let mut buffer = [0; 4096];
        match self.socket.receive(&mut [IoSliceMut::new(&mut buffer)]) {
            Ok(0) => return Progress::Done(Outcome::Gone),
            Ok(read) => self.received.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Nothing,
            Err(_) => return Progress::Done(Outcome::Gone),
        }
        let mut answer = Vec::new();
        // Nothing of CONNECT touches the session.
        let mut session = core::Session::new(core::SessionLimits::default());
        let mut state = core::Connection::new(self.shared.options.core(), 0);
        match state.receive(0, &self.received, &mut session, &mut answer) {
            Ok(Received::Event(Event::Connect(_), _)) => Progress::Done(Outcome::Connect),
            Ok(_) => Progress::Part,
            Err(_) => Progress::Done(Outcome::Refused(answer)),
        }
    }

    /// Waits for the rest of CONNECT.
    async fn wait(mut self) {
        let patience = self.shared.options.core().connect_timeout;
        let patience = patience.map_or(Duration::MAX, Duration::from_millis);
        let outcome = timeout(patience, self.await_connect()).await;
        // tokio has let go of the socket.
        self.finish(outcome.unwrap_or(Outcome::Gone));
    }

    async fn await_connect(&mut self) -> Outcome {
        let Ok(polled) = Polled::register(&self.socket, Interest::READABLE) else {
            return Outcome::Gone;
        };
        loop {
            let Ok(mut ready) = polled.readable().await else { return Outcome::Gone };
            match self.read() {
                Progress::Part => {}
                Progress::Nothing => ready.clear_ready(),
                Progress::Done(outcome) => return outcome,
            }
        }
    }

    /// Hands the connection over, or closes it.
    fn finish(self, outcome: Outcome) {
        let Self { shared, socket, peer, received } = self;
        if let Outcome::Connect = outcome {
            let options = &shared.options;
            let state = core::Connection::new(options.core(), clock::now());
            let connection = Connection::new(options, state, Some(socket), received);
            return shared.ready(Greeted { connection, peer });
        }
        shared.counters.unconnected.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Outcome::Refused(answer) if !answer.is_empty() => {
                let _ = socket.send(&[IoSlice::new(&answer)]);
                flusher::linger(socket);
            }
            _ => socket.end_before_close(),
        }
    }
}
