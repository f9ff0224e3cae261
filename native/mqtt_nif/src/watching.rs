//! Sets of sockets, and whose they are.
//!
//! A set is one of the kernel's, edge-triggered: it tells of bytes once. So an owner waits only behind a read that left nothing, and what comes before it waits is
//! remembered in its [`Readiness`]. (Urgent data of TCP, which no client of MQTT sends, ends a read early: what is behind it is
//! read with the next bytes.)
//!
//! One process or thread asks a set; any may add to it and remove. The lock `waiters` comes behind that of
//! an input, and nothing is called under it.

use rustix::event::{Timespec, epoll};
use rustler::LocalPid;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many connections are found a call.
pub(crate) const AT_ONCE: usize = 256;

/// What is known of a socket since its owner has looked.
#[derive(Default)]
pub(crate) struct Readiness(AtomicU8);

/// The owner waits.
const WAITS: u8 = 1;
/// Something has come.
const READY: u8 = 2;
/// The peer has ended its direction, or the connection is broken: behind what has come there is no further sign of it.
const ENDED: u8 = 4;

impl Readiness {
    /// The owner has found nothing more. Says whether it is going to be told, otherwise it has to look again.
    pub(crate) fn wait(&self) -> bool {
        let wait =
            |state| Some(if state & (READY | ENDED) == 0 { state | WAITS } else { state & ENDED });
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, wait);
        before.is_ok_and(|before| before & (READY | ENDED) == 0)
    }

    /// The owner looks without having been told.
    pub(crate) fn look(&self) {
        self.0.fetch_and(!WAITS, Ordering::AcqRel);
    }

    /// Says whether the owner has to be told.
    pub(crate) fn ready(&self, ended: bool) -> bool {
        let sign = if ended { READY | ENDED } else { READY };
        let waited = self.0.fetch_or(sign, Ordering::AcqRel) & WAITS != 0;
        if waited {
            self.0.fetch_and(ENDED, Ordering::AcqRel);
        }
        waited
    }
}

/// What is watched, under numbers that are given out again.
struct Waiters<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

struct Place<T> {
    waiter: Option<(T, LocalPid)>,
    /// Tells this waiter from those before.
    turn: u32,
}

/// The place of one that is watched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    index: u32,
    turn: u32,
}

impl Ticket {
    fn data(self) -> epoll::EventData {
        epoll::EventData::new_u64(u64::from(self.turn) << 32 | u64::from(self.index))
    }

    fn of(data: epoll::EventData) -> Self {
        Self { index: data.u64() as u32, turn: (data.u64() >> 32) as u32 }
    }
}

impl<T> Waiters<T> {
    fn add(&mut self, whose: T, owner: LocalPid) -> Ticket {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { waiter: None, turn: 0 });
            (self.places.len() - 1) as u32
        });
        let turn = self.places.get_mut(index as usize).map_or(0, |place| {
            place.waiter = Some((whose, owner));
            place.turn = place.turn.wrapping_add(1);
            place.turn
        });
        Ticket { index, turn }
    }

    fn get(&self, ticket: Ticket) -> Option<&(T, LocalPid)> {
        let place = self.places.get(ticket.index as usize)?;
        if place.turn == ticket.turn { place.waiter.as_ref() } else { None }
    }

    fn remove(&mut self, ticket: Ticket) -> Option<(T, LocalPid)> {
        let waiter = self.places.get_mut(ticket.index as usize)?.waiter.take();
        self.free.push(ticket.index);
        waiter
    }
}

/// Sockets that are watched, of what `T` says.
pub(crate) struct Watched<T> {
    set: OwnedFd,
    waiters: Mutex<Waiters<T>>,
}

/// One that has something to read.
pub(crate) struct Found<'w, T> {
    pub(crate) whose: &'w T,
    pub(crate) owner: LocalPid,
    pub(crate) ticket: Ticket,
    /// Whether nothing more is going to be told of it.
    pub(crate) ended: bool,
}

impl<T> Watched<T> {
    pub(crate) fn new() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let waiters = Waiters { places: Vec::new(), free: Vec::new() };
        Ok(Self { set, waiters: Mutex::new(waiters) })
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters<T>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a socket.
    pub(crate) fn add(&self, whose: T, socket: impl AsFd, owner: LocalPid) -> io::Result<Ticket> {
        let ticket = self.waiters().add(whose, owner);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        match epoll::add(&self.set, &socket, ticket.data(), flags) {
            Ok(()) => Ok(ticket),
            Err(error) => {
                self.drop_waiter(ticket);
                Err(error.into())
            }
        }
    }

    /// Ends what [`add`](Self::add) began. The socket has to be open still.
    pub(crate) fn remove(&self, ticket: Ticket, socket: impl AsFd) {
        // Another descriptor of the same socket would keep it in the set.
        let _ = epoll::delete(&self.set, &socket);
        self.drop_waiter(ticket);
    }

    fn drop_waiter(&self, ticket: Ticket) {
        // It may be the last reference, which is not dropped under the lock.
        let waiter = self.waiters().remove(ticket);
        drop(waiter);
    }

    /// Gives those that have something to read to `take`. With `wait` it waits for some. Says how many sockets these were.
    pub(crate) fn find(&self, wait: bool, mut take: impl FnMut(Found<'_, T>)) -> usize {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut events = [MaybeUninit::uninit(); AT_ONCE];
        // It fails only where a signal ends the waiting.
        let found =
            epoll::wait(&self.set, &mut events[..], if wait { None } else { Some(&at_once) });
        let events = found.map_or_else(|_| [].as_mut_slice(), |(events, _)| events);
        if events.is_empty() {
            return 0;
        }
        let waiters = self.waiters();
        for event in &*events {
            let (flags, data) = (event.flags, event.data);
            let ends = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            if let Some((whose, owner)) = waiters.get(Ticket::of(data)) {
                take(Found {
                    whose,
                    owner: *owner,
                    ticket: Ticket::of(data),
                    ended: flags.intersects(ends),
                });
            }
        }
        events.len()
    }
}

impl<T> AsFd for Watched<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}
