//! A packet of any kind.

use crate::{
    Ack, Auth, Connack, Connect, Decoded, Decoder, Disconnect, Error, FixedHeader, PacketType,
    Place, Publish, Suback, Subscribe, Unsubscribe, Version, varint,
};
use bytes::BufMut;

/// A control packet, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "they are the packets' names")]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Puback(Ack<'a>),
    Pubrec(Ack<'a>),
    Pubrel(Ack<'a>),
    Pubcomp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Suback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Decodes what is behind a fixed header. Each packet is written to where the caller wants it: moved
    /// there as one of any kind it would take longer than to be decoded.
    pub(crate) fn decode(
        decoder: &Decoder,
        header: FixedHeader,
        last_topic: &'a str,
        body: &'a [u8],
    ) -> Result<Decoded<'a>, Error> {
        let packet = move |packet| Ok(Decoded::Packet(packet, header.packet_length()));
        let packet_type = header.packet_type;
        match packet_type {
            PacketType::Publish => {
                packet(Self::Publish(Publish::decode(decoder, header.flags, last_topic, body)?))
            }
            PacketType::Puback => {
                packet(Self::Puback(Ack::decode(decoder, Place::Puback, packet_type, body)?))
            }
            PacketType::Pubrec => {
                packet(Self::Pubrec(Ack::decode(decoder, Place::Pubrec, packet_type, body)?))
            }
            PacketType::Pubrel => {
                packet(Self::Pubrel(Ack::decode(decoder, Place::Pubrel, packet_type, body)?))
            }
            PacketType::Pubcomp => {
                packet(Self::Pubcomp(Ack::decode(decoder, Place::Pubcomp, packet_type, body)?))
            }
            PacketType::Pingreq => packet(empty(body, Self::Pingreq)?),
            PacketType::Pingresp => packet(empty(body, Self::Pingresp)?),
            PacketType::Connect => packet(Self::Connect(Connect::decode(decoder, &header, body)?)),
            PacketType::Connack => packet(Self::Connack(Connack::decode(decoder, body)?)),
            PacketType::Subscribe => packet(Self::Subscribe(Subscribe::decode(decoder, body)?)),
            PacketType::Suback => {
                packet(Self::Suback(Suback::decode(decoder, Place::Suback, packet_type, body)?))
            }
            PacketType::Unsubscribe => {
                packet(Self::Unsubscribe(Unsubscribe::decode(decoder, body)?))
            }
            PacketType::Unsuback => {
                packet(Self::Unsuback(Suback::decode(decoder, Place::Unsuback, packet_type, body)?))
            }
            PacketType::Disconnect => packet(Self::Disconnect(Disconnect::decode(decoder, body)?)),
            PacketType::Auth => packet(Self::Auth(Auth::decode(decoder, body)?)),
        }
    }

    /// The packet's type.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingreq => PacketType::Pingreq,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the packet to `buffer` and says how many bytes it took. A packet that the
    /// specification does not allow is an error, and leaves `buffer` as it was.
    pub fn encode(&self, version: Version, buffer: &mut impl BufMut) -> Result<usize, Error> {
        let remaining_length = self.remaining_length(version)?;
        let header = write_header(self.first_byte(), remaining_length, buffer)?;
        match self {
            Self::Connect(packet) => packet.write(buffer),
            Self::Connack(packet) => packet.write(version, buffer),
            Self::Publish(packet) => packet.write(version, buffer),
            Self::Puback(packet)
            | Self::Pubrec(packet)
            | Self::Pubrel(packet)
            | Self::Pubcomp(packet) => packet.write(remaining_length, buffer),
            Self::Subscribe(packet) => packet.write(version, buffer),
            Self::Suback(packet) => packet.write(version, true, buffer),
            Self::Unsubscribe(packet) => packet.write(version, buffer),
            Self::Unsuback(packet) => {
                packet.write(version, version >= Version::V5, buffer);
            }
            Self::Pingreq | Self::Pingresp => {}
            Self::Disconnect(packet) => packet.write(remaining_length, buffer),
            Self::Auth(packet) => packet.write(remaining_length, buffer),
        }
        Ok(header + remaining_length)
    }

    /// Checks the packet and counts its bytes.
    pub fn packet_length(&self, version: Version) -> Result<usize, Error> {
        let remaining_length = self.remaining_length(version)?;
        if remaining_length > varint::MAX {
            return Err(Error::PacketTooLarge);
        }
        Ok(1 + varint::length(remaining_length as u32) + remaining_length)
    }

    /// Checks the packet and counts the bytes behind its fixed header.
    fn remaining_length(&self, version: Version) -> Result<usize, Error> {
        match self {
            Self::Connect(packet) => packet.length(),
            Self::Connack(packet) => packet.length(version),
            Self::Publish(packet) => packet.length(version),
            Self::Puback(packet) => packet.length(version, Place::Puback, self.packet_type()),
            Self::Pubrec(packet) => packet.length(version, Place::Pubrec, self.packet_type()),
            Self::Pubrel(packet) => packet.length(version, Place::Pubrel, self.packet_type()),
            Self::Pubcomp(packet) => packet.length(version, Place::Pubcomp, self.packet_type()),
            Self::Subscribe(packet) => packet.length(version),
            Self::Suback(packet) => packet.length(version, Place::Suback, self.packet_type()),
            Self::Unsubscribe(packet) => packet.length(version),
            Self::Unsuback(packet) => packet.length(version, Place::Unsuback, self.packet_type()),
            Self::Pingreq | Self::Pingresp => Ok(0),
            Self::Disconnect(packet) => packet.length(version),
            Self::Auth(packet) => packet.length(version),
        }
    }

    fn first_byte(&self) -> u8 {
        match self {
            Self::Publish(publish) => publish.first_byte(),
            _ => (self.packet_type() as u8) << 4 | self.packet_type().flags(),
        }
    }
}

/// Writes a fixed header and says how many bytes it took.
pub(crate) fn write_header(
    first_byte: u8,
    remaining_length: usize,
    buffer: &mut impl BufMut,
) -> Result<usize, Error> {
    if remaining_length > varint::MAX {
        return Err(Error::PacketTooLarge);
    }
    buffer.put_u8(first_byte);
    varint::write(remaining_length as u32, buffer);
    Ok(1 + varint::length(remaining_length as u32))
}

fn empty<'a>(body: &[u8], packet: Packet<'a>) -> Result<Packet<'a>, Error> {
    if body.is_empty() { Ok(packet) } else { Err(Error::TrailingBytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{decode, refused, same};

    #[test]
    fn pings_mqtt_3_12_4_1() {
        for version in Version::ALL {
            same(version, &[0xC0, 0], &Packet::Pingreq);
            same(version, &[0xD0, 0], &Packet::Pingresp);
            refused(version, &[0xC0, 1, 0], Error::TrailingBytes);
        }
    }

    #[test]
    fn a_remaining_length_has_four_bytes_and_in_mqtt_5_as_few_as_can_be_mqtt_1_5_5_1() {
        for version in Version::ALL {
            refused(version, &[0xC0, 0x80, 0x80, 0x80, 0x80, 0], Error::RemainingLengthTooLong);
        }
        assert_eq!(decode(Version::V3_1_1, &[0xC0, 0x80, 0x00]), Ok(Packet::Pingreq));
        refused(Version::V5, &[0xC0, 0x80, 0x00], Error::OverlongInteger);
    }

    #[test]
    fn a_packet_over_the_limit_is_refused_by_its_header() {
        let mut decoder = Decoder::new(Version::V3_1_1);
        decoder.limits.packet_size = 130;
        assert!(decoder.decode(&[0x30, 0x7F]).is_ok());
        assert_eq!(decoder.decode(&[0x30, 0x80, 0x01]), Err(Error::PacketTooLarge));
    }
}
