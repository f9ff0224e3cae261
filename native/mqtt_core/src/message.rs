//! A message that is kept until the client has it.

use crate::Millis;
use bytes::{BufMut, Bytes, BytesMut};
use mqtt_codec::{Place, Properties, Property, Publish, Qos};

/// What a message takes beside its bytes, rounded up.
const OVERHEAD: usize = 96;

/// A message in a session. Topic, properties and payload lie in one piece of memory, which clones
/// share.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    data: Bytes,
    topic: usize,
    properties: usize,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// When it is of no more use (MQTT 5.0, section 3.3.2.3.3).
    pub(crate) expires: Option<Millis>,
    /// How the application calls it; 0 if it does not want to know.
    pub(crate) reference: u64,
}

impl Message {
    /// A copy of the message. Its Message Expiry Interval begins `now`.
    pub(crate) fn new(publish: &Publish<'_>, reference: u64, now: Millis) -> Self {
        let properties = publish.properties.as_bytes();
        let mut data =
            BytesMut::with_capacity(publish.topic.len() + properties.len() + publish.payload.len());
        data.put_slice(publish.topic.as_bytes());
        data.put_slice(properties);
        data.put_slice(publish.payload);
        Self {
            data: data.freeze(),
            topic: publish.topic.len(),
            properties: properties.len(),
            qos: publish.qos,
            retain: publish.retain,
            expires: expiry(&publish.properties)
                .map(|seconds| now.saturating_add(Millis::from(seconds) * 1000)),
            reference,
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.data.len() + OVERHEAD
    }

    pub(crate) fn has_expired(&self, now: Millis) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// What is left of its Message Expiry Interval, in whole seconds that have begun.
    pub(crate) fn seconds_left(&self, now: Millis) -> Option<u32> {
        let left = self.expires?.saturating_sub(now).div_ceil(1000);
        Some(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// The message as a packet, without an identifier.
    pub(crate) fn publish(&self) -> Publish<'_> {
        let (topic, rest) = self.data.split_at(self.topic.min(self.data.len()));
        let (properties, payload) = rest.split_at(self.properties.min(rest.len()));
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

/// The Message Expiry Interval.
fn expiry(properties: &Properties<'_>) -> Option<u32> {
    if properties.is_empty() {
        return None;
    }
    properties.iter().find_map(|property| match property {
        Property::MessageExpiryInterval(seconds) => Some(seconds),
        _ => None,
    })
}
