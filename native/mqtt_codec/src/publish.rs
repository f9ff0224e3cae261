//! PUBLISH (section 3.3).

use crate::packet::write_header;
use crate::reader::Reader;
use crate::{
    Decoder, Error, PacketId, PacketType, Place, Properties, PropertyIdentifier, Version, text,
    topic,
};
use bytes::BufMut;

/// Quality of Service (section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Qos {
    /// QoS 0.
    #[default]
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

impl Qos {
    /// The QoS of two bits; `None` for 3.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether this may be the same packet once more.
    pub dup: bool,
    /// The QoS.
    pub qos: Qos,
    /// The RETAIN flag.
    pub retain: bool,
    /// The topic name; empty only in MQTT 5.0 and with a Topic Alias.
    pub topic: &'a str,
    /// The packet identifier at QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// The properties.
    pub properties: Properties<'a>,
    /// The message itself.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    pub(crate) fn decode(
        decoder: &Decoder,
        flags: u8,
        last_topic: &'a str,
        body: &'a [u8],
    ) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let qos = Qos::from_bits(flags >> 1 & 0b11).ok_or(Error::InvalidQos)?;
        let topic = reader.binary()?;
        let packet_id = match qos {
            Qos::AtMostOnce => None,
            _ => Some(reader.packet_id()?),
        };
        let properties = if decoder.version >= Version::V5 {
            Properties::read(&mut reader, Place::Publish, decoder.limits.user_properties)?
        } else {
            Properties::EMPTY
        };
        // It may be empty if an alias stands for it (MQTT 5.0, section 3.3.2.3.4).
        let topic = if topic.is_empty() && properties.has(PropertyIdentifier::TopicAlias) {
            ""
        } else if topic == last_topic.as_bytes() && !last_topic.is_empty() {
            last_topic
        } else {
            topic::check_name(topic, decoder.limits.topic_levels)?
        };
        let payload = reader.take_rest();
        Ok(Self {
            // Of no meaning at QoS 0, where MQTT 3.1 lets it be set.
            dup: flags & 0b1000 != 0 && qos > Qos::AtMostOnce,
            qos,
            retain: flags & 1 != 0,
            topic,
            packet_id,
            properties,
            payload,
        })
    }

    pub(crate) const fn first_byte(&self) -> u8 {
        (PacketType::Publish as u8) << 4
            | (self.dup as u8) << 3
            | (self.qos as u8) << 1
            | self.retain as u8
    }

    pub(crate) fn length(&self, version: Version) -> Result<usize, Error> {
        if self.dup && self.qos == Qos::AtMostOnce {
            return Err(Error::DupAtQos0);
        }
        let packet_id = match (self.qos, self.packet_id) {
            (Qos::AtMostOnce, None) => 0,
            (Qos::AtLeastOnce | Qos::ExactlyOnce, Some(_)) => 2,
            _ => return Err(Error::PacketIdentifierMismatch),
        };
        let properties = self.properties.length_in(version, Place::Publish)?;
        let topic = text::length(self.topic.as_bytes())?;
        if !self.topic.is_empty() || !self.properties.has(PropertyIdentifier::TopicAlias) {
            topic::check_characters(self.topic, u16::MAX)?;
        }
        Ok(topic + packet_id + properties + self.payload.len())
    }

    /// The same for a packet that is known to be right.
    fn length_of_checked(&self, version: Version) -> usize {
        2 + self.topic.len()
            + if self.packet_id.is_some() { 2 } else { 0 }
            + if version >= Version::V5 { self.properties.length() } else { 0 }
            + self.payload.len()
    }

    pub(crate) fn write(&self, version: Version, buffer: &mut impl BufMut) {
        self.write_variable_header(version, buffer);
        buffer.put_slice(self.payload);
    }

    /// As [`Packet::encode`](crate::Packet::encode), but leaves out the payload, which the caller
    /// sends behind it from where it lies.
    pub fn encode_head(&self, version: Version, buffer: &mut impl BufMut) -> Result<usize, Error> {
        let remaining_length = self.length(version)?;
        let header = write_header(self.first_byte(), remaining_length, buffer)?;
        self.write_variable_header(version, buffer);
        Ok(header + remaining_length - self.payload.len())
    }

    /// As [`encode_head`](Self::encode_head), for a packet whose topic and properties have been checked
    /// and have not been changed.
    pub fn encode_checked_head(
        &self,
        version: Version,
        buffer: &mut impl BufMut,
    ) -> Result<usize, Error> {
        let remaining_length = self.length_of_checked(version);
        debug_assert_eq!(self.length(version), Ok(remaining_length), "{self:?}");
        let header = write_header(self.first_byte(), remaining_length, buffer)?;
        self.write_variable_header(version, buffer);
        Ok(header + remaining_length - self.payload.len())
    }

    fn write_variable_header(&self, version: Version, buffer: &mut impl BufMut) {
        text::write(self.topic.as_bytes(), buffer);
        if let Some(packet_id) = self.packet_id {
            buffer.put_u16(packet_id.get());
        }
        self.properties.write_in(version, buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{decode, refused, same, unwritable};
    use crate::{Decoded, Packet, PropertiesBuf, Property};

    fn publish<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
        Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic,
            packet_id: None,
            properties: Properties::EMPTY,
            payload,
        }
    }

    #[test]
    fn each_qos() {
        let mut packet = publish("a/b", b"hi");
        for version in [Version::V3_1, Version::V3_1_1] {
            let wire = [0x30, 7, 0, 3, b'a', b'/', b'b', b'h', b'i'];
            same(version, &wire, &Packet::Publish(packet));
        }
        packet.qos = Qos::AtLeastOnce;
        packet.dup = true;
        packet.packet_id = PacketId::new(0x1234);
        let wire = [0x3A, 9, 0, 3, b'a', b'/', b'b', 0x12, 0x34, b'h', b'i'];
        same(Version::V3_1_1, &wire, &Packet::Publish(packet));
        packet.qos = Qos::ExactlyOnce;
        packet.dup = false;
        packet.retain = true;
        let wire = [0x35, 10, 0, 3, b'a', b'/', b'b', 0x12, 0x34, 0, b'h', b'i'];
        same(Version::V5, &wire, &Packet::Publish(packet));
    }

    #[test]
    fn an_empty_payload_and_an_empty_level_are_fine() {
        same(Version::V3_1_1, &[0x31, 3, 0, 1, b'/'], &{
            Packet::Publish(Publish { retain: true, ..publish("/", b"") })
        });
    }

    #[test]
    fn properties() {
        let mut properties = PropertiesBuf::default();
        properties.push(&Property::PayloadFormatIndicator(1)).unwrap();
        properties.push(&Property::UserProperty(("a", "b"))).unwrap();
        let packet = Publish { properties: properties.as_properties(), ..publish("t", b"x") };
        let wire = [0x30, 14, 0, 1, b't', 9, 1, 1, 0x26, 0, 1, b'a', 0, 1, b'b', b'x'];
        same(Version::V5, &wire, &Packet::Publish(packet));
        unwritable(Version::V3_1_1, &Packet::Publish(packet), Error::NotInThisVersion);
    }

    #[test]
    fn a_topic_alias_stands_for_the_topic() {
        let mut properties = PropertiesBuf::default();
        properties.push(&Property::TopicAlias(5)).unwrap();
        let packet = Publish { properties: properties.as_properties(), ..publish("", b"x") };
        same(Version::V5, &[0x30, 7, 0, 0, 3, 0x23, 0, 5, b'x'], &Packet::Publish(packet));
        refused(Version::V5, &[0x30, 4, 0, 0, 0, b'x'], Error::EmptyTopicName);
    }

    #[test]
    fn a_topic_that_comes_again_is_the_one_before() {
        let decoder = Decoder::new(Version::V3_1_1);
        let topic_behind = |topic, wire| match decoder.decode_after(topic, wire) {
            Ok(Decoded::Packet(Packet::Publish(publish), _)) => Ok(publish.topic),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        let before = "a/b";
        let same = topic_behind(before, &[0x30, 6, 0, 3, b'a', b'/', b'b', b'x']).unwrap();
        assert!(core::ptr::eq(same, before));
        for other in
            [b"\x30\x04\x00\x01ax".as_slice(), b"\x30\x07\x00\x04a/bcx", b"\x30\x06\x00\x03a/cx"]
        {
            let topic = topic_behind(before, other).unwrap();
            assert_eq!(topic.as_bytes(), other.get(4..4 + topic.len()).unwrap());
            assert_ne!(topic, before);
        }
        // Nothing is no topic that there has been.
        assert_eq!(topic_behind("", &[0x30, 3, 0, 0, b'x']), Err(Error::EmptyTopicName));
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        let table: [(&[u8], Error); 9] = [
            (&[0x30, 0], Error::Truncated),
            (&[0x30, 1, 0], Error::Truncated),
            (&[0x30, 2, 0, 0], Error::EmptyTopicName),
            (&[0x30, 3, 0, 2, b'a'], Error::Truncated),
            (&[0x30, 3, 0, 1, b'+'], Error::WildcardInTopicName),
            (&[0x30, 4, 0, 2, 0xFF, 0xFE], Error::InvalidUtf8),
            (&[0x30, 4, 0, 2, b'a', 0], Error::NulInString),
            (&[0x32, 3, 0, 1, b'a'], Error::Truncated),
            (&[0x32, 5, 0, 1, b'a', 0, 0], Error::ZeroPacketIdentifier),
        ];
        for (wire, error) in table {
            refused(Version::V3_1_1, wire, error);
        }
    }

    #[test]
    fn what_cannot_be_written_is_not() {
        let version = Version::V3_1_1;
        let at_qos_0 = Publish { packet_id: PacketId::new(1), ..publish("a", b"") };
        unwritable(version, &Packet::Publish(at_qos_0), Error::PacketIdentifierMismatch);
        let at_qos_1 = Publish { qos: Qos::AtLeastOnce, ..publish("a", b"") };
        unwritable(version, &Packet::Publish(at_qos_1), Error::PacketIdentifierMismatch);
        let long = "x".repeat(65_536);
        unwritable(version, &Packet::Publish(publish(&long, b"")), Error::StringTooLong);
        unwritable(version, &Packet::Publish(publish("#", b"")), Error::WildcardInTopicName);
        unwritable(version, &Packet::Publish(publish("", b"")), Error::EmptyTopicName);
    }

    #[test]
    fn the_longest_topic_fits_mqtt_4_7_3_3() {
        let long = "x".repeat(65_535);
        let mut wire = Vec::new();
        Packet::Publish(publish(&long, b"p")).encode(Version::V3_1_1, &mut wire).unwrap();
        assert_eq!(decode(Version::V3_1_1, &wire), Ok(Packet::Publish(publish(&long, b"p"))));
    }

    #[test]
    fn the_head_is_the_packet_without_its_payload() {
        let packet = publish("a/b", b"hello");
        let (mut whole, mut head) = (Vec::new(), Vec::new());
        Packet::Publish(packet).encode(Version::V5, &mut whole).unwrap();
        assert_eq!(packet.encode_head(Version::V5, &mut head), Ok(whole.len() - 5));
        assert_eq!([&head[..], b"hello"].concat(), whole);
    }
}
