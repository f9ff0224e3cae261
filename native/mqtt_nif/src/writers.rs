//! What is corked, and the processes that write it: a process for each scheduler, which is
//! told once and then writes to all the connections that are its own by that time. Thus a connection
//! gets many packets by one system call.
//!
//! Broadcasts cork. The writer is told at once, or, where more broadcasts may follow from the same process,
//! when these are over. What a connection routes to many is corked as well. And a connection's process corks that has a
//! few packets to write, if there are many such on its scheduler: a message to a thousand processes is a time
//! slice of its publisher's, so the next one comes when they all have had their turn. The writer waits for
//! more, if it has been worth it.
//!
//! The lock of a list comes behind that of an output, and nothing is called under it but
//! the BEAM's `enif_send`.

use crate::atoms;
use crate::clock;
use crate::connection::Connection;
use crate::terms::consume_timeslice;
use mqtt_core::Millis;
use rustler::{Atom, Encoder, Env, LocalPid, Term};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many writers there may be, which is more than use helps.
const MAX_WRITERS: usize = 64;
/// A writer writes to so many connections a call, which is a third of a millisecond, and not many more bytes.
const AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 256 * 1024;
/// What a write takes, compared with bytes that are decoded.
const COST: usize = 2 * 1024;

/// From so many in a millisecond on, writes of few packets are left to a writer: they
/// take more than a tenth of a scheduler.
const MANY_SMALL: u32 = 32;
/// From so many connections on, a writer may wait: about as many microseconds for each of them as its writes take, if
/// by that every write has a packet more, and milliseconds at most.
const MANY_WAITING: usize = 32;
const WAIT_FOR_EACH: usize = 10;
const MAX_WAIT: usize = 5;
/// After so many milliseconds without a pass, what was gained by the last one says nothing any more.
const GAIN_LASTS: Millis = 100;

struct Writer {
    /// Those that have something corked.
    connections: VecDeque<Arc<Connection>>,
    process: Option<LocalPid>,
    /// Whether the process was told, and has not found the list empty since.
    told: bool,
    /// How many of them have been given since the pass began.
    given: usize,
    pass: Pass,
    /// For each hundred writes of the pass before, the packets beyond one a write, and when that was.
    gain: usize,
    ended: Millis,
}

/// A writer's way through the connections that were in its list when it began.
#[derive(Clone, Copy)]
struct Pass {
    left: usize,
    writes: usize,
    packets: usize,
}

const NO_PASS: Pass = Pass { left: 0, writes: 0, packets: 0 };

static WRITERS: [Mutex<Writer>; MAX_WRITERS] = [const {
    Mutex::new(Writer {
        connections: VecDeque::new(),
        process: None,
        told: false,
        given: 0,
        pass: NO_PASS,
        gain: 0,
        ended: 0,
    })
}; MAX_WRITERS];

/// How many of them have a process.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn writer(index: usize) -> Option<MutexGuard<'static, Writer>> {
    Some(WRITERS.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The writer of a connection, always the same one.
fn index(connection: &Arc<Connection>, count: usize) -> usize {
    // The lower bits of an address are alike.
    let hash = (Arc::as_ptr(connection) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (hash >> 32) as usize % count
}

/// Has what was corked in these connections written, by a writer that may wait for more of it: it is told now, or if it is
/// on `hold` once [`writers_tell`] is called. Without a writer it is written at once.
pub(crate) fn give<'c>(
    env: Env<'_>,
    connections: impl IntoIterator<Item = &'c Arc<Connection>>,
    hold: bool,
) {
    for connection in connections {
        give_one(connection, |writer| {
            writer.given += 1;
            (hold && writer.process.is_some()) || writer.tell(env)
        });
    }
}

/// Puts a connection into its writer's list if `take` says that this will be seen to.
fn give_one(connection: &Arc<Connection>, take: impl FnOnce(&mut Writer) -> bool) {
    let count = count();
    let given = if count == 0 { None } else { writer(index(connection, count)) };
    if let Some(mut writer) = given
        && take(&mut writer)
    {
        writer.connections.push_back(connection.clone());
    } else {
        connection.output().uncork(connection);
    }
}

thread_local! {
    /// A millisecond, the writes of few packets in it, and in the one before.
    static SMALL: Cell<(Millis, u32, u32)> = const { Cell::new((0, 0, 0)) };
}

/// A connection has a few packets to write. Says whether this scheduler has so many of
/// such writes that they are better left to a writer.
pub(crate) fn are_better(now: Millis) -> bool {
    let (millisecond, count, before) = SMALL.get();
    let (count, before) = match now.saturating_sub(millisecond) {
        0 => (count + 1, before),
        1 => (1, count),
        _ => (1, 0),
    };
    SMALL.set((now, count, before));
    count.max(before) >= MANY_SMALL
}

impl Writer {
    /// Says whether there is a process that will write.
    fn tell(&mut self, env: Env<'_>) -> bool {
        if !self.told {
            self.told = self
                .process
                .is_some_and(|process| env.send(&process, (atoms::mqtt(), atoms::write())).is_ok());
        }
        self.told
    }

    /// Begins a pass. Gives the milliseconds to wait before. What comes meanwhile waits for the next one, which gains by that.
    fn begin(&mut self, now: Millis) -> usize {
        self.pass = Pass { left: self.connections.len(), ..NO_PASS };
        let given = std::mem::take(&mut self.given);
        let is_old = now.saturating_sub(self.ended) > GAIN_LASTS;
        if given < MANY_WAITING || is_old {
            return 0;
        }
        (given * WAIT_FOR_EACH * self.gain.min(100)).div_ceil(100_000).min(MAX_WAIT)
    }

    /// The next connections of the pass.
    fn next(&mut self) -> Vec<Arc<Connection>> {
        self.pass.left = self.pass.left.min(self.connections.len());
        let count = self.pass.left.min(AT_ONCE);
        self.pass.left -= count;
        self.connections.drain(..count).collect()
    }

    /// Ends a pass. Says whether there is more.
    fn end(&mut self, now: Millis) -> bool {
        let Pass { writes, packets, .. } = std::mem::replace(&mut self.pass, NO_PASS);
        self.ended = now;
        self.gain = packets.saturating_sub(writes) * 100 / writes.max(1);
        self.told = !self.connections.is_empty();
        self.told
    }
}

/// Whether there are any.
pub(crate) fn exist() -> bool {
    count() > 0
}

/// How many there are, which is one for each scheduler.
pub(crate) fn count() -> usize {
    COUNT.load(Ordering::Acquire)
}

/// Has written what is on hold.
#[rustler::nif]
fn writers_tell(env: Env<'_>) -> Atom {
    tell_all(env);
    atoms::ok()
}

fn tell_all(env: Env<'_>) {
    for index in 0..count() {
        let Some(mut writer) = writer(index) else { continue };
        if writer.connections.is_empty() || writer.tell(env) {
            continue;
        }
        let left = std::mem::take(&mut writer.connections);
        drop(writer);
        for connection in left {
            connection.output().uncork(&connection);
        }
    }
}

/// The calling process is a writer from now on, of `count`.
#[rustler::nif]
fn writer_register(env: Env<'_>, number: usize, count: usize) -> Atom {
    let Some(mut writer) = writer(number) else { return atoms::error() };
    writer.process = Some(env.pid());
    // What the one before it left.
    writer.told = false;
    writer.pass = NO_PASS;
    writer.tell(env);
    drop(writer);
    COUNT.store(count.min(MAX_WRITERS), Ordering::Release);
    // Who was to tell them may have told the one before this.
    tell_all(env);
    atoms::ok()
}

/// A writer ends. What it leaves is written.
#[rustler::nif(schedule = "DirtyIo")]
fn writer_leave(number: usize) -> Atom {
    let left = writer(number).map(|mut writer| {
        (writer.process, writer.told) = (None, false);
        std::mem::take(&mut writer.connections)
    });
    for connection in left.into_iter().flatten() {
        connection.output().uncork(&connection);
    }
    atoms::ok()
}

/// Writes to some of the connections that wait. Gives when to call again, in milliseconds, or `:ok` if
/// these were all. Before a pass it may say so without having written.
#[rustler::nif]
fn writer_write(env: Env<'_>, number: usize) -> Term<'_> {
    let now = clock::now();
    let batch = {
        let Some(mut writer) = writer(number) else { return atoms::ok().encode(env) };
        if writer.pass.left == 0 {
            let wait = writer.begin(now);
            if wait > 0 {
                return wait.encode(env);
            }
        }
        writer.next()
    };
    let (mut calls, mut packets, mut bytes, mut again) = (0, 0, 0, Vec::new());
    let mut batch = batch.into_iter();
    while bytes < BYTES_AT_ONCE
        && let Some(connection) = batch.next()
    {
        let loan = connection.output().lend();
        if let Some(loan) = loan {
            calls += 1;
            packets += loan.packets as usize;
            let sent = loan.send();
            bytes += sent.as_ref().copied().unwrap_or(0);
            let (more, owner) = connection.output().take_back(&connection, loan, sent);
            if let Some(owner) = owner {
                // One that has ended already is told in vain.
                let _ = env.send(&owner, (atoms::mqtt(), atoms::drained()));
            }
            if more {
                again.push(connection);
            }
        }
    }
    consume_timeslice(env, COST * calls + bytes);
    let Some(mut writer) = writer(number) else { return atoms::ok().encode(env) };
    writer.pass.left += batch.len();
    for connection in batch.rev() {
        writer.connections.push_front(connection);
    }
    writer.pass.writes += calls;
    writer.pass.packets += packets;
    writer.given += again.len();
    writer.connections.extend(again);
    let more = writer.pass.left > 0 || writer.end(now);
    if more { 0.encode(env) } else { atoms::ok().encode(env) }
}
