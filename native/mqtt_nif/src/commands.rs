//! The commands of the owner, encoded and written in one go. `message` is what one says that is to be published.

mod message;

pub(crate) use message::{Invalid, Message};

use crate::atoms;
use crate::connection::Connection;
use crate::input::Peer;
use crate::output::{Admission, Corked, Output, SlowPeer};
use crate::packet_encode;
use crate::session::Access;
use crate::terms::{consume_timeslice, element, is, list, name, tuple};
use crate::{clock, writers};
use message::Plain;
use mqtt_codec::{PacketId, Properties, PropertiesBuf, ReasonCode};
use mqtt_core::{self as core, Close, CommandError, Decision, Dropped, Fate, Millis};
use rustler::{Atom, Env, Term};
use std::cell::Cell;
use std::io::IoSlice;
use std::sync::Arc;

/// Payloads from this size on are written from where they lie.
const BORROW: usize = 4 * 1024;
/// When so many bytes are encoded they are written, before more are. So much more than its limit
/// may come into a queue.
const FULL: usize = 64 * 1024;

/// What a call does at most, before the others of its scheduler have their turn.
const MAX_COMMANDS: usize = 1024;
const MAX_BYTES: usize = 512 * 1024;

/// What has become of a list of commands.
pub(crate) enum Outcome<'a> {
    Done,
    /// These are left, for another call.
    More(Term<'a>),
    /// A command is not one that can be carried out.
    Bad(Term<'a>, Atom),
    /// The peer cannot be told what it has to be told.
    Close(Close),
    /// The peer is too slow, and is to be disconnected.
    QueueFull,
}

/// What the commands of a call have in common.
#[derive(Clone, Copy)]
struct Call {
    now: Millis,
    slow_peer: SlowPeer,
    /// What becomes of messages.
    admission: Admission,
}

thread_local! {
    /// The memory to encode into, taken and given back by each call.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Packets that are encoded and not yet written.
struct Cork<'a> {
    bytes: Vec<u8>,
    /// The options of the message before, if there is nothing to be computed from them: most handlers have one map for all
    /// of their messages.
    plain: Option<(Term<'a>, Plain)>,
    /// Payloads, and the offset in `bytes` before which each goes.
    payloads: Vec<(usize, &'a [u8])>,
    borrowed: usize,
    /// What has been written by this call.
    written: usize,
}

impl<'a> Cork<'a> {
    fn new() -> Self {
        let bytes = BUFFER.take();
        Self { bytes, plain: None, payloads: Vec::new(), borrowed: 0, written: 0 }
    }

    fn put_payload(&mut self, payload: &'a [u8]) {
        if payload.len() < BORROW {
            self.bytes.extend_from_slice(payload);
        } else {
            self.payloads.push((self.bytes.len(), payload));
            self.borrowed += payload.len();
        }
    }

    fn len(&self) -> usize {
        self.bytes.len() + self.borrowed
    }

    fn write(&mut self, connection: &Arc<Connection>, output: &mut Output) {
        self.written += self.len();
        if self.payloads.is_empty() {
            if !self.bytes.is_empty() {
                output.write(connection, &mut [IoSlice::new(&self.bytes)]);
            }
        } else {
            let mut slices = Vec::with_capacity(2 * self.payloads.len() + 1);
            let mut from = 0;
            for &(to, payload) in &self.payloads {
                slices.push(IoSlice::new(self.bytes.get(from..to).unwrap_or_default()));
                slices.push(IoSlice::new(payload));
                from = to;
            }
            slices.push(IoSlice::new(self.bytes.get(from..).unwrap_or_default()));
            output.write(connection, &mut slices);
        }
        self.bytes.clear();
        self.payloads.clear();
        self.borrowed = 0;
    }

    /// Whether it is small enough to be left to a writer.
    fn can_be_left(&self) -> bool {
        self.written == 0 && self.payloads.is_empty() && (1..BORROW).contains(&self.bytes.len())
    }

    /// Leaves it to a writer. Says whether the connection has to be given to it.
    fn leave(&mut self, connection: &Arc<Connection>, output: &mut Output) -> bool {
        self.written += self.len();
        let corked = output.cork(connection, [&self.bytes, &[]]);
        self.bytes.clear();
        corked == Corked::ByWriter
    }
}

impl Drop for Cork<'_> {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        if bytes.capacity() <= 2 * FULL {
            BUFFER.set(bytes);
        }
    }
}

/// Encodes and writes the commands of a list behind the `answers`, as many as one call may. If one of them is bad, those
/// before it have been written. If there are only a `few`, they may be left to a writer.
pub(crate) fn run<'a>(
    connection: &Arc<Connection>,
    peer: &mut Peer<'_>,
    answers: &mut Vec<u8>,
    mut commands: Term<'a>,
    again: bool,
    few: bool,
) -> Outcome<'a> {
    let mut cork = Cork::new();
    // A burst of them is not to leave its memory.
    cork.bytes.append(&mut std::mem::take(answers));
    let now = clock::now();
    let dropped_before = peer.session.dropped();
    // What one callback or one batch of packets publishes is not cut in two where nobody asked
    // for it, so with the default policy the queue is looked at once.
    let (mut queued, mut call) = {
        let mut output = connection.output();
        let slow_peer = output.options().slow_peer;
        (output.refused(), Call { now, slow_peer, admission: output.admission(connection, again) })
    };
    let mut count = 0;
    let outcome = loop {
        let Ok((command, rest)) = commands.list_get_cell() else {
            break Outcome::Done;
        };
        if count == MAX_COMMANDS || cork.written >= MAX_BYTES {
            break Outcome::More(commands);
        }
        if let Err(outcome) = encode(peer, call, &mut cork, command) {
            break outcome;
        }
        count += 1;
        commands = rest;
        if cork.len() >= FULL || queued > 0 {
            let mut output = connection.output();
            cork.write(connection, &mut output);
            queued = output.refused();
            if call.slow_peer != SlowPeer::Block {
                call.admission = output.admission(connection, false);
            }
        }
    };
    let mut output = connection.output();
    let left = few && cork.can_be_left() && !output.is_fed() && writers::are_better(now);
    let given = left && cork.leave(connection, &mut output);
    cork.write(connection, &mut output);
    count_dropped(&mut output, peer, dropped_before);
    drop(output);
    if given {
        writers::give(commands.get_env(), [connection], false);
    }
    consume_timeslice(commands.get_env(), cork.written + 128 * count);
    outcome
}

/// Carries out what a list of commands does to the session, where there is no connection any more to
/// write to: it has ended, or another one has the session. Messages of QoS 1 and 2 wait for the next,
/// and what the application has answered is not given to it again. Of a session that has begun anew it is none of the
/// business, nor are the subscriptions of one that is not `ours` any more. Gives an error for a bad command.
pub(crate) fn run_late<'a>(
    state: &mut core::Connection,
    session: &mut Access<'_>,
    ours: bool,
    commands: Term<'a>,
    env: Env<'a>,
) -> Option<Term<'a>> {
    if state.is_before(session) {
        return None;
    }
    let mut cork = Cork::new();
    let now = clock::now();
    let call = Call { now, slow_peer: SlowPeer::Block, admission: Admission::Send };
    let mut rest = commands;
    let mut bad = None;
    while let (None, Ok((command, others))) = (bad, rest.list_get_cell()) {
        rest = others;
        let message = match *tuple(command) {
            [tag, topic, payload] if is(tag, atoms::publish()) => (topic, payload, None),
            [tag, topic, payload, options] if is(tag, atoms::publish()) => {
                (topic, payload, Some(element(command, options)))
            }
            // The next connection asks again.
            [tag, _] if is(tag, atoms::decided()) => continue,
            [tag, ..] if !ours && (is(tag, atoms::suback()) || is(tag, atoms::unsuback())) => {
                continue;
            }
            _ => {
                let mut peer = Peer { connection: state, session };
                // What can't be said any more does not matter.
                let _ = encode(&mut peer, call, &mut cork, command);
                cork.bytes.clear();
                continue;
            }
        };
        let (topic, payload, options) = message;
        let topic = element(command, topic);
        let message = Message { topic, payload: element(command, payload), options };
        let enqueued = message.with_publish(|publish, reference, _| {
            core::check_publish(publish).map_err(|error| Invalid(name(env, error.name())))?;
            Ok(session.enqueue(publish, reference, now, false))
        });
        if let Err(Invalid(reason)) = enqueued {
            bad = Some(env.error_tuple((atoms::bad_action(), command, reason)));
        }
    }
    session.tell_owner(env);
    bad
}

/// Counts what the session has dropped meanwhile.
fn count_dropped(output: &mut Output, peer: &Peer<'_>, before: usize) {
    output.count_dropped(peer.session.dropped() - before);
}

/// Sends what waits in the session, as far as the client lets it and takes it at once. Says whether
/// there is more than one call may do, and how many bytes were written.
pub(crate) fn pump(
    env: Env<'_>,
    connection: &Arc<Connection>,
    peer: &mut Peer<'_>,
) -> (bool, usize) {
    let dropped_before = peer.session.dropped();
    let mut cork = Cork::new();
    let more = loop {
        // For a client that reads slowly it waits where it is.
        if connection.output().wait_if_queued() {
            break false;
        }
        let more = peer.connection.pump(clock::now(), peer.session, &mut cork.bytes, FULL);
        if cork.len() > 0 {
            cork.write(connection, &mut connection.output());
        }
        if !more || cork.written >= MAX_BYTES {
            break more;
        }
    };
    consume_timeslice(env, cork.written);
    count_dropped(&mut connection.output(), peer, dropped_before);
    (more, cork.written)
}

fn encode<'a>(
    peer: &mut Peer<'_>,
    call: Call,
    cork: &mut Cork<'a>,
    command: Term<'a>,
) -> Result<(), Outcome<'a>> {
    let bad = |reason| Outcome::Bad(command, reason);
    let env = command.get_env();
    let named = |error: CommandError| match error {
        CommandError::Client(violation) => Outcome::Close(violation.into()),
        error => bad(name(env, error.name())),
    };
    let term = |raw| element(command, raw);
    if is(command.as_c_arg(), atoms::pingresp()) {
        peer.connection.pingresp(&mut cork.bytes);
        return Ok(());
    }
    match *tuple(command) {
        [tag, topic, payload] if is(tag, atoms::publish()) => {
            let message = Message { topic: term(topic), payload: term(payload), options: None };
            message.encode(peer, call, cork, bad)
        }
        [tag, topic, payload, options] if is(tag, atoms::publish()) => {
            let options = Some(term(options));
            let message = Message { topic: term(topic), payload: term(payload), options };
            message.encode(peer, call, cork, bad)
        }
        [tag, count] if is(tag, atoms::acked()) => {
            let count: usize = term(count).decode().map_err(|_| bad(atoms::badarg()))?;
            for _ in 0..count {
                acknowledge(peer, ReasonCode::SUCCESS, Properties::EMPTY, cork).map_err(named)?;
            }
            Ok(())
        }
        [tag, decisions] if is(tag, atoms::decided()) => {
            let decisions: Vec<Option<u64>> =
                list(term(decisions)).ok_or_else(|| bad(atoms::badarg()))?;
            for decision in decisions {
                peer.session.decide(decision.map_or(Decision::Drop, Decision::Send));
            }
            Ok(())
        }
        [tag, code, properties] if is(tag, atoms::refused_message()) => {
            let code: u8 = term(code).decode().map_err(|_| bad(atoms::badarg()))?;
            let properties = properties_of(term(properties)).map_err(bad)?;
            acknowledge(peer, ReasonCode(code), properties.as_properties(), cork).map_err(named)
        }
        [tag, packet_id, codes, properties]
            if is(tag, atoms::suback()) || is(tag, atoms::unsuback()) =>
        {
            let packet_id = packet_id_of(term(packet_id)).ok_or_else(|| bad(atoms::badarg()))?;
            let codes: Vec<u8> = list(term(codes)).ok_or_else(|| bad(atoms::badarg()))?;
            let properties = properties_of(term(properties)).map_err(bad)?;
            let properties = properties.as_properties();
            let Peer { connection, session } = peer;
            if is(tag, atoms::suback()) {
                connection.suback(packet_id, &codes, properties, session, &mut cork.bytes)
            } else {
                connection.unsuback(packet_id, &codes, properties, session, &mut cork.bytes)
            }
            .map_err(named)
        }
        _ => Err(bad(atoms::badarg())),
    }
}

fn acknowledge(
    peer: &mut Peer<'_>,
    reason: ReasonCode,
    properties: Properties<'_>,
    cork: &mut Cork<'_>,
) -> Result<(), CommandError> {
    peer.connection.acknowledge(reason, properties, peer.session, &mut cork.bytes)
}

/// The properties of a map, or what is wrong with it.
pub(crate) fn properties_of(map: Term<'_>) -> Result<PropertiesBuf, Atom> {
    if map.map_size().is_ok_and(|size| size == 0) {
        return Ok(PropertiesBuf::default());
    }
    packet_encode::properties(map).map_err(|invalid| invalid.reason(map.get_env()))
}

impl<'a> Message<'a> {
    fn encode(
        &self,
        peer: &mut Peer<'_>,
        call: Call,
        cork: &mut Cork<'a>,
        bad: impl Fn(Atom) -> Outcome<'a>,
    ) -> Result<(), Outcome<'a>> {
        if call.admission == Admission::Close {
            return Err(Outcome::QueueFull);
        }
        let room = call.admission == Admission::Send;
        let env = self.topic.get_env();
        let options =
            self.options_behind(&mut cork.plain).map_err(|Invalid(reason)| bad(reason))?;
        let sent = self.with_options(&options, |publish, reference, payload| {
            let Peer { connection, session } = peer;
            let bytes = &mut cork.bytes;
            connection
                .publish(call.now, publish, reference, room, session, bytes)
                .map(|fate| (fate, payload))
                .map_err(|error| Invalid(name(env, error.name())))
        });
        match sent {
            Ok((Fate::Head, payload)) => cork.put_payload(payload),
            // One that a writer is behind with is not slow.
            Ok((Fate::Dropped(Dropped::QueueFull), _))
                if call.slow_peer == SlowPeer::Close && call.admission != Admission::Drop =>
            {
                return Err(Outcome::QueueFull);
            }
            Ok((Fate::Waiting | Fate::Dropped(_), _)) => {}
            Err(Invalid(reason)) => return Err(bad(reason)),
        }
        Ok(())
    }
}

fn packet_id_of(term: Term<'_>) -> Option<PacketId> {
    PacketId::new(term.decode().ok()?)
}
