//! What the client of a killed owner has published: it reaches all the same, brought on its way on tokio's thread.

use crate::broadcast::Sender;
use crate::delivery::Routing;
use crate::socket::Slot;
use crate::{clock, runtime};
use rustler::OwnedEnv;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::task::yield_now;

/// Takes messages whose connection has ended. Nobody is answered, and the client's place is taken until they have reached all.
pub(crate) fn adopt(routing: Routing, slot: Option<Slot>) {
    if routing.is_empty() {
        return;
    }
    let served = {
        let mut orphans = orphans();
        orphans.waiting.push_back((routing, slot));
        std::mem::replace(&mut orphans.served, true)
    };
    if !served && runtime::spawn(serve()).is_err() {
        // They wait for the next one.
        orphans().served = false;
    }
}

/// One task sees to all of them in turns, so that whatever else the runtime's thread has to do waits
/// for one call at most.
struct Orphans {
    waiting: VecDeque<(Routing, Option<Slot>)>,
    served: bool,
}

static ORPHANS: Mutex<Orphans> = Mutex::new(Orphans { waiting: VecDeque::new(), served: false });

/// Nothing is called under this lock.
fn orphans() -> MutexGuard<'static, Orphans> {
    ORPHANS.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve() {
    loop {
        let next = {
            let mut orphans = orphans();
            let next = orphans.waiting.pop_front();
            orphans.served = next.is_some();
            next
        };
        let Some((mut routing, slot)) = next else { return };
        // A defect costs these messages, and not those of others.
        let delivered = catch_unwind(AssertUnwindSafe(|| {
            OwnedEnv::new().run(|env| {
                let mut sender = Sender::new(env, clock::now());
                let _ = routing.deliver(&mut sender);
                sender.restart();
            });
        }));
        if delivered.is_ok() && !routing.is_empty() {
            orphans().waiting.push_back((routing, slot));
        }
        yield_now().await;
    }
}
