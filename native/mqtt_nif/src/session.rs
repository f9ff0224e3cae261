//! Sessions: a connection's own, which ends with it, or one that the BEAM holds as a resource and
//! several connections use one after the other.
//!
//! A shared session is touched under its lock by the owner of the connection that has it, or a reader for it, and by any
//! process that puts a message into it. The lock comes behind a connection's `input`, before its
//! `output` and before those of a router. Whoever attaches last has it, unless it is known to have come first; the connection before it then ends. What may be done with one
//! besides is in `calls`.

mod calls;

use crate::atoms;
use crate::connection::Connection;
use crate::delivery::Left;
use crate::route::RULES;
use crate::router::SMALL;
use crate::routing::{Hub, Subscriber};
use crate::runtime;
use mqtt_core::router::SubscriberId;
use mqtt_core::{self as core, Millis, Rules};
use rustler::{Env, LocalPid, OwnedEnv, Resource, ResourceArc};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The number of the next connection that attaches to a session.
static ATTACHMENTS: AtomicU64 = AtomicU64::new(1);

/// A session behind a term.
pub(crate) struct SessionResource(SharedSession);

/// A session that several connections use one after the other.
#[derive(Clone)]
pub(crate) struct SharedSession(Arc<Cell>);

struct Cell {
    shared: Mutex<Shared>,
    /// How many messages its client does not have, if it is connected, and otherwise [`OFFLINE`]: what can be known
    /// without the lock.
    load: AtomicUsize,
    /// How often it has begun anew, and its subscriptions ended. It changes under the lock.
    life: AtomicUsize,
}

const OFFLINE: usize = usize::MAX;

impl SharedSession {
    /// How many messages its client does not have, if it is connected.
    pub(crate) fn load(&self) -> Option<usize> {
        Some(self.0.load.load(Ordering::Relaxed)).filter(|load| *load != OFFLINE)
    }

    /// Which of its lives it is in: what was found for one is nothing to the next.
    pub(crate) fn life(&self) -> usize {
        self.0.life.load(Ordering::Acquire)
    }

    /// Its subscriptions end. It is locked.
    pub(crate) fn begin_anew(&self) {
        self.0.life.fetch_add(1, Ordering::AcqRel);
    }
}

/// A shared session, locked.
pub(crate) struct Guard<'a> {
    shared: MutexGuard<'a, Shared>,
    load: &'a AtomicUsize,
}

impl Deref for Guard<'_> {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Shared {
        &mut self.shared
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.load.store(self.shared.load(), Ordering::Relaxed);
    }
}

#[rustler::resource_impl]
impl Resource for SessionResource {}

/// Of so many former connections it is known what came behind them.
const FORMER: usize = 16;

pub(crate) struct Shared {
    session: core::Session,
    /// The connection that has it.
    attached: Option<Attached>,
    /// The owner of the last one that had it, which may have ended.
    last: Option<LocalPid>,
    /// How a router knows it.
    pub(crate) subscriber: Option<Subscriber>,
    /// Whether the owner was told that messages wait.
    told: bool,
    /// Who wants to know of the next connection.
    waiter: Option<LocalPid>,
    /// The owners of the [`FORMER`] before, and whether it began anew, or ended, behind each.
    former: Vec<(LocalPid, bool)>,
    /// The highest number that the application gave a connection that took it.
    turn: u64,
}

/// How a connection takes a session.
pub(crate) struct Taking<'t> {
    /// Whether the session begins anew, which one that has ended does as well.
    pub(crate) clean: bool,
    /// Whether the owner decides about each of its messages.
    pub(crate) ask: bool,
    /// The number of the connection, if the application numbers them: it does not take the session from one with a higher number.
    pub(crate) turn: Option<u64>,
    /// The router that is to know the session.
    pub(crate) hub: Option<&'t Arc<Hub>>,
    /// What the client may do, if not everything.
    pub(crate) rules: Option<&'t Rules>,
}

/// A session that was taken.
pub(crate) struct Taken {
    pub(crate) session: Session,
    /// How the router knows it.
    pub(crate) id: Option<SubscriberId>,
    /// What it had of shared subscriptions that have ended, for other members.
    pub(crate) left: Option<Left>,
    pub(crate) losers: Losers,
}

/// Who has to be told that a session was taken over.
pub(crate) struct Losers {
    /// The owner of the connection that had it, and who waits for that.
    processes: [Option<LocalPid>; 2],
    clean: bool,
}

impl Losers {
    /// Tells them, without a lock: a dirty scheduler may wait for the process that called it.
    pub(crate) fn tell(self, env: Env<'_>) {
        let Self { processes, clean } = self;
        let message = move || (atoms::mqtt(), (atoms::session_taken_over(), clean));
        for process in processes.into_iter().flatten() {
            // It may have ended already, or the caller was killed, on whose behalf a dirty scheduler sends nothing.
            if env.send(&process, message()).is_err() {
                let _ = runtime::spawn(async move {
                    let _ = OwnedEnv::new().send_and_clear(&process, |_| message());
                });
            }
        }
    }
}

/// Why a session was not taken.
pub(crate) enum NotTaken {
    /// A connection with a higher number had it.
    Outdated,
    /// Another router knows it.
    OtherRouter,
    Command(core::CommandError),
}

/// The connection that has a session, its number, and its owner.
struct Attached {
    number: u64,
    owner: LocalPid,
    connection: Weak<Connection>,
}

/// The session of a connection.
pub(crate) enum Session {
    Own(Box<core::Session>),
    Shared(SharedSession, u64),
}

/// Access to the session of a connection, for one call.
pub(crate) enum Access<'a> {
    Own(&'a mut core::Session),
    Shared(Guard<'a>),
}

impl Session {
    pub(crate) fn new(limits: core::SessionLimits) -> Self {
        Self::Own(Box::new(core::Session::new(limits)))
    }

    /// The session, and whether it still is this connection's.
    pub(crate) fn access_any(&mut self) -> (Access<'_>, bool) {
        match self {
            Self::Own(session) => (Access::Own(session), true),
            Self::Shared(shared, number) => {
                let shared = lock(shared);
                let ours = shared.is_attached(*number);
                (Access::Shared(shared), ours)
            }
        }
    }

    /// The session, unless another connection has it now.
    pub(crate) fn access(&mut self) -> Option<Access<'_>> {
        let (access, ours) = self.access_any();
        ours.then_some(access)
    }
}

impl SessionResource {
    pub(crate) fn shared(&self) -> &SharedSession {
        &self.0
    }

    /// Whether taking it like this may be too much for a call: it forgets a lot, or looks at many subscriptions.
    pub(crate) fn takes_long(&self, taking: &Taking<'_>) -> bool {
        let shared = lock(&self.0);
        let count = shared.session.count();
        if taking.clean || shared.session.has_ended() {
            return count > SMALL;
        }
        taking.rules.is_some_and(|rules| count * (1 + rules.work() / RULES) > SMALL)
    }

    /// Takes the session over from whoever has it, if `accept` succeeds with it. Who has it has to be told, as
    /// has who waits for that. Its router forgets its subscriptions if it begins anew, and otherwise those that the rules do not
    /// allow any more.
    pub(crate) fn attach(
        &self,
        env: Env<'_>,
        connection: &Arc<Connection>,
        taking: &Taking<'_>,
        accept: impl FnOnce(&mut core::Session, bool) -> Result<(), core::CommandError>,
    ) -> Result<Taken, NotTaken> {
        let number = ATTACHMENTS.fetch_add(1, Ordering::Relaxed);
        let mut shared = lock(&self.0);
        if taking.turn.is_some_and(|turn| turn < shared.turn) {
            return Err(NotTaken::Outdated);
        }
        let known = shared.subscriber.as_ref().and_then(Subscriber::of);
        if let (Some((known, _)), Some(hub)) = (&known, taking.hub)
            && !Arc::ptr_eq(known, hub)
        {
            return Err(NotTaken::OtherRouter);
        }
        let clean = taking.clean || shared.session.has_ended();
        let of_groups = if clean { shared.session.of_groups() } else { Vec::new() };
        accept(&mut shared.session, clean).map_err(NotTaken::Command)?;
        shared.session.ask(taking.ask);
        shared.turn = taking.turn.unwrap_or(shared.turn);
        shared.told = false;
        let attached =
            Attached { number, owner: env.pid(), connection: Arc::downgrade(connection) };
        let before = shared.attached.replace(attached);
        shared.follow(clean);
        shared.last = Some(env.pid());
        let waiter = shared.waiter.take();
        let left = match (&known, taking.rules) {
            (Some((hub, id)), _) if clean => {
                hub.begin_anew(*id);
                self.0.begin_anew();
                Some(Left::new(hub.clone(), of_groups))
            }
            (Some((hub, id)), Some(rules)) => {
                Some(Left::new(hub.clone(), hub.revoke(*id, &mut shared, rules)))
            }
            _ => None,
        };
        let id = taking.hub.and_then(|hub| hub.join(&mut shared, &self.0));
        let losers = Losers { processes: [before.map(|before| before.owner), waiter], clean };
        Ok(Taken { session: Session::Shared(self.0.clone(), number), id, left, losers })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Self::Shared(shared, number) = self {
            let mut shared = lock(shared);
            if shared.is_attached(*number) {
                shared.attached = None;
                shared.session.disconnect();
                shared.session.trim();
            }
        }
    }
}

impl Access<'_> {
    /// Has the owner of the connection look at what waits, if somebody else put it there.
    pub(crate) fn tell_owner(&mut self, env: Env<'_>) {
        if let Self::Shared(shared) = self {
            shared.tell_owner(env);
        }
    }

    /// Whether it is the connection's own.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// The owner looks at what waits, and is to be told of what comes later.
    pub(crate) fn looked_at(&mut self) {
        if let Self::Shared(shared) = self {
            shared.told = false;
        }
    }
}

impl Shared {
    fn is_attached(&self, number: u64) -> bool {
        self.attached.as_ref().is_some_and(|attached| attached.number == number)
    }

    /// The owner of the connection that has it.
    pub(crate) fn owner(&self) -> Option<LocalPid> {
        self.attached.as_ref().map(|attached| attached.owner)
    }

    /// Unless it has a connection it has ended, as who waits for the next one is told.
    pub(crate) fn end(&mut self, env: Env<'_>) {
        if self.attached.is_some() {
            return;
        }
        self.follow(true);
        if let Some(waiter) = self.waiter.take() {
            let _ = env.send(&waiter, (atoms::mqtt(), (atoms::session_taken_over(), true)));
        }
    }

    /// The connection that has it.
    pub(crate) fn connection(&self) -> Option<Arc<Connection>> {
        self.attached.as_ref()?.connection.upgrade()
    }

    pub(crate) fn session(&mut self) -> &mut core::Session {
        &mut self.session
    }

    /// There is another last connection from now on, or none.
    fn follow(&mut self, clean: bool) {
        let Some(last) = self.last.take() else { return };
        if self.former.len() == FORMER {
            self.former.remove(0);
        }
        self.former.push((last, clean));
    }

    fn load(&self) -> usize {
        if self.attached.is_none() {
            return OFFLINE;
        }
        self.session.waiting() + self.session.under_way()
    }

    /// Keeps a message that others may have as well. The owner of the connection is told, if one has come meanwhile.
    pub(crate) fn keep(&mut self, message: core::Message, now: Millis, env: Env<'_>) {
        self.session.enqueue_shared(message, now);
        self.tell_owner(env);
    }

    /// Has the owner of the connection call, if there is one and something for it. The lock is held
    /// meanwhile, and the BEAM never calls back from here.
    fn tell_owner(&mut self, env: Env<'_>) {
        let Some(owner) = self.owner() else { return };
        let session = &self.session;
        let something = session.is_waiting() || session.has_deliveries() || session.has_lost();
        if something && !self.told {
            // Not if it has ended, or the caller was killed, on whose behalf a dirty scheduler sends nothing.
            self.told = env.send(&owner, (atoms::mqtt(), atoms::session())).is_ok();
        }
    }
}

impl Deref for Access<'_> {
    type Target = core::Session;

    fn deref(&self) -> &core::Session {
        match self {
            Self::Own(session) => session,
            Self::Shared(shared) => &shared.session,
        }
    }
}

impl DerefMut for Access<'_> {
    fn deref_mut(&mut self) -> &mut core::Session {
        match self {
            Self::Own(session) => session,
            Self::Shared(shared) => &mut shared.session,
        }
    }
}

/// The shared session, also after a panic, which cannot have left it half changed in a way that
/// matters: the connection that had it is closed.
pub(crate) fn lock(session: &SharedSession) -> Guard<'_> {
    let shared = session.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
    Guard { shared, load: &session.0.load }
}

pub(crate) fn resource(session: core::Session) -> ResourceArc<SessionResource> {
    let shared = Shared {
        session,
        attached: None,
        last: None,
        subscriber: None,
        told: false,
        waiter: None,
        former: Vec::new(),
        turn: 0,
    };
    let load = AtomicUsize::new(OFFLINE);
    let cell = Cell { shared: Mutex::new(shared), load, life: AtomicUsize::new(0) };
    ResourceArc::new(SessionResource(SharedSession(Arc::new(cell))))
}
