//! `MQTT.Packet`: packets as maps. What a packet looks like is said there.

use crate::packet_encode;
use crate::terms::{Source, map};
use crate::{atoms, terms};
use mqtt_codec::{
    Auth, Connect, Decoded, Decoder, Disconnect, Kind, Limits, Packet, PacketType, Properties,
    Publish, Suback, Subscribe, Subscription, SubscriptionOptions, Unsubscribe, Value, Version,
    Will,
};
use rustler::{Atom, Binary, Encoder, Env, Error, NifResult, Term};

/// Packets up to this size take no share of a time slice worth mentioning.
const SMALL: usize = 1024;

/// `{:ok, packet, rest}`, `:incomplete`, or `{:error, reason}`.
#[rustler::nif]
fn packet_decode<'a>(env: Env<'a>, data: Binary<'a>, level: u8) -> NifResult<Term<'a>> {
    decode(env, data, level)
}

/// The same on a dirty scheduler: a packet may have as many filters as fit into 256 MiB.
#[rustler::nif(schedule = "DirtyCpu")]
fn packet_decode_large<'a>(env: Env<'a>, data: Binary<'a>, level: u8) -> NifResult<Term<'a>> {
    decode(env, data, level)
}

fn decode<'a>(env: Env<'a>, data: Binary<'a>, level: u8) -> NifResult<Term<'a>> {
    let version = Version::from_level(level).ok_or(Error::BadArg)?;
    let decoder = Decoder { version, limits: Limits::NONE };
    Ok(match &decoder.decode(data.as_slice()) {
        Ok(Decoded::Packet(packet, length)) => {
            let rest = data.make_subbinary(*length, data.len() - length)?;
            let mut maps = Maps { env, version, source: Source::shared(env, data) };
            let packet = maps.packet(packet)?;
            consume_timeslice(env, *length);
            (atoms::ok(), packet, rest.to_term(env)).encode(env)
        }
        Ok(Decoded::Incomplete(_)) => atoms::incomplete().encode(env),
        Err(error) => env.error_tuple(Atom::from_str(env, error.name())?),
    })
}

/// `{:ok, binary}` or `{:error, reason}`.
#[rustler::nif]
fn packet_encode<'a>(env: Env<'a>, packet: Term<'a>, level: u8) -> NifResult<Term<'a>> {
    encode(env, packet, level)
}

/// The same on a dirty scheduler: it copies a payload of up to 256 MiB.
#[rustler::nif(schedule = "DirtyCpu")]
fn packet_encode_large<'a>(env: Env<'a>, packet: Term<'a>, level: u8) -> NifResult<Term<'a>> {
    encode(env, packet, level)
}

fn encode<'a>(env: Env<'a>, packet: Term<'a>, level: u8) -> NifResult<Term<'a>> {
    let version = Version::from_level(level).ok_or(Error::BadArg)?;
    Ok(match packet_encode::encode(packet, version) {
        Ok(bytes) => {
            consume_timeslice(env, bytes.len());
            (atoms::ok(), terms::binary(env, &bytes).to_term(env)).encode(env)
        }
        Err(invalid) => env.error_tuple(invalid),
    })
}

/// A small packet is no more than the call of a function, which is counted anyway.
pub(crate) fn consume_timeslice(env: Env<'_>, bytes: usize) {
    if bytes > SMALL {
        terms::consume_timeslice(env, bytes);
    }
}

/// Makes the maps of a packet.
struct Maps<'a, 'b> {
    env: Env<'a>,
    version: Version,
    source: Source<'a, 'b>,
}

type Entry<'a> = (Atom, Term<'a>);

impl<'a> Maps<'a, '_> {
    fn packet(&mut self, packet: &Packet<'_>) -> NifResult<Term<'a>> {
        let env = self.env;
        let packet_type = (atoms::type_(), type_name(packet.packet_type()).encode(env));
        Ok(match packet {
            Packet::Publish(publish) => return self.publish(packet_type, publish),
            Packet::Connect(connect) => return self.connect(packet_type, connect),
            Packet::Connack(connack) => map(
                env,
                &[
                    packet_type,
                    (atoms::session_present(), connack.session_present.encode(env)),
                    (atoms::reason_code(), connack.reason.0.encode(env)),
                    self.properties(&connack.properties)?,
                ],
            ),
            Packet::Puback(ack)
            | Packet::Pubrec(ack)
            | Packet::Pubrel(ack)
            | Packet::Pubcomp(ack) => map(
                env,
                &[
                    (atoms::packet_id(), ack.packet_id.get().encode(env)),
                    self.properties(&ack.properties)?,
                    (atoms::reason_code(), ack.reason.0.encode(env)),
                    packet_type,
                ],
            ),
            Packet::Subscribe(subscribe) => map(
                env,
                &[
                    packet_type,
                    (atoms::packet_id(), subscribe.packet_id.get().encode(env)),
                    (atoms::filters(), self.subscriptions(subscribe)),
                    self.properties(&subscribe.properties)?,
                ],
            ),
            Packet::Suback(suback) | Packet::Unsuback(suback) => map(
                env,
                &[
                    packet_type,
                    (atoms::packet_id(), suback.packet_id.get().encode(env)),
                    (atoms::reason_codes(), self.codes(suback)),
                    self.properties(&suback.properties)?,
                ],
            ),
            Packet::Unsubscribe(unsubscribe) => map(
                env,
                &[
                    packet_type,
                    (atoms::packet_id(), unsubscribe.packet_id.get().encode(env)),
                    (atoms::filters(), self.filters(unsubscribe)),
                    self.properties(&unsubscribe.properties)?,
                ],
            ),
            Packet::Pingreq | Packet::Pingresp => map(env, &[packet_type]),
            Packet::Disconnect(Disconnect { reason, properties })
            | Packet::Auth(Auth { reason, properties }) => map(
                env,
                &[
                    packet_type,
                    (atoms::reason_code(), reason.0.encode(env)),
                    self.properties(properties)?,
                ],
            ),
        })
    }

    /// In the order in which OTP up to 25 keeps the keys.
    fn publish(&mut self, packet_type: Entry<'a>, publish: &Publish<'_>) -> NifResult<Term<'a>> {
        let env = self.env;
        let dup = (atoms::dup(), publish.dup.encode(env));
        let payload = (atoms::payload(), self.source.term(publish.payload));
        let properties = self.properties(&publish.properties)?;
        let qos = (atoms::qos(), (publish.qos as u8).encode(env));
        let retain = (atoms::retain(), publish.retain.encode(env));
        let topic = (atoms::topic(), self.text(publish.topic));
        Ok(match publish.packet_id {
            None => map(env, &[dup, payload, properties, qos, retain, topic, packet_type]),
            Some(id) => {
                let id = (atoms::packet_id(), id.get().encode(env));
                map(env, &[dup, id, payload, properties, qos, retain, topic, packet_type])
            }
        })
    }

    fn connect(&mut self, packet_type: Entry<'a>, connect: &Connect<'_>) -> NifResult<Term<'a>> {
        let env = self.env;
        self.version = connect.version;
        let mut entries = vec![
            packet_type,
            (atoms::protocol_version(), connect.version.level().encode(env)),
            (atoms::clean_start(), connect.clean_start.encode(env)),
            (atoms::keep_alive(), connect.keep_alive.encode(env)),
            (atoms::client_id(), self.text(connect.client_id)),
            self.properties(&connect.properties)?,
        ];
        if let Some(will) = &connect.will {
            entries.push((atoms::will(), self.will(will)?));
        }
        if let Some(username) = connect.username {
            entries.push((atoms::username(), self.text(username)));
        }
        if let Some(password) = connect.password {
            entries.push((atoms::password(), self.source.term(password)));
        }
        Ok(map(env, &entries))
    }

    fn will(&mut self, will: &Will<'_>) -> NifResult<Term<'a>> {
        let entries = [
            (atoms::topic(), self.text(will.topic)),
            (atoms::payload(), self.source.term(will.payload)),
            (atoms::qos(), (will.qos as u8).encode(self.env)),
            (atoms::retain(), will.retain.encode(self.env)),
            self.properties(&will.properties)?,
        ];
        Ok(map(self.env, &entries))
    }

    fn subscriptions(&mut self, subscribe: &Subscribe<'_>) -> Term<'a> {
        // Mostly they have all the same options.
        let mut last = None;
        let mut term = |maps: &Self, options| match last {
            Some((same, term)) if same == options => term,
            _ => last.insert((options, maps.options(options))).1,
        };
        let subscriptions = subscribe.subscriptions.iter();
        let filters: Vec<_> = subscriptions
            .map(|Subscription { filter, options }| (self.text(filter), term(self, options)))
            .collect();
        filters.encode(self.env)
    }

    fn options(&self, options: SubscriptionOptions) -> Term<'a> {
        let env = self.env;
        let qos = (atoms::qos(), (options.qos as u8).encode(env));
        if self.version < Version::V5 {
            return map(env, &[qos]);
        }
        let entries = [
            qos,
            (atoms::no_local(), options.no_local.encode(env)),
            (atoms::retain_as_published(), options.retain_as_published.encode(env)),
            (atoms::retain_handling(), (options.retain_handling as u8).encode(env)),
        ];
        map(env, &entries)
    }

    fn filters(&mut self, unsubscribe: &Unsubscribe<'_>) -> Term<'a> {
        let filters: Vec<_> = unsubscribe.filters.iter().map(|filter| self.text(filter)).collect();
        filters.encode(self.env)
    }

    fn codes(&self, suback: &Suback<'_>) -> Term<'a> {
        let codes: Vec<Term<'a>> = suback.codes.iter().map(|code| code.encode(self.env)).collect();
        codes.encode(self.env)
    }

    fn properties(&mut self, properties: &Properties<'_>) -> NifResult<Entry<'a>> {
        Ok((atoms::properties(), properties_map(self.env, properties, &mut self.source)?))
    }

    fn text(&mut self, text: &str) -> Term<'a> {
        self.source.term(text.as_bytes())
    }
}

/// A map from the properties' names to their values. Those that may appear more than once are
/// lists, in the order of the packet.
pub(crate) fn properties_map<'a>(
    env: Env<'a>,
    properties: &Properties<'_>,
    source: &mut Source<'a, '_>,
) -> NifResult<Term<'a>> {
    if properties.is_empty() {
        return Ok(Term::map_new(env));
    }
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let mut users = Vec::new();
    let mut subscriptions = Vec::new();
    for property in properties.iter() {
        let name = Atom::from_str(env, property.name())?;
        match property.value() {
            Value::Utf8StringPair((name, value)) => {
                users.push((source.term(name.as_bytes()), source.term(value.as_bytes())));
            }
            Value::VariableByteInteger(value) => subscriptions.push(value),
            Value::Byte(value) => entries.push((name, value.encode(env))),
            Value::TwoByteInteger(value) => entries.push((name, value.encode(env))),
            Value::FourByteInteger(value) => entries.push((name, value.encode(env))),
            Value::Utf8String(value) => entries.push((name, source.term(value.as_bytes()))),
            Value::BinaryData(value) => entries.push((name, source.term(value))),
        }
    }
    if !users.is_empty() {
        entries.push((atoms::user_property(), users.encode(env)));
    }
    if !subscriptions.is_empty() {
        entries.push((atoms::subscription_identifier(), subscriptions.encode(env)));
    }
    Ok(map(env, &entries))
}

/// Whether values of this kind come as lists.
pub(crate) fn is_list(kind: Kind) -> bool {
    matches!(kind, Kind::Utf8StringPair | Kind::VariableByteInteger)
}

/// The packet types by their atoms.
pub(crate) fn type_name(packet_type: PacketType) -> Atom {
    match packet_type {
        PacketType::Connect => atoms::connect(),
        PacketType::Connack => atoms::connack(),
        PacketType::Publish => atoms::publish(),
        PacketType::Puback => atoms::puback(),
        PacketType::Pubrec => atoms::pubrec(),
        PacketType::Pubrel => atoms::pubrel(),
        PacketType::Pubcomp => atoms::pubcomp(),
        PacketType::Subscribe => atoms::subscribe(),
        PacketType::Suback => atoms::suback(),
        PacketType::Unsubscribe => atoms::unsubscribe(),
        PacketType::Unsuback => atoms::unsuback(),
        PacketType::Pingreq => atoms::pingreq(),
        PacketType::Pingresp => atoms::pingresp(),
        PacketType::Disconnect => atoms::disconnect(),
        PacketType::Auth => atoms::auth(),
    }
}
