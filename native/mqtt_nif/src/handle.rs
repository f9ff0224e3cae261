//! The resource by which the BEAM holds a connection, and everything unsafe about it, with the monitor of the owner.
//!
//! rustler's resources look their type up in a map with every call, so this type is
//! registered by hand. The object behind the handle is an `Arc<Connection>`; the poller, readers and tokio tasks hold the
//! `Arc` and never the resource, because a resource whose last reference is dropped by a foreign
//! thread is destroyed on the first scheduler.
//!
//! A connection ends by `connection_close`, with its owner (`down`), or when nobody has the resource any more.

use crate::connection::Connection;
use rustler::sys::{
    self, ErlNifEnv, ErlNifMonitor, ErlNifPid, ErlNifResourceDown, ErlNifResourceDtor,
    ErlNifResourceFlags, ErlNifResourceType, ErlNifResourceTypeInit, c_void,
};
use rustler::{Decoder, Encoder, Env, Error, LocalPid, NifResult, Term};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Set once by [`register`], while the library is loaded.
static RESOURCE_TYPE: AtomicPtr<ErlNifResourceType> = AtomicPtr::new(ptr::null_mut());

fn resource_type() -> *const ErlNifResourceType {
    RESOURCE_TYPE.load(Ordering::Acquire)
}

/// Registers the resource type; only `load` may call it.
pub(crate) fn register(env: Env<'_>) -> bool {
    let init = ErlNifResourceTypeInit {
        dtor: destroyed as *const ErlNifResourceDtor,
        stop: ptr::null(),
        down: down as *const ErlNifResourceDown,
        members: 3,
        dyncall: ptr::null(),
    };
    let mut tried = MaybeUninit::uninit();
    // SAFETY: `env` is the one of `load`, the name ends with a NUL, and the two callbacks have
    // the types that `init` declares for them.
    let resource_type = unsafe {
        sys::enif_init_resource_type(
            env.as_c_arg(),
            c"mqtt_connection".as_ptr(),
            &raw const init,
            ErlNifResourceFlags::ERL_NIF_RT_CREATE,
            tried.as_mut_ptr(),
        )
    };
    RESOURCE_TYPE.store(resource_type.cast_mut(), Ordering::Release);
    !resource_type.is_null()
}

/// A connection as a term of the calling process.
#[derive(Clone, Copy)]
pub(crate) struct Handle<'a> {
    object: *mut Arc<Connection>,
    term: Term<'a>,
}

impl<'a> Handle<'a> {
    /// A new resource around `connection`.
    pub(crate) fn new(env: Env<'a>, connection: Arc<Connection>) -> Self {
        // SAFETY: the type is registered, since the library is loaded. The memory is ours until it
        // is released, which leaves the term as its only owner; it is aligned for a pointer.
        unsafe {
            let object = sys::enif_alloc_resource(resource_type(), size_of::<Arc<Connection>>())
                .cast::<Arc<Connection>>();
            object.write(connection);
            let term = sys::enif_make_resource(env.as_c_arg(), object.cast());
            sys::enif_release_resource(object.cast());
            Self { object, term: Term::new(env, term) }
        }
    }

    pub(crate) fn connection(&self) -> &'a Arc<Connection> {
        // SAFETY: the object was written by `new`, is never changed, and lives as long as the term.
        unsafe { &*self.object }
    }

    /// Watches the calling process, which becomes the owner; an error if it is exiting.
    pub(crate) fn monitor(self, owner: LocalPid) -> bool {
        // SAFETY: within a NIF call, with an object whose type has a down callback. Nothing ever
        // cancels the monitor, so its handle is not needed.
        let result = unsafe {
            sys::enif_monitor_process(
                self.term.get_env().as_c_arg(),
                self.object.cast(),
                owner.as_c_arg(),
                ptr::null_mut(),
            )
        };
        result == 0
    }
}

impl<'a> Decoder<'a> for Handle<'a> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let mut object = MaybeUninit::<*const c_void>::uninit();
        // SAFETY: the object is read only if the call says that the term is one of our type.
        unsafe {
            let found = sys::enif_get_resource(
                term.get_env().as_c_arg(),
                term.as_c_arg(),
                resource_type(),
                object.as_mut_ptr(),
            );
            if found == 0 {
                return Err(Error::BadArg);
            }
            Ok(Self { object: object.assume_init().cast_mut().cast(), term })
        }
    }
}

impl Encoder for Handle<'_> {
    fn encode<'b>(&self, env: Env<'b>) -> Term<'b> {
        self.term.in_env(env)
    }
}

/// The last reference is gone.
unsafe extern "C" fn destroyed(_env: *mut ErlNifEnv, object: *mut c_void) {
    // SAFETY: `object` was written by `Handle::new`, and nobody uses it any more.
    let connection = unsafe { object.cast::<Arc<Connection>>().read() };
    let _ = catch_unwind(AssertUnwindSafe(|| end(&connection)));
}

/// The owner died.
unsafe extern "C" fn down(
    _env: *mut ErlNifEnv,
    object: *mut c_void,
    _pid: *const ErlNifPid,
    _monitor: *const ErlNifMonitor,
) {
    // SAFETY: the BEAM keeps the object while it runs the callback.
    let connection = unsafe { &*object.cast::<Arc<Connection>>() };
    let _ = catch_unwind(AssertUnwindSafe(|| end(connection)));
}

fn end(connection: &Arc<Connection>) {
    if connection.shut() {
        connection.end(true);
    }
}
