//! A message that is kept until the client has it.

use crate::Millis;
use bytes::{BufMut, Bytes, BytesMut};
use core::num::NonZeroU64;
use mqtt_codec::{Place, Properties, Property, PropertyIdentifier, Publish, Qos};

/// Messages up to this size lie where they are kept: most are so small that memory of their own, which
/// is often freed on another thread than it was taken on, costs more than copying them.
const INLINE: usize = 96;

/// A message that is kept: in a session, on its way to sessions, or retained.
///
/// ```
/// use mqtt_codec::{Properties, Publish, Qos};
/// use mqtt_core::Message;
///
/// let publish = Publish {
///     dup: false,
///     qos: Qos::ExactlyOnce,
///     retain: true,
///     topic: "a/b",
///     packet_id: None,
///     properties: Properties::EMPTY,
///     payload: b"hello",
/// };
/// let granted = Message::new(&publish, 0, 0).granted(Qos::AtLeastOnce, false);
/// assert_eq!(granted.publish(), Publish { qos: Qos::AtLeastOnce, retain: false, ..publish });
/// ```
#[derive(Clone, Debug)]
pub struct Message {
    data: Data,
    topic: u16,
    properties: u32,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// When it is of no more use (MQTT 5.0, section 3.3.2.3.3).
    pub(crate) expires: Option<Millis>,
    /// How the application calls it; 0 if it does not want to know.
    pub(crate) reference: u64,
    /// The group of a shared subscription that it came through.
    pub(crate) group: Option<NonZeroU64>,
}

/// Topic, properties and payload, one behind the other.
#[derive(Clone, Debug)]
enum Data {
    Inline(u8, [u8; INLINE]),
    Shared(Bytes),
}

impl Data {
    fn new(parts: [&[u8]; 3]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum();
        if length > INLINE {
            let mut bytes = BytesMut::with_capacity(length);
            for part in parts {
                bytes.put_slice(part);
            }
            return Self::Shared(bytes.freeze());
        }
        let mut bytes = [0; INLINE];
        let mut room = &mut bytes[..];
        for part in parts {
            room.put_slice(part);
        }
        Self::Inline(length as u8, bytes)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Message {
    /// A copy of the message. Its Message Expiry Interval begins `now`. `reference` is how the application
    /// calls it, or 0.
    #[must_use]
    pub fn new(publish: &Publish<'_>, reference: u64, now: Millis) -> Self {
        let (topic, properties) = (publish.topic.as_bytes(), publish.properties.as_bytes());
        Self {
            data: Data::new([topic, properties, publish.payload]),
            // A packet has room for no more.
            topic: u16::try_from(topic.len()).unwrap_or(u16::MAX),
            properties: u32::try_from(properties.len()).unwrap_or(u32::MAX),
            qos: publish.qos,
            retain: publish.retain,
            expires: expiry(&publish.properties)
                .map(|seconds| now.saturating_add(Millis::from(seconds) * 1000)),
            reference,
            group: None,
        }
    }

    /// The same message for a subscriber that was granted a QoS. A large one is shared.
    #[must_use]
    pub fn granted(&self, qos: Qos, retain: bool) -> Self {
        Self { qos: self.qos.min(qos), retain, ..self.clone() }
    }

    /// The memory that it takes, about.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + match &self.data {
                Data::Inline(..) => 0,
                Data::Shared(bytes) => bytes.len(),
            }
    }

    /// Whether its Message Expiry Interval is over.
    #[must_use]
    pub fn has_expired(&self, now: Millis) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether less is left of its Message Expiry Interval than it says.
    #[must_use]
    pub fn has_aged(&self, now: Millis) -> bool {
        self.expires.is_some() && self.seconds_left(now) != expiry(&self.publish().properties)
    }

    /// What is left of its Message Expiry Interval, in whole seconds that have begun.
    #[must_use]
    pub fn seconds_left(&self, now: Millis) -> Option<u32> {
        let left = self.expires?.saturating_sub(now).div_ceil(1000);
        Some(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// The message as a packet, without an identifier.
    #[must_use]
    pub fn publish(&self) -> Publish<'_> {
        let data = self.data.bytes();
        let (topic, rest) = data.split_at(usize::from(self.topic).min(data.len()));
        let (properties, payload) = rest.split_at((self.properties as usize).min(rest.len()));
        Publish {
            dup: false,
            qos: self.qos,
            retain: self.retain,
            topic: core::str::from_utf8(topic).unwrap_or_default(),
            packet_id: None,
            // They were checked when they came in.
            properties: Properties::from_bytes(properties, Place::Publish).unwrap_or_default(),
            payload,
        }
    }
}

impl Message {
    /// The message as one that came through a group of a shared subscription, by a number of the caller's.
    #[must_use]
    pub fn of_group(self, group: Option<NonZeroU64>) -> Self {
        Self { group, ..self }
    }

    /// How the application calls it, or 0.
    #[must_use]
    pub const fn reference(&self) -> u64 {
        self.reference
    }

    /// That group.
    #[must_use]
    pub const fn group(&self) -> Option<NonZeroU64> {
        self.group
    }

    /// When its Message Expiry Interval is over, if it has one.
    #[must_use]
    pub const fn expires_at(&self) -> Option<Millis> {
        self.expires
    }
}

/// The Message Expiry Interval.
fn expiry(properties: &Properties<'_>) -> Option<u32> {
    if !properties.has(PropertyIdentifier::MessageExpiryInterval) {
        return None;
    }
    properties.iter().find_map(|property| match property {
        Property::MessageExpiryInterval(seconds) => Some(seconds),
        _ => None,
    })
}
