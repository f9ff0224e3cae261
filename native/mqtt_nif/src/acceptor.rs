//! Accepting on tokio: the limits first, then waiting for a complete CONNECT, and only then a
//! process. Garbage, port scans and slow clients never cost one.

use crate::connection::Connection;
use crate::gate::Slot;
use crate::listener::Shared;
use crate::socket::Socket;
use crate::{clock, flusher};
use mqtt_core::{self as core, Event, Received};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// How long to wait when there are no descriptors or no memory for another connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Accepts until it is cancelled, which closes the listening socket.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match shared.gate.enter(peer.ip()) {
                Some(slot) => {
                    shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
                    shared.greetings.start(greet(shared.clone(), stream, slot));
                }
                None => {
                    shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                }
            },
            // The client was gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => sleep(EXHAUSTED).await,
        }
    }
}

/// Waits for CONNECT and hands the connection over, or closes it.
async fn greet(shared: Arc<Shared>, stream: TcpStream, slot: Slot) {
    let config = shared.options.core();
    let mut received = Vec::new();
    let deadline = config.connect_timeout.map_or(Duration::MAX, Duration::from_millis);
    let connect = timeout(deadline, await_connect(config, &stream, &mut received)).await;
    let Ok(socket) = take(stream, slot) else { return };
    match connect {
        Ok(Ok(())) => {
            let state = core::Connection::new(config, clock::now());
            shared.ready(Connection::new(&shared.options, state, Some(socket), received));
        }
        Ok(Err(Refusal::Answer(answer))) if !answer.is_empty() => {
            shared.counters.unconnected.fetch_add(1, Ordering::Relaxed);
            let _ = socket.send(&[io::IoSlice::new(&answer)]);
            flusher::linger(Arc::new(socket));
        }
        Ok(Err(_)) | Err(_) => {
            shared.counters.unconnected.fetch_add(1, Ordering::Relaxed);
            socket.end();
        }
    }
}

/// Takes the socket out of tokio's hands.
fn take(stream: TcpStream, slot: Slot) -> io::Result<Socket> {
    Ok(Socket::new(OwnedFd::from(stream.into_std()?), Some(Box::new(slot))))
}

/// Why a client gets no connection.
enum Refusal {
    /// It sent something else than a CONNECT that is taken; the answer may be empty.
    Answer(Vec<u8>),
    /// It went away.
    Gone,
}

/// Reads until CONNECT is complete. What comes behind it stays in `received` as well, but no more
/// than one read of it. The state machine is only asked; the owner runs its own over the bytes.
async fn await_connect(
    config: core::Config,
    stream: &TcpStream,
    received: &mut Vec<u8>,
) -> Result<(), Refusal> {
    loop {
        stream.readable().await.map_err(|_| Refusal::Gone)?;
        // Not kept across the wait, so that a silent client costs no more than its task.
        let mut buffer = [0; 4096];
        match stream.try_read(&mut buffer) {
            Ok(0) => return Err(Refusal::Gone),
            Ok(read) => received.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return Err(Refusal::Gone),
        }
        let mut answer = Vec::new();
        // Nothing of CONNECT touches the session.
        let mut session = core::Session::new(core::SessionLimits::default());
        match core::Connection::new(config, 0).receive(0, received, &mut session, &mut answer) {
            Ok(Received::Event(Event::Connect(_), _)) => return Ok(()),
            Ok(_) => {}
            Err(_) => return Err(Refusal::Answer(answer)),
        }
    }
}
