//! PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7), which are built alike.

use crate::reader::Reader;
use crate::{Decoder, Error, PacketId, PacketType, Place, Properties, ReasonCode, Version};
use bytes::BufMut;

/// An acknowledgement on the way of a QoS 1 or 2 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The packet identifier of the PUBLISH.
    pub packet_id: PacketId,
    /// The reason code; before MQTT 5.0 always success.
    pub reason: ReasonCode,
    /// The properties.
    pub properties: Properties<'a>,
}

impl<'a> Ack<'a> {
    /// A success without properties.
    #[must_use]
    pub const fn new(packet_id: PacketId) -> Self {
        Self { packet_id, reason: ReasonCode::SUCCESS, properties: Properties::EMPTY }
    }

    #[inline]
    pub(crate) fn decode(
        decoder: &Decoder,
        place: Place,
        packet_type: PacketType,
        body: &'a [u8],
    ) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        // Both may be left out (MQTT 5.0, sections 3.4.2.1 and 3.4.2.2.1).
        let (reason, properties) = if reader.is_empty() {
            (ReasonCode::SUCCESS, Properties::EMPTY)
        } else {
            read_reason(decoder, place, packet_type, reader)?
        };
        Ok(Self { packet_id, reason, properties })
    }

    pub(crate) fn length(
        &self,
        version: Version,
        place: Place,
        packet_type: PacketType,
    ) -> Result<usize, Error> {
        if version < Version::V5 {
            let plain = self.reason == ReasonCode::SUCCESS && self.properties.is_empty();
            return if plain { Ok(2) } else { Err(Error::NotInThisVersion) };
        }
        if !self.reason.allowed_in(packet_type) {
            return Err(Error::InvalidReasonCode);
        }
        if !self.properties.is_empty() {
            Ok(3 + self.properties.length_in(version, place)?)
        } else if self.reason == ReasonCode::SUCCESS {
            Ok(2)
        } else {
            Ok(3)
        }
    }

    pub(crate) fn write(&self, remaining_length: usize, buffer: &mut impl BufMut) {
        buffer.put_u16(self.packet_id.get());
        if remaining_length > 2 {
            buffer.put_u8(self.reason.0);
        }
        if remaining_length > 3 {
            self.properties.write(buffer);
        }
    }
}

fn read_reason<'a>(
    decoder: &Decoder,
    place: Place,
    packet_type: PacketType,
    mut reader: Reader<'a>,
) -> Result<(ReasonCode, Properties<'a>), Error> {
    if decoder.version < Version::V5 {
        return Err(Error::TrailingBytes);
    }
    let reason = ReasonCode(reader.u8()?);
    if !reason.allowed_in(packet_type) {
        return Err(Error::InvalidReasonCode);
    }
    let properties = if reader.is_empty() {
        Properties::EMPTY
    } else {
        Properties::read(&mut reader, place, decoder.limits.user_properties)?
    };
    reader.finish()?;
    Ok((reason, properties))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{decode, refused, same, unwritable};
    use crate::{Packet, PropertiesBuf, Property};

    const ID: PacketId = PacketId::new(0x1234).unwrap();

    #[test]
    fn each_is_four_bytes_mqtt_2_3_1_6() {
        for version in Version::ALL {
            same(version, &[0x40, 2, 0x12, 0x34], &Packet::Puback(Ack::new(ID)));
            same(version, &[0x50, 2, 0x12, 0x34], &Packet::Pubrec(Ack::new(ID)));
            same(version, &[0x62, 2, 0x12, 0x34], &Packet::Pubrel(Ack::new(ID)));
            same(version, &[0x70, 2, 0x12, 0x34], &Packet::Pubcomp(Ack::new(ID)));
        }
    }

    #[test]
    fn reason_and_properties_may_be_left_out() {
        let refusal = Ack { reason: ReasonCode::NOT_AUTHORIZED, ..Ack::new(ID) };
        same(Version::V5, &[0x40, 3, 0x12, 0x34, 0x87], &Packet::Puback(refusal));
        let empty = decode(Version::V5, &[0x40, 4, 0x12, 0x34, 0x00, 0x00]);
        assert_eq!(empty, Ok(Packet::Puback(Ack::new(ID))));
        let mut properties = PropertiesBuf::default();
        properties.push(&Property::ReasonString("no")).unwrap();
        let with_reason = Ack { properties: properties.as_properties(), ..refusal };
        let wire = [0x50, 9, 0x12, 0x34, 0x87, 5, 0x1F, 0, 2, b'n', b'o'];
        same(Version::V5, &wire, &Packet::Pubrec(with_reason));
        unwritable(Version::V3_1_1, &Packet::Pubrec(refusal), Error::NotInThisVersion);
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        for version in Version::ALL {
            refused(version, &[0x40, 1, 0], Error::Truncated);
            refused(version, &[0x40, 2, 0, 0], Error::ZeroPacketIdentifier);
        }
        refused(Version::V3_1_1, &[0x50, 3, 0, 1, 0], Error::TrailingBytes);
        refused(Version::V5, &[0x40, 5, 0, 1, 0, 0, 0], Error::TrailingBytes);
    }

    #[test]
    fn reason_codes_come_from_the_packets_table_mqtt_3_4_2_1_mqtt_3_6_2_1() {
        for (first_byte, code) in [(0x40, 0x01), (0x50, 0x93), (0x62, 0x80), (0x70, 0x91)] {
            refused(Version::V5, &[first_byte, 3, 0, 1, code], Error::InvalidReasonCode);
        }
        let wrong = Ack { reason: ReasonCode::NOT_AUTHORIZED, ..Ack::new(ID) };
        unwritable(Version::V5, &Packet::Pubrel(wrong), Error::InvalidReasonCode);
    }
}
