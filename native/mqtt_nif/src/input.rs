//! The bytes that came and are not yet packets.
//!
//! Every scheduler thread and reader has one buffer to read into, and what is decoded from it is copied or
//! shared as [`Source`] says. Behind a full read of which much was shared the next one is into a binary, which is
//! shared as it is if it is full as well. A connection keeps a part of a packet and nothing else; only as much
//! memory is kept as bytes have really come, within a small factor, whatever length the peer
//! declared. A large packet is read straight into a binary of its own.

mod large;

use crate::batch::{Batch, Stop};
use crate::socket::Socket;
use crate::terms::Source;
use large::Large;
use mqtt_core::{Connection, Session};
use rustler::{Binary, OwnedBinary};
use std::cell::RefCell;
use std::io::{self, IoSliceMut};

/// What is read at first, and at most while the reads come back full.
const MIN_BUDGET: usize = 16 * 1024;
const MAX_BUDGET: usize = 64 * 1024;
/// From this size on a packet gets a binary of its own, once [`WORTHWHILE`] bytes of it have come.
const LARGE: usize = 16 * 1024;
const WORTHWHILE: usize = 4 * 1024;
/// How much of a large packet has to come at once to show that the peer is alive.
const PROGRESS: usize = 1000;
/// What is read beside the rest of a large packet: the beginning of the next.
const BESIDE_LARGE: usize = 4 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> =
        RefCell::new(vec![0; LARGE + MAX_BUDGET].into_boxed_slice());
}

/// The state machine of a connection with its session.
pub(crate) struct Peer<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) session: &'a mut Session,
}

/// What a connection keeps between two reads.
pub(crate) struct Input {
    pending: Pending,
    budget: usize,
    /// Whether the last read was full, of messages that had to be a binary: then the next is into one.
    shares: bool,
    /// The largest packet that has come whole; the next may take as much at once.
    largest: usize,
}

enum Pending {
    Nothing,
    /// Nothing, and most likely there is nothing to read either: the client waits for CONNACK. Whether the read before left
    /// nothing.
    Silence(bool),
    /// A part of a packet, shorter than [`LARGE`].
    Part(Vec<u8>),
    /// Bytes that may hold whole packets.
    Unread(Vec<u8>),
    Large(Large),
}

/// How a read ended.
pub(crate) enum Progress {
    /// All that had come was read.
    Drained,
    /// There may be more to read, or to decode.
    More,
    /// Nothing more may be read now.
    Stop(Stop),
    /// The peer ended its direction.
    End,
}

impl Input {
    /// `received` came before the connection was ours.
    pub(crate) fn new(received: Vec<u8>) -> Self {
        let pending =
            if received.is_empty() { Pending::Nothing } else { Pending::Unread(received) };
        Self { pending, budget: MIN_BUDGET, shares: false, largest: 0 }
    }

    /// Whether there are bytes to decode without reading.
    pub(crate) fn has_unread(&self) -> bool {
        matches!(self.pending, Pending::Unread(_))
    }

    /// Whether a large packet has begun.
    pub(crate) fn is_large(&self) -> bool {
        matches!(self.pending, Pending::Large(_))
    }

    /// Reads once from the socket, or not at all while there are unread bytes. One that is `watched` already tells of bytes once, so
    /// it is read until nothing is left.
    pub(crate) fn read(
        &mut self,
        peer: &mut Peer<'_>,
        socket: &Socket,
        batch: &mut Batch<'_>,
        watched: bool,
    ) -> io::Result<Progress> {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Unread(bytes) => {
                let mut source = Source::borrowed(batch.env(), &bytes);
                Ok(self.digest(peer, &mut source, 0, batch, true))
            }
            Pending::Silence(drained) if drained || !watched => Ok(Progress::Drained),
            Pending::Nothing | Pending::Silence(_) => self.read_some(peer, socket, &[], batch),
            Pending::Part(part) => self.read_some(peer, socket, &part, batch),
            Pending::Large(large) => self.read_large(peer, socket, large, batch),
        }
    }

    /// Takes bytes that somebody else read.
    pub(crate) fn feed<'a>(
        &mut self,
        peer: &mut Peer<'_>,
        data: Binary<'a>,
        batch: &mut Batch<'a>,
    ) -> Progress {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing | Pending::Silence(_) => {
                let mut source = Source::shared(batch.env(), data);
                self.digest(peer, &mut source, 0, batch, false)
            }
            Pending::Part(before) | Pending::Unread(before) => {
                let mut whole = OwnedBinary::new(before.len() + data.len());
                let (front, back) = whole.as_mut_slice().split_at_mut(before.len());
                front.copy_from_slice(&before);
                back.copy_from_slice(&data);
                let mut source = Source::shared(batch.env(), whole.release(batch.env()));
                self.digest(peer, &mut source, 0, batch, false)
            }
            Pending::Large(mut large) => {
                let taken = large.extend(&data);
                if taken >= PROGRESS {
                    peer.connection.progress(batch.now());
                }
                if !large.is_complete() {
                    self.pending = Pending::Large(large);
                    return Progress::Drained;
                }
                let mut source = Source::shared(batch.env(), data);
                self.digest_behind(peer, large, &mut source, taken, batch, false)
            }
        }
    }

    /// Keeps bytes that somebody else read, to be decoded later. Says whether it does: not in a large packet.
    pub(crate) fn keep(&mut self, data: &[u8]) -> bool {
        let mut kept = match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing | Pending::Silence(_) => Vec::new(),
            Pending::Part(bytes) | Pending::Unread(bytes) => bytes,
            large @ Pending::Large(_) => {
                self.pending = large;
                return false;
            }
        };
        kept.extend_from_slice(data);
        if !kept.is_empty() {
            self.pending = Pending::Unread(kept);
        }
        true
    }

    /// Reads behind the part of a packet that was kept: into the scratch buffer, or, where that would then be copied, into a binary.
    fn read_some(
        &mut self,
        peer: &mut Peer<'_>,
        socket: &Socket,
        part: &[u8],
        batch: &mut Batch<'_>,
    ) -> io::Result<Progress> {
        let (env, wanted) = (batch.env(), part.len() + self.budget);
        if std::mem::take(&mut self.shares) {
            let mut binary = OwnedBinary::new(wanted);
            return match self.fill(socket, part, binary.as_mut_slice()) {
                Ok((_, true)) => {
                    let mut source = Source::shared(env, binary.release(env));
                    Ok(self.digest_read(peer, &mut source, batch, true))
                }
                // Few messages do not hold the memory of many.
                Ok((filled, false)) => {
                    let received = binary.as_slice().get(..filled).unwrap_or_default();
                    let mut source = Source::borrowed(env, received);
                    Ok(self.digest_read(peer, &mut source, batch, false))
                }
                Err(ended) => ended,
            };
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let (buffer, _) = scratch.split_at_mut(wanted.min(scratch.len()));
            match self.fill(socket, part, buffer) {
                Ok((filled, full)) => {
                    let received = buffer.get(..filled).unwrap_or_default();
                    let mut source = Source::borrowed(env, received);
                    Ok(self.digest_read(peer, &mut source, batch, full))
                }
                Err(ended) => ended,
            }
        })
    }

    /// Reads once behind the part of a packet. Gives how many bytes there are then, and whether the read was full, or how it ended.
    fn fill(
        &mut self,
        socket: &Socket,
        part: &[u8],
        buffer: &mut [u8],
    ) -> Result<(usize, bool), io::Result<Progress>> {
        let (front, back) = buffer.split_at_mut(part.len());
        front.copy_from_slice(part);
        match socket.receive(&mut [IoSliceMut::new(back)]) {
            Ok(0) => Err(Ok(Progress::End)),
            Ok(read) => Ok((part.len() + read, self.adapt(read))),
            Err(error) => {
                if !part.is_empty() {
                    self.pending = Pending::Part(part.to_vec());
                }
                Err(idle(error))
            }
        }
    }

    fn digest_read<'a>(
        &mut self,
        peer: &mut Peer<'_>,
        source: &mut Source<'a, '_>,
        batch: &mut Batch<'a>,
        full: bool,
    ) -> Progress {
        let progress = self.digest(peer, source, 0, batch, full);
        self.shares = full && source.is_shared();
        progress
    }

    /// Reads into the binary of the large packet, and the beginning of the next into the scratch
    /// buffer.
    fn read_large(
        &mut self,
        peer: &mut Peer<'_>,
        socket: &Socket,
        mut large: Large,
        batch: &mut Batch<'_>,
    ) -> io::Result<Progress> {
        large.grow(self.largest);
        SCRATCH.with_borrow_mut(|scratch| {
            let (beside, _) = scratch.split_at_mut(BESIDE_LARGE.min(scratch.len()));
            let room = large.room();
            let wanted = room.len() + beside.len();
            let space = room.len();
            let read = match socket.receive(&mut [IoSliceMut::new(room), IoSliceMut::new(beside)]) {
                Ok(0) => return Ok(Progress::End),
                Ok(read) => read,
                Err(error) => {
                    self.pending = Pending::Large(large);
                    return idle(error);
                }
            };
            let full = read == wanted;
            batch.count(read.min(space));
            if read >= PROGRESS {
                peer.connection.progress(batch.now());
            }
            large.filled += read.min(space);
            let rest = beside.get(..read.saturating_sub(space)).unwrap_or_default();
            let taken = large.extend(rest);
            if !large.is_complete() {
                self.pending = Pending::Large(large);
                return Ok(if full { Progress::More } else { Progress::Drained });
            }
            let mut source = Source::borrowed(batch.env(), rest);
            Ok(self.digest_behind(peer, large, &mut source, taken, batch, full))
        })
    }

    /// Decodes a large packet that is whole, and then what came behind it.
    fn digest_behind<'a>(
        &mut self,
        peer: &mut Peer<'_>,
        large: Large,
        behind: &mut Source<'a, '_>,
        start: usize,
        batch: &mut Batch<'a>,
        full: bool,
    ) -> Progress {
        self.largest = self.largest.max(large.total);
        let binary = large.binary.release(batch.env());
        let mut source = Source::shared(batch.env(), binary);
        match self.digest(peer, &mut source, 0, batch, false) {
            Progress::Drained => self.digest(peer, behind, start, batch, full),
            // The packet was CONNECT, or made the batch full.
            progress => {
                let rest = behind.bytes().get(start..).unwrap_or_default();
                if let Pending::Silence(drained) = &mut self.pending {
                    *drained = !full;
                }
                if !matches!(progress, Progress::Stop(Stop::Close(_))) && !rest.is_empty() {
                    self.pending = Pending::Unread(rest.to_vec());
                }
                progress
            }
        }
    }

    /// Decodes the bytes from `start` on and keeps what is left. `full` says whether there may be
    /// more where they came from.
    fn digest<'a>(
        &mut self,
        peer: &mut Peer<'_>,
        source: &mut Source<'a, '_>,
        start: usize,
        batch: &mut Batch<'a>,
        full: bool,
    ) -> Progress {
        let (end, stop) = batch.run(peer.connection, peer.session, source, start);
        let rest = source.bytes().get(end..).unwrap_or_default();
        match stop {
            Stop::Incomplete(total) => {
                self.pending = if rest.is_empty() {
                    Pending::Nothing
                } else if total > LARGE && rest.len() >= WORTHWHILE {
                    Pending::Large(Large::new(rest, total, self.largest))
                } else {
                    Pending::Part(rest.to_vec())
                };
                if full { Progress::More } else { Progress::Drained }
            }
            Stop::Held | Stop::Full => {
                let held = matches!(stop, Stop::Held);
                if !rest.is_empty() {
                    self.pending = Pending::Unread(rest.to_vec());
                } else if held {
                    self.pending = Pending::Silence(!full);
                }
                if held { Progress::Stop(stop) } else { Progress::More }
            }
            Stop::Close(_) => Progress::Stop(stop),
        }
    }

    /// Whether the read was full, so that there may be more; then the next one may be larger.
    fn adapt(&mut self, read: usize) -> bool {
        let full = read >= self.budget;
        self.budget = if full { (self.budget * 2).min(MAX_BUDGET) } else { MIN_BUDGET };
        full
    }
}

fn idle(error: io::Error) -> io::Result<Progress> {
    if error.kind() == io::ErrorKind::WouldBlock { Ok(Progress::Drained) } else { Err(error) }
}
