//! One message to many connections, from any process.
//!
//! Each connection's locks are taken one after the other, and those of two connections never together.
//! A small packet is corked and written by a writer, a large one from here.

use crate::atoms;
use crate::commands::{Invalid, Message};
use crate::connection::Connection;
use crate::handle::Handle;
use crate::output::{Admission, Corked};
use crate::terms::{consume_timeslice, name};
use crate::{clock, writers};
use mqtt_core::{Broadcast, Fate, Millis};
use rustler::{Atom, Encoder, Env, LocalPid, Term};
use std::io::IoSlice;
use std::sync::Arc;

/// Payloads from this size on are written from where they lie.
const BORROW: usize = 4 * 1024;
/// What a call does: so much for each connection, more for one that is written to and for its bytes.
const MAX_COST: usize = 512 * 1024;
const COST: usize = 512;
const COST_OF_WRITE: usize = 8 * 1024;

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
        let mut call = Call { env, now, broadcast, head: Vec::new(), corked: Vec::new(), cost: 0 };
        let outcome = call.publish_to(connections, failed);
        writers::give(env, call.corked, hold);
        consume_timeslice(env, call.cost);
        outcome.ok_or(Invalid(atoms::badarg()))
    });
    match published {
        Ok(outcome) => outcome,
        Err(Invalid(reason)) => env.error_tuple((atoms::invalid(), reason)),
    }
}

/// What a call has in common for its connections.
struct Call<'a, 'p> {
    env: Env<'a>,
    now: Millis,
    broadcast: Broadcast<'p>,
    /// Memory to encode into.
    head: Vec<u8>,
    /// Those that a writer has to be given.
    corked: Vec<Arc<Connection>>,
    cost: usize,
}

impl<'a> Call<'a, '_> {
    /// None if the list has an element that is no connection, or is none.
    fn publish_to(&mut self, mut connections: Term<'a>, mut failed: Term<'a>) -> Option<Term<'a>> {
        while let Ok((term, rest)) = connections.list_get_cell() {
            if self.cost >= MAX_COST {
                return Some((atoms::more(), connections, failed).encode(self.env));
            }
            let handle: Handle<'a> = term.decode().ok()?;
            if let Err(reason) = self.publish_to_one(handle.connection()) {
                failed = failed.list_prepend((term, reason).encode(self.env));
            }
            self.cost += COST;
            connections = rest;
        }
        connections.is_empty_list().then(|| (atoms::ok(), failed).encode(self.env))
    }

    fn publish_to_one(&mut self, connection: &Arc<Connection>) -> Result<(), Atom> {
        let not_connected = || atoms::not_connected();
        let mut input = connection.input.lock().map_err(|_| not_connected())?;
        let (state, mut session) = input.connected().ok_or_else(not_connected)?;
        let mut output = connection.output();
        let (admission, owner) = output.admission_of_broadcast(connection);
        if let Some(owner) = owner {
            self.tell(owner, atoms::send_queue_full());
        }
        let dropped_before = session.dropped();
        let room = admission == Admission::Send;
        self.head.clear();
        let fate = state
            .broadcast(self.now, &self.broadcast, room, &mut session, &mut self.head)
            .map_err(|_| not_connected())?;
        output.count_dropped(session.dropped() - dropped_before);
        match fate {
            Fate::Dropped(dropped) => return Err(name(self.env, dropped.name())),
            // The owner sends it when the client has acknowledged or read others.
            Fate::Waiting => _ = output.wait_if_queued(),
            Fate::Head if output.is_fed() || self.broadcast.payload().len() < BORROW => {
                self.cost += self.head.len() + self.broadcast.payload().len();
                if !writers::exist() {
                    self.cost += COST_OF_WRITE;
                }
                match output.cork(connection, [&self.head, self.broadcast.payload()]) {
                    Corked::Known => {}
                    Corked::ByWriter => self.corked.push(connection.clone()),
                    Corked::ByOwner(owner) => self.tell(owner, atoms::output()),
                }
            }
            Fate::Head => {
                let slices = [self.head.as_slice(), self.broadcast.payload()];
                output.write(connection, &mut slices.map(IoSlice::new));
                self.cost += COST_OF_WRITE + self.broadcast.payload().len();
            }
        }
        Ok(())
    }

    fn tell(&self, owner: LocalPid, what: Atom) {
        // One that has ended already is told in vain.
        let _ = self.env.send(&owner, (atoms::mqtt(), what));
    }
}
