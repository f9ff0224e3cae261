//! The port that the BEAM polls the set of sockets for.
//!
//! What a driver has selected is polled by a scheduler that has nothing else to do, and once in a while by those that have.
//! What a NIF has selected, on OTP 25, by another thread, which has to wake a scheduler then.
//! So the library is a driver too: its one port belongs to `MQTT.Server.Poller`, and the emulator calls
//! [`ready_input`] on a scheduler when there is something in the set.
//!
//! Of one port the emulator runs one callback at a time. A port may be opened before the former has ended, which then has
//! a descriptor of its own, and tells owners still, but not the process.

use crate::poller;
use rustler::LocalPid;
use rustler::sys::{ErlNifTerm, c_char, c_int, c_void, enif_make_pid};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this library is the one that was loaded as a NIF.
static IS_NIF: AtomicBool = AtomicBool::new(false);

/// It is.
pub(crate) fn is_nif() {
    IS_NIF.store(true, Ordering::Release);
}

/// The name that the emulator knows it by has to be that of the library's file.
const NAME: &CStr = c"mqtt_nif";

/// `ErlDrvPort`.
type Handle = *mut c_void;
/// `ErlDrvData`, which is a [`Port`] of ours.
type Data = *mut c_void;
/// `ErlDrvEvent`, which is a descriptor.
type Event = isize;
/// `ErlDrvTermData`, a term, for which [`ErlNifTerm`] is another name, or what says of which kind it is.
type TermData = usize;

/// `ERL_DRV_READ`, and `ERL_DRV_USE`, with which the emulator says by `stop_select` when it has no use for a descriptor any more.
const READ: c_int = 1;
const USE: c_int = 1 << 2;
/// `ERL_DRV_ATOM` and `ERL_DRV_TUPLE`.
const ATOM: TermData = 2;
const TUPLE: TermData = 7;
const MESSAGE_LEN: c_int = 6;
/// `ERL_DRV_ERROR_ERRNO`: the port is not opened, because of what `errno` says.
const ERROR: Data = ptr::without_provenance_mut(usize::MAX - 1);

unsafe extern "C" {
    fn driver_select(port: Handle, event: Event, mode: c_int, on: c_int) -> c_int;
    fn driver_lock_driver(port: Handle) -> c_int;
    fn driver_mk_port(port: Handle) -> TermData;
    fn driver_mk_atom(name: *const c_char) -> TermData;
    fn driver_connected(port: Handle) -> ErlNifTerm;
    fn erl_drv_send_term(
        port: TermData,
        to: ErlNifTerm,
        message: *const TermData,
        len: c_int,
    ) -> c_int;
}

/// `ErlDrvEntry`, with those callbacks that are used.
#[repr(C)]
struct Entry {
    init: *const c_void,
    start: unsafe extern "C" fn(Handle, *mut c_char) -> Data,
    stop: unsafe extern "C" fn(Data),
    output: *const c_void,
    ready_input: unsafe extern "C" fn(Data, Event),
    ready_output: *const c_void,
    name: *const c_char,
    finish: *const c_void,
    handle: *mut c_void,
    control: *const c_void,
    timeout: *const c_void,
    outputv: *const c_void,
    ready_async: *const c_void,
    flush: *const c_void,
    call: *const c_void,
    unused: *const c_void,
    extended_marker: c_int,
    major_version: c_int,
    minor_version: c_int,
    flags: c_int,
    handle_2: *mut c_void,
    process_exit: *const c_void,
    stop_select: unsafe extern "C" fn(Event, *mut c_void),
    emergency_close: *const c_void,
}

/// The emulator alone touches it, and writes to `handle`.
static mut ENTRY: Entry = Entry {
    init: ptr::null(),
    start,
    stop,
    output: ptr::null(),
    ready_input,
    ready_output: ptr::null(),
    name: NAME.as_ptr(),
    finish: ptr::null(),
    handle: ptr::null_mut(),
    control: ptr::null(),
    timeout: ptr::null(),
    outputv: ptr::null(),
    ready_async: ptr::null(),
    flush: ptr::null(),
    call: ptr::null(),
    unused: ptr::null(),
    // `ERL_DRV_EXTENDED_MARKER`, and the version of the interface that OTP 19 to 29 have.
    extended_marker: 0xfeee_eeed_u32.cast_signed(),
    major_version: 3,
    minor_version: 3,
    // `ERL_DRV_FLAG_USE_PORT_LOCKING`: a lock for each port, not one for all.
    flags: 1,
    handle_2: ptr::null_mut(),
    process_exit: ptr::null(),
    stop_select,
    emergency_close: ptr::null(),
};

/// What the emulator asks a library for that it loads as a driver.
#[unsafe(no_mangle)]
extern "C" fn driver_init() -> *mut Entry {
    &raw mut ENTRY
}

struct Port {
    handle: Handle,
    door: RawFd,
    /// Tells it from those before and behind it.
    number: u64,
    /// `{:"$mqtt", :readable}`, for `erl_drv_send_term`.
    message: [TermData; MESSAGE_LEN as usize],
}

impl Port {
    fn open(handle: Handle) -> io::Result<Box<Self>> {
        // From a file that has changed meanwhile it would be another library, with a set of its own.
        // SAFETY: called in a callback of this port.
        if !IS_NIF.load(Ordering::Acquire) || unsafe { driver_lock_driver(handle) } != 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (door, number) = poller::open_door()?;
        // SAFETY: the names end with a NUL.
        let (mqtt, readable) =
            unsafe { (driver_mk_atom(c"$mqtt".as_ptr()), driver_mk_atom(c"readable".as_ptr())) };
        let message = [ATOM, mqtt, ATOM, readable, TUPLE, 2];
        let port = Self { handle, door: door.as_raw_fd(), number, message };
        if !port.select(READ | USE, true) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // `stop_select` gives it back.
        std::mem::forget(door);
        Ok(Box::new(port))
    }

    fn select(&self, mode: c_int, on: bool) -> bool {
        let event = self.door as Event;
        // SAFETY: called in a callback of this port, with a descriptor that is open until `stop_select`.
        unsafe { driver_select(self.handle, event, mode, c_int::from(on)) == 0 }
    }

    fn tell(&self, process: ErlNifTerm) {
        // SAFETY: called in a callback of this port, with the term of a process, and a message that is well-formed and
        // copied. It does nothing for a process that has ended.
        unsafe {
            erl_drv_send_term(
                driver_mk_port(self.handle),
                process,
                self.message.as_ptr(),
                MESSAGE_LEN,
            )
        };
    }
}

/// A process opens the port, and is the one that asks the set when it is told to.
unsafe extern "C" fn start(handle: Handle, _command: *mut c_char) -> Data {
    match Port::open(handle) {
        Ok(port) => Box::into_raw(port).cast(),
        Err(error) => {
            // SAFETY: it is this thread's.
            unsafe { *libc::__errno_location() = error.raw_os_error().unwrap_or(libc::ENOTSUP) };
            ERROR
        }
    }
}

/// The process has ended, or the emulator does.
unsafe extern "C" fn stop(data: Data) {
    // SAFETY: it is from `start`, and this is the last callback that has it.
    let port = unsafe { Box::from_raw(data.cast::<Port>()) };
    port.select(READ | USE, false);
}

/// There is something in the set.
unsafe extern "C" fn ready_input(data: Data, _event: Event) {
    // SAFETY: it is from `start`, and `stop` has not been called.
    let port = unsafe { &*data.cast::<Port>() };
    let tell = |owner: LocalPid| {
        // SAFETY: it takes the term out of it, without an environment.
        port.tell(unsafe { enif_make_pid(ptr::null_mut(), *owner.as_c_arg()) });
    };
    // A panic must not come out of here.
    let asks = catch_unwind(AssertUnwindSafe(|| poller::tell_owners(port.number, tell)));
    if asks.unwrap_or(true) {
        // SAFETY: called in a callback of this port.
        port.tell(unsafe { driver_connected(port.handle) });
    }
}

/// The emulator has forgotten the descriptor that a port had.
unsafe extern "C" fn stop_select(event: Event, _reserved: *mut c_void) {
    // SAFETY: it is the one that `start` gave to the emulator, and nobody else has it.
    poller::close_door(unsafe { OwnedFd::from_raw_fd(event as RawFd) });
}
