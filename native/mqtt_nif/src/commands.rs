//! The commands of the owner, encoded and written in one go.

use crate::atoms;
use crate::connection::Connection;
use crate::output::{Admission, Output, SlowPeer};
use crate::terms::{consume_timeslice, element, iodata, list, name, tuple};
use mqtt_codec::{PacketId, Properties, Publish, Qos};
use mqtt_core as core;
use rustler::sys::ErlNifTerm;
use rustler::{Atom, Term};
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
    /// The peer is too slow, and is to be disconnected.
    QueueFull,
}

thread_local! {
    /// The memory to encode into, taken and given back by each call.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Packets that are encoded and not yet written.
struct Cork<'a> {
    bytes: Vec<u8>,
    /// Payloads, and the offset in `bytes` before which each goes.
    payloads: Vec<(usize, &'a [u8])>,
    borrowed: usize,
    /// What has been written by this call.
    written: usize,
}

impl<'a> Cork<'a> {
    fn new() -> Self {
        Self { bytes: BUFFER.take(), payloads: Vec::new(), borrowed: 0, written: 0 }
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

/// Encodes and writes the commands of a list, as many as one call may. If one of them is bad, those
/// before it have been written.
pub(crate) fn run<'a>(
    connection: &Arc<Connection>,
    state: &mut core::Connection,
    mut commands: Term<'a>,
    again: bool,
) -> Outcome<'a> {
    let mut cork = Cork::new();
    let (mut queued, admission, slow_peer) = {
        let mut output = connection.output();
        (output.queued(), output.admission(again), output.options().slow_peer)
    };
    // What one callback or one batch of packets publishes is not cut in two where nobody asked
    // for it, so with the default policy the queue is looked at once.
    let mut messages = Messages { admission, dropped: 0 };
    let mut count = 0;
    let outcome = loop {
        let Ok((command, rest)) = commands.list_get_cell() else {
            break Outcome::Done;
        };
        if count == MAX_COMMANDS || cork.written >= MAX_BYTES {
            break Outcome::More(commands);
        }
        if let Err(outcome) = encode(state, &mut messages, &mut cork, command) {
            break outcome;
        }
        count += 1;
        commands = rest;
        if cork.len() >= FULL || queued > 0 {
            let mut output = connection.output();
            cork.write(connection, &mut output);
            queued = output.queued();
            if slow_peer != SlowPeer::Block {
                messages.admission = output.admission(false);
            }
        }
    };
    let mut output = connection.output();
    cork.write(connection, &mut output);
    if messages.dropped > 0 {
        output.count_dropped(messages.dropped);
    }
    drop(output);
    consume_timeslice(commands.get_env(), cork.written + 128 * count);
    outcome
}

/// What becomes of the messages of a call.
struct Messages {
    admission: Admission,
    dropped: usize,
}

fn encode<'a>(
    state: &mut core::Connection,
    messages: &mut Messages,
    cork: &mut Cork<'a>,
    command: Term<'a>,
) -> Result<(), Outcome<'a>> {
    let bad = |reason| Outcome::Bad(command, reason);
    let named = |error: mqtt_codec::Error| bad(name(command.get_env(), error.name()));
    let term = |raw| element(command, raw);
    if is(command.as_c_arg(), atoms::pingresp()) {
        state.pingresp(&mut cork.bytes);
        return Ok(());
    }
    match *tuple(command) {
        [tag, topic, message] if is(tag, atoms::publish()) => {
            let message = Message { topic: term(topic), payload: term(message), options: None };
            message.encode(state, messages, cork, bad)
        }
        [tag, topic, message, options] if is(tag, atoms::publish()) => {
            let options = Some(term(options));
            let message = Message { topic: term(topic), payload: term(message), options };
            message.encode(state, messages, cork, bad)
        }
        [tag, packet_id, codes] if is(tag, atoms::suback()) => {
            let packet_id = packet_id_of(term(packet_id)).ok_or_else(|| bad(atoms::badarg()))?;
            let codes: Vec<u8> = list(term(codes)).ok_or_else(|| bad(atoms::badarg()))?;
            state.suback(packet_id, &codes, &mut cork.bytes).map_err(named)
        }
        [tag, packet_id] if is(tag, atoms::unsuback()) => {
            let packet_id = packet_id_of(term(packet_id)).ok_or_else(|| bad(atoms::badarg()))?;
            state.unsuback(packet_id, &mut cork.bytes).map_err(named)
        }
        _ => Err(bad(atoms::badarg())),
    }
}

/// The parts of a publish action.
struct Message<'a> {
    topic: Term<'a>,
    payload: Term<'a>,
    options: Option<Term<'a>>,
}

impl<'a> Message<'a> {
    fn encode(
        &self,
        state: &mut core::Connection,
        messages: &mut Messages,
        cork: &mut Cork<'a>,
        bad: impl Fn(Atom) -> Outcome<'a>,
    ) -> Result<(), Outcome<'a>> {
        let topic = iodata(self.topic).ok_or_else(|| bad(atoms::badarg()))?;
        let payload = iodata(self.payload).ok_or_else(|| bad(atoms::badarg()))?;
        let (qos, retain) = self.flags().ok_or_else(|| bad(atoms::badarg()))?;
        if qos != Qos::AtMostOnce {
            return Err(bad(atoms::qos_not_supported()));
        }
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic: std::str::from_utf8(topic).map_err(|_| bad(atoms::invalid_utf8()))?,
            packet_id: None,
            properties: Properties::EMPTY,
            payload,
        };
        match messages.admission {
            Admission::Send => {}
            Admission::Drop => {
                messages.dropped += 1;
                return Ok(());
            }
            Admission::Close => return Err(Outcome::QueueFull),
        }
        state
            .publish_head(&publish, &mut cork.bytes)
            .map_err(|error| bad(name(self.topic.get_env(), error.name())))?;
        cork.put_payload(payload);
        Ok(())
    }

    /// QoS and RETAIN, which are 0 and false where the options do not say otherwise.
    fn flags(&self) -> Option<(Qos, bool)> {
        let Some(options) = self.options else { return Some((Qos::AtMostOnce, false)) };
        if !options.is_map() {
            return None;
        }
        let qos = match options.map_get(atoms::qos()) {
            Ok(qos) => Qos::from_bits(qos.decode().ok()?)?,
            Err(_) => Qos::AtMostOnce,
        };
        let retain = match options.map_get(atoms::retain()) {
            Ok(retain) => retain.decode().ok()?,
            Err(_) => false,
        };
        Some((qos, retain))
    }
}

fn packet_id_of(term: Term<'_>) -> Option<PacketId> {
    PacketId::new(term.decode().ok()?)
}

fn is(term: ErlNifTerm, atom: Atom) -> bool {
    term == atom.as_c_arg()
}
