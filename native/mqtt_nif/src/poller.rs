//! Who is told that there is something to read.
//!
//! The sockets of connections are in one [set](Watched), and the BEAM polls the descriptor
//! of this set (`enif_select`) for one process, `MQTT.Server.Poller`, which asks the set for those that have something and tells their
//! owners. A connection that waits thus costs no system call, and while messages come one behind the other nobody
//! sleeps between them.
//!
//! The process alone asks, under the lock `turn`; any process may watch and be forgotten.

use crate::connection::Connection;
use crate::socket::Socket;
use crate::spin::Spin;
use crate::watching::{Ticket, Watched};
use crate::{atoms, terms};
use once_cell::sync::OnceCell;
use rustler::sys::{
    self, ERL_NIF_SELECT_READ, ErlNifEnv, ErlNifEvent, ErlNifResourceFlags, ErlNifResourceStop,
    ErlNifResourceType, ErlNifResourceTypeInit, c_int, c_void,
};
use rustler::{Atom, Encoder, Env, LocalPid};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// `ERL_NIF_SELECT_CUSTOM_MSG`, which rustler does not name.
const SELECT_CUSTOM_MESSAGE: c_int = 1 << 4;
/// What telling an owner takes, compared with bytes that are decoded.
const COST: usize = 128;

static POLLER: OnceCell<Poller> = OnceCell::new();

struct Poller {
    watched: Watched,
    /// The resource that the BEAM wants for a descriptor. It is never released.
    object: AtomicPtr<c_void>,
    turn: Mutex<Turn>,
}

fn poller() -> io::Result<&'static Poller> {
    POLLER.get_or_try_init(|| {
        let watched = Watched::new()?;
        // SAFETY: the type is registered, since the library is loaded. Nothing is kept in the object.
        let object = unsafe { sys::enif_alloc_resource(RESOURCE_TYPE.load(Ordering::Acquire), 1) };
        Ok(Poller { watched, object: AtomicPtr::new(object), turn: Mutex::default() })
    })
}

impl Poller {
    /// Asks the BEAM for one `{:"$mqtt", :readable}` to the calling process when there is something in the set.
    fn select(&self, env: Env<'_>) -> bool {
        let message = (atoms::mqtt(), atoms::readable()).encode(env);
        // SAFETY: called on a scheduler within a NIF call, with an object of a type that has a
        // stop callback, and a message of `env`, which is copied because no message env is given.
        let result = unsafe {
            sys::enif_select_x(
                env.as_c_arg(),
                self.watched.as_raw_fd() as ErlNifEvent,
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

/// Watches the socket of a connection, whose owner may wait from now on.
pub(crate) fn watch(
    connection: &Arc<Connection>,
    socket: &Socket,
    owner: LocalPid,
) -> io::Result<Ticket> {
    poller()?.watched.add(connection, socket, owner)
}

/// Ends what [`watch`] began. The socket has to be open still.
pub(crate) fn forget(ticket: Ticket, socket: &Socket) {
    if let Ok(poller) = poller() {
        poller.watched.remove(ticket, socket);
    }
}

/// What the process has at hand.
#[derive(Default)]
struct Turn {
    owners: Vec<LocalPid>,
    spin: Spin,
    /// Whether the BEAM has told of something that nobody has looked for. If it is gone, the set is given back to the BEAM only when others had
    /// their turn: on OTP 28 the BEAM moves a descriptor between its own sets that is asked for in vain again and again, which takes it a while
    /// with many sockets behind it.
    told: bool,
}

/// Tells the owners of connections that have something to read. Gives `:more` if the caller, which has become the process to
/// do this, has to call again when others had their turn, `:wait` if it has to wait for `{:"$mqtt", :readable}`.
#[rustler::nif]
fn poller_poll(env: Env<'_>) -> Atom {
    let Ok(poller) = poller() else { return atoms::error() };
    let mut turn = poller.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let Turn { owners, spin, told } = &mut *turn;
    let found = poller.watched.find(false, |found| {
        if found.connection.readiness().ready(found.ended) {
            owners.push(found.owner);
        }
    });
    if found == 0 {
        return if std::mem::take(told) || spin.goes_on() {
            atoms::more()
        } else if poller.select(env) {
            *told = true;
            atoms::wait()
        } else {
            atoms::error()
        };
    }
    *told = false;
    spin.has_found();
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
