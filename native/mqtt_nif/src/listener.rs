//! A listening socket, and the calls of the process that serves it.
//!
//! tokio accepts; connections that have sent their CONNECT wait in `queue`, and the owner is told
//! once that there are some. Each connection process takes its own from there, so that no other
//! process ever refers to it.

use crate::acceptor;
use crate::connection::{self, Connection};
use crate::gate::Gate;
use crate::options::ConnectionOptions;
use crate::os::{address, posix};
use crate::{atoms, events, flusher, runtime};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustler::{
    Atom, Decoder, Encoder, Env, Error, LocalPid, Monitor, NifMap, NifResult, Resource,
    ResourceArc, Term,
};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::{JoinHandle, JoinSet};

/// Connections that come in while nobody accepts.
const BACKLOG: i32 = 1024;

/// A positive number, or `:infinity`.
#[derive(Clone, Copy)]
struct Limit(Option<usize>);

impl<'a> Decoder<'a> for Limit {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        if term.is_atom() { Ok(Self(None)) } else { term.decode().map(|limit| Self(Some(limit))) }
    }
}

#[derive(NifMap)]
#[rustler(decode)]
struct ListenerOptions {
    ip: String,
    port: u16,
    ipv6_only: bool,
    max_connections: Limit,
    max_connections_per_ip: Limit,
}

/// What the owner, the connections' processes and the tasks share.
pub(crate) struct Shared {
    pub(crate) options: ConnectionOptions,
    pub(crate) gate: Arc<Gate>,
    pub(crate) counters: Counters,
    owner: LocalPid,
    local: SocketAddr,
    ipv6_only: bool,
    queue: Mutex<Queue>,
    /// The clients that have not sent their CONNECT.
    greetings: Mutex<JoinSet<()>>,
}

/// What has happened since the listener started.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicUsize,
    pub(crate) refused: AtomicUsize,
    pub(crate) unconnected: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    connections: VecDeque<Arc<Connection>>,
    /// How many of them the owner has not been given a number of.
    unannounced: usize,
}

impl Shared {
    /// Runs the greeting of a client.
    pub(crate) fn greet(&self, greeting: impl Future<Output = ()> + Send + 'static) {
        let mut greetings = self.greetings();
        while greetings.try_join_next().is_some() {}
        greetings.spawn(greeting);
    }

    /// A client has sent its CONNECT.
    pub(crate) fn ready(&self, connection: Arc<Connection>) {
        let first = {
            let mut queue = self.queue();
            queue.connections.push_back(connection);
            queue.unannounced += 1;
            queue.unannounced == 1
        };
        if first {
            flusher::tell(self.owner, atoms::accepted());
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn greetings(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.greetings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The resource. The task that accepts is there unless the listener is suspended or closed.
pub(crate) struct Listener {
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

#[rustler::resource_impl]
impl Resource for Listener {
    fn down<'a>(&'a self, _env: Env<'a>, _owner: LocalPid, _monitor: Monitor) {
        self.close();
    }
}

impl Listener {
    fn accepting(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, socket: std::net::TcpListener) -> io::Result<()> {
        let runtime = runtime::get()?;
        let _context = runtime.enter();
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let task = runtime.spawn(acceptor::accept(self.shared.clone(), socket));
        *self.accepting() = Some(task);
        Ok(())
    }

    /// Stops accepting, and lets go of the clients that no process has.
    fn close(&self) {
        if let Some(task) = self.accepting().take() {
            task.abort();
        }
        self.shared.greetings().abort_all();
        let unclaimed = std::mem::take(&mut *self.shared.queue());
        drop(unclaimed);
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
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Listens for the caller, which is told `{:"$mqtt", :accepted}` when clients have connected.
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
            owner: env.pid(),
            local: socket.local_addr()?,
            ipv6_only: options.ipv6_only,
            queue: Mutex::default(),
            greetings: Mutex::default(),
        }),
        accepting: Mutex::new(None),
    });
    env.monitor(&listener, &env.pid());
    listener.start(socket)?;
    Ok(listener)
}

/// How many connections have come that the owner has not been told of; it starts a process for
/// each.
#[rustler::nif]
fn listener_announced(listener: &Listener) -> usize {
    std::mem::take(&mut listener.shared.queue().unannounced)
}

/// The connection that waits longest, now the caller's; `{:error, :closed}` if there is none.
#[rustler::nif]
fn listener_take<'a>(env: Env<'a>, listener: &Listener) -> Term<'a> {
    let next = listener.shared.queue().connections.pop_front();
    match next {
        Some(connection) => connection::adopt(env, connection),
        None => env.error_tuple(atoms::closed()),
    }
}

/// Closes the listening socket. On a dirty scheduler, because it waits for the task that accepts.
#[rustler::nif(schedule = "DirtyIo")]
fn listener_suspend(listener: &Listener) -> Atom {
    let task = listener.accepting().take();
    if let (Some(task), Ok(runtime)) = (task, runtime::get()) {
        task.abort();
        let _ = runtime.block_on(task);
    }
    atoms::ok()
}

/// Listens again, where it did before.
#[rustler::nif]
fn listener_resume<'a>(env: Env<'a>, listener: &Listener) -> Term<'a> {
    if listener.accepting().is_some() {
        return atoms::ok().encode(env);
    }
    let shared = &listener.shared;
    match bind(shared.local, shared.ipv6_only).and_then(|socket| listener.start(socket)) {
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

/// `{{ip, port}, counters}`.
#[rustler::nif]
fn listener_info<'a>(env: Env<'a>, listener: &Listener) -> Term<'a> {
    let shared = &listener.shared;
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed).encode(env);
    let counters = events::map(
        env,
        &[
            (atoms::connections(), shared.gate.open().encode(env)),
            (atoms::accepted(), count(&shared.counters.accepted)),
            (atoms::refused(), count(&shared.counters.refused)),
            (atoms::unconnected(), count(&shared.counters.unconnected)),
        ],
    );
    (address(env, Some(shared.local)), counters).encode(env)
}
