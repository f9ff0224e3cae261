//! The bytes that go out.
//!
//! They are written by whoever has them, straight from the call, without blocking. What the kernel
//! does not take waits in a queue, and only then a tokio task is made that finishes it (`flusher`).
//! While anything waits, everything new goes behind it. A small packet of a broadcast is corked
//! (`corking`): it waits in the same queue until a writer's turn has come, or until somebody else writes. The owner or a reader,
//! who broadcasts, the writers, the flusher and the callback for
//! the owner's death touch this under the connection's `output` lock.

mod corking;

use crate::connection::Connection;
use crate::counters::{DROPPED_MESSAGES, QUEUED_BYTES};
use crate::flusher;
use crate::socket::Socket;
use bytes::{Buf, BytesMut};
pub(crate) use corking::Corked;
use rustler::LocalPid;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What the flusher writes while it holds the lock, which the owner may wait for.
const FLUSHED_AT_ONCE: usize = 64 * 1024;

/// How far beyond its limit the queue may grow while a writer sends, which does not show that the peer is slow.
const BEHIND_LOAN: usize = 256 * 1024;

/// How far beyond its limit the queue may grow by answers, which are never dropped.
const ANSWERS: usize = 256 * 1024;

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

/// What the flusher learns when it has written everything.
pub(crate) enum Flushed {
    /// Something came meanwhile.
    NotYet,
    /// Nothing waits. Here is whom to tell, and how the connection ends if it does.
    Done(Option<LocalPid>, Option<Ending>),
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Send,
    Drop,
    Close,
}

/// Who writes what waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// Nothing waits, unless somebody else writes in any case.
    AtOnce,
    /// It was not tried yet. A writer will, or the owner of a fed connection, or who comes before.
    Corked,
    /// A writer is sending what was corked, without the lock. It sees to what comes meanwhile, at once if that is `urgent`.
    Lent { urgent: bool },
    /// A flusher is at work.
    Flushing,
}

pub(crate) struct Output {
    options: OutputOptions,
    /// Gone once nothing can be or has to be sent any more.
    socket: Option<Arc<Socket>>,
    /// Whether somebody else writes: then all bytes wait here until they are taken.
    fed: bool,
    queue: BytesMut,
    writing: Writing,
    /// Packets of those that were corked, by as many calls.
    corked: u32,
    /// Bytes that the last writer took, which the next one may find again.
    expected: usize,
    /// Whether the owner was told to disconnect a slow peer.
    told_full: bool,
    /// Whether the owner reads nothing until it is told that the queue is empty.
    owner_waits: bool,
    owner: Option<LocalPid>,
    /// What was last said about messages.
    admission: Admission,
    dropped: usize,
    /// The sum over the listener's connections, if one accepted this.
    dropped_at_listener: Option<Arc<AtomicUsize>>,
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
            writing: Writing::AtOnce,
            corked: 0,
            expected: 0,
            told_full: false,
            owner_waits: false,
            owner: None,
            admission: Admission::Send,
            dropped: 0,
            dropped_at_listener: None,
            ending: None,
        }
    }

    pub(crate) fn count_at(&mut self, counter: Arc<AtomicUsize>) {
        self.dropped_at_listener = Some(counter);
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

    /// Whether somebody else writes.
    pub(crate) fn is_fed(&self) -> bool {
        self.fed
    }

    fn is_flushing(&self) -> bool {
        self.writing == Writing::Flushing
    }

    fn is_lent(&self) -> bool {
        matches!(self.writing, Writing::Lent { .. })
    }

    fn is_corked(&self) -> bool {
        self.writing == Writing::Corked
    }

    /// Bytes that wait otherwise than to be tried.
    pub(crate) fn refused(&self) -> usize {
        if self.is_corked() || self.is_lent() { 0 } else { self.queue.len() }
    }

    pub(crate) fn dropped(&self) -> usize {
        self.dropped
    }

    /// Whether nothing is read from the peer because it does not read itself: with
    /// [`SlowPeer::Block`] while anything waits for it, and in any case when the answers to what it
    /// sends have made the queue too long.
    pub(crate) fn blocks_input(&self) -> bool {
        self.is_flushing() && (self.options.slow_peer == SlowPeer::Block || self.is_too_long())
    }

    /// Whether a writer, which is about to be done, has to be first.
    pub(crate) fn waits_for_writer(&self) -> bool {
        self.is_lent() && self.is_too_long()
    }

    /// Whether not even answers have room.
    fn is_too_long(&self) -> bool {
        self.queue.len() >= self.options.queue_limit.saturating_add(ANSWERS)
    }

    /// How many further bytes may wait before messages of QoS 0 are dropped.
    pub(crate) fn room(&self) -> usize {
        self.options.queue_limit.saturating_sub(self.queue.len())
    }

    /// Whether anything waits to be written, or as much as may for who writes, in which case the owner is told when it is.
    pub(crate) fn wait_if_queued(&mut self) -> bool {
        let waits = self.is_flushing() || ((self.is_lent() || self.fed) && self.is_full());
        self.owner_waits |= waits;
        waits
    }

    /// Lets the owner be told when the queue is empty.
    pub(crate) fn wait(&mut self) {
        self.owner_waits = true;
    }

    /// What becomes of messages of QoS 0 now; or `again`, which with [`SlowPeer::Block`] is what was
    /// said before.
    pub(crate) fn admission(&mut self, connection: &Arc<Connection>, again: bool) -> Admission {
        if again && self.options.slow_peer == SlowPeer::Block {
            return self.admission;
        }
        self.try_corked(connection);
        self.admission = if self.fed || !self.is_full() {
            Admission::Send
        } else if self.closes_slow_peer() {
            Admission::Close
        } else {
            Admission::Drop
        };
        self.admission
    }

    /// Whether a full queue says that the peer is slow, and it is disconnected for that. A writer may be slow as well.
    fn closes_slow_peer(&self) -> bool {
        self.options.slow_peer == SlowPeer::Close && !self.is_lent()
    }

    /// What becomes of a message of a broadcast now. Gives the owner, if it has to be told that the
    /// peer is to be disconnected.
    pub(crate) fn admission_of_broadcast(
        &mut self,
        connection: &Arc<Connection>,
    ) -> (Admission, Option<LocalPid>) {
        self.try_corked(connection);
        if !self.is_full() {
            (Admission::Send, None)
        } else if self.closes_slow_peer() {
            let told = std::mem::replace(&mut self.told_full, true);
            (Admission::Close, self.owner.filter(|_| !told))
        } else {
            (Admission::Drop, None)
        }
    }

    fn is_full(&self) -> bool {
        let more = if self.is_lent() { BEHIND_LOAN } else { 0 };
        self.queue.len() >= self.options.queue_limit.saturating_add(more)
    }

    /// Counts messages that were not sent.
    pub(crate) fn count_dropped(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.dropped += count;
        DROPPED_MESSAGES.add(count);
        if let Some(counter) = &self.dropped_at_listener {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Writes what the kernel takes and queues the rest. When the peer is gone nothing is done: the
    /// input says so, behind what the peer sent before. Nothing else fails, but for want of a task
    /// that would finish the write, and that ends the connection.
    pub(crate) fn write(&mut self, connection: &Arc<Connection>, mut slices: &mut [IoSlice<'_>]) {
        if self.ending.is_some() {
            return;
        }
        if self.is_lent() {
            self.writing = Writing::Lent { urgent: true };
        } else if !self.fed && !self.is_flushing() {
            let Ok(left) = self.send(slices) else {
                drop(self.take());
                self.socket = None;
                return;
            };
            slices = left;
        }
        for slice in slices.iter() {
            self.enqueue(slice);
        }
        let is_refused = self.writing == Writing::AtOnce && !self.queue.is_empty();
        if is_refused && !self.fed {
            self.start_flusher(connection, self.socket.clone());
        }
    }

    fn enqueue(&mut self, bytes: &[u8]) {
        self.queue.extend_from_slice(bytes);
        // All schedulers share the count, so that what is only corked is not worth it.
        if self.is_flushing() {
            QUEUED_BYTES.add(bytes.len());
        }
    }

    /// Sends what was corked and `slices` behind it in one call, as much as the kernel takes, and
    /// gives what is left of these.
    fn send<'a, 'b>(
        &mut self,
        mut slices: &'a mut [IoSlice<'b>],
    ) -> io::Result<&'a mut [IoSlice<'b>]> {
        let Some(socket) = &self.socket else { return Ok(&mut []) };
        if !self.is_corked() {
            return Ok(send_all(socket, slices)?.1);
        }
        self.writing = Writing::AtOnce;
        let mut all = Vec::with_capacity(1 + slices.len());
        all.push(IoSlice::new(&self.queue));
        all.extend_from_slice(slices);
        let (sent, _) = send_all(socket, &mut all)?;
        let corked = sent.min(self.queue.len());
        IoSlice::advance_slices(&mut slices, sent - corked);
        self.queue.advance(corked);
        if self.queue.is_empty() {
            self.queue = BytesMut::new();
        }
        Ok(slices)
    }

    fn start_flusher(&mut self, connection: &Arc<Connection>, socket: Option<Arc<Socket>>) {
        let Some(socket) = socket else { return self.give_up() };
        if flusher::start(connection.clone(), socket.clone()).is_ok() {
            self.writing = Writing::Flushing;
            QUEUED_BYTES.add(self.queue.len());
        } else {
            self.give_up();
            socket.end();
        }
    }

    /// Takes all that waits, to be written by somebody else.
    pub(crate) fn take(&mut self) -> BytesMut {
        if self.is_corked() {
            self.writing = Writing::AtOnce;
        }
        let taken = std::mem::take(&mut self.queue);
        if self.is_flushing() {
            QUEUED_BYTES.subtract(taken.len());
        }
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

    /// For the flusher: its work is done, unless there is more meanwhile.
    pub(crate) fn flushed(&mut self) -> Flushed {
        if !self.queue.is_empty() {
            return Flushed::NotYet;
        }
        // Memory for a burst is not kept.
        self.queue = BytesMut::new();
        self.writing = Writing::AtOnce;
        Flushed::Done(self.waiting(), self.ending)
    }

    /// For the flusher: nothing more can be sent. Says whom to tell.
    pub(crate) fn failed(&mut self) -> Option<LocalPid> {
        drop(self.take());
        self.socket = None;
        self.writing = Writing::AtOnce;
        self.waiting()
    }

    /// The owner, if it waits for what was queued, which is about to be told.
    pub(crate) fn waiting(&mut self) -> Option<LocalPid> {
        let waits = std::mem::take(&mut self.owner_waits);
        self.owner.filter(|_| waits)
    }

    /// Nothing more can be sent. The socket is ended, so that the input ends as well.
    fn give_up(&mut self) {
        drop(self.take());
        if let Some(socket) = self.socket.take() {
            socket.end();
        }
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending
    }

    pub(crate) fn owner(&self) -> Option<LocalPid> {
        self.owner
    }

    /// Ends the output. Gives the socket to end now, or nothing if the flusher will do it.
    pub(crate) fn end(
        &mut self,
        connection: &Arc<Connection>,
        ending: Ending,
    ) -> Option<Arc<Socket>> {
        if self.fed {
            // Who would have written it is gone.
            drop(self.take());
        } else {
            self.uncork(connection);
        }
        self.ending.get_or_insert(ending);
        let socket = self.socket.take();
        // Otherwise the flusher does it, or a writer has one do it.
        socket.filter(|_| !self.is_flushing() && !self.is_lent())
    }
}

/// Sends as much as the kernel takes, and gives how much that was, and the rest.
fn send_all<'a, 'b>(
    socket: &Socket,
    mut slices: &'a mut [IoSlice<'b>],
) -> io::Result<(usize, &'a mut [IoSlice<'b>])> {
    let mut total = 0;
    while !slices.is_empty() {
        match socket.send(slices) {
            Ok(sent) => {
                total += sent;
                IoSlice::advance_slices(&mut slices, sent);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok((total, slices))
}

impl Drop for Output {
    fn drop(&mut self) {
        drop(self.take());
    }
}
