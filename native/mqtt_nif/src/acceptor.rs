//! Accepting, by the process that starts those of the clients: the limits first, then the CONNECT, and only then a
//! process. For a CONNECT that has not come whole a task of tokio waits. Garbage, port scans and slow clients never cost a process.

use crate::clock;
use crate::connection::Connection;
use crate::flusher::{self, Polled};
use crate::listener::{Greeted, Shared};
use crate::poller::{self, Whose};
use crate::socket::Socket;
use crate::watching::{Readiness, Ticket};
use mqtt_core::{self as core, Event, Received};
use rustix::net::SocketFlags;
use rustler::LocalPid;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::Interest;
use tokio::time::timeout;

/// So many clients are accepted a call, and what one of them takes, compared with bytes that are decoded.
const AT_ONCE: usize = 16;
pub(crate) const COST: usize = 4 * 1024;

/// A socket that listens.
pub(crate) struct Listening {
    socket: OwnedFd,
    readiness: Arc<Readiness>,
    /// While somebody is told of clients.
    ticket: Option<Ticket>,
}

/// What who accepts does next.
pub(crate) enum Next {
    /// It is told when there are clients.
    Wait,
    /// There may be more.
    More,
    /// There are no descriptors or no memory for another connection.
    Exhausted,
}

impl Listening {
    pub(crate) fn new(socket: TcpListener) -> Self {
        Self { socket: socket.into(), readiness: Arc::default(), ticket: None }
    }

    /// Has `server` told of clients from now on, instead of who was before. It has to look once without having been told.
    pub(crate) fn tell(&mut self, server: LocalPid) -> io::Result<()> {
        self.forget();
        let whose = Whose::Listener(self.readiness.clone());
        self.ticket = Some(poller::watch(whose, &self.socket, server)?);
        Ok(())
    }

    fn forget(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            poller::forget(ticket, &self.socket);
        }
    }

    /// Accepts some. Says how many.
    pub(crate) fn accept(&self, shared: &Arc<Shared>) -> (usize, Next) {
        self.readiness.look();
        for accepted in 0..AT_ONCE {
            match accept_one(&self.socket) {
                Ok((fd, peer)) => enter(shared, fd, peer),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock if self.readiness.wait() => {
                        return (accepted, Next::Wait);
                    }
                    // There was none, or one that was gone before it was accepted.
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::Interrupted => {}
                    _ => return (accepted, Next::Exhausted),
                },
            }
        }
        (AT_ONCE, Next::More)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.forget();
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
        Progress::Done(outcome) => {
            if let Some(greeted) = greeting.finish(outcome) {
                shared.push(greeted);
            }
        }
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
        let mut state = core::Connection::new(self.shared.config.clone(), 0);
        match state.receive(0, &self.received, &mut session, &mut answer) {
            Ok(Received::Event(Event::Connect(_), _)) => Progress::Done(Outcome::Connect),
            Ok(_) => Progress::Part,
            Err(_) => Progress::Done(Outcome::Refused(answer)),
        }
    }

    /// Waits for the rest of CONNECT.
    async fn wait(mut self) {
        let patience = self.shared.config.connect_timeout;
        let patience = patience.map_or(Duration::MAX, Duration::from_millis);
        let outcome = timeout(patience, self.await_connect()).await;
        let shared = self.shared.clone();
        // tokio has let go of the socket.
        if let Some(greeted) = self.finish(outcome.unwrap_or(Outcome::Gone)) {
            shared.announce(greeted);
        }
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

    /// The connection, or it is closed.
    fn finish(self, outcome: Outcome) -> Option<Greeted> {
        let Self { shared, socket, peer, received } = self;
        if let Outcome::Connect = outcome {
            let options = &shared.options;
            let state = core::Connection::new(shared.config.clone(), clock::now());
            let connection = Connection::new(options, state, Some(socket), received);
            return Some(Greeted { connection, peer });
        }
        shared.counters.unconnected.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Outcome::Refused(answer) if !answer.is_empty() => {
                let _ = socket.send(&[IoSlice::new(&answer)]);
                flusher::linger(socket);
            }
            _ => socket.end_before_close(),
        }
        None
    }
}
