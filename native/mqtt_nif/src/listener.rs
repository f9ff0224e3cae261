//! A listening socket, and the calls of the processes that own and serve it.
//!
//! It belongs to the listener's supervisor, so that it outlives a crash of the process that serves
//! it. That one, the server, is told that there are clients, and accepts. Connections that have sent their CONNECT wait in a queue, from
//! where each process takes its own, so that no other process ever refers to it.
//!
//! The lock `state` is held while clients are accepted, and comes before all others.

use crate::acceptor::{COST, Listening, Next};
use crate::connection::{self, Connection};
use crate::gate::Gate;
use crate::greetings::Greetings;
use crate::options::{ConnectionOptions, Limit};
use crate::os::{address, posix};
use crate::socket::Socket;
use crate::{atoms, flusher, runtime, terms};
use mqtt_core::Config;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustler::{
    Atom, Encoder, Env, Error, LocalPid, Monitor, NifMap, NifResult, Resource, ResourceArc, Term,
};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// The part of them that the state machine has.
    pub(crate) config: Arc<Config>,
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
    /// A client has sent its CONNECT, and waits for a process.
    pub(crate) fn push(&self, greeted: Greeted) {
        let _ = self.enqueue(greeted);
    }

    /// The same of one that was accepted before. The server is told.
    pub(crate) fn announce(&self, greeted: Greeted) {
        if let Some(server) = self.enqueue(greeted) {
            flusher::tell(server, atoms::accepted());
        }
    }

    /// Gives who has to be told, if nobody was.
    fn enqueue(&self, greeted: Greeted) -> Option<LocalPid> {
        greeted.connection.output().count_at(self.counters.dropped_messages.clone());
        let mut queue = self.queue();
        if queue.closed {
            // The last of a connection is not dropped under the lock.
            drop(queue);
            return None;
        }
        queue.connections.push_back(greeted);
        queue.unannounced += 1;
        queue.server.filter(|_| queue.unannounced == 1)
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
    listening: Option<Listening>,
    suspended: bool,
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
    fn start(&self, env: Env<'_>, state: &mut State) -> io::Result<()> {
        if state.listening.is_none() {
            let mut listening = Listening::new(bind(self.shared.local, self.shared.ipv6_only)?);
            let server = self.shared.queue().server;
            if let Some(server) = server {
                listening.tell(server)?;
                // One that has ended is told in vain, and who comes behind it attends.
                let _ = env.send(&server, (atoms::mqtt(), atoms::readable()));
            }
            state.listening = Some(listening);
        }
        Ok(())
    }

    /// Stops accepting, and lets go of the clients that no process has.
    fn close(&self) {
        let listening = self.state().listening.take();
        drop(listening);
        self.shared.greetings.close();
        let unclaimed = {
            let mut queue = self.shared.queue();
            queue.closed = true;
            queue.unannounced = 0;
            std::mem::take(&mut queue.connections)
        };
        if !unclaimed.is_empty() {
            // They may be thousands of sockets.
            let _ = runtime::spawn(async move { drop(unclaimed) });
        }
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
            config: connection_options.core(),
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
    // Clients wait in the backlog until somebody attends.
    listener.state().listening = Some(Listening::new(socket));
    Ok(listener)
}

/// Makes the caller the server, which is told `{:"$mqtt", :readable}` when there are clients, and `{:"$mqtt", :accepted}` when one has sent its
/// CONNECT that was accepted before.
#[rustler::nif]
fn listener_attend<'a>(env: Env<'a>, listener: &Listener) -> Term<'a> {
    let mut state = listener.state();
    {
        let mut queue = listener.shared.queue();
        queue.server = Some(env.pid());
        // Also those that a former server has not seen to.
        queue.unannounced = queue.connections.len();
    }
    let told = match &mut state.listening {
        Some(listening) => listening.tell(env.pid()),
        None => Ok(()),
    };
    let _ = env.send(&env.pid(), (atoms::mqtt(), atoms::readable()));
    answer(env, told)
}

/// A listener that was closed listens again, unless it is suspended.
#[rustler::nif]
fn listener_serve<'a>(env: Env<'a>, listener: &Listener) -> Term<'a> {
    let mut state = listener.state();
    listener.shared.greetings.open();
    listener.shared.queue().closed = false;
    let started = if state.suspended { Ok(()) } else { listener.start(env, &mut state) };
    answer(env, started)
}

/// Accepts some clients. Gives how many connections have come that the server has not been told of, for each of which it starts
/// a process, and what is next: `:wait`, `:more`, or `:exhausted`, which is to wait for a while and then to call again.
#[rustler::nif]
fn listener_accept(env: Env<'_>, listener: &Listener) -> (usize, Atom) {
    let state = listener.state();
    let next = state.listening.as_ref().map(|listening| listening.accept(&listener.shared));
    drop(state);
    let (accepted, next) = next.unwrap_or((0, Next::Wait));
    terms::consume_timeslice(env, COST * accepted);
    let next = match next {
        Next::Wait => atoms::wait(),
        Next::More => atoms::more(),
        Next::Exhausted => atoms::exhausted(),
    };
    (std::mem::take(&mut listener.shared.queue().unannounced), next)
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
    state.listening = None;
    atoms::ok()
}

/// Listens again, where it did before.
#[rustler::nif]
fn listener_resume<'a>(env: Env<'a>, listener: &Listener) -> Term<'a> {
    let mut state = listener.state();
    let started = listener.start(env, &mut state);
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
