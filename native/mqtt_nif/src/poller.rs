//! Who is told that there is something to read.
//!
//! The sockets of connections and listeners are in one [set](Watched). The BEAM polls a descriptor for it, the [door](Poller::door), and a scheduler
//! tells their owners (`driver.rs`). Where a single client waits for each answer, nobody sleeps between its messages: a process, `MQTT.Server.Poller`, asks
//! the set again and again, with the door shut, until it has asked in vain for a moment.
//!
//! One at a time asks, under the lock `turn`; any process may watch and be forgotten.

use crate::connection::Connection;
use crate::spin::Spin;
use crate::watching::{Readiness, Ticket, Watched};
use crate::{atoms, terms};
use once_cell::sync::OnceCell;
use rustix::event::epoll;
use rustler::{Atom, Env, LocalPid};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What telling an owner takes, compared with bytes that are decoded.
const COST: usize = 128;

static POLLER: OnceCell<Poller> = OnceCell::new();

struct Poller {
    watched: Watched<Whose>,
    /// A set that has nothing but the other in it, and not always that.
    door: OwnedFd,
    turn: Mutex<Turn>,
}

/// Whose socket it is.
pub(crate) enum Whose {
    Connection(Arc<Connection>),
    Listener(Arc<Readiness>),
}

impl Whose {
    fn readiness(&self) -> &Readiness {
        match self {
            Self::Connection(connection) => connection.readiness(),
            Self::Listener(readiness) => readiness,
        }
    }
}

/// What who asks has at hand.
#[derive(Default)]
struct Turn {
    owners: Vec<LocalPid>,
    spin: Spin,
    /// Whether the process asks.
    shut: bool,
    /// The number of the last port: the process is the one that has it.
    port: u64,
    /// A descriptor of the door that no port has, so that a further one needs none.
    spare: Option<OwnedFd>,
}

fn poller() -> io::Result<&'static Poller> {
    POLLER.get_or_try_init(|| {
        let watched = Watched::new()?;
        let door = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&door, &watched, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        Ok(Poller { watched, door, turn: Mutex::default() })
    })
}

impl Poller {
    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the BEAM told of what is in the set, or not. Says whether it could be done.
    fn shut(&self, turn: &mut Turn, shut: bool) -> bool {
        let flags = if shut { epoll::EventFlags::empty() } else { epoll::EventFlags::IN };
        let done = epoll::modify(&self.door, &self.watched, epoll::EventData::new_u64(0), flags);
        if done.is_ok() {
            turn.shut = shut;
        }
        done.is_ok()
    }

    /// Says how many sockets have something, whose owners are in `turn.owners` unless they look for themselves.
    fn ask(&self, turn: &mut Turn) -> usize {
        self.watched.find(false, |found| {
            if found.whose.readiness().ready(found.ended) {
                turn.owners.push(found.owner);
            }
        })
    }
}

/// A descriptor that is readable while there is something in the set, for the port of a process that is new and does not ask
/// yet, and the port's number.
pub(crate) fn open_door() -> io::Result<(OwnedFd, u64)> {
    let poller = poller()?;
    let mut turn = poller.turn();
    let spare = turn.spare.take();
    let door = spare.map_or_else(|| poller.door.try_clone(), Ok)?;
    poller.shut(&mut turn, false);
    turn.port += 1;
    Ok((door, turn.port))
}

/// No port has it any more.
pub(crate) fn close_door(door: OwnedFd) {
    if let Ok(poller) = poller() {
        poller.turn().spare = Some(door);
    }
}

/// Watches a socket, whose owner may wait from now on.
pub(crate) fn watch(whose: Whose, socket: impl AsFd, owner: LocalPid) -> io::Result<Ticket> {
    poller()?.watched.add(whose, socket, owner)
}

/// Ends what [`watch`] began. The socket has to be open still.
pub(crate) fn forget(ticket: Ticket, socket: impl AsFd) {
    if let Ok(poller) = poller() {
        poller.watched.remove(ticket, socket);
    }
}

/// Tells the owners of sockets that have something to read, by `tell`, for a port. Says whether its process has to ask from now on.
pub(crate) fn tell_owners(port: u64, tell: impl FnMut(LocalPid)) -> bool {
    let Ok(poller) = poller() else { return false };
    let mut turn = poller.turn();
    let alone = poller.ask(&mut turn) == 1;
    turn.owners.drain(..).for_each(tell);
    // Where there are many, schedulers that sleep leave the processor to them.
    let may_ask = alone && !turn.shut && turn.port == port;
    may_ask && turn.spin.begins() && poller.shut(&mut turn, true)
}

/// Asks for the process. Gives `:more` if it has to call again when others had their turn, `:wait` if it has
/// to wait for `{:"$mqtt", :readable}`.
#[rustler::nif]
fn poller_poll(env: Env<'_>) -> Atom {
    let Ok(poller) = poller() else { return atoms::wait() };
    let mut turn = poller.turn();
    let found = poller.ask(&mut turn);
    terms::consume_timeslice(env, COST * turn.owners.len());
    for owner in turn.owners.drain(..) {
        // One that has ended is told in vain.
        let _ = env.send(&owner, (atoms::mqtt(), atoms::readable()));
    }
    let goes_on = if found == 0 {
        turn.spin.goes_on()
    } else {
        turn.spin.has_found();
        found == 1
    };
    if goes_on || !poller.shut(&mut turn, false) { atoms::more() } else { atoms::wait() }
}
