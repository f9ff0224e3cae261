//! The one tokio runtime: one thread, made when it is first needed, and never shut down.

use once_cell::sync::OnceCell;
use std::future::Future;
use std::io;
use std::panic::catch_unwind;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: OnceCell<Runtime> = OnceCell::new();

/// The runtime; an error if it cannot be made.
pub(crate) fn get() -> io::Result<&'static Runtime> {
    // tokio panics when the system has no thread for it.
    RUNTIME.get_or_try_init(|| {
        catch_unwind(build).unwrap_or_else(|_| Err(io::ErrorKind::OutOfMemory.into()))
    })
}

fn build() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("mqtt_tokio")
        .enable_io()
        .enable_time()
        .build()
}

/// Runs `task` on the runtime. It costs the caller a wake-up of the runtime's thread, so nothing
/// that happens with every message may come here.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    get()?.spawn(task);
    Ok(())
}
