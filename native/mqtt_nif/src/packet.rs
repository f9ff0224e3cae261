//! `MQTT.Packet`: packets as maps. What a packet looks like is said there.

use crate::events::map;
use crate::packet_encode;
use crate::terms::Source;
use crate::{atoms, terms};
use mqtt_codec::{
    Ack, Connect, Decoded, Decoder, Kind, Limits, Packet, PacketType, Properties, Publish, Suback,
    Subscribe, SubscriptionOptions, Value, Version, Will,
};
use rustler::{Atom, Binary, Encoder, Env, Error, NifResult, Term};

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
    Ok(match decoder.decode(data.as_slice()) {
        Ok(Decoded::Packet(packet, length)) => {
            let rest = data.make_subbinary(length, data.len() - length)?;
            let mut maps = Maps { env, version, source: Source::shared(env, data) };
            let packet = maps.packet(&packet)?;
            terms::consume_timeslice(env, length);
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
            terms::consume_timeslice(env, bytes.len());
            (atoms::ok(), terms::binary(env, &bytes).to_term(env)).encode(env)
        }
        Err(invalid) => env.error_tuple(invalid),
    })
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
        let mut entries = match packet {
            Packet::Connect(connect) => self.connect(connect)?,
            Packet::Connack(connack) => vec![
                (atoms::session_present(), connack.session_present.encode(env)),
                (atoms::reason_code(), connack.reason.0.encode(env)),
                self.properties(&connack.properties)?,
            ],
            Packet::Publish(publish) => self.publish(publish)?,
            Packet::Puback(ack)
            | Packet::Pubrec(ack)
            | Packet::Pubrel(ack)
            | Packet::Pubcomp(ack) => self.ack(ack)?,
            Packet::Subscribe(subscribe) => self.subscribe(subscribe)?,
            Packet::Suback(suback) | Packet::Unsuback(suback) => self.suback(suback)?,
            Packet::Unsubscribe(unsubscribe) => {
                let filters: Vec<_> =
                    unsubscribe.filters.iter().map(|filter| self.text(filter)).collect();
                vec![
                    (atoms::packet_id(), unsubscribe.packet_id.get().encode(env)),
                    (atoms::filters(), filters.encode(env)),
                    self.properties(&unsubscribe.properties)?,
                ]
            }
            Packet::Pingreq | Packet::Pingresp => Vec::new(),
            Packet::Disconnect(disconnect) => vec![
                (atoms::reason_code(), disconnect.reason.0.encode(env)),
                self.properties(&disconnect.properties)?,
            ],
            Packet::Auth(auth) => vec![
                (atoms::reason_code(), auth.reason.0.encode(env)),
                self.properties(&auth.properties)?,
            ],
        };
        entries.push((atoms::type_(), type_name(packet.packet_type()).encode(env)));
        Ok(map(env, &entries))
    }

    fn connect(&mut self, connect: &Connect<'_>) -> NifResult<Vec<Entry<'a>>> {
        let env = self.env;
        self.version = connect.version;
        let mut entries = vec![
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
        Ok(entries)
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

    fn publish(&mut self, publish: &Publish<'_>) -> NifResult<Vec<Entry<'a>>> {
        let env = self.env;
        let mut entries = vec![
            (atoms::topic(), self.text(publish.topic)),
            (atoms::payload(), self.source.term(publish.payload)),
            (atoms::qos(), (publish.qos as u8).encode(env)),
            (atoms::retain(), publish.retain.encode(env)),
            (atoms::dup(), publish.dup.encode(env)),
            self.properties(&publish.properties)?,
        ];
        if let Some(packet_id) = publish.packet_id {
            entries.push((atoms::packet_id(), packet_id.get().encode(env)));
        }
        Ok(entries)
    }

    fn ack(&mut self, ack: &Ack<'_>) -> NifResult<Vec<Entry<'a>>> {
        Ok(vec![
            (atoms::packet_id(), ack.packet_id.get().encode(self.env)),
            (atoms::reason_code(), ack.reason.0.encode(self.env)),
            self.properties(&ack.properties)?,
        ])
    }

    fn subscribe(&mut self, subscribe: &Subscribe<'_>) -> NifResult<Vec<Entry<'a>>> {
        let env = self.env;
        let filters: Vec<_> = subscribe
            .subscriptions
            .iter()
            .map(|subscription| {
                let filter = self.text(subscription.filter);
                (filter, self.options(subscription.options))
            })
            .collect();
        Ok(vec![
            (atoms::packet_id(), subscribe.packet_id.get().encode(env)),
            (atoms::filters(), filters.encode(env)),
            self.properties(&subscribe.properties)?,
        ])
    }

    fn options(&self, options: SubscriptionOptions) -> Term<'a> {
        let env = self.env;
        let mut entries = vec![(atoms::qos(), (options.qos as u8).encode(env))];
        if self.version >= Version::V5 {
            let retain_handling = options.retain_handling as u8;
            entries.push((atoms::no_local(), options.no_local.encode(env)));
            entries.push((atoms::retain_as_published(), options.retain_as_published.encode(env)));
            entries.push((atoms::retain_handling(), retain_handling.encode(env)));
        }
        map(env, &entries)
    }

    fn suback(&mut self, suback: &Suback<'_>) -> NifResult<Vec<Entry<'a>>> {
        let codes: Vec<Term<'a>> = suback.codes.iter().map(|code| code.encode(self.env)).collect();
        Ok(vec![
            (atoms::packet_id(), suback.packet_id.get().encode(self.env)),
            (atoms::reason_codes(), codes.encode(self.env)),
            self.properties(&suback.properties)?,
        ])
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
