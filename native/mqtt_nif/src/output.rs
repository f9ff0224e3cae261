//! The bytes that go out.
//!
//! They are written by whoever has them, straight from the call, without blocking. What the kernel
//! does not take waits in a queue, and only then a tokio task is made that finishes it (`flusher`).
//! While anything waits, everything new goes behind it. The owner, the flusher and the callback for
//! the owner's death touch this under the connection's `output` lock.

use crate::connection::Connection;
use crate::counters::{DROPPED_MESSAGES, QUEUED_BYTES};
use crate::flusher;
use crate::socket::Socket;
use bytes::{Buf, BytesMut};
use rustler::LocalPid;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

/// What the flusher writes while it holds the lock, which the owner may wait for.
const FLUSHED_AT_ONCE: usize = 64 * 1024;

/// What to do with a peer that reads more slowly than it is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlowPeer {
    /// Nothing is read from it while anything waits to be written.
    Block,
    /// It goes on, and loses messages of QoS 0 once the queue is full.
    Drop,
    /// It is disconnected once the queue is full.
    Close,
}

/// The part of the options that concerns output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutputOptions {
    pub(crate) slow_peer: SlowPeer,
    /// Bytes that may wait before messages of QoS 0 are dropped or the peer is.
    pub(crate) queue_limit: usize,
    /// How long the kernel may take no byte.
    pub(crate) send_timeout: Option<Duration>,
}

/// Whether a message may be sent now.
pub(crate) enum Admission {
    Send,
    Drop,
    Close,
}

pub(crate) struct Output {
    options: OutputOptions,
    /// Gone once nothing can be or has to be sent any more.
    socket: Option<Arc<Socket>>,
    /// Whether somebody else writes: then all bytes wait here until they are taken.
    fed: bool,
    queue: BytesMut,
    /// Whether a flusher is at work.
    flushing: bool,
    /// Whether the owner reads nothing until it is told that the queue is empty.
    owner_waits: bool,
    owner: Option<LocalPid>,
    dropped: usize,
    ending: Option<Ending>,
}

/// How the connection ends once the queue is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// At once.
    Close,
    /// Behind the end of our direction the peer gets a moment to read and to close.
    Linger,
}

impl Output {
    /// The output of a connection that writes to `socket`; without one somebody else writes.
    pub(crate) fn new(options: OutputOptions, socket: Option<Arc<Socket>>) -> Self {
        Self {
            options,
            fed: socket.is_none(),
            socket,
            queue: BytesMut::new(),
            flushing: false,
            owner_waits: false,
            owner: None,
            dropped: 0,
            ending: None,
        }
    }

    pub(crate) fn own(&mut self, owner: LocalPid) {
        self.owner = Some(owner);
    }

    pub(crate) fn options(&self) -> &OutputOptions {
        &self.options
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn dropped(&self) -> usize {
        self.dropped
    }

    /// Whether the owner may not read now. It will be told when it may.
    pub(crate) fn blocks_input(&mut self) -> bool {
        let blocked = self.flushing && self.options.slow_peer == SlowPeer::Block;
        self.owner_waits |= blocked;
        blocked
    }

    /// Decides about a message of QoS 0, and counts it if it is dropped.
    pub(crate) fn admit(&mut self) -> Admission {
        if self.fed || self.queue.len() < self.options.queue_limit {
            return Admission::Send;
        }
        if self.options.slow_peer == SlowPeer::Close {
            return Admission::Close;
        }
        self.dropped += 1;
        DROPPED_MESSAGES.add(1);
        Admission::Drop
    }

    /// Writes what the kernel takes and queues the rest. When the peer is gone nothing is done: the
    /// input says so, behind what the peer sent before.
    pub(crate) fn write(&mut self, connection: &Arc<Connection>, mut slices: &mut [IoSlice<'_>]) {
        if self.ending.is_some() {
            return;
        }
        if self.queue.is_empty() && !self.fed {
            let Some(socket) = &self.socket else { return };
            while !slices.is_empty() {
                match socket.send(slices) {
                    Ok(sent) => IoSlice::advance_slices(&mut slices, sent),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return self.give_up(),
                }
            }
            if slices.is_empty() {
                return;
            }
        }
        for slice in slices.iter() {
            self.queue.extend_from_slice(slice);
            QUEUED_BYTES.add(slice.len());
        }
        if !self.fed && !self.flushing && !self.queue.is_empty() {
            self.start_flusher(connection);
        }
    }

    fn start_flusher(&mut self, connection: &Arc<Connection>) {
        if let Some(socket) = &self.socket {
            self.flushing = flusher::start(connection.clone(), socket.clone()).is_ok();
        }
        if !self.flushing {
            self.give_up();
        }
    }

    /// Takes all that waits, to be written by somebody else.
    pub(crate) fn take(&mut self) -> BytesMut {
        let taken = std::mem::take(&mut self.queue);
        QUEUED_BYTES.subtract(taken.len());
        taken
    }

    /// For the flusher: writes once, and says whether all is written.
    pub(crate) fn flush(&mut self, socket: &Socket) -> io::Result<bool> {
        if !self.queue.is_empty() {
            let piece = self.queue.get(..FLUSHED_AT_ONCE).unwrap_or(&self.queue);
            let sent = socket.send(&[IoSlice::new(piece)])?;
            self.queue.advance(sent);
            QUEUED_BYTES.subtract(sent);
        }
        Ok(self.queue.is_empty())
    }

    /// For the flusher: its work is done, or cannot be done. Says whom to tell, and how the
    /// connection ends if it does.
    pub(crate) fn flushed(&mut self) -> (Option<LocalPid>, Option<Ending>) {
        // Memory for a burst is not kept.
        drop(self.take());
        self.flushing = false;
        let waiting = std::mem::take(&mut self.owner_waits);
        (self.owner.filter(|_| waiting), self.ending)
    }

    /// For the flusher: nothing more can be sent.
    pub(crate) fn give_up(&mut self) {
        drop(self.take());
        self.socket = None;
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending
    }

    pub(crate) fn owner(&self) -> Option<LocalPid> {
        self.owner
    }

    /// Ends the output. Gives the socket to end now, or nothing if the flusher will do it.
    pub(crate) fn end(&mut self, ending: Ending) -> Option<Arc<Socket>> {
        self.ending.get_or_insert(ending);
        let socket = self.socket.take();
        if self.flushing { None } else { socket }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        drop(self.take());
    }
}
