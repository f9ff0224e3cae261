//! DISCONNECT (section 3.14).

use crate::reader::Reader;
use crate::{Decoder, Error, PacketType, Place, Properties, ReasonCode, Version};
use bytes::BufMut;

/// The end of a connection that its sender wants; before MQTT 5.0 only the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// The reason code; before MQTT 5.0 always 0.
    pub reason: ReasonCode,
    /// The properties.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// Nothing is wrong, and there is nothing to add.
    pub const NORMAL: Disconnect<'static> =
        Disconnect { reason: ReasonCode::SUCCESS, properties: Properties::EMPTY };

    pub(crate) fn decode(decoder: &Decoder, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let mut disconnect = Self::NORMAL;
        // Both may be left out (MQTT 5.0, sections 3.14.2.1 and 3.14.2.2.1).
        if decoder.version >= Version::V5 && !reader.is_empty() {
            disconnect.reason = ReasonCode(reader.u8()?);
            if !disconnect.reason.allowed_in(PacketType::Disconnect) {
                return Err(Error::InvalidReasonCode);
            }
            if !reader.is_empty() {
                disconnect.properties = Properties::read(
                    &mut reader,
                    Place::Disconnect,
                    decoder.limits.user_properties,
                )?;
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }

    pub(crate) fn length(&self, version: Version) -> Result<usize, Error> {
        if version < Version::V5 {
            return if *self == Self::NORMAL { Ok(0) } else { Err(Error::NotInThisVersion) };
        }
        if !self.reason.allowed_in(PacketType::Disconnect) {
            return Err(Error::InvalidReasonCode);
        }
        if !self.properties.is_empty() {
            Ok(1 + self.properties.length_in(version, Place::Disconnect)?)
        } else if self.reason == ReasonCode::SUCCESS {
            Ok(0)
        } else {
            Ok(1)
        }
    }

    pub(crate) fn write(&self, remaining_length: usize, buffer: &mut impl BufMut) {
        if remaining_length > 0 {
            buffer.put_u8(self.reason.0);
        }
        if remaining_length > 1 {
            self.properties.write(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{decode, refused, same, unwritable};
    use crate::{Packet, PropertiesBuf, Property};

    #[test]
    fn two_bytes_do() {
        for version in Version::ALL {
            same(version, &[0xE0, 0], &Packet::Disconnect(Disconnect::NORMAL));
        }
    }

    #[test]
    fn reason_and_properties() {
        let shutting_down = ReasonCode::SERVER_SHUTTING_DOWN;
        let packet = Disconnect { reason: shutting_down, ..Disconnect::NORMAL };
        same(Version::V5, &[0xE0, 1, 0x8B], &Packet::Disconnect(packet));
        unwritable(Version::V3_1_1, &Packet::Disconnect(packet), Error::NotInThisVersion);
        let mut properties = PropertiesBuf::default();
        properties.push(&Property::ServerReference("b")).unwrap();
        let packet = Disconnect { properties: properties.as_properties(), ..packet };
        same(Version::V5, &[0xE0, 6, 0x8B, 4, 0x1C, 0, 1, b'b'], &Packet::Disconnect(packet));
        let empty = decode(Version::V5, &[0xE0, 2, 0, 0]);
        assert_eq!(empty, Ok(Packet::Disconnect(Disconnect::NORMAL)));
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        refused(Version::V3_1_1, &[0xE0, 1, 0], Error::TrailingBytes);
        refused(Version::V3_1_1, &[0xE1, 0], Error::ReservedFlags);
        refused(Version::V5, &[0xE0, 1, 0x03], Error::InvalidReasonCode);
        refused(Version::V5, &[0xE0, 3, 0, 0, 0], Error::TrailingBytes);
    }
}
