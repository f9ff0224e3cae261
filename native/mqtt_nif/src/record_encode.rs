//! Records of `:mqtt_packet` as packets.

use crate::atoms;
use crate::packet_encode::{Encoded, Invalid, USUAL_SIZE, text, utf8};
use crate::record::FAILED;
use crate::terms::{element, iodata, is, list, tuple};
use mqtt_codec::{
    Ack, Connack, Connect, Error, Packet, PacketId, Properties, Publish, Qos, ReasonCode, Suback,
    Subscribe, SubscriptionOptions, SubscriptionsBuf, TopicFiltersBuf, Unsubscribe, Version, Will,
};
use rustler::sys::ErlNifTerm;
use rustler::{Atom, Decoder, Term};

const PROPERTIES: Properties<'static> = Properties::EMPTY;

/// A packet, but for the payload of a message that is a binary.
pub(crate) type Parts<'a> = (Vec<u8>, Option<Term<'a>>);

/// Encodes a record as the packet that its name says. `:mqtt_packet` writes those itself that are
/// nothing but a name.
pub(crate) fn encode(record: Term<'_>) -> Encoded<Parts<'_>> {
    let fields = Fields(record);
    match *tuple(record) {
        [name, ref rest @ ..] if is(name, atoms::mqtt_publish()) => publish(&fields, rest),
        [name, ref rest @ ..] if is(name, atoms::mqtt_connect()) => connect(&fields, rest),
        [name, ref rest @ ..] if is(name, atoms::mqtt_connack()) => connack(&fields, rest),
        [name, ref rest @ ..] if is(name, atoms::mqtt_subscribe()) => subscribe(&fields, rest),
        [name, ref rest @ ..] if is(name, atoms::mqtt_suback()) => suback(&fields, rest),
        [name, ref rest @ ..] if is(name, atoms::mqtt_unsubscribe()) => unsubscribe(&fields, rest),
        [name, id] if is(name, atoms::mqtt_puback()) => whole(&Packet::Puback(fields.ack(id)?)),
        [name, id] if is(name, atoms::mqtt_pubrec()) => whole(&Packet::Pubrec(fields.ack(id)?)),
        [name, id] if is(name, atoms::mqtt_pubrel()) => whole(&Packet::Pubrel(fields.ack(id)?)),
        [name, id] if is(name, atoms::mqtt_pubcomp()) => whole(&Packet::Pubcomp(fields.ack(id)?)),
        [name, id] if is(name, atoms::mqtt_unsuback()) => {
            let packet_id = fields.packet_id(id)?;
            whole(&Packet::Unsuback(Suback { packet_id, properties: PROPERTIES, codes: &[] }))
        }
        _ => Err(Invalid::Record),
    }
}

fn whole<'a>(packet: &Packet<'_>) -> Encoded<Parts<'a>> {
    let mut bytes = Vec::with_capacity(USUAL_SIZE);
    packet.encode(Version::V3_1_1, &mut bytes)?;
    Ok((bytes, None))
}

fn publish<'a>(fields: &Fields<'a>, record: &[ErlNifTerm]) -> Encoded<Parts<'a>> {
    let &[id, dup, qos, retain, topic, message] = record else { return Err(Invalid::Record) };
    let qos = fields.qos(qos)?;
    let message = fields.term(message);
    let publish = Publish {
        dup: fields.get(dup, atoms::dup())?,
        qos,
        retain: fields.get(retain, atoms::retain())?,
        topic: fields.text(topic, atoms::topic())?,
        // A record may have a packet identifier at QoS 0, where none is written.
        packet_id: if qos == Qos::AtMostOnce { None } else { Some(fields.packet_id(id)?) },
        properties: PROPERTIES,
        payload: iodata(message).ok_or(Invalid::Key(atoms::message()))?,
    };
    let mut bytes = Vec::with_capacity(USUAL_SIZE);
    publish.encode_head(Version::V3_1_1, &mut bytes)?;
    Ok((bytes, Some(message)))
}

fn connect<'a>(fields: &Fields<'a>, record: &[ErlNifTerm]) -> Encoded<Parts<'a>> {
    let &[_name, level, will, clean, keep_alive, client_id, username, password] = record else {
        return Err(Invalid::Record);
    };
    let level = fields.get(level, atoms::protocol_version())?;
    let version = Version::from_level(level).filter(|version| *version < Version::V5);
    let will = fields.defined(will).map(Fields);
    whole(&Packet::Connect(Connect {
        version: version.ok_or(Error::UnacceptableProtocol)?,
        clean_start: fields.get(clean, atoms::clean_session())?,
        keep_alive: fields.get(keep_alive, atoms::keep_alive())?,
        properties: PROPERTIES,
        client_id: fields.text(client_id, atoms::client_id())?,
        will: will.as_ref().map(last_will).transpose()?,
        username: match fields.defined(username) {
            Some(_) => Some(fields.text(username, atoms::username())?),
            None => None,
        },
        password: match fields.defined(password) {
            Some(password) => Some(iodata(password).ok_or(Invalid::Key(atoms::password()))?),
            None => None,
        },
    }))
}

fn last_will<'a>(fields: &Fields<'a>) -> Encoded<Will<'a>> {
    match *tuple(fields.0) {
        [name, topic, message, qos, retain] if is(name, atoms::mqtt_last_will()) => Ok(Will {
            qos: fields.qos(qos)?,
            retain: fields.get(retain, atoms::retain())?,
            properties: PROPERTIES,
            topic: fields.text(topic, atoms::topic())?,
            payload: iodata(fields.term(message)).ok_or(Invalid::Key(atoms::message()))?,
        }),
        _ => Err(Invalid::Key(atoms::last_will())),
    }
}

fn connack<'a>(fields: &Fields<'a>, record: &[ErlNifTerm]) -> Encoded<Parts<'a>> {
    let &[session_present, code] = record else { return Err(Invalid::Record) };
    whole(&Packet::Connack(Connack {
        session_present: fields.get(session_present, atoms::session_present())?,
        reason: ReasonCode(fields.get(code, atoms::return_code())?),
        properties: PROPERTIES,
    }))
}

fn subscribe<'a>(fields: &Fields<'a>, record: &[ErlNifTerm]) -> Encoded<Parts<'a>> {
    let &[id, topics] = record else { return Err(Invalid::Record) };
    let invalid = || Invalid::Key(atoms::topics());
    let mut subscriptions = SubscriptionsBuf::new(Version::V3_1_1);
    let topics: Vec<(Term<'_>, u8)> = list(fields.term(topics)).ok_or_else(invalid)?;
    for (topic, qos) in topics {
        let qos = Qos::from_bits(qos).ok_or_else(invalid)?;
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        subscriptions.push(text(topic).ok_or_else(invalid)?, options)?;
    }
    whole(&Packet::Subscribe(Subscribe {
        packet_id: fields.packet_id(id)?,
        properties: PROPERTIES,
        subscriptions: subscriptions.as_subscriptions(),
    }))
}

fn suback<'a>(fields: &Fields<'a>, record: &[ErlNifTerm]) -> Encoded<Parts<'a>> {
    let &[id, acks] = record else { return Err(Invalid::Record) };
    let acks: Vec<Term<'_>> = list(fields.term(acks)).ok_or(Invalid::Key(atoms::acks()))?;
    let code = |ack: Term<'_>| match ack.decode() {
        Ok(code) => Ok(code),
        Err(_) if is(ack.as_c_arg(), atoms::failed()) => Ok(FAILED),
        Err(_) => Err(Invalid::Key(atoms::acks())),
    };
    whole(&Packet::Suback(Suback {
        packet_id: fields.packet_id(id)?,
        properties: PROPERTIES,
        codes: &acks.into_iter().map(code).collect::<Encoded<Vec<u8>>>()?,
    }))
}

fn unsubscribe<'a>(fields: &Fields<'a>, record: &[ErlNifTerm]) -> Encoded<Parts<'a>> {
    let &[id, topics] = record else { return Err(Invalid::Record) };
    let invalid = || Invalid::Key(atoms::topics());
    let mut filters = TopicFiltersBuf::default();
    for topic in list::<Term<'_>>(fields.term(topics)).ok_or_else(invalid)? {
        filters.push(text(topic).ok_or_else(invalid)?)?;
    }
    whole(&Packet::Unsubscribe(Unsubscribe {
        packet_id: fields.packet_id(id)?,
        properties: PROPERTIES,
        filters: filters.as_filters(),
    }))
}

/// The fields of a record, each with the name that it has there.
struct Fields<'a>(Term<'a>);

impl<'a> Fields<'a> {
    fn term(&self, field: ErlNifTerm) -> Term<'a> {
        element(self.0, field)
    }

    fn defined(&self, field: ErlNifTerm) -> Option<Term<'a>> {
        if is(field, atoms::undefined()) { None } else { Some(self.term(field)) }
    }

    fn get<T: Decoder<'a>>(&self, field: ErlNifTerm, name: Atom) -> Encoded<T> {
        self.term(field).decode().map_err(|_| Invalid::Key(name))
    }

    fn text(&self, field: ErlNifTerm, name: Atom) -> Encoded<&'a str> {
        utf8(iodata(self.term(field)).ok_or(Invalid::Key(name))?)
    }

    fn qos(&self, field: ErlNifTerm) -> Encoded<Qos> {
        Qos::from_bits(self.get(field, atoms::qos())?).ok_or(Invalid::Key(atoms::qos()))
    }

    fn packet_id(&self, field: ErlNifTerm) -> Encoded<PacketId> {
        let id = self.get(field, atoms::packet_id())?;
        Ok(PacketId::new(id).ok_or(Error::ZeroPacketIdentifier)?)
    }

    fn ack(&self, id: ErlNifTerm) -> Encoded<Ack<'static>> {
        Ok(Ack::new(self.packet_id(id)?))
    }
}
