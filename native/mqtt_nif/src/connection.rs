//! A connection, and the calls by which its owner drives it. Those that read are in `receiving`, and who reads is in `attending`.
//!
//! The owner is one process; it alone reads, or a `reader` while it waits, and its messages are all of the shape
//! `{:"$mqtt", what}`. Besides it broadcasts, writers and the flusher write, the poller tells the owner that there is something to read, and when the owner dies the BEAM calls
//! [`Connection::shut`]. The locks are taken in the order `input`, that of a shared session, then
//! `output`, a router's or the `waiters` of a set of sockets; none is held while another process or task is waited for. A panic poisons them, after which every call says
//! that the connection is to be closed.

mod attending;
mod next;
mod receiving;

use crate::broadcast::Sender;
use crate::commands::{self, Outcome};
use crate::counters::CONNECTIONS;
use crate::delivery::Routing;
use crate::events::delivered;
use crate::handle::Handle;
use crate::input::{Input, Peer};
use crate::options::ConnectionOptions;
use crate::os::{address, posix};
use crate::output::{Ending, Output};
use crate::route::Route;
use crate::router::message_term;
use crate::session::{Access, Session};
use crate::socket::Socket;
use crate::terms::name;
use crate::watching::Readiness;
use crate::{atoms, clock, flusher, orphans, terms};
use attending::Watch;
use mqtt_codec::PacketId;
use mqtt_core as core;
pub(crate) use next::{Next, Reason, close, panicked};
use rustler::{Atom, Binary, Encoder, Env, Term};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// When to look at the time again, in milliseconds, while nothing is read from a slow peer.
const BLOCKED_CHECK: u64 = 1000;

pub(crate) struct Connection {
    pub(crate) input: Mutex<InputSide>,
    output: Mutex<Output>,
    readiness: Readiness,
}

pub(crate) struct InputSide {
    pub(crate) state: core::Connection,
    pub(crate) session: Session,
    input: Input,
    /// Gone once nothing is read any more.
    socket: Option<Arc<Socket>>,
    /// What the protocol answered by itself, to be written with what the owner answers.
    answers: Vec<u8>,
    /// Where what the client publishes goes, if not to the owner.
    pub(crate) route: Option<Route>,
    /// What is on its way there.
    routing: Routing,
    /// Whether that is being brought there, without the lock.
    delivering: bool,
    /// Who has the socket, if the owner has ever waited.
    watch: Option<Watch>,
    /// So often the owner has been called for nothing since there was more than a read, or something for it.
    calm: u8,
    /// Why the connection is to be closed, of which the owner is not told yet.
    verdict: Option<Reason>,
    ended: bool,
}

impl InputSide {
    /// What is needed to accept a client, unless the connection has ended: its owner may be killed while a dirty scheduler
    /// begins with that.
    pub(crate) fn accepting(
        &mut self,
    ) -> Option<(&mut core::Connection, &mut Session, &mut Option<Route>, &mut Routing)> {
        let Self { state, session, route, routing, ended, .. } = self;
        (!*ended).then_some((state, session, route, routing))
    }

    /// The state machine and the session, while the client is connected and the session is this
    /// connection's.
    pub(crate) fn connected(&mut self) -> Option<(&mut core::Connection, Access<'_>)> {
        if self.ended || !self.state.is_connected() {
            return None;
        }
        Some((&mut self.state, self.session.access()?))
    }
}

impl Connection {
    /// A connection over `socket`, of which `received` has come; without a socket one that is fed.
    pub(crate) fn new(
        options: &ConnectionOptions,
        state: core::Connection,
        socket: Option<Arc<Socket>>,
        received: Vec<u8>,
    ) -> Arc<Self> {
        CONNECTIONS.add(1);
        Arc::new(Self {
            output: Mutex::new(Output::new(options.output(), socket.clone())),
            input: Mutex::new(InputSide {
                state,
                session: Session::new(options.session()),
                input: Input::new(received),
                socket,
                answers: Vec::new(),
                route: None,
                routing: Routing::default(),
                delivering: false,
                watch: None,
                calm: 0,
                verdict: None,
                ended: false,
            }),
            readiness: Readiness::default(),
        })
    }

    /// The output, also after a panic: ending it must go on.
    pub(crate) fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        let input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.socket.as_ref()?.local_address()
    }

    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Delivers some of what is on its way, and says whether that was not all.
    fn deliver(&self, env: Env<'_>) -> bool {
        let input = || self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let mut routing = {
            let mut input = input();
            if input.delivering {
                return true;
            }
            std::mem::take(&mut input.routing)
        };
        if routing.is_empty() {
            return false;
        }
        let mut sender = Sender::new(env, clock::now());
        let _ = routing.deliver(&mut sender);
        sender.finish(false);
        let more = !routing.is_empty();
        input().routing = routing;
        more
    }

    /// Ends the input. Says whether it does, and had not ended before; then [`end`](Self::end) has to follow.
    pub(crate) fn shut(&self) -> bool {
        // The last reference to a router may be among these, which is not dropped under the lock.
        let (routing, watch, socket, _route) = {
            let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut input.ended, true) {
                return false;
            }
            // A shared session is free for the next connection.
            input.session = Session::new(core::SessionLimits::default());
            // The application may keep the connection for as long as it likes.
            input.input = Input::new(Vec::new());
            input.answers = Vec::new();
            let InputSide { routing, watch, socket, route, .. } = &mut *input;
            (std::mem::take(routing), watch.take(), socket.take(), route.take())
        };
        if let (Some(watch), Some(socket)) = (watch, &socket) {
            watch.end(socket);
        }
        let slot = socket.and_then(|socket| socket.slot());
        orphans::adopt(routing, slot);
        true
    }

    /// Ends the output once what is queued has been tried, after which, if `linger`, the peer gets a
    /// moment to close.
    pub(crate) fn end(self: &Arc<Self>, linger: bool) {
        let ending = if linger { Ending::Linger } else { Ending::Close };
        let socket = self.output().end(self, ending);
        if let Some(socket) = socket {
            match ending {
                Ending::Linger => flusher::linger(socket),
                Ending::Close => socket.end_before_close(),
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        CONNECTIONS.subtract(1);
    }
}

/// A connection over a duplicate of the descriptor `fd`, owned by the caller. `received` is what
/// the caller had read already.
#[rustler::nif]
fn connection_open<'a>(
    env: Env<'a>,
    fd: RawFd,
    received: Binary<'a>,
    options: ConnectionOptions,
) -> Term<'a> {
    if fd < 0 {
        return env.error_tuple(atoms::badarg());
    }
    // SAFETY: the caller is the socket's owner and keeps it open while this call lasts; the
    // descriptor is only duplicated.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    match Socket::duplicate(borrowed) {
        Ok(socket) => open(env, Some(socket), received.to_vec(), &options),
        Err(error) => env.error_tuple(posix(env, &error)),
    }
}

/// A connection whose bytes somebody else reads and writes, owned by the caller.
#[rustler::nif]
fn connection_open_fed<'a>(
    env: Env<'a>,
    received: Binary<'a>,
    options: ConnectionOptions,
) -> Term<'a> {
    open(env, None, received.to_vec(), &options)
}

fn open<'a>(
    env: Env<'a>,
    socket: Option<Socket>,
    received: Vec<u8>,
    options: &ConnectionOptions,
) -> Term<'a> {
    let state = core::Connection::new(options.core(), clock::now());
    match adopt(env, Connection::new(options, state, socket.map(Arc::new), received)) {
        Some(handle) => (atoms::ok(), handle).encode(env),
        None => env.error_tuple(atoms::closed()),
    }
}

/// Makes the calling process the owner of a connection that no process has had; none if it is being
/// ended.
pub(crate) fn adopt(env: Env<'_>, connection: Arc<Connection>) -> Option<Handle<'_>> {
    let owner = env.pid();
    connection.output().own(owner);
    let handle = Handle::new(env, connection);
    handle.monitor(owner).then_some(handle)
}

/// Encodes and writes the commands of a list, and what waits in the session. `again` says that they were left by another call, which
/// had decided about the messages among them, `few` that they are not many, behind which nothing more is to be expected. Gives what to do next, or that and what has become of
/// messages: `{:delivered, deliveries, next}`.
#[rustler::nif]
fn connection_send<'a>(
    env: Env<'a>,
    handle: Handle<'a>,
    commands: Term<'a>,
    again: bool,
    few: bool,
) -> Term<'a> {
    let connection = handle.connection();
    let Ok(mut input) = connection.input.lock() else {
        return panicked().encode(env);
    };
    let InputSide { state, session, answers, .. } = &mut *input;
    let (mut session, ours) = session.access_any();
    if !ours || !state.is_connected() {
        let bad = commands::run_late(state, &mut session, ours, commands, env);
        let close = || close(atoms::session_taken_over()).encode(env);
        return bad.unwrap_or_else(|| if ours { atoms::ok().encode(env) } else { close() });
    }
    session.looked_at();
    let mut peer = Peer { connection: state, session: &mut session };
    let outcome = match commands::run(connection, &mut peer, answers, commands, again, few) {
        Outcome::Done
            if peer.session.is_waiting() && commands::pump(env, connection, &mut peer).0 =>
        {
            (atoms::more(), Term::list_new_empty(env)).encode(env)
        }
        Outcome::Done => atoms::ok().encode(env),
        Outcome::More(rest) => (atoms::more(), rest).encode(env),
        Outcome::Bad(command, reason) => env.error_tuple((atoms::bad_action(), command, reason)),
        Outcome::Close(reason) => close(reason).encode(env),
        Outcome::QueueFull => close(atoms::send_queue_full()).encode(env),
    };
    let mut deliveries = Vec::new();
    while let Some(delivery) = peer.session.next_delivery() {
        deliveries.push(delivered(env, delivery));
    }
    if deliveries.is_empty() {
        outcome
    } else {
        (atoms::delivered(), deliveries, outcome).encode(env)
    }
}

/// Messages of the session that the owner is to decide about by the command `:decided`, as `{{topic, payload, options}, number}`
/// with the number that a message has already, or 0; and those that were dropped before, with the reason behind.
#[rustler::nif]
fn connection_offer<'a>(env: Env<'a>, handle: Handle<'a>) -> (Vec<Term<'a>>, Vec<Term<'a>>) {
    let Ok(mut input) = handle.connection().input.lock() else { return (Vec::new(), Vec::new()) };
    let Some((_, mut session)) = input.connected() else { return (Vec::new(), Vec::new()) };
    session.looked_at();
    let now = clock::now();
    let mut size = 0;
    let mut term = |message: &core::Message, second: Term<'a>| {
        size += message.size();
        (message_term(env, message, now), second).encode(env)
    };
    let offered = session.offer(now);
    let offered = offered.map(|message| term(message, message.reference().encode(env))).collect();
    let mut lost = Vec::new();
    while let Some((message, dropped)) = session.next_lost() {
        lost.push(term(&message, name(env, dropped.name()).encode(env)));
    }
    terms::consume_timeslice(env, size);
    (offered, lost)
}

/// Whether a message of QoS 2 of that packet identifier may go its way: not where another connection has the session. From then on the
/// client's sending it again does not bring it again.
#[rustler::nif]
fn connection_claim(handle: Handle<'_>, packet_id: u16) -> bool {
    let Ok(mut input) = handle.connection().input.lock() else { return false };
    let InputSide { state, session, .. } = &mut *input;
    let (Some(id), Some(mut session)) = (PacketId::new(packet_id), session.access()) else {
        return false;
    };
    state.claim(id, &mut session)
}

/// What a fed connection has to write. An owner that waits for that is told so by a message.
#[rustler::nif]
fn connection_take_output<'a>(env: Env<'a>, handle: Handle<'a>) -> Term<'a> {
    let (taken, owner) = {
        let mut output = handle.connection().output();
        (output.take(), output.waiting())
    };
    if let Some(owner) = owner {
        let _ = env.send(&owner, (atoms::mqtt(), atoms::drained()));
    }
    terms::binary(env, &taken).to_term(env)
}

/// Whether the client has been silent for too long: the milliseconds until it will have been,
/// `:infinity`, or `{:close, reason}`. A client whose packets have not been read is not silent: `:unread`, or, if it has to read
/// first, when to look again.
#[rustler::nif]
fn connection_check_time<'a>(env: Env<'a>, handle: Handle<'a>) -> Term<'a> {
    let connection = handle.connection();
    let Ok(mut input) = connection.input.lock() else {
        return panicked().encode(env);
    };
    if let Some(mut session) = input.session.access() {
        session.trim();
    }
    let now = clock::now();
    let reason = match input.state.check_time(now) {
        Ok(Some(deadline)) => return deadline.saturating_sub(now).max(1).encode(env),
        Ok(None) => return atoms::infinity().encode(env),
        Err(reason) => reason,
    };
    let socket = input.socket.as_ref();
    if input.input.has_unread() || socket.is_some_and(|socket| socket.unread() > 0) {
        let blocked = connection.output().blocks_input();
        return if blocked { BLOCKED_CHECK.encode(env) } else { atoms::unread().encode(env) };
    }
    close(reason).encode(env)
}

/// Delivers some of what the client has published and is still on its way, and says `:more` while there is any.
#[rustler::nif]
fn connection_settle(env: Env<'_>, handle: Handle<'_>) -> Atom {
    if handle.connection().deliver(env) { atoms::more() } else { atoms::ok() }
}

/// Ends the connection; with `linger` the peer gets a moment to read what was sent last. Before, each call delivers some of what the
/// client has published and is still on its way, and says `:more` while there is any.
#[rustler::nif]
fn connection_close(env: Env<'_>, handle: Handle<'_>, linger: bool) -> Atom {
    let connection = handle.connection();
    if connection.deliver(env) {
        return atoms::more();
    }
    if connection.shut() {
        connection.end(linger);
    }
    atoms::ok()
}

/// `{peer, local}`, each `{address, port}` or `nil`.
#[rustler::nif]
fn connection_addresses<'a>(env: Env<'a>, handle: Handle<'a>) -> Term<'a> {
    let input = handle.connection().input.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = input.socket.as_ref();
    let peer = socket.and_then(|socket| socket.peer_address());
    let local = socket.and_then(|socket| socket.local_address());
    (address(env, peer), address(env, local)).encode(env)
}

/// `{queued_bytes, dropped_messages}` of the send queue.
#[rustler::nif]
fn connection_queue(handle: Handle<'_>) -> (usize, usize) {
    let output = handle.connection().output();
    (output.queued(), output.dropped())
}
