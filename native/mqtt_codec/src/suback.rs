//! SUBACK (section 3.9) and UNSUBACK (section 3.11), which MQTT 5.0 builds alike.

use crate::reader::Reader;
use crate::{Decoder, Error, PacketId, PacketType, Place, Properties, ReasonCode, Version};
use bytes::BufMut;

/// A server's answer to SUBSCRIBE or UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// The packet identifier of the request.
    pub packet_id: PacketId,
    /// The properties.
    pub properties: Properties<'a>,
    /// One reason code for each filter of the request, in its order; in an UNSUBACK before MQTT 5.0
    /// none.
    pub codes: &'a [u8],
}

impl<'a> Suback<'a> {
    pub(crate) fn decode(
        decoder: &Decoder,
        place: Place,
        packet_type: PacketType,
        body: &'a [u8],
    ) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = if decoder.version >= Version::V5 {
            Properties::read(&mut reader, place, decoder.limits.user_properties)?
        } else {
            Properties::EMPTY
        };
        let codes = reader.take_rest();
        check_codes(decoder.version, packet_type, codes)?;
        Ok(Self { packet_id, properties, codes })
    }

    pub(crate) fn length(
        &self,
        version: Version,
        place: Place,
        packet_type: PacketType,
    ) -> Result<usize, Error> {
        check_codes(version, packet_type, self.codes)?;
        Ok(2 + self.properties.length_in(version, place)? + self.codes.len())
    }

    pub(crate) fn write(&self, version: Version, with_codes: bool, buffer: &mut impl BufMut) {
        buffer.put_u16(self.packet_id.get());
        self.properties.write_in(version, buffer);
        if with_codes {
            buffer.put_slice(self.codes);
        }
    }
}

/// [MQTT-3.9.3-2], [MQTT-3.11.3-2]
fn check_codes(version: Version, packet_type: PacketType, codes: &[u8]) -> Result<(), Error> {
    if version < Version::V5 && packet_type == PacketType::Unsuback {
        return if codes.is_empty() { Ok(()) } else { Err(Error::TrailingBytes) };
    }
    if codes.is_empty() {
        return Err(Error::NoReasonCodes);
    }
    let allowed = |&code: &u8| match version {
        Version::V5 => ReasonCode(code).allowed_in(packet_type),
        _ => matches!(code, 0..=2 | 0x80),
    };
    if codes.iter().all(allowed) { Ok(()) } else { Err(Error::InvalidReasonCode) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;
    use crate::testing::{refused, same, unwritable};

    const fn suback(codes: &[u8]) -> Suback<'_> {
        let Some(packet_id) = PacketId::new(0x1234) else { panic!() };
        Suback { packet_id, properties: Properties::EMPTY, codes }
    }

    #[test]
    fn codes_keep_their_order_mqtt_3_9_3_1() {
        let packet = Packet::Suback(suback(&[2, 0x80, 0, 1]));
        for version in [Version::V3_1, Version::V3_1_1] {
            same(version, &[0x90, 6, 0x12, 0x34, 2, 0x80, 0, 1], &packet);
        }
        let packet = Packet::Suback(suback(&[2, 0x87, 0, 1]));
        same(Version::V5, &[0x90, 7, 0x12, 0x34, 0, 2, 0x87, 0, 1], &packet);
    }

    #[test]
    fn unsuback_has_codes_from_mqtt_5_on() {
        same(Version::V3_1_1, &[0xB0, 2, 0x12, 0x34], &Packet::Unsuback(suback(&[])));
        let packet = Packet::Unsuback(suback(&[0, 0x11]));
        same(Version::V5, &[0xB0, 5, 0x12, 0x34, 0, 0, 0x11], &packet);
        unwritable(Version::V3_1_1, &packet, Error::TrailingBytes);
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        refused(Version::V3_1_1, &[0x90, 2, 0, 1], Error::NoReasonCodes);
        refused(Version::V5, &[0xB0, 3, 0, 1, 0], Error::NoReasonCodes);
        refused(Version::V3_1_1, &[0x90, 3, 0, 1, 0x87], Error::InvalidReasonCode);
        refused(Version::V5, &[0x90, 4, 0, 1, 0, 0x11], Error::InvalidReasonCode);
        refused(Version::V3_1_1, &[0xB0, 3, 0, 1, 0], Error::TrailingBytes);
        refused(Version::V3_1_1, &[0x90, 3, 0, 0, 0], Error::ZeroPacketIdentifier);
    }
}
