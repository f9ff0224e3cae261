//! The commands of the owner, encoded and written in one go.

use crate::atoms;
use crate::connection::Connection;
use crate::output::{Admission, Output};
use crate::terms::{element, iodata, tuple};
use mqtt_codec::{PacketId, Properties, Publish, Qos};
use mqtt_core as core;
use rustler::sys::ErlNifTerm;
use rustler::{Atom, ListIterator, Term};
use std::io::IoSlice;
use std::sync::Arc;

/// Payloads from this size on are written from where they lie.
const BORROW: usize = 4 * 1024;
/// When so many bytes are encoded they are written, before more are. So much more than its limit
/// may come into a queue.
const FULL: usize = 64 * 1024;

/// Why commands were not carried out.
pub(crate) enum Refused<'a> {
    /// A command is not one that can be sent.
    Bad(Term<'a>, Atom),
    /// The peer is too slow, and is to be disconnected.
    QueueFull,
}

/// Packets that are encoded and not yet written.
#[derive(Default)]
struct Cork<'a> {
    bytes: Vec<u8>,
    /// Payloads, and the offset in `bytes` before which each goes.
    payloads: Vec<(usize, &'a [u8])>,
    borrowed: usize,
}

impl<'a> Cork<'a> {
    fn put_payload(&mut self, payload: &'a [u8]) {
        if payload.len() < BORROW {
            self.bytes.extend_from_slice(payload);
        } else {
            self.payloads.push((self.bytes.len(), payload));
            self.borrowed += payload.len();
        }
    }

    fn is_full(&self) -> bool {
        self.bytes.len() + self.borrowed >= FULL
    }

    fn write(&mut self, connection: &Arc<Connection>, output: &mut Output) {
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

/// Encodes and writes the commands of a list, behind the bytes of `before`. If one of them is bad,
/// those before it in the list may have been written.
pub(crate) fn run<'a>(
    connection: &Arc<Connection>,
    state: &mut core::Connection,
    output: &mut Output,
    before: Vec<u8>,
    commands: Term<'a>,
) -> Result<(), Refused<'a>> {
    let mut cork = Cork { bytes: before, ..Cork::default() };
    let list: ListIterator<'_> =
        commands.decode().map_err(|_| Refused::Bad(commands, atoms::badarg()))?;
    for command in list {
        encode(state, output, &mut cork, command)?;
        if cork.is_full() || output.queued() > 0 {
            cork.write(connection, output);
        }
    }
    cork.write(connection, output);
    Ok(())
}

fn encode<'a>(
    state: &mut core::Connection,
    output: &mut Output,
    cork: &mut Cork<'a>,
    command: Term<'a>,
) -> Result<(), Refused<'a>> {
    let bad = |reason| Refused::Bad(command, reason);
    let named = |error: mqtt_codec::Error| {
        bad(Atom::from_str(command.get_env(), error.name()).unwrap_or_else(|_| atoms::error()))
    };
    let term = |raw| element(command, raw);
    if is(command.as_c_arg(), atoms::pingresp()) {
        state.pingresp(&mut cork.bytes);
        return Ok(());
    }
    match *tuple(command) {
        [tag, topic, message] if is(tag, atoms::publish()) => {
            let message = Message { topic: term(topic), payload: term(message), options: None };
            message.encode(state, output, cork, bad)
        }
        [tag, topic, message, options] if is(tag, atoms::publish()) => {
            let options = Some(term(options));
            let message = Message { topic: term(topic), payload: term(message), options };
            message.encode(state, output, cork, bad)
        }
        [tag, packet_id, codes] if is(tag, atoms::suback()) => {
            let packet_id = packet_id_of(term(packet_id)).ok_or_else(|| bad(atoms::badarg()))?;
            let codes: Vec<u8> = term(codes).decode().map_err(|_| bad(atoms::badarg()))?;
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
        output: &mut Output,
        cork: &mut Cork<'a>,
        bad: impl Fn(Atom) -> Refused<'a>,
    ) -> Result<(), Refused<'a>> {
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
        match output.admit() {
            Admission::Send => {}
            Admission::Drop => return Ok(()),
            Admission::Close => return Err(Refused::QueueFull),
        }
        state.publish_head(&publish, &mut cork.bytes).map_err(|error| {
            let name = Atom::from_str(self.topic.get_env(), error.name());
            bad(name.unwrap_or_else(|_| atoms::badarg()))
        })?;
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
