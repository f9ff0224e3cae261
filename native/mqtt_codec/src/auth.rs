//! AUTH (MQTT 5.0, section 3.15).

use crate::reader::Reader;
use crate::{Decoder, Error, PacketType, Place, Properties, ReasonCode, Version};
use bytes::BufMut;

/// A step of an enhanced authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// The reason code.
    pub reason: ReasonCode,
    /// The properties, with the Authentication Method among them.
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    /// What a packet without reason code and properties says.
    const SHORT: Auth<'static> =
        Auth { reason: ReasonCode::SUCCESS, properties: Properties::EMPTY };

    pub(crate) fn decode(decoder: &Decoder, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        if reader.is_empty() {
            return Ok(Self::SHORT);
        }
        let reason = ReasonCode(reader.u8()?);
        if !reason.allowed_in(PacketType::Auth) {
            return Err(Error::InvalidReasonCode);
        }
        let properties =
            Properties::read(&mut reader, Place::Auth, decoder.limits.user_properties)?;
        reader.finish()?;
        Ok(Self { reason, properties })
    }

    pub(crate) fn length(&self, version: Version) -> Result<usize, Error> {
        if version < Version::V5 {
            return Err(Error::NotInThisVersion);
        }
        if *self == Self::SHORT {
            return Ok(0);
        }
        if !self.reason.allowed_in(PacketType::Auth) {
            return Err(Error::InvalidReasonCode);
        }
        Ok(1 + self.properties.length_in(version, Place::Auth)?)
    }

    pub(crate) fn write(&self, remaining_length: usize, buffer: &mut impl BufMut) {
        if remaining_length > 0 {
            buffer.put_u8(self.reason.0);
            self.properties.write(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{refused, same, unwritable};
    use crate::{Packet, PropertiesBuf, Property};

    #[test]
    fn a_challenge() {
        let mut properties = PropertiesBuf::default();
        properties.push(&Property::AuthenticationMethod("m")).unwrap();
        properties.push(&Property::AuthenticationData(&[1])).unwrap();
        let packet = Packet::Auth(Auth {
            reason: ReasonCode::CONTINUE_AUTHENTICATION,
            properties: properties.as_properties(),
        });
        let wire = [0xF0, 10, 0x18, 8, 0x15, 0, 1, b'm', 0x16, 0, 1, 1];
        same(Version::V5, &wire, &packet);
        unwritable(Version::V3_1_1, &packet, Error::NotInThisVersion);
    }

    #[test]
    fn a_success_may_leave_everything_out() {
        same(Version::V5, &[0xF0, 0], &Packet::Auth(Auth::SHORT));
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        refused(Version::V3_1_1, &[0xF0, 0], Error::ReservedPacketType);
        refused(Version::V5, &[0xF1, 0], Error::ReservedFlags);
        refused(Version::V5, &[0xF0, 1, 0x18], Error::Truncated);
        refused(Version::V5, &[0xF0, 2, 0x01, 0], Error::InvalidReasonCode);
        refused(Version::V5, &[0xF0, 2, 0x18, 0], Error::AuthenticationMethodMissing);
    }
}
