//! Maps of `MQTT.Packet` as packets.

use crate::atoms;
use crate::packet::{is_list, type_name};
use crate::terms::{iodata, list, name};
use mqtt_codec::{
    Ack, Auth, Connack, Connect, Disconnect, Error, Kind, Packet, PacketId, PacketType, Properties,
    PropertiesBuf, Property, Publish, Qos, ReasonCode, RetainHandling, Suback, Subscribe,
    SubscriptionOptions, SubscriptionsBuf, TopicFiltersBuf, Unsubscribe, Value, Version, Will,
};
use rustler::{Atom, Decoder, Encoder, Env, MapIterator, Term};

/// Why a map is no packet: by a name of the codec's, or because of a key.
pub(crate) enum Invalid {
    Packet(Error),
    /// The key is missing, or what it has is not of its type.
    Key(Atom),
    /// It is none of the records of `:mqtt_packet`.
    Record,
    /// There is no property of this name, or its value is not of its type.
    Property(Atom),
}

impl From<Error> for Invalid {
    fn from(error: Error) -> Self {
        Self::Packet(error)
    }
}

impl Encoder for Invalid {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Self::Packet(error) => name(env, error.name()).encode(env),
            Self::Key(key) => (atoms::invalid(), key).encode(env),
            Self::Record => atoms::invalid_record().encode(env),
            Self::Property(name) => (atoms::invalid_property(), name).encode(env),
        }
    }
}

impl Invalid {
    /// What is wrong, as one atom.
    pub(crate) fn reason(&self, env: Env<'_>) -> Atom {
        match self {
            Self::Packet(error) => name(env, error.name()),
            Self::Key(key) => *key,
            Self::Record => atoms::invalid_record(),
            Self::Property(_) => atoms::invalid_property(),
        }
    }
}

/// What most packets take without the payload.
pub(crate) const USUAL_SIZE: usize = 128;

pub(crate) type Encoded<T> = Result<T, Invalid>;

/// Encodes a map as the packet that its `:type` says.
pub(crate) fn encode(term: Term<'_>, version: Version) -> Encoded<Vec<u8>> {
    let fields = Fields(term);
    let properties = fields.properties()?;
    let properties = properties.as_properties();
    let mut bytes = Vec::with_capacity(USUAL_SIZE);
    let mut write = |packet: &Packet<'_>| {
        if let Packet::Publish(publish) = packet {
            bytes.reserve(USUAL_SIZE + publish.payload.len());
        }
        packet.encode(version, &mut bytes)
    };
    match fields.packet_type()? {
        PacketType::Connect => connect(&fields, version, properties, write)?,
        PacketType::Connack => write(&Packet::Connack(Connack {
            session_present: fields.flag(atoms::session_present())?,
            reason: fields.reason()?,
            properties,
        }))?,
        PacketType::Publish => write(&Packet::Publish(Publish {
            dup: fields.flag(atoms::dup())?,
            qos: fields.qos()?,
            retain: fields.flag(atoms::retain())?,
            topic: fields.text(atoms::topic())?,
            packet_id: fields.optional_packet_id()?,
            properties,
            payload: fields.optional_bytes(atoms::payload())?.unwrap_or_default(),
        }))?,
        PacketType::Puback => write(&Packet::Puback(fields.ack(properties)?))?,
        PacketType::Pubrec => write(&Packet::Pubrec(fields.ack(properties)?))?,
        PacketType::Pubrel => write(&Packet::Pubrel(fields.ack(properties)?))?,
        PacketType::Pubcomp => write(&Packet::Pubcomp(fields.ack(properties)?))?,
        PacketType::Subscribe => {
            let subscriptions = fields.subscriptions(version)?;
            let subscriptions = subscriptions.as_subscriptions();
            let packet_id = fields.packet_id()?;
            write(&Packet::Subscribe(Subscribe { packet_id, properties, subscriptions }))?
        }
        PacketType::Suback => {
            let codes = fields.codes()?;
            let packet_id = fields.packet_id()?;
            write(&Packet::Suback(Suback { packet_id, properties, codes: &codes }))?
        }
        PacketType::Unsubscribe => {
            let filters = fields.topic_filters()?;
            let filters = filters.as_filters();
            let packet_id = fields.packet_id()?;
            write(&Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters }))?
        }
        PacketType::Unsuback => {
            let codes = fields.codes()?;
            let packet_id = fields.packet_id()?;
            write(&Packet::Unsuback(Suback { packet_id, properties, codes: &codes }))?
        }
        PacketType::Pingreq => write(&Packet::Pingreq)?,
        PacketType::Pingresp => write(&Packet::Pingresp)?,
        PacketType::Disconnect => {
            let reason = fields.reason()?;
            write(&Packet::Disconnect(Disconnect { reason, properties }))?
        }
        PacketType::Auth => {
            let reason = fields.reason()?;
            write(&Packet::Auth(Auth { reason, properties }))?
        }
    };
    Ok(bytes)
}

/// CONNECT says its own version, in the map as on the wire.
fn connect(
    fields: &Fields<'_>,
    version: Version,
    properties: Properties<'_>,
    mut write: impl FnMut(&Packet<'_>) -> Result<usize, Error>,
) -> Encoded<usize> {
    let version = match fields.optional(atoms::protocol_version())? {
        None => version,
        Some(level) => Version::from_level(level).ok_or(Error::UnacceptableProtocol)?,
    };
    let will = fields.optional::<Term<'_>>(atoms::will())?.map(Fields);
    let will_properties = will.as_ref().map(Fields::properties).transpose()?.unwrap_or_default();
    let will = match &will {
        None => None,
        Some(will) => Some(Will {
            qos: will.qos()?,
            retain: will.flag(atoms::retain())?,
            properties: will_properties.as_properties(),
            topic: will.text(atoms::topic())?,
            payload: will.optional_bytes(atoms::payload())?.unwrap_or_default(),
        }),
    };
    Ok(write(&Packet::Connect(Connect {
        version,
        clean_start: fields.optional(atoms::clean_start())?.unwrap_or(true),
        keep_alive: fields.optional(atoms::keep_alive())?.unwrap_or(0),
        properties,
        client_id: fields.optional_text(atoms::client_id())?.unwrap_or(""),
        will,
        username: fields.optional_text(atoms::username())?,
        password: fields.optional_bytes(atoms::password())?,
    }))?)
}

fn subscription_options(fields: &Fields<'_>) -> Encoded<SubscriptionOptions> {
    // Before MQTT 5.0 there is nothing else.
    if matches!(fields.0.map_size(), Ok(1)) && fields.0.map_get(atoms::qos()).is_ok() {
        return Ok(SubscriptionOptions { qos: fields.qos()?, ..SubscriptionOptions::default() });
    }
    let retain_handling = match fields.optional(atoms::retain_handling())?.unwrap_or(0) {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(Invalid::Key(atoms::retain_handling())),
    };
    Ok(SubscriptionOptions {
        qos: fields.qos()?,
        no_local: fields.flag(atoms::no_local())?,
        retain_as_published: fields.flag(atoms::retain_as_published())?,
        retain_handling,
    })
}

/// The keys of a map.
struct Fields<'a>(Term<'a>);

impl<'a> Fields<'a> {
    fn optional<T: Decoder<'a>>(&self, key: Atom) -> Encoded<Option<T>> {
        match self.0.map_get(key) {
            Ok(value) => value.decode().map(Some).map_err(|_| Invalid::Key(key)),
            Err(_) => Ok(None),
        }
    }

    fn list<T: Decoder<'a>>(&self, key: Atom) -> Encoded<Option<Vec<T>>> {
        match self.0.map_get(key) {
            Ok(value) => list(value).map(Some).ok_or(Invalid::Key(key)),
            Err(_) => Ok(None),
        }
    }

    fn required<T: Decoder<'a>>(&self, key: Atom) -> Encoded<T> {
        self.optional(key)?.ok_or(Invalid::Key(key))
    }

    fn packet_type(&self) -> Encoded<PacketType> {
        let name: Atom = self.required(atoms::type_())?;
        (1..=15)
            .filter_map(|number| PacketType::from_first_byte(number << 4))
            .find(|&packet_type| type_name(packet_type) == name)
            .ok_or(Invalid::Key(atoms::type_()))
    }

    fn ack<'p>(&self, properties: Properties<'p>) -> Encoded<Ack<'p>> {
        Ok(Ack { packet_id: self.packet_id()?, reason: self.reason()?, properties })
    }

    fn codes(&self) -> Encoded<Vec<u8>> {
        Ok(self.list(atoms::reason_codes())?.unwrap_or_default())
    }

    fn subscriptions(&self, version: Version) -> Encoded<SubscriptionsBuf> {
        let mut subscriptions = SubscriptionsBuf::new(version);
        for (filter, options) in self
            .list::<(Term<'a>, Term<'a>)>(atoms::filters())?
            .ok_or(Invalid::Key(atoms::filters()))?
        {
            let filter = text(filter).ok_or(Invalid::Key(atoms::filters()))?;
            subscriptions.push(filter, subscription_options(&Fields(options))?)?;
        }
        Ok(subscriptions)
    }

    fn topic_filters(&self) -> Encoded<TopicFiltersBuf> {
        let mut filters = TopicFiltersBuf::default();
        for filter in
            self.list::<Term<'a>>(atoms::filters())?.ok_or(Invalid::Key(atoms::filters()))?
        {
            filters.push(text(filter).ok_or(Invalid::Key(atoms::filters()))?)?;
        }
        Ok(filters)
    }

    fn flag(&self, key: Atom) -> Encoded<bool> {
        Ok(self.optional(key)?.unwrap_or(false))
    }

    fn qos(&self) -> Encoded<Qos> {
        let bits = self.optional(atoms::qos())?.unwrap_or(0);
        Qos::from_bits(bits).ok_or(Invalid::Key(atoms::qos()))
    }

    fn reason(&self) -> Encoded<ReasonCode> {
        Ok(ReasonCode(self.optional(atoms::reason_code())?.unwrap_or(0)))
    }

    fn optional_packet_id(&self) -> Encoded<Option<PacketId>> {
        match self.optional(atoms::packet_id())? {
            None => Ok(None),
            Some(id) => Ok(Some(PacketId::new(id).ok_or(Error::ZeroPacketIdentifier)?)),
        }
    }

    fn packet_id(&self) -> Encoded<PacketId> {
        self.optional_packet_id()?.ok_or(Invalid::Key(atoms::packet_id()))
    }

    fn optional_bytes(&self, key: Atom) -> Encoded<Option<&'a [u8]>> {
        match self.optional(key)? {
            None => Ok(None),
            Some(term) => iodata(term).map(Some).ok_or(Invalid::Key(key)),
        }
    }

    fn optional_text(&self, key: Atom) -> Encoded<Option<&'a str>> {
        match self.optional_bytes(key)? {
            None => Ok(None),
            Some(bytes) => Ok(Some(utf8(bytes)?)),
        }
    }

    fn text(&self, key: Atom) -> Encoded<&'a str> {
        self.optional_text(key)?.ok_or(Invalid::Key(key))
    }

    fn properties(&self) -> Encoded<PropertiesBuf> {
        match self.optional::<Term<'a>>(atoms::properties())? {
            Some(map) => properties(map),
            None => Ok(PropertiesBuf::default()),
        }
    }
}

/// The properties of a map.
pub(crate) fn properties(map: Term<'_>) -> Encoded<PropertiesBuf> {
    let mut properties = PropertiesBuf::default();
    let entries = MapIterator::new(map).ok_or(Invalid::Key(atoms::properties()))?;
    for (key, value) in entries {
        let key: Atom = key.decode().map_err(|_| Invalid::Key(atoms::properties()))?;
        let invalid = || Invalid::Property(key);
        let name = key.to_term(map.get_env()).atom_to_string().map_err(|_| invalid())?;
        let kind = Property::kind(&name).ok_or_else(invalid)?;
        let values = if is_list(kind) { values(value) } else { vec![value] };
        for value in values {
            let value = property_value(kind, value).ok_or_else(invalid)?;
            properties.push(&Property::new(&name, value).ok_or_else(invalid)?)?;
        }
    }
    Ok(properties)
}

/// A list, or the one value that stands for it.
fn values(term: Term<'_>) -> Vec<Term<'_>> {
    list(term).unwrap_or_else(|| vec![term])
}

fn property_value(kind: Kind, term: Term<'_>) -> Option<Value<'_>> {
    Some(match kind {
        Kind::Byte => Value::Byte(term.decode().ok()?),
        Kind::TwoByteInteger => Value::TwoByteInteger(term.decode().ok()?),
        Kind::FourByteInteger => Value::FourByteInteger(term.decode().ok()?),
        Kind::VariableByteInteger => Value::VariableByteInteger(term.decode().ok()?),
        Kind::Utf8String => Value::Utf8String(text(term)?),
        Kind::BinaryData => Value::BinaryData(iodata(term)?),
        Kind::Utf8StringPair => {
            let (name, value): (Term<'_>, Term<'_>) = term.decode().ok()?;
            Value::Utf8StringPair((text(name)?, text(value)?))
        }
    })
}

pub(crate) fn text(term: Term<'_>) -> Option<&str> {
    std::str::from_utf8(iodata(term)?).ok()
}

pub(crate) fn utf8(bytes: &[u8]) -> Encoded<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::InvalidUtf8.into())
}
