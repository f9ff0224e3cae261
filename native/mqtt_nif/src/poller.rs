//! Who is told that there is something to read.
//!
//! The sockets of all connections are in one epoll set of ours, edge-triggered, and the BEAM polls the descriptor
//! of this set (`enif_select`) for one process, `MQTT.Server.Poller`, which asks the set for those that have something and tells their
//! owners. A connection that waits thus costs no system call, and while messages come one behind the other nobody
//! sleeps between them.
//!
//! The set tells of bytes once. So an owner waits only behind a read that left nothing, and what comes before it waits is
//! remembered in the connection's [`Readiness`]. (Urgent data of TCP, which no client of MQTT sends, ends a read early: what is behind it is
//! read with the next bytes.)
//!
//! The process alone asks, under the lock `turn`; any process may watch and be forgotten. The lock `waiters` comes behind that of
//! an input, and nothing is called under it.

use crate::connection::Connection;
use crate::socket::Socket;
use crate::{atoms, terms};
use once_cell::sync::OnceCell;
use rustix::event::{Timespec, epoll};
use rustler::sys::{
    self, ERL_NIF_SELECT_READ, ErlNifEnv, ErlNifEvent, ErlNifResourceFlags, ErlNifResourceStop,
    ErlNifResourceType, ErlNifResourceTypeInit, c_int, c_void,
};
use rustler::{Atom, Encoder, Env, LocalPid};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// `ERL_NIF_SELECT_CUSTOM_MSG`, which rustler does not name.
const SELECT_CUSTOM_MESSAGE: c_int = 1 << 4;
/// So many owners are told a call, and what one takes, compared with bytes that are decoded.
const AT_ONCE: usize = 256;
const COST: usize = 128;
/// For so long the process asks again before it sleeps, if that has been worth it: about what waking up takes. Otherwise it
/// tries once in a while.
const SPIN: Duration = Duration::from_micros(30);
const MAX_SKIPS: u32 = 64;

static POLLER: OnceCell<Poller> = OnceCell::new();

struct Poller {
    set: OwnedFd,
    /// The resource that the BEAM wants for a descriptor. It is never released.
    object: AtomicPtr<c_void>,
    waiters: Mutex<Waiters>,
    turn: Mutex<Turn>,
}

fn poller() -> io::Result<&'static Poller> {
    POLLER.get_or_try_init(|| {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // SAFETY: the type is registered, since the library is loaded. Nothing is kept in the object.
        let object = unsafe { sys::enif_alloc_resource(RESOURCE_TYPE.load(Ordering::Acquire), 1) };
        Ok(Poller {
            set,
            object: AtomicPtr::new(object),
            waiters: Mutex::default(),
            turn: Mutex::default(),
        })
    })
}

/// What is known of a connection's socket since its owner has looked.
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

    /// Says whether the owner has to be told.
    fn ready(&self, ended: bool) -> bool {
        let sign = if ended { READY | ENDED } else { READY };
        let waited = self.0.fetch_or(sign, Ordering::AcqRel) & WAITS != 0;
        if waited {
            self.0.fetch_and(ENDED, Ordering::AcqRel);
        }
        waited
    }
}

/// The connections that are watched, under numbers that are given out again.
#[derive(Default)]
struct Waiters {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Place {
    waiter: Option<(Arc<Connection>, LocalPid)>,
    /// Tells this waiter from those before.
    turn: u32,
}

/// A connection's place among those that are watched.
#[derive(Clone, Copy)]
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

impl Waiters {
    fn add(&mut self, connection: Arc<Connection>, owner: LocalPid) -> Ticket {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            (self.places.len() - 1) as u32
        });
        let turn = self.places.get_mut(index as usize).map_or(0, |place| {
            place.waiter = Some((connection, owner));
            place.turn = place.turn.wrapping_add(1);
            place.turn
        });
        Ticket { index, turn }
    }

    fn get(&self, ticket: Ticket) -> Option<&(Arc<Connection>, LocalPid)> {
        let place = self.places.get(ticket.index as usize)?;
        if place.turn == ticket.turn { place.waiter.as_ref() } else { None }
    }

    fn remove(&mut self, ticket: Ticket) -> Option<(Arc<Connection>, LocalPid)> {
        let waiter = self.places.get_mut(ticket.index as usize)?.waiter.take();
        self.free.push(ticket.index);
        waiter
    }
}

impl Poller {
    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the BEAM for one `{:"$mqtt", :readable}` to the calling process when there is something in the set.
    fn select(&self, env: Env<'_>) -> bool {
        let message = (atoms::mqtt(), atoms::readable()).encode(env);
        // SAFETY: called on a scheduler within a NIF call, with an object of a type that has a
        // stop callback, and a message of `env`, which is copied because no message env is given.
        let result = unsafe {
            sys::enif_select_x(
                env.as_c_arg(),
                self.set.as_raw_fd() as ErlNifEvent,
                ERL_NIF_SELECT_READ | SELECT_CUSTOM_MESSAGE,
                self.object.load(Ordering::Acquire),
                env.pid().as_c_arg(),
                message.as_c_arg(),
                ptr::null_mut(),
            )
        };
        result >= 0
    }
}

/// Watches the socket of a connection, whose owner waits from now on.
pub(crate) fn watch(
    connection: &Arc<Connection>,
    socket: &Socket,
    owner: LocalPid,
) -> io::Result<Ticket> {
    let poller = poller()?;
    connection.readiness().wait();
    let ticket = poller.waiters().add(connection.clone(), owner);
    let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    match epoll::add(&poller.set, socket, ticket.data(), flags) {
        Ok(()) => Ok(ticket),
        Err(error) => {
            drop_waiter(poller, ticket);
            Err(error.into())
        }
    }
}

/// Ends what [`watch`] began. The socket has to be open still.
pub(crate) fn forget(ticket: Ticket, socket: &Socket) {
    let Ok(poller) = poller() else { return };
    // Another descriptor of the same socket would keep it in the set.
    let _ = epoll::delete(&poller.set, socket);
    drop_waiter(poller, ticket);
}

fn drop_waiter(poller: &Poller, ticket: Ticket) {
    // It may be the last reference, which is not dropped under the lock.
    let waiter = poller.waiters().remove(ticket);
    drop(waiter);
}

/// What the process has at hand.
#[derive(Default)]
struct Turn {
    owners: Vec<LocalPid>,
    spin: Spin,
}

/// Whether to ask again although there was nothing.
#[derive(Default)]
struct Spin {
    /// Whether the BEAM has told of something that nobody has looked for. If it is gone, the set is given back to the BEAM only when others had
    /// their turn: on OTP 28 the BEAM moves a descriptor between its own sets that is asked for in vain again and again, which takes it a while
    /// with many sockets behind it.
    told: bool,
    since: Option<Instant>,
    /// So often it is not tried now, and the next time that it is in vain.
    skip: u32,
    skips: u32,
}

impl Spin {
    fn has_found(&mut self) {
        self.told = false;
        if self.since.take().is_some() {
            self.skips /= 2;
        }
    }

    fn goes_on(&mut self) -> bool {
        if std::mem::take(&mut self.told) {
            return true;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() < SPIN {
            return true;
        }
        self.since = None;
        self.skips = (self.skips * 2).clamp(1, MAX_SKIPS);
        self.skip = self.skips;
        false
    }
}

/// Tells the owners of connections that have something to read. Gives `:more` if the caller, which has become the process to
/// do this, has to call again when others had their turn, `:wait` if it has to wait for `{:"$mqtt", :readable}`.
#[rustler::nif]
fn poller_poll(env: Env<'_>) -> Atom {
    let Ok(poller) = poller() else { return atoms::error() };
    let mut turn = poller.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let Turn { owners, spin } = &mut *turn;
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut events = [MaybeUninit::uninit(); AT_ONCE];
    // It does not fail, for it does not wait, so there is nothing to be interrupted.
    let found = epoll::wait(&poller.set, &mut events[..], Some(&at_once));
    let events = found.map_or_else(|_| [].as_mut_slice(), |(events, _)| events);
    if events.is_empty() {
        return if spin.goes_on() {
            atoms::more()
        } else if poller.select(env) {
            spin.told = true;
            atoms::wait()
        } else {
            atoms::error()
        };
    }
    spin.has_found();
    {
        let waiters = poller.waiters();
        for event in events {
            let (flags, data) = (event.flags, event.data);
            let ends = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            if let Some((connection, owner)) = waiters.get(Ticket::of(data))
                && connection.readiness().ready(flags.intersects(ends))
            {
                owners.push(*owner);
            }
        }
    }
    terms::consume_timeslice(env, COST * owners.len());
    for owner in owners.drain(..) {
        // One that has ended is told in vain.
        let _ = env.send(&owner, (atoms::mqtt(), atoms::readable()));
    }
    atoms::more()
}

/// Set once by [`register`], while the library is loaded.
static RESOURCE_TYPE: AtomicPtr<ErlNifResourceType> = AtomicPtr::new(ptr::null_mut());

/// Registers the type of the resource behind the set; only `load` may call it.
pub(crate) fn register(env: Env<'_>) -> bool {
    let init = ErlNifResourceTypeInit {
        dtor: ptr::null(),
        stop: stopped as *const ErlNifResourceStop,
        down: ptr::null(),
        members: 2,
        dyncall: ptr::null(),
    };
    let mut tried = MaybeUninit::uninit();
    // SAFETY: `env` is the one of `load`, the name ends with a NUL, and the callback has the type that `init`
    // declares for it.
    let resource_type = unsafe {
        sys::enif_init_resource_type(
            env.as_c_arg(),
            c"mqtt_poller".as_ptr(),
            &raw const init,
            ErlNifResourceFlags::ERL_NIF_RT_CREATE,
            tried.as_mut_ptr(),
        )
    };
    RESOURCE_TYPE.store(resource_type.cast_mut(), Ordering::Release);
    !resource_type.is_null()
}

/// The BEAM wants such a callback for a descriptor. It is never called, because nobody stops the polling of the set.
unsafe extern "C" fn stopped(
    _env: *mut ErlNifEnv,
    _object: *mut c_void,
    _event: ErlNifEvent,
    _is_direct_call: c_int,
) {
}
