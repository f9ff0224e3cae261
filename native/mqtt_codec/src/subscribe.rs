//! SUBSCRIBE (section 3.8).

use crate::reader::Reader;
use crate::{Decoder, Error, Limits, PacketId, Place, Properties, Qos, Version, text, topic};
use bytes::BufMut;
use core::fmt;

/// A request to subscribe to one or more topic filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The packet identifier.
    pub packet_id: PacketId,
    /// The properties.
    pub properties: Properties<'a>,
    /// The filters with their options.
    pub subscriptions: Subscriptions<'a>,
}

/// A topic filter and how it is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The topic filter.
    pub filter: &'a str,
    /// The options.
    pub options: SubscriptionOptions,
}

/// The subscription options (3.8.3.1); before MQTT 5.0 the requested QoS and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SubscriptionOptions {
    /// The maximum QoS of messages sent because of the subscription.
    pub qos: Qos,
    /// Whether the client's own messages are left out.
    pub no_local: bool,
    /// Whether RETAIN stays as the publisher set it.
    pub retain_as_published: bool,
    /// Which retained messages the subscription brings.
    pub retain_handling: RetainHandling,
}

/// When a subscription brings retained messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// Whenever it is made.
    #[default]
    Send = 0,
    /// When it did not exist before.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

impl SubscriptionOptions {
    fn decode(byte: u8, version: Version) -> Result<Self, Error> {
        let reserved = if version >= Version::V5 { 0b1100_0000 } else { 0b1111_1100 };
        // MQTT 3.1 leaves the upper six bits unused.
        if byte & reserved != 0 && version > Version::V3_1 {
            return Err(Error::ReservedSubscriptionOptions);
        }
        let qos = Qos::from_bits(byte & 0b11).ok_or(Error::InvalidSubscriptionQos)?;
        if version < Version::V5 {
            return Ok(Self { qos, ..Self::default() });
        }
        Ok(Self {
            qos,
            no_local: byte & 1 << 2 != 0,
            retain_as_published: byte & 1 << 3 != 0,
            retain_handling: match byte >> 4 & 0b11 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(Error::InvalidRetainHandling),
            },
        })
    }

    const fn encode(self) -> u8 {
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }
}

/// The filters of a SUBSCRIBE: the bytes of its payload, checked, and read when asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Subscriptions<'a> {
    raw: &'a [u8],
    version: Version,
}

impl<'a> Subscriptions<'a> {
    /// The filters in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = Subscription<'a>> + use<'a> {
        let version = self.version;
        let mut reader = Reader::new(self.raw);
        core::iter::from_fn(move || Subscription::read(&mut reader, version).ok())
    }

    /// Reads the payload and checks each filter.
    fn read(reader: &mut Reader<'a>, version: Version, limits: &Limits) -> Result<Self, Error> {
        let subscriptions = Self { raw: reader.take_rest(), version };
        subscriptions.check(version, limits)?;
        Ok(subscriptions)
    }

    fn check(&self, version: Version, limits: &Limits) -> Result<(), Error> {
        let mut reader = Reader::new(self.raw);
        let mut count = 0;
        if reader.is_empty() {
            return Err(Error::NoTopicFilters);
        }
        while !reader.is_empty() {
            let filter = topic::check_filter(reader.binary()?, version, limits.topic_levels)?;
            let options = SubscriptionOptions::decode(reader.u8()?, version)?;
            if options.no_local && topic::is_shared(filter) {
                return Err(Error::NoLocalOnSharedSubscription);
            }
            count += 1;
            if count > limits.topic_filters {
                return Err(Error::TooManyTopicFilters);
            }
        }
        Ok(())
    }

    /// Whether the payload says the same in that version. MQTT 3.1 leaves bits of the options
    /// unused that have a meaning in MQTT 5.0.
    fn reads_alike_in(&self, version: Version) -> bool {
        self.version == version || self.iter().eq(Self { version, ..*self }.iter())
    }
}

impl fmt::Debug for Subscriptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Subscription<'a> {
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, Error> {
        Ok(Self {
            filter: reader.string()?,
            options: SubscriptionOptions::decode(reader.u8()?, version)?,
        })
    }
}

/// Filters to be written into a SUBSCRIBE.
///
/// ```
/// use mqtt_codec::{SubscriptionOptions, SubscriptionsBuf, Version};
///
/// let mut subscriptions = SubscriptionsBuf::new(Version::V3_1_1);
/// subscriptions.push("a/+", SubscriptionOptions::default())?;
/// assert_eq!(subscriptions.as_subscriptions().iter().count(), 1);
/// # Ok::<(), mqtt_codec::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionsBuf {
    raw: Vec<u8>,
    version: Version,
}

impl SubscriptionsBuf {
    /// No filters yet, for a packet of that version.
    #[must_use]
    pub const fn new(version: Version) -> Self {
        Self { raw: Vec::new(), version }
    }

    /// Appends a filter. Whether it is well formed shows when the packet is encoded.
    pub fn push(&mut self, filter: &str, options: SubscriptionOptions) -> Result<(), Error> {
        let plain = SubscriptionOptions { qos: options.qos, ..SubscriptionOptions::default() };
        if self.version < Version::V5 && options != plain {
            return Err(Error::NotInThisVersion);
        }
        text::string_length(filter)?;
        text::write(filter.as_bytes(), &mut self.raw);
        self.raw.push(options.encode());
        Ok(())
    }

    /// The filters, to be put into a packet.
    #[must_use]
    pub fn as_subscriptions(&self) -> Subscriptions<'_> {
        Subscriptions { raw: &self.raw, version: self.version }
    }
}

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(decoder: &Decoder, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = if decoder.version >= Version::V5 {
            Properties::read(&mut reader, Place::Subscribe, decoder.limits.user_properties)?
        } else {
            Properties::EMPTY
        };
        let subscriptions = Subscriptions::read(&mut reader, decoder.version, &decoder.limits)?;
        Ok(Self { packet_id, properties, subscriptions })
    }

    pub(crate) fn length(&self, version: Version) -> Result<usize, Error> {
        self.subscriptions.check(version, &Limits::NONE)?;
        if !self.subscriptions.reads_alike_in(version) {
            return Err(Error::NotInThisVersion);
        }
        let properties = self.properties.length_in(version, Place::Subscribe)?;
        Ok(2 + properties + self.subscriptions.raw.len())
    }

    pub(crate) fn write(&self, version: Version, buffer: &mut impl BufMut) {
        buffer.put_u16(self.packet_id.get());
        self.properties.write_in(version, buffer);
        buffer.put_slice(self.subscriptions.raw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{decode, refused, same, unwritable};
    use crate::{Packet, PropertiesBuf, Property};

    const ID: PacketId = PacketId::new(0x1234).unwrap();

    #[test]
    fn two_filters() {
        for version in [Version::V3_1, Version::V3_1_1] {
            let mut subscriptions = SubscriptionsBuf::new(version);
            let options = |qos| SubscriptionOptions { qos, ..SubscriptionOptions::default() };
            subscriptions.push("a/+", options(Qos::AtMostOnce)).unwrap();
            subscriptions.push("#", options(Qos::ExactlyOnce)).unwrap();
            let packet = Subscribe {
                packet_id: ID,
                properties: Properties::EMPTY,
                subscriptions: subscriptions.as_subscriptions(),
            };
            let wire = [0x82, 12, 0x12, 0x34, 0, 3, b'a', b'/', b'+', 0, 0, 1, b'#', 2];
            same(version, &wire, &Packet::Subscribe(packet));
        }
    }

    #[test]
    fn options_and_properties() {
        let mut properties = PropertiesBuf::default();
        properties.push(&Property::SubscriptionIdentifier(300)).unwrap();
        let mut subscriptions = SubscriptionsBuf::new(Version::V5);
        let options = SubscriptionOptions {
            qos: Qos::AtLeastOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        };
        subscriptions.push("a", options).unwrap();
        let packet = Subscribe {
            packet_id: ID,
            properties: properties.as_properties(),
            subscriptions: subscriptions.as_subscriptions(),
        };
        let wire = [0x82, 10, 0x12, 0x34, 3, 0x0B, 0xAC, 0x02, 0, 1, b'a', 0x2D];
        same(Version::V5, &wire, &Packet::Subscribe(packet));
        assert_eq!(
            SubscriptionsBuf::new(Version::V3_1_1).push("a", options),
            Err(Error::NotInThisVersion)
        );
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        let table: [(&[u8], Error); 12] = [
            (&[0x82, 1, 0], Error::Truncated),
            (&[0x82, 2, 0, 0], Error::ZeroPacketIdentifier),
            (&[0x82, 2, 0, 1], Error::NoTopicFilters),
            (&[0x82, 5, 0, 1, 0, 1, b'a'], Error::Truncated),
            (&[0x82, 5, 0, 1, 0, 0, 0], Error::EmptyTopicFilter),
            (&[0x82, 6, 0, 1, 0, 1, b'a', 3], Error::InvalidSubscriptionQos),
            (&[0x82, 6, 0, 1, 0, 1, b'a', 4], Error::ReservedSubscriptionOptions),
            (&[0x82, 6, 0, 1, 0, 1, b'a', 0x80], Error::ReservedSubscriptionOptions),
            (&[0x82, 7, 0, 1, 0, 2, b'a', b'#', 0], Error::MisplacedMultiLevelWildcard),
            (&[0x82, 7, 0, 1, 0, 2, b'a', b'+', 0], Error::MisplacedSingleLevelWildcard),
            (&[0x82, 7, 0, 1, 0, 2, 0xC3, 0x28, 0], Error::InvalidUtf8),
            (&[0x82, 7, 0, 1, 0, 2, b'a', 0, 0], Error::NulInString),
        ];
        for (wire, error) in table {
            refused(Version::V3_1_1, wire, error);
        }
    }

    #[test]
    fn what_is_wrong_in_mqtt_5_has_a_name() {
        for (options, error) in [
            (0x03, Error::InvalidSubscriptionQos),
            (0x30, Error::InvalidRetainHandling),
            (0x40, Error::ReservedSubscriptionOptions),
        ] {
            refused(Version::V5, &[0x82, 7, 0, 1, 0, 0, 1, b'a', options], error);
        }
        let shared = b"\x82\x10\x00\x01\x00\x00\x0A$share/g/a\x04";
        refused(Version::V5, shared, Error::NoLocalOnSharedSubscription);
        refused(Version::V5, &[0x82, 3, 0, 1, 0], Error::NoTopicFilters);
        assert!(decode(Version::V3_1, &[0x82, 6, 0, 1, 0, 1, b'a', 4]).is_ok());
    }

    #[test]
    fn an_option_is_not_written_where_it_means_something_else() {
        let no_local = SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() };
        let mut subscriptions = SubscriptionsBuf::new(Version::V5);
        subscriptions.push("a", no_local).unwrap();
        unwritable(Version::V3_1, &packet(&subscriptions), Error::NotInThisVersion);
        let unused_bit = decode(Version::V3_1, &[0x82, 6, 0, 1, 0, 1, b'a', 4]).unwrap();
        unwritable(Version::V5, &unused_bit, Error::NotInThisVersion);
        let mut subscriptions = SubscriptionsBuf::new(Version::V5);
        subscriptions.push("a", SubscriptionOptions::default()).unwrap();
        let mut wire = Vec::new();
        assert_eq!(packet(&subscriptions).encode(Version::V3_1, &mut wire), Ok(8));
    }

    fn packet(subscriptions: &SubscriptionsBuf) -> Packet<'_> {
        Packet::Subscribe(Subscribe {
            packet_id: ID,
            properties: Properties::EMPTY,
            subscriptions: subscriptions.as_subscriptions(),
        })
    }

    #[test]
    fn what_cannot_be_written_is_not() {
        let mut subscriptions = SubscriptionsBuf::new(Version::V3_1_1);
        unwritable(Version::V3_1_1, &packet(&subscriptions), Error::NoTopicFilters);
        subscriptions.push("#/a", SubscriptionOptions::default()).unwrap();
        unwritable(Version::V3_1_1, &packet(&subscriptions), Error::MisplacedMultiLevelWildcard);
    }
}
