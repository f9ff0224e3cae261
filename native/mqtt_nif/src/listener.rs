//! A listening socket, and the calls of the processes that own and serve it.
//!
//! It belongs to the listener's supervisor, so that it outlives a crash of the process that serves
//! it. tokio accepts; connections that have sent their CONNECT wait in a queue, and the server is told
//! once that there are some. Each connection process takes its own from there, so that no other
//! process ever refers to it.

use crate::acceptor;
use crate::connection::{self, Connection};
use crate::gate::Gate;
use crate::greetings::Greetings;
use crate::options::{ConnectionOptions, Limit};
use crate::os::{address, posix};
use crate::socket::Socket;
use crate::{atoms, flusher, runtime, terms};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use rustler::{
    Atom, Encoder, Env, Error, LocalPid, Monitor, NifMap, NifResult, Resource, ResourceArc, Term,
};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinHandle;

/// Connections that come in while nobody accepts.
const BACKLOG: i32 = 1024;

#[derive(NifMap)]
#[rustler(decode)]
struct ListenerOptions {
    ip: String,
    port: u16,
    ipv6_only: bool,
    max_connections: Limit,
    max_connections_per_ip: Limit,
}

/// What the listener's processes, the connections and the tasks share.
pub(crate) struct Shared {
    pub(crate) options: ConnectionOptions,
    pub(crate) gate: Arc<Gate>,
    pub(crate) counters: Counters,
    pub(crate) greetings: Arc<Greetings>,
    local: SocketAddr,
    ipv6_only: bool,
    queue: Mutex<Queue>,
}

/// What has happened since the listener started.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicUsize,
    pub(crate) refused: AtomicUsize,
    pub(crate) unconnected: AtomicUsize,
    pub(crate) dropped_messages: Arc<AtomicUsize>,
}

/// A connection whose client has sent its CONNECT.
pub(crate) struct Greeted {
    pub(crate) connection: Arc<Connection>,
    pub(crate) peer: SocketAddr,
}

#[derive(Default)]
struct Queue {
    connections: VecDeque<Greeted>,
    /// How many of them the server has not been given a number of.
    unannounced: usize,
    /// Who is told that there are some.
    server: Option<LocalPid>,
    closed: bool,
}

impl Shared {
    /// A client has sent its CONNECT.
    pub(crate) fn ready(&self, greeted: Greeted) {
        greeted.connection.output().count_at(self.counters.dropped_messages.clone());
        let server = {
            let mut queue = self.queue();
            if queue.closed {
                return;
            }
            queue.connections.push_back(greeted);
            queue.unannounced += 1;
            queue.server.filter(|_| queue.unannounced == 1)
        };
        if let Some(server) = server {
            flusher::tell(server, atoms::accepted());
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The resource.
pub(crate) struct Listener {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// There while clients are accepted.
    accepting: Option<Accepting>,
    suspended: bool,
}

struct Accepting {
    task: JoinHandle<()>,
    /// A duplicate of the listening socket. tokio closes its own some time after the task is
    /// cancelled, and until then the address would be taken.
    socket: OwnedFd,
}

impl Accepting {
    fn stop(self) {
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        self.task.abort();
    }
}

#[rustler::resource_impl]
impl Resource for Listener {
    fn down<'a>(&'a self, _env: Env<'a>, _owner: LocalPid, _monitor: Monitor) {
        self.close();
    }
}

impl Listener {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens, if it does not.
    fn start(&self, state: &mut State) -> io::Result<()> {
        if state.accepting.is_none() {
            let socket = bind(self.shared.local, self.shared.ipv6_only)?;
            state.accepting = Some(self.accept(socket)?);
        }
        Ok(())
    }

    fn accept(&self, socket: std::net::TcpListener) -> io::Result<Accepting> {
        let runtime = runtime::get()?;
        let duplicate = rustix::io::fcntl_dupfd_cloexec(&socket, 0)?;
        let _context = runtime.enter();
        let socket = flusher::poll_readable(OwnedFd::from(socket))?;
        let task = runtime.spawn(acceptor::accept(self.shared.clone(), socket));
        Ok(Accepting { task, socket: duplicate })
    }

    /// Stops accepting, and lets go of the clients that no process has.
    fn close(&self) {
        let accepting = self.state().accepting.take();
        if let Some(accepting) = accepting {
            accepting.stop();
        }
        self.shared.greetings.close();
        let unclaimed = {
            let mut queue = self.shared.queue();
            queue.closed = true;
            queue.unannounced = 0;
            std::mem::take(&mut queue.connections)
        };
        // They may be thousands of sockets.
        let _ = runtime::spawn(async move { drop(unclaimed) });
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

fn bind(address: SocketAddr, ipv6_only: bool) -> io::Result<std::net::TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, ipv6_only)?;
    }
    Socket::prepare_listening(socket.as_fd())?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Binds and listens for the caller, whose death ends it.
#[rustler::nif]
fn listener_open(
    env: Env<'_>,
    options: ListenerOptions,
    connection_options: ConnectionOptions,
) -> NifResult<Term<'_>> {
    let ip: IpAddr = options.ip.parse().map_err(|_| Error::BadArg)?;
    let opened = open(env, SocketAddr::new(ip, options.port), &options, connection_options);
    Ok(match opened {
        Ok(listener) => (atoms::ok(), listener).encode(env),
        Err(error) => env.error_tuple(posix(env, &error)),
    })
}

fn open(
    env: Env<'_>,
    address: SocketAddr,
    options: &ListenerOptions,
    connection_options: ConnectionOptions,
) -> io::Result<ResourceArc<Listener>> {
    let socket = bind(address, options.ipv6_only)?;
    let max_connections = options.max_connections.0.unwrap_or(usize::MAX);
    let gate = Gate::new(max_connections, options.max_connections_per_ip.0);
    let listener = ResourceArc::new(Listener {
        shared: Arc::new(Shared {
            options: connection_options,
            gate: Arc::new(gate),
            counters: Counters::default(),
            greetings: Arc::default(),
            local: socket.local_addr()?,
            ipv6_only: options.ipv6_only,
            queue: Mutex::default(),
        }),
        state: Mutex::default(),
    });
    env.monitor(&listener, &env.pid());
    // Clients wait in the backlog until somebody serves.
    let accepting = listener.accept(socket)?;
    listener.state().accepting = Some(accepting);
    Ok(listener)
}

/// Makes the caller the server, which is told `{:"$mqtt", :accepted}` when clients have connected.
#[rustler::nif]
fn listener_attend(env: Env<'_>, listener: &Listener) -> Atom {
    let mut queue = listener.shared.queue();
    queue.server = Some(env.pid());
    // Also those that a former server was told of and may not have seen to.
    queue.unannounced = queue.connections.len();
    if queue.unannounced > 0 {
        let _ = env.send(&env.pid(), (atoms::mqtt(), atoms::accepted()));
    }
    atoms::ok()
}

/// A listener that was closed listens again, unless it is suspended.
#[rustler::nif]
fn listener_serve<'a>(env: Env<'a>, listener: &Listener) -> Term<'a> {
    let mut state = listener.state();
    listener.shared.greetings.open();
    listener.shared.queue().closed = false;
    let started = if state.suspended { Ok(()) } else { listener.start(&mut state) };
    answer(env, started)
}

/// How many connections have come that the server has not been told of; it starts a process for
/// each.
#[rustler::nif]
fn listener_announced(listener: &Listener) -> usize {
    std::mem::take(&mut listener.shared.queue().unannounced)
}

/// `{:ok, connection, {peer, local}}`: the one that waits longest, now the caller's; `{:error, :closed}` if
/// there is none.
#[rustler::nif]
fn listener_take<'a>(env: Env<'a>, listener: &Listener) -> Term<'a> {
    let shared = &listener.shared;
    let next = shared.queue().connections.pop_front();
    let taken = next.and_then(|Greeted { connection, peer }| {
        let local = if shared.local.ip().is_unspecified() {
            connection.local_address()
        } else {
            Some(shared.local)
        };
        let addresses = (address(env, Some(peer)), address(env, local));
        Some((atoms::ok(), connection::adopt(env, connection)?, addresses).encode(env))
    });
    taken.unwrap_or_else(|| env.error_tuple(atoms::closed()))
}

/// Closes the listening socket, and nothing else.
#[rustler::nif]
fn listener_suspend(listener: &Listener) -> Atom {
    let mut state = listener.state();
    state.suspended = true;
    if let Some(accepting) = state.accepting.take() {
        accepting.stop();
    }
    atoms::ok()
}

/// Listens again, where it did before.
#[rustler::nif]
fn listener_resume<'a>(env: Env<'a>, listener: &Listener) -> Term<'a> {
    let mut state = listener.state();
    let started = listener.start(&mut state);
    if started.is_ok() {
        state.suspended = false;
    }
    answer(env, started)
}

fn answer(env: Env<'_>, result: io::Result<()>) -> Term<'_> {
    match result {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => env.error_tuple(posix(env, &error)),
    }
}

/// Closes the listening socket and every client that has no process.
#[rustler::nif]
fn listener_close(listener: &Listener) -> Atom {
    listener.close();
    atoms::ok()
}

/// A map of the address and of what was counted.
#[rustler::nif]
fn listener_info<'a>(env: Env<'a>, listener: &Listener) -> NifResult<Term<'a>> {
    let shared = &listener.shared;
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed).encode(env);
    let (ip, port): (Term<'_>, u16) = address(env, Some(shared.local)).decode()?;
    let entries = [
        (atoms::address(), ip),
        (atoms::port(), port.encode(env)),
        (atoms::suspended(), listener.state().suspended.encode(env)),
        (atoms::connections(), shared.gate.open().encode(env)),
        (atoms::accepted(), count(&shared.counters.accepted)),
        (atoms::refused(), count(&shared.counters.refused)),
        (atoms::unconnected(), count(&shared.counters.unconnected)),
        (atoms::dropped_messages(), count(&shared.counters.dropped_messages)),
    ];
    Ok(terms::map(env, &entries))
}
