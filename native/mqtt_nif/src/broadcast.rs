//! One message to many connections, from any process.
//!
//! Each connection's locks are taken one after the other, and those of two connections never together.
//! A small packet is corked and written by a writer, a large one from here.

use crate::atoms;
use crate::commands::{Invalid, Message};
use crate::connection::Connection;
use crate::handle::Handle;
use crate::output::{Admission, Corked};
use crate::session::Access;
use crate::terms::{consume_timeslice, name};
use crate::{clock, writers};
use mqtt_codec::{Publish, Qos};
use mqtt_core::{self as core, Broadcast, CommandError, Fate, Millis};
use rustler::{Atom, Encoder, Env, LocalPid, Term};
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Payloads from this size on are written from where they lie.
const BORROW: usize = 4 * 1024;
/// What a call does: so much for each connection, more for one that is written to and for its bytes.
pub(crate) const MAX_COST: usize = 512 * 1024;
pub(crate) const COST: usize = 512;
const COST_OF_WRITE: usize = 8 * 1024;
/// To so many connections what was corked is written at once.
const FEW: usize = 4;

/// What it takes to send a message with so many bytes to a connection, at most.
pub(crate) fn cost(size: usize) -> usize {
    let written = size >= BORROW || !writers::exist();
    2 * COST + size + if written { COST_OF_WRITE } else { 0 }
}

/// Publishes a message to the connections of a list, as many as one call may: `{:ok, failed}`, `{:more,
/// connections, failed}`, or `{:error, {:invalid, reason}}`. Those that it was not sent to come before
/// `failed`, with the reason. With `hold` the caller calls `writers_tell` soon.
#[rustler::nif]
fn connections_publish<'a>(
    env: Env<'a>,
    connections: Term<'a>,
    topic: Term<'a>,
    payload: Term<'a>,
    options: Term<'a>,
    failed: Term<'a>,
    hold: bool,
) -> Term<'a> {
    let message = Message { topic, payload, options: Some(options) };
    let published = message.with_publish(|publish, _, _| {
        let now = clock::now();
        let broadcast =
            Broadcast::new(*publish, now).map_err(|error| Invalid(name(env, error.name())))?;
        let mut sender = Sender::new(env, now);
        let outcome = publish_to(&mut sender, &broadcast, connections, failed);
        sender.finish(hold);
        outcome.ok_or(Invalid(atoms::one_of_the_connections_is_none()))
    });
    match published {
        Ok(outcome) => outcome,
        Err(Invalid(reason)) => env.error_tuple((atoms::invalid(), reason)),
    }
}

/// None if the list has an element that is no connection, or is none.
fn publish_to<'a>(
    sender: &mut Sender<'a>,
    broadcast: &Broadcast<'_>,
    mut connections: Term<'a>,
    mut failed: Term<'a>,
) -> Option<Term<'a>> {
    let env = sender.env;
    while let Ok((term, rest)) = connections.list_get_cell() {
        if sender.is_done() {
            return Some((atoms::more(), connections, failed).encode(env));
        }
        let handle: Handle<'a> = term.decode().ok()?;
        if let Err(reason) = sender.send(handle.connection(), &Sent::Shared(broadcast), None) {
            failed = failed.list_prepend((term, reason).encode(env));
        }
        connections = rest;
    }
    connections.is_empty_list().then(|| (atoms::ok(), failed).encode(env))
}

/// A message as it is sent.
pub(crate) enum Sent<'s, 'p> {
    /// Encoded for many.
    Shared(&'s Broadcast<'p>),
    /// To be encoded for this client.
    Alone(&'s Publish<'p>),
}

impl<'p> Sent<'_, 'p> {
    /// Whether the session keeps it until it is acknowledged.
    fn is_kept(&self) -> bool {
        let qos = match self {
            Self::Shared(broadcast) => broadcast.qos(),
            Self::Alone(publish) => publish.qos,
        };
        qos > Qos::AtMostOnce
    }

    pub(crate) fn payload(&self) -> &'p [u8] {
        match self {
            Self::Shared(broadcast) => broadcast.payload(),
            Self::Alone(publish) => publish.payload,
        }
    }
}

/// What a call has in common for its connections.
pub(crate) struct Sender<'a> {
    env: Env<'a>,
    now: Millis,
    /// Memory to encode into.
    head: Vec<u8>,
    /// Those that a writer has to be given.
    corked: Vec<Arc<Connection>>,
    cost: usize,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(env: Env<'a>, now: Millis) -> Self {
        Self { env, now, head: Vec::new(), corked: Vec::new(), cost: 0 }
    }

    pub(crate) fn env(&self) -> Env<'a> {
        self.env
    }

    pub(crate) fn now(&self) -> Millis {
        self.now
    }

    /// Whether a call has done as much as it may.
    pub(crate) fn is_done(&self) -> bool {
        self.cost >= MAX_COST
    }

    /// Counts something else that a call did.
    pub(crate) fn charge(&mut self, cost: usize) {
        self.cost += cost;
    }

    /// Goes on where a call does not count.
    pub(crate) fn restart(&mut self) {
        writers::give(self.env, &std::mem::take(&mut self.corked), false);
        self.cost = 0;
    }

    /// Has written what was corked, or if it is on `hold` once `writers_tell` is called.
    pub(crate) fn finish(self, hold: bool) {
        writers::give(self.env, &self.corked, hold);
        consume_timeslice(self.env, self.cost);
    }

    /// Writes what was corked if it is for few connections, for which a call had all there is. Otherwise has it written. Gives what was done since it
    /// began, or went on.
    pub(crate) fn finish_batch(mut self) -> usize {
        if self.corked.len() > FEW {
            writers::give(self.env, &self.corked, false);
        } else {
            self.cost += COST_OF_WRITE * self.corked.len();
            for connection in &self.corked {
                connection.output().uncork(connection);
            }
        }
        consume_timeslice(self.env, self.cost);
        self.cost
    }

    /// Sends a message to a connection, or puts it into its session, or says why not. It may be one that came through a group
    /// of a shared subscription.
    pub(crate) fn send(
        &mut self,
        connection: &Arc<Connection>,
        sent: &Sent<'_, '_>,
        group: Option<NonZeroU64>,
    ) -> Result<(), Atom> {
        let not_connected = || atoms::not_connected();
        let mut input = connection.input.lock().map_err(|_| not_connected())?;
        let (state, mut session) = input.connected().ok_or_else(not_connected)?;
        self.send_locked(connection, state, &mut session, sent, group)
    }

    /// The same where the connection's input and session are locked.
    pub(crate) fn send_locked(
        &mut self,
        connection: &Arc<Connection>,
        state: &mut core::Connection,
        session: &mut Access<'_>,
        sent: &Sent<'_, '_>,
        group: Option<NonZeroU64>,
    ) -> Result<(), Atom> {
        self.cost += COST;
        let mut output = connection.output();
        let (admission, owner) = output.admission_of_broadcast(connection);
        if let Some(owner) = owner {
            self.tell(owner, atoms::send_queue_full());
        }
        let (dropped_before, had_deliveries) = (session.dropped(), session.has_deliveries());
        let room = admission == Admission::Send;
        let payload = sent.payload();
        self.head.clear();
        let fate = match sent {
            Sent::Shared(broadcast) => {
                state.broadcast(self.now, broadcast, room, session, &mut self.head)
            }
            Sent::Alone(publish) => {
                state.publish(self.now, publish, 0, room, session, &mut self.head)
            }
        };
        let fate = fate.map_err(|error| match error {
            CommandError::WrongState => atoms::not_connected(),
            error => name(self.env, error.name()),
        })?;
        if let Some(group) = group
            && sent.is_kept()
        {
            session.set_group(fate, group);
        }
        output.count_dropped(session.dropped() - dropped_before);
        if session.asks() || session.has_deliveries() {
            // The owner asks the application about it, or tells it of what was dropped.
            session.tell_owner(self.env);
        }
        if session.is_own() && session.has_deliveries() && !had_deliveries {
            output.owner().into_iter().for_each(|owner| self.tell(owner, atoms::session()));
        }
        match fate {
            Fate::Dropped(dropped) => return Err(name(self.env, dropped.name())),
            Fate::Waiting if session.asks() => {}
            // The owner sends it when the client has acknowledged or read others, or the writer is done.
            Fate::Waiting => _ = output.wait_if_queued(),
            Fate::Head if output.is_fed() || payload.len() < BORROW => {
                self.cost += self.head.len() + payload.len();
                if !writers::exist() {
                    self.cost += COST_OF_WRITE;
                }
                match output.cork(connection, [&self.head, payload]) {
                    Corked::Known => {}
                    Corked::ByWriter => self.corked.push(connection.clone()),
                    Corked::ByOwner(owner) => self.tell(owner, atoms::output()),
                }
            }
            Fate::Head => {
                let slices = [self.head.as_slice(), payload];
                output.write(connection, &mut slices.map(IoSlice::new));
                self.cost += COST_OF_WRITE + payload.len();
            }
        }
        Ok(())
    }

    fn tell(&self, owner: LocalPid, what: Atom) {
        // One that has ended already is told in vain.
        let _ = self.env.send(&owner, (atoms::mqtt(), what));
    }
}
