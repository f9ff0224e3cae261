//! What broadcasts have corked, and the processes that write it: a process for each scheduler, which is
//! told once and then writes to all the connections that are its own by that time. It is told at once,
//! or, where more broadcasts may follow from the same process, when these are over. Many of them thus
//! cost a connection one system call.
//!
//! The lock of a list comes behind that of an output, and nothing is called under it but
//! the BEAM's `enif_send`.

use crate::atoms;
use crate::connection::Connection;
use crate::terms::consume_timeslice;
use rustler::{Atom, Env, LocalPid};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many writers there may be, which is more than use helps.
const MAX_WRITERS: usize = 64;
/// A writer writes to so many connections a call: a third of a millisecond.
const AT_ONCE: usize = 64;
/// What a write takes, compared with bytes that are decoded.
const COST: usize = 2 * 1024;

struct Writer {
    /// Those that have something corked.
    connections: VecDeque<Arc<Connection>>,
    process: Option<LocalPid>,
    /// Whether the process was told, and has not found the list empty since.
    told: bool,
}

static WRITERS: [Mutex<Writer>; MAX_WRITERS] =
    [const { Mutex::new(Writer { connections: VecDeque::new(), process: None, told: false }) };
        MAX_WRITERS];

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

/// Has what was corked in these connections written: now, or if it is on `hold` once [`writers_tell`] is
/// called. Without a writer it is written at once.
pub(crate) fn give(
    env: Env<'_>,
    connections: impl IntoIterator<Item = Arc<Connection>>,
    hold: bool,
) {
    let count = COUNT.load(Ordering::Acquire);
    for connection in connections {
        let given = if count == 0 { None } else { writer(index(&connection, count)) };
        if let Some(mut writer) = given
            && ((hold && writer.process.is_some()) || writer.tell(env))
        {
            writer.connections.push_back(connection);
        } else {
            connection.output().uncork(&connection);
        }
    }
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
}

/// Whether there are any.
pub(crate) fn exist() -> bool {
    COUNT.load(Ordering::Acquire) > 0
}

/// Has written what is on hold.
#[rustler::nif]
fn writers_tell(env: Env<'_>) -> Atom {
    tell_all(env);
    atoms::ok()
}

fn tell_all(env: Env<'_>) {
    for index in 0..COUNT.load(Ordering::Acquire) {
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

/// Writes to some of the connections that wait: `:more`, or `:ok` if these were all.
#[rustler::nif]
fn writer_write(env: Env<'_>, number: usize) -> Atom {
    let mut count = 0;
    let more = loop {
        let Some(mut writer) = writer(number) else { break false };
        if count == AT_ONCE {
            break true;
        }
        let Some(connection) = writer.connections.pop_front() else {
            writer.told = false;
            break false;
        };
        drop(writer);
        connection.output().uncork(&connection);
        count += 1;
    };
    consume_timeslice(env, COST * count);
    if more { atoms::more() } else { atoms::ok() }
}
