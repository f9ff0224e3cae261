//! Processes of this node that have subscribed.
//!
//! Messages are sent to a process that stands in for the subscriber and says which it has dealt with, so that only
//! so many are ever on their way.

use crate::atoms;
use crate::broadcast::Sender;
use crate::router::{RouterResource, answer, check, message_term, subscription};
use crate::routing::Hub;
use mqtt_core::Message;
use mqtt_core::router::SubscriberId;
use rustler::{Atom, Env, LocalPid, NifResult, Resource, ResourceArc, Term};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A process that gets messages.
pub(crate) struct Local {
    process: LocalPid,
    limit: usize,
    /// Messages that it has not dealt with.
    pending: AtomicUsize,
    /// What waited in the subscriber's mailbox when it was looked at last.
    backlog: AtomicUsize,
    dropped: AtomicUsize,
}

/// It, as long as the process has it.
struct LocalResource {
    hub: Arc<Hub>,
    id: SubscriberId,
    local: Arc<Local>,
}

#[rustler::resource_impl]
impl Resource for LocalResource {}

impl Drop for LocalResource {
    fn drop(&mut self) {
        self.hub.remove_local(self.id);
    }
}

impl Local {
    /// Messages that wait for the subscriber.
    pub(crate) fn load(&self) -> usize {
        self.pending.load(Ordering::Relaxed) + self.backlog.load(Ordering::Relaxed)
    }

    pub(crate) fn send(&self, message: &Message, sender: &Sender<'_>) {
        if self.pending.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.pending.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let env = sender.env();
        // One that has ended is told in vain.
        let _ = env.send(&self.process, (atoms::mqtt(), message_term(env, message, sender.now())));
    }
}

/// Makes the caller one that gets messages, as `{:"$mqtt", {topic, payload, options}}`, with so many at most
/// that it has not dealt with.
#[rustler::nif]
fn local_new(
    env: Env<'_>,
    router: ResourceArc<RouterResource>,
    limit: usize,
) -> ResourceArc<LocalResource> {
    let local = Arc::new(Local {
        process: env.pid(),
        limit,
        pending: AtomicUsize::new(0),
        backlog: AtomicUsize::new(0),
        dropped: AtomicUsize::new(0),
    });
    let hub = router.hub().clone();
    let id = hub.add_local(local.clone());
    ResourceArc::new(LocalResource { hub, id, local })
}

/// `{:new, cursor}`, `{:replaced, cursor}`, or an error.
#[rustler::nif]
fn local_subscribe<'a>(
    env: Env<'a>,
    local: ResourceArc<LocalResource>,
    filter: &'a str,
    options: Term<'a>,
) -> NifResult<Term<'a>> {
    if let Err(invalid) = check(env, filter, true) {
        return Ok(invalid);
    }
    let subscription = subscription(options)?;
    Ok(match local.hub.subscribe_local(local.id, filter, subscription) {
        Some(added) => answer(env, &added),
        None => env.error_tuple(atoms::quota_exceeded()),
    })
}

#[rustler::nif]
fn local_unsubscribe(local: ResourceArc<LocalResource>, filter: &str) -> bool {
    local.hub.unsubscribe_local(local.id, filter)
}

/// The caller has dealt with a message.
#[rustler::nif]
fn local_done(local: ResourceArc<LocalResource>) -> bool {
    local.local.pending.fetch_sub(1, Ordering::Relaxed) > 0
}

/// So many messages wait in the subscriber's mailbox.
#[rustler::nif]
fn local_backlog(local: ResourceArc<LocalResource>, messages: usize) -> Atom {
    local.local.backlog.store(messages, Ordering::Relaxed);
    atoms::ok()
}

/// How many messages it did not get.
#[rustler::nif]
fn local_dropped(local: ResourceArc<LocalResource>) -> usize {
    local.local.dropped.load(Ordering::Relaxed)
}
