//! CONNACK (section 3.2).

use crate::reader::Reader;
use crate::{Decoder, Error, PacketType, Place, Properties, ReasonCode, Version};
use bytes::BufMut;

/// A server's answer to CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// Session Present; MQTT 3.1 does not have it.
    pub session_present: bool,
    /// The reason code; before MQTT 5.0 the return code, 0 for accepted.
    pub reason: ReasonCode,
    /// The properties.
    pub properties: Properties<'a>,
}

impl<'a> Connack<'a> {
    pub(crate) fn decode(decoder: &Decoder, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        let reason = ReasonCode(reader.u8()?);
        if flags > 1 && decoder.version > Version::V3_1 {
            return Err(Error::ReservedAcknowledgeFlags);
        }
        let connack = Self {
            session_present: flags == 1 && decoder.version > Version::V3_1,
            reason,
            properties: if decoder.version >= Version::V5 {
                Properties::read(&mut reader, Place::Connack, decoder.limits.user_properties)?
            } else {
                Properties::EMPTY
            },
        };
        reader.finish()?;
        connack.check(decoder.version)?;
        Ok(connack)
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        if version >= Version::V5 && !self.reason.allowed_in(PacketType::Connack) {
            Err(Error::InvalidReasonCode)
        } else if self.session_present && self.reason != ReasonCode::SUCCESS {
            Err(Error::SessionPresentOnRefusal)
        } else if self.session_present && version == Version::V3_1 {
            Err(Error::NotInThisVersion)
        } else {
            Ok(())
        }
    }

    pub(crate) fn length(&self, version: Version) -> Result<usize, Error> {
        self.check(version)?;
        Ok(2 + self.properties.length_in(version, Place::Connack)?)
    }

    pub(crate) fn write(&self, version: Version, buffer: &mut impl BufMut) {
        buffer.put_u8(u8::from(self.session_present));
        buffer.put_u8(self.reason.0);
        self.properties.write_in(version, buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{decode, refused, same, unwritable};
    use crate::{Packet, PropertiesBuf, Property};

    const ACCEPTED: Connack<'_> = Connack {
        session_present: false,
        reason: ReasonCode::SUCCESS,
        properties: Properties::EMPTY,
    };

    #[test]
    fn accepted_and_refused() {
        for version in [Version::V3_1, Version::V3_1_1] {
            same(version, &[0x20, 2, 0, 0], &Packet::Connack(ACCEPTED));
            for code in 1..=255 {
                let refused = Connack { reason: ReasonCode(code), ..ACCEPTED };
                same(version, &[0x20, 2, 0, code], &Packet::Connack(refused));
            }
        }
        let resumed = Connack { session_present: true, ..ACCEPTED };
        same(Version::V3_1_1, &[0x20, 2, 1, 0], &Packet::Connack(resumed));
        same(Version::V5, &[0x20, 3, 1, 0, 0], &Packet::Connack(resumed));
        assert_eq!(decode(Version::V3_1, &[0x20, 2, 1, 0]), Ok(Packet::Connack(ACCEPTED)));
        unwritable(Version::V3_1, &Packet::Connack(resumed), Error::NotInThisVersion);
    }

    #[test]
    fn properties() {
        let mut properties = PropertiesBuf::default();
        properties.push(&Property::MaximumQos(1)).unwrap();
        properties.push(&Property::TopicAliasMaximum(10)).unwrap();
        let packet = Connack { properties: properties.as_properties(), ..ACCEPTED };
        let wire = [0x20, 8, 0, 0, 5, 0x24, 1, 0x22, 0, 10];
        same(Version::V5, &wire, &Packet::Connack(packet));
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        refused(Version::V3_1_1, &[0x20, 1, 0], Error::Truncated);
        refused(Version::V3_1_1, &[0x20, 3, 0, 0, 0], Error::TrailingBytes);
        refused(Version::V3_1_1, &[0x20, 2, 2, 0], Error::ReservedAcknowledgeFlags);
        refused(Version::V3_1_1, &[0x20, 2, 1, 5], Error::SessionPresentOnRefusal);
        refused(Version::V5, &[0x20, 3, 0, 1, 0], Error::InvalidReasonCode);
        refused(Version::V5, &[0x20, 2, 0, 0], Error::Truncated);
    }
}
