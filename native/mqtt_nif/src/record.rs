//! `:mqtt_packet`: packets of MQTT 3.1 and 3.1.1 as the records of `include/mqtt_packet.hrl`.

use crate::atoms;
use crate::packet::consume_timeslice;
use crate::record_encode;
use crate::terms::{Source, binary, list_of};
use mqtt_codec::{
    Connect, Decoded, Decoder, Error, Limits, Packet, PacketId, Publish, Subscribe, Subscription,
    Version, Will,
};
use rustler::types::tuple::make_tuple;
use rustler::{Atom, Binary, Encoder, Env, NifResult, Term};

/// The code of SUBACK that is not a QoS.
pub(crate) const FAILED: u8 = 0x80;

/// `{:ok, record, rest}`, `:incomplete`, or `{:error, reason}`.
#[rustler::nif]
fn record_decode<'a>(env: Env<'a>, data: Binary<'a>) -> NifResult<Term<'a>> {
    decode(env, data)
}

/// The same on a dirty scheduler: a packet may have as many filters as fit into 256 MiB.
#[rustler::nif(schedule = "DirtyCpu")]
fn record_decode_large<'a>(env: Env<'a>, data: Binary<'a>) -> NifResult<Term<'a>> {
    decode(env, data)
}

fn decode<'a>(env: Env<'a>, data: Binary<'a>) -> NifResult<Term<'a>> {
    let decoder = Decoder { version: Version::V3_1_1, limits: Limits::NONE };
    Ok(match &decoder.decode(data.as_slice()) {
        Ok(Decoded::Packet(packet, length)) => {
            let rest = data.make_subbinary(*length, data.len() - length)?;
            let mut records = Records { env, source: Source::shared(env, data) };
            consume_timeslice(env, *length);
            match records.packet(packet) {
                Some(record) => (atoms::ok(), record, rest.to_term(env)).encode(env),
                None => error(env, Error::UnacceptableProtocol)?,
            }
        }
        Ok(Decoded::Incomplete(_)) => atoms::incomplete().encode(env),
        Err(reason) => error(env, *reason)?,
    })
}

fn error(env: Env<'_>, error: Error) -> NifResult<Term<'_>> {
    Ok(env.error_tuple(Atom::from_str(env, error.name())?))
}

/// `{:ok, iodata}`, where a message's payload is the one of the record, or `{:error, reason}`.
#[rustler::nif]
fn record_encode<'a>(env: Env<'a>, record: Term<'a>) -> Term<'a> {
    encode(env, record)
}

/// The same on a dirty scheduler: it puts a payload of many parts together.
#[rustler::nif(schedule = "DirtyCpu")]
fn record_encode_large<'a>(env: Env<'a>, record: Term<'a>) -> Term<'a> {
    encode(env, record)
}

fn encode<'a>(env: Env<'a>, record: Term<'a>) -> Term<'a> {
    match record_encode::encode(record) {
        Ok((bytes, payload)) => {
            consume_timeslice(env, bytes.len());
            let head = binary(env, &bytes).to_term(env);
            let parts = match payload {
                Some(payload) => list_of(env, &[head.as_c_arg(), payload.as_c_arg()]),
                None => head,
            };
            (atoms::ok(), parts).encode(env)
        }
        Err(invalid) => env.error_tuple(invalid),
    }
}

/// Makes the records of a packet.
struct Records<'a, 'b> {
    env: Env<'a>,
    source: Source<'a, 'b>,
}

impl<'a> Records<'a, '_> {
    /// The record of a packet; MQTT 5.0 has none.
    fn packet(&mut self, packet: &Packet<'_>) -> Option<Term<'a>> {
        let env = self.env;
        Some(match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::Puback(ack) => with_id(env, atoms::mqtt_puback(), ack.packet_id),
            Packet::Pubrec(ack) => with_id(env, atoms::mqtt_pubrec(), ack.packet_id),
            Packet::Pubrel(ack) => with_id(env, atoms::mqtt_pubrel(), ack.packet_id),
            Packet::Pubcomp(ack) => with_id(env, atoms::mqtt_pubcomp(), ack.packet_id),
            Packet::Connect(connect) if connect.version >= Version::V5 => return None,
            Packet::Connect(connect) => self.connect(connect),
            Packet::Connack(connack) => {
                (atoms::mqtt_connack(), connack.session_present, connack.reason.0).encode(env)
            }
            Packet::Subscribe(subscribe) => self.subscribe(subscribe),
            Packet::Suback(suback) => {
                let acks: Vec<_> = suback.codes.iter().map(|&code| ack(env, code)).collect();
                (atoms::mqtt_suback(), suback.packet_id.get(), acks).encode(env)
            }
            Packet::Unsubscribe(unsubscribe) => {
                let topics: Vec<_> =
                    unsubscribe.filters.iter().map(|filter| self.text(filter)).collect();
                (atoms::mqtt_unsubscribe(), unsubscribe.packet_id.get(), topics).encode(env)
            }
            Packet::Unsuback(suback) => with_id(env, atoms::mqtt_unsuback(), suback.packet_id),
            Packet::Pingreq => (atoms::mqtt_pingreq(),).encode(env),
            Packet::Pingresp => (atoms::mqtt_pingresp(),).encode(env),
            Packet::Disconnect(_) => (atoms::mqtt_disconnect(),).encode(env),
            Packet::Auth(_) => return None,
        })
    }

    fn publish(&mut self, publish: &Publish<'_>) -> Term<'a> {
        let env = self.env;
        let packet_id = match publish.packet_id {
            Some(id) => id.get().encode(env),
            None => atoms::undefined().encode(env),
        };
        let (dup, qos, retain) = (publish.dup, publish.qos as u8, publish.retain);
        let (topic, message) = (self.text(publish.topic), self.source.term(publish.payload));
        (atoms::mqtt_publish(), packet_id, dup, qos, retain, topic, message).encode(env)
    }

    fn connect(&mut self, connect: &Connect<'_>) -> Term<'a> {
        let env = self.env;
        let undefined = atoms::undefined().encode(env);
        let record = [
            atoms::mqtt_connect().encode(env),
            connect.version.protocol_name().encode(env),
            connect.version.level().encode(env),
            connect.will.as_ref().map_or(undefined, |will| self.will(will)),
            connect.clean_start.encode(env),
            connect.keep_alive.encode(env),
            self.text(connect.client_id),
            connect.username.map_or(undefined, |username| self.text(username)),
            connect.password.map_or(undefined, |password| self.source.term(password)),
        ];
        make_tuple(env, &record)
    }

    fn will(&mut self, will: &Will<'_>) -> Term<'a> {
        let (topic, message) = (self.text(will.topic), self.source.term(will.payload));
        (atoms::mqtt_last_will(), topic, message, will.qos as u8, will.retain).encode(self.env)
    }

    fn subscribe(&mut self, subscribe: &Subscribe<'_>) -> Term<'a> {
        let subscriptions = subscribe.subscriptions.iter();
        let topics: Vec<_> = subscriptions
            .map(|Subscription { filter, options }| (self.text(filter), options.qos as u8))
            .collect();
        (atoms::mqtt_subscribe(), subscribe.packet_id.get(), topics).encode(self.env)
    }

    fn text(&mut self, text: &str) -> Term<'a> {
        self.source.term(text.as_bytes())
    }
}

fn with_id(env: Env<'_>, name: Atom, id: PacketId) -> Term<'_> {
    (name, id.get()).encode(env)
}

fn ack(env: Env<'_>, code: u8) -> Term<'_> {
    if code == FAILED { atoms::failed().encode(env) } else { code.encode(env) }
}
