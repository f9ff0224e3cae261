//! Who reads what goes to a router and leaves nothing for the owner.
//!
//! A client whose messages all go to a router needs its connection's process for what is rare only: to subscribe, and to leave. So when
//! its owner was called for nothing, the socket goes from the poller's set to that of a thread of ours, which reads, brings on its way
//! what came, and answers, as the owner would, and neither wakes a process nor has a scheduler wait for more. The owner is told where there is something for it, or more
//! than a read: then the socket goes back, so that a client that floods is read by its owner, on whichever scheduler that is. So are those behind the first [`OWN`] where many have
//! something at once.
//!
//! Owner and thread read under the lock `input`, and which of them it is says the connection's `Readiness`, which for such a connection changes under
//! this lock only.

use crate::atoms;
use crate::connection::Connection;
use crate::socket::Socket;
use crate::watching::{AT_ONCE, Ticket, Watched};
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

/// A set for each thread, of which there is one for two schedulers. They are begun when they are first needed, and never end.
static READERS: OnceCell<Vec<Watched>> = OnceCell::new();
/// Which of them is next.
static NEXT: AtomicUsize = AtomicUsize::new(0);

fn readers() -> io::Result<&'static Vec<Watched>> {
    READERS.get_or_try_init(|| {
        let mut readers = vec![begin(0)?];
        for number in 1..writers::count() / 2 {
            // Fewer do as well.
            let Ok(reader) = begin(number) else { break };
            readers.push(reader);
        }
        Ok(readers)
    })
}

/// Begins the thread of that number.
fn begin(number: usize) -> io::Result<Watched> {
    let watched = Watched::new()?;
    let read = move || READERS.wait().get(number).map(read);
    thread::Builder::new().name("mqtt_reader".into()).spawn(read)?;
    Ok(watched)
}

/// Has the socket of a connection, whose input is locked, read from now on, by one of the readers.
pub(crate) fn watch(
    connection: &Arc<Connection>,
    socket: &Socket,
    owner: LocalPid,
) -> io::Result<(usize, Ticket)> {
    let readers = readers()?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % readers.len();
    let reader = readers.get(number).ok_or(io::ErrorKind::NotFound)?;
    Ok((number, reader.add(connection, socket, owner)?))
}

/// Ends what [`watch`] began. The socket has to be open still.
pub(crate) fn forget(number: usize, ticket: Ticket, socket: &Socket) {
    if let Some(reader) = READERS.get().and_then(|readers| readers.get(number)) {
        reader.remove(ticket, socket);
    }
}

fn read(watched: &Watched) -> ! {
    let mut env = OwnedEnv::new();
    let mut found = Vec::with_capacity(AT_ONCE);
    loop {
        watched.find(true, |connection, owner, ended| {
            found.push((connection.clone(), owner, ended));
        });
        env.run(|env| {
            for (connection, owner, ended) in found.drain(OWN.min(found.len())..) {
                if connection.ready(ended) {
                    tell(env, owner);
                }
            }
        });
        for (connection, owner, ended) in found.drain(..) {
            // A defect ends one connection.
            let read = || env.run(|env| connection.receive_for_owner(env, ended));
            let for_owner = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
                connection.fail();
                true
            });
            if for_owner {
                env.run(|env| tell(env, owner));
            }
            // What was sent is copied.
            env.clear();
        }
    }
}

fn tell(env: Env<'_>, owner: LocalPid) {
    // One that has ended is told in vain.
    let _ = env.send(&owner, (atoms::mqtt(), atoms::readable()));
}
