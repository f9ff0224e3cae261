//! Who reads what goes to a router and leaves nothing for the owner.
//!
//! A client whose messages all go to a router needs its connection's process for what is rare only: to subscribe, and to leave. So when
//! its owner was called for nothing, the socket goes from the poller's set to that of a thread of ours, which reads, brings on its way
//! what came, and answers, as the owner would, and neither wakes a process nor has a scheduler wait for more. The owner is told where there is something for it, or more
//! than a read or a moment's work: then the socket goes back, so that a client that floods, or publishes to many, is read by its owner, on whichever scheduler that is. So are those behind the first [`OWN`] where many have
//! something at once.
//!
//! Owner and thread read under the lock `input`. Which of them it is says the connection's `Readiness`, and of what a thread has found it reads
//! only what is in its set still.

use crate::atoms;
use crate::connection::Connection;
use crate::socket::Socket;
use crate::spin::Spin;
use crate::watching::{AT_ONCE, Found, Ticket, Watched};
use crate::writers;
use once_cell::sync::OnceCell;
use rustler::{Env, LocalPid, OwnedEnv};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// So many connections are read at once here, if there are more the rest by their owners.
const OWN: usize = 64;
/// So many readers there may be.
const MAX_READERS: usize = 32;

/// The set of each thread, of which there is one for two schedulers. They are begun when they are first needed, and never end.
static READERS: [OnceCell<Watched<Arc<Connection>>>; MAX_READERS] =
    [const { OnceCell::new() }; MAX_READERS];
/// Which of them is next.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A reader's number, and a connection's ticket with it.
pub(crate) type Seat = (usize, Ticket);

/// Has the socket of a connection, whose input is locked, read from now on, by one of the readers.
pub(crate) fn watch(
    connection: &Arc<Connection>,
    socket: &Socket,
    owner: LocalPid,
) -> io::Result<Seat> {
    let count = (writers::count() / 2).clamp(1, MAX_READERS);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % count;
    let reader = READERS.get(number).ok_or(io::ErrorKind::NotFound)?;
    let watched = reader.get_or_try_init(|| {
        let watched = Watched::new()?;
        let read = move || read(number, reader.wait());
        thread::Builder::new().name("mqtt_reader".into()).spawn(read)?;
        Ok::<_, io::Error>(watched)
    })?;
    Ok((number, watched.add(connection.clone(), socket, owner)?))
}

/// Ends what [`watch`] began. The socket has to be open still.
pub(crate) fn forget((number, ticket): Seat, socket: &Socket) {
    if let Some(watched) = READERS.get(number).and_then(OnceCell::get) {
        watched.remove(ticket, socket);
    }
}

/// What a reader has found.
struct Waiting {
    connection: Arc<Connection>,
    owner: LocalPid,
    seat: Seat,
    ended: bool,
}

fn read(number: usize, watched: &Watched<Arc<Connection>>) -> ! {
    let mut env = OwnedEnv::new();
    let mut found = Vec::with_capacity(AT_ONCE);
    // Behind a single connection it is asked again for a moment: it may be the only one, which waits for each answer. Where there are many,
    // sleeping leaves the processor to them.
    let mut alone = false;
    let mut spin = Spin::default();
    loop {
        let count = watched.find(!alone, |Found { whose, owner, ticket, ended }| {
            let connection = whose.clone();
            found.push(Waiting { connection, owner, seat: (number, ticket), ended });
        });
        if count == 0 {
            alone = alone && spin.goes_on();
            continue;
        }
        spin.has_found();
        alone = count == 1 && (alone || spin.begins());
        for waiting in found.drain(OWN.min(found.len())..) {
            let ready = |waiting: &Waiting, _: Env<'_>| {
                waiting.connection.ready(waiting.seat, waiting.ended)
            };
            env.run(|env| see_to(env, waiting, ready));
        }
        for waiting in found.drain(..) {
            let read = |waiting: &Waiting, env: Env<'_>| {
                waiting.connection.receive_for_owner(env, waiting.seat, waiting.ended)
            };
            env.run(|env| see_to(env, waiting, read));
            // What was sent is copied.
            env.clear();
        }
    }
}

/// Tells the owner of a connection if `call` says so.
fn see_to(env: Env<'_>, waiting: Waiting, call: impl FnOnce(&Waiting, Env<'_>) -> bool) {
    // A defect ends one connection.
    let for_owner = catch_unwind(AssertUnwindSafe(|| call(&waiting, env)));
    let seen = catch_unwind(AssertUnwindSafe(|| {
        let for_owner = for_owner.unwrap_or_else(|_| {
            waiting.connection.fail();
            true
        });
        if for_owner {
            // One that has ended is told in vain.
            let _ = env.send(&waiting.owner, (atoms::mqtt(), atoms::readable()));
        }
        // It may be the last one who has the connection.
        drop(waiting);
    }));
    drop(seen);
}
