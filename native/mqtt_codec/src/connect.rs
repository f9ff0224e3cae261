//! CONNECT (section 3.1), the one packet that says its own version.

use crate::reader::Reader;
use crate::{Decoder, Error, FixedHeader, Place, Properties, Qos, Version, text, topic};
use bytes::BufMut;

/// A client's request to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The protocol name and level.
    pub version: Version,
    /// Clean Start; before MQTT 5.0 Clean Session.
    pub clean_start: bool,
    /// Keep Alive, in seconds; 0 for none.
    pub keep_alive: u16,
    /// The properties.
    pub properties: Properties<'a>,
    /// The client identifier, which may be empty.
    pub client_id: &'a str,
    /// The will.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password.
    pub password: Option<&'a [u8]>,
}

/// The message that the server publishes when the connection ends without a DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Its QoS.
    pub qos: Qos,
    /// Its RETAIN flag.
    pub retain: bool,
    /// The will's properties.
    pub properties: Properties<'a>,
    /// Its topic name.
    pub topic: &'a str,
    /// The message itself.
    pub payload: &'a [u8],
}

mod flags {
    pub(super) const RESERVED: u8 = 1;
    pub(super) const CLEAN_START: u8 = 1 << 1;
    pub(super) const WILL: u8 = 1 << 2;
    pub(super) const WILL_QOS_SHIFT: u8 = 3;
    pub(super) const WILL_RETAIN: u8 = 1 << 5;
    pub(super) const PASSWORD: u8 = 1 << 6;
    pub(super) const USERNAME: u8 = 1 << 7;
}

impl<'a> Connect<'a> {
    pub(crate) fn decode(
        decoder: &Decoder,
        header: &FixedHeader,
        body: &'a [u8],
    ) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let version = decode_version(&mut reader)?;
        if header.flags != 0 && version > Version::V3_1 {
            return Err(Error::ReservedFlags);
        }
        if version >= Version::V5 {
            header.check_minimal()?;
        }
        let flags = reader.u8()?;
        check_flags(flags, version)?;
        let keep_alive = reader.u16()?;
        let properties = |reader: &mut Reader<'a>, place| match version {
            Version::V5 => Properties::read(reader, place, decoder.limits.user_properties),
            _ => Ok(Properties::EMPTY),
        };
        let connect_properties = properties(&mut reader, Place::Connect)?;
        let client_id = reader.string()?;
        let will = if flags & flags::WILL == 0 {
            None
        } else {
            Some(Will {
                qos: Qos::from_bits(flags >> flags::WILL_QOS_SHIFT & 0b11)
                    .ok_or(Error::InvalidWillQos)?,
                retain: flags & flags::WILL_RETAIN != 0,
                properties: properties(&mut reader, Place::Will)?,
                topic: topic::check_name(reader.binary()?, decoder.limits.topic_levels)?,
                payload: reader.binary()?,
            })
        };
        // MQTT 3.1: the Remaining Length takes precedence over the two flags, so either may be set
        // without its field (3.1, "User Name and Password flags").
        let there = |flag, reader: &Reader<'_>| {
            flags & flag != 0 && !(version == Version::V3_1 && reader.is_empty())
        };
        let username = if there(flags::USERNAME, &reader) { Some(reader.string()?) } else { None };
        let password = if there(flags::PASSWORD, &reader) { Some(reader.binary()?) } else { None };
        reader.finish()?;
        Ok(Self {
            version,
            clean_start: flags & flags::CLEAN_START != 0,
            keep_alive,
            properties: connect_properties,
            client_id,
            will,
            username,
            password,
        })
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= flags::CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= flags::WILL | (will.qos as u8) << flags::WILL_QOS_SHIFT;
            if will.retain {
                flags |= flags::WILL_RETAIN;
            }
        }
        if self.username.is_some() {
            flags |= flags::USERNAME;
        }
        if self.password.is_some() {
            flags |= flags::PASSWORD;
        }
        flags
    }

    pub(crate) fn length(&self) -> Result<usize, Error> {
        check_flags(self.flags(), self.version)?;
        let will = match &self.will {
            None => 0,
            Some(will) => {
                topic::check_characters(will.topic, u16::MAX)?;
                will.properties.length_in(self.version, Place::Will)?
                    + text::length(will.topic.as_bytes())?
                    + text::length(will.payload)?
            }
        };
        // Name with its length, level, flags, Keep Alive.
        let fixed = 2 + self.version.protocol_name().len() + 1 + 1 + 2;
        Ok(fixed
            + self.properties.length_in(self.version, Place::Connect)?
            + text::string_length(self.client_id)?
            + will
            + self.username.map_or(Ok(0), text::string_length)?
            + self.password.map_or(Ok(0), text::length)?)
    }

    pub(crate) fn write(&self, buffer: &mut impl BufMut) {
        text::write(self.version.protocol_name().as_bytes(), buffer);
        buffer.put_u8(self.version.level());
        buffer.put_u8(self.flags());
        buffer.put_u16(self.keep_alive);
        self.properties.write_in(self.version, buffer);
        text::write(self.client_id.as_bytes(), buffer);
        if let Some(will) = &self.will {
            will.properties.write_in(self.version, buffer);
            text::write(will.topic.as_bytes(), buffer);
            text::write(will.payload, buffer);
        }
        if let Some(username) = self.username {
            text::write(username.as_bytes(), buffer);
        }
        if let Some(password) = self.password {
            text::write(password, buffer);
        }
    }
}

/// Reads the protocol name and level. A level that no version has is told apart from a wrong name,
/// because the first is answered [MQTT-3.1.2-2] and the second is not [MQTT-3.1.2-1].
fn decode_version(reader: &mut Reader<'_>) -> Result<Version, Error> {
    let name = reader.binary()?;
    let level = reader.u8()?;
    if !Version::ALL.iter().any(|version| version.protocol_name().as_bytes() == name) {
        return Err(Error::UnknownProtocolName);
    }
    match Version::from_level(level) {
        Some(version) if version.protocol_name().as_bytes() == name => Ok(version),
        _ => Err(Error::UnacceptableProtocol),
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), Error> {
    if flags & flags::RESERVED != 0 && version > Version::V3_1 {
        return Err(Error::ReservedConnectFlag);
    }
    let will_qos = flags >> flags::WILL_QOS_SHIFT & 0b11;
    if flags & flags::WILL == 0 {
        // [MQTT-3.1.2-13] and [MQTT-3.1.2-15], in MQTT 5.0 [MQTT-3.1.2-11] and [MQTT-3.1.2-13].
        if (will_qos != 0 || flags & flags::WILL_RETAIN != 0) && version > Version::V3_1 {
            return Err(Error::WillFlagsWithoutWill);
        }
    } else if Qos::from_bits(will_qos).is_none() {
        return Err(Error::InvalidWillQos);
    }
    if flags & flags::PASSWORD != 0 && flags & flags::USERNAME == 0 && version < Version::V5 {
        return Err(Error::PasswordWithoutUsername);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{decode, refused, same, unwritable};
    use crate::{Packet, PropertiesBuf, Property};

    fn connect(version: Version, client_id: &str) -> Connect<'_> {
        Connect {
            version,
            clean_start: true,
            keep_alive: 60,
            properties: Properties::EMPTY,
            client_id,
            will: None,
            username: None,
            password: None,
        }
    }

    /// A CONNECT with the bytes from the connect flags on given.
    fn wire(version: Version, rest: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        text::write(version.protocol_name().as_bytes(), &mut body);
        body.push(version.level());
        body.extend(rest);
        [&[0x10, body.len() as u8], &body[..]].concat()
    }

    #[test]
    fn the_smallest_of_each_version() {
        let v3_1 = b"\x10\x0F\x00\x06MQIsdp\x03\x02\x00\x3C\x00\x01c";
        same(Version::V3_1_1, v3_1, &Packet::Connect(connect(Version::V3_1, "c")));
        let v3_1_1 = b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x3C\x00\x01c";
        same(Version::V3_1_1, v3_1_1, &Packet::Connect(connect(Version::V3_1_1, "c")));
        let v5 = b"\x10\x0E\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x01c";
        same(Version::V3_1_1, v5, &Packet::Connect(connect(Version::V5, "c")));
    }

    #[test]
    fn all_fields_in_their_order_mqtt_3_1_3_1() {
        let mut packet = connect(Version::V3_1_1, "c");
        packet.clean_start = false;
        packet.will = Some(Will {
            qos: Qos::ExactlyOnce,
            retain: true,
            properties: Properties::EMPTY,
            topic: "w",
            payload: &[0, 1],
        });
        packet.username = Some("u");
        packet.password = Some(&[0xFF]);
        let bytes = wire(
            Version::V3_1_1,
            b"\xF4\x00\x3C\x00\x01c\x00\x01w\x00\x02\x00\x01\x00\x01u\x00\x01\xFF",
        );
        same(Version::V5, &bytes, &Packet::Connect(packet));
    }

    #[test]
    fn properties_of_the_packet_and_of_the_will() {
        let (mut of_packet, mut of_will) = (PropertiesBuf::default(), PropertiesBuf::default());
        of_packet.push(&Property::SessionExpiryInterval(10)).unwrap();
        of_will.push(&Property::WillDelayInterval(5)).unwrap();
        let mut packet = connect(Version::V5, "");
        packet.properties = of_packet.as_properties();
        packet.will = Some(Will {
            qos: Qos::AtMostOnce,
            retain: false,
            properties: of_will.as_properties(),
            topic: "w",
            payload: b"",
        });
        packet.password = Some(b"p");
        let bytes = wire(
            Version::V5,
            b"\x46\x00\x3C\x05\x11\x00\x00\x00\x0A\x00\x00\x05\x18\x00\x00\x00\x05\x00\x01w\x00\x00\x00\x01p",
        );
        same(Version::V5, &bytes, &Packet::Connect(packet));
    }

    #[test]
    fn protocol_names_and_levels_mqtt_3_1_2_1_mqtt_3_1_2_2() {
        let table: [(&[u8], Error); 6] = [
            (b"\x10\x0D\x00\x04MQTX\x04\x02\x00\x3C\x00\x01c", Error::UnknownProtocolName),
            (b"\x10\x0D\x00\x04mqtt\x04\x02\x00\x3C\x00\x01c", Error::UnknownProtocolName),
            (b"\x10\x0D\x00\x04MQTT\x06\x02\x00\x3C\x00\x01c", Error::UnacceptableProtocol),
            (b"\x10\x0D\x00\x04MQTT\x7F\x02\x00\x3C\x00\x01c", Error::UnacceptableProtocol),
            (b"\x10\x0D\x00\x04MQTT\x03\x02\x00\x3C\x00\x01c", Error::UnacceptableProtocol),
            (b"\x10\x0F\x00\x06MQIsdp\x04\x02\x00\x3C\x00\x01c", Error::UnacceptableProtocol),
        ];
        for (bytes, error) in table {
            refused(Version::V3_1_1, bytes, error);
        }
    }

    #[test]
    fn connect_flags() {
        let table = [
            (0x03, Error::ReservedConnectFlag),
            (0x0A, Error::WillFlagsWithoutWill),
            (0x22, Error::WillFlagsWithoutWill),
            (0x1E, Error::InvalidWillQos),
            (0x42, Error::PasswordWithoutUsername),
        ];
        for (flags, error) in table {
            let rest = [flags, 0, 60, 0, 1, b'c', 0, 1, b'x', 0, 1, b'y'];
            refused(Version::V3_1_1, &wire(Version::V3_1_1, &rest), error);
        }
        assert!(decode(Version::V5, &wire(Version::V5, b"\x42\0\x3C\0\0\x01c\0\x01p")).is_ok());
    }

    #[test]
    fn fields_that_are_missing_or_too_many() {
        let table: [(&[u8], Error); 8] = [
            (b"\x02", Error::Truncated),
            (b"\x02\x00\x3C", Error::Truncated),
            (b"\x06\x00\x3C\x00\x01c", Error::Truncated),
            (b"\x82\x00\x3C\x00\x01c", Error::Truncated),
            (b"\xC2\x00\x3C\x00\x01c\x00\x01u", Error::Truncated),
            (b"\x02\x00\x3C\x00\x01c\x00\x01u", Error::TrailingBytes),
            (b"\x02\x00\x3C\x00\x02\xC3\x28", Error::InvalidUtf8),
            (b"\x06\x00\x3C\x00\x01c\x00\x01#\x00\x00", Error::WildcardInTopicName),
        ];
        for (rest, error) in table {
            refused(Version::V3_1_1, &wire(Version::V3_1_1, rest), error);
        }
        refused(
            Version::V3_1_1,
            b"\x11\x0D\x00\x04MQTT\x04\x02\x00\x3C\x00\x01c",
            Error::ReservedFlags,
        );
        refused(
            Version::V5,
            b"\x10\x8E\x00\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x01c",
            Error::OverlongInteger,
        );
    }

    #[test]
    fn mqtt_3_1_lets_the_remaining_length_overrule_the_flags() {
        let packet = Packet::Connect(connect(Version::V3_1, "c"));
        let bytes = wire(Version::V3_1, b"\xC2\x00\x3C\x00\x01c");
        assert_eq!(decode(Version::V3_1, &bytes), Ok(packet));
    }

    #[test]
    fn what_cannot_be_written_is_not() {
        let long = "x".repeat(65_536);
        unwritable(
            Version::V5,
            &Packet::Connect(connect(Version::V5, &long)),
            Error::StringTooLong,
        );
        let password_only = Connect { password: Some(b"p"), ..connect(Version::V3_1_1, "c") };
        unwritable(
            Version::V3_1_1,
            &Packet::Connect(password_only),
            Error::PasswordWithoutUsername,
        );
    }
}
