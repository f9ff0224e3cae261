//! The clients that have not sent their CONNECT: a task for each, all of which can be cancelled.

use crate::runtime;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::AbortHandle;

/// Touched by who accepts, by tokio's thread, and by whoever closes the listener.
#[derive(Default)]
pub(crate) struct Greetings(Mutex<Running>);

#[derive(Default)]
struct Running {
    tasks: HashMap<u64, AbortHandle>,
    next: u64,
    closed: bool,
}

impl Greetings {
    /// Runs a greeting, unless the listener is closed.
    pub(crate) fn start(self: &Arc<Self>, greeting: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = runtime::get() else { return };
        // Held until the task is known, which forgets itself only then.
        let mut running = self.running();
        if running.closed {
            return;
        }
        let number = running.next;
        running.next += 1;
        let greetings = self.clone();
        let task = runtime.spawn(async move {
            greeting.await;
            greetings.running().tasks.remove(&number);
        });
        running.tasks.insert(number, task.abort_handle());
    }

    /// Lets greetings be started again.
    pub(crate) fn open(&self) {
        self.running().closed = false;
    }

    /// Cancels all of them, and those that would come.
    pub(crate) fn close(&self) {
        let tasks = {
            let mut running = self.running();
            running.closed = true;
            std::mem::take(&mut running.tasks)
        };
        if tasks.is_empty() {
            return;
        }
        // They may be thousands, and it takes longer from another thread.
        let _ = runtime::spawn(async move { tasks.values().for_each(AbortHandle::abort) });
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
