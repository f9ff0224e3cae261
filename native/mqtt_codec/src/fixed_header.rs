//! The fixed header (section 2.2, and 2.1.1 of MQTT 5.0).

use crate::{Error, Version, varint};

/// The control packet types (section 2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "they are the packets' names")]
pub enum PacketType {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The type in the upper half of a packet's first byte.
    #[must_use]
    pub const fn from_first_byte(byte: u8) -> Option<Self> {
        Some(match byte >> 4 {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The flags that the type has in the lower half of the first byte; PUBLISH has its own.
    #[must_use]
    pub const fn flags(self) -> u8 {
        match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

/// A packet's first two to five bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// What kind of packet it is.
    pub packet_type: PacketType,
    /// The lower half of the first byte.
    pub flags: u8,
    /// The bytes of the packet behind the fixed header.
    pub remaining_length: u32,
    /// The bytes of the fixed header itself.
    pub length: usize,
}

impl FixedHeader {
    /// Reads the header at the front of `input`; `None` while it is not all there. The first byte
    /// is checked as soon as it has come.
    #[inline]
    pub fn decode(input: &[u8], version: Version) -> Result<Option<Self>, Error> {
        let Some((&first, rest)) = input.split_first() else {
            return Ok(None);
        };
        let packet_type = PacketType::from_first_byte(first).ok_or(Error::ReservedPacketType)?;
        let flags = first & 0x0F;
        check_flags(packet_type, flags, version)?;
        let Some((remaining_length, length)) = varint::decode(rest)? else {
            return Ok(None);
        };
        let header = Self { packet_type, flags, remaining_length, length: 1 + length };
        if packet_type != PacketType::Connect && version >= Version::V5 {
            header.check_minimal()?;
        }
        if remaining_length > max_remaining_length(packet_type, version) {
            return Err(Error::TrailingBytes);
        }
        Ok(Some(header))
    }

    /// The bytes of the whole packet.
    #[must_use]
    pub const fn packet_length(&self) -> usize {
        self.length + self.remaining_length as usize
    }

    /// Whether the Remaining Length is as short as it can be, as MQTT 5.0 wants it [MQTT-1.5.5-1].
    pub(crate) const fn check_minimal(&self) -> Result<(), Error> {
        if self.length == 1 + varint::length(self.remaining_length) {
            Ok(())
        } else {
            Err(Error::OverlongInteger)
        }
    }
}

/// Reserved flags close the connection [MQTT-2.2.2-2], [MQTT-2.1.3-1]. MQTT 3.1 leaves them
/// unused, and its clients set DUP and QoS in packets that are sent again. CONNECT tells its
/// version further on, and checks them then.
fn check_flags(packet_type: PacketType, flags: u8, version: Version) -> Result<(), Error> {
    match packet_type {
        PacketType::Publish if flags & 0b0110 == 0b0110 => Err(Error::InvalidQos),
        PacketType::Publish if flags & 0b1110 == 0b1000 && version > Version::V3_1 => {
            Err(Error::DupAtQos0)
        }
        PacketType::Publish | PacketType::Connect => Ok(()),
        PacketType::Auth if version < Version::V5 => Err(Error::ReservedPacketType),
        _ if flags != packet_type.flags() && version > Version::V3_1 => Err(Error::ReservedFlags),
        _ => Ok(()),
    }
}

/// What a packet of fixed size has, so that nobody waits for more of it.
const fn max_remaining_length(packet_type: PacketType, version: Version) -> u32 {
    match packet_type {
        PacketType::Pingreq | PacketType::Pingresp => 0,
        _ if matches!(version, Version::V5) => u32::MAX,
        PacketType::Disconnect => 0,
        PacketType::Connack
        | PacketType::Puback
        | PacketType::Pubrec
        | PacketType::Pubrel
        | PacketType::Pubcomp
        | PacketType::Unsuback => 2,
        _ => u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_is_judged_before_the_rest_has_come() {
        let table = [
            (0x00, Version::V5, Error::ReservedPacketType),
            (0xF0, Version::V3_1_1, Error::ReservedPacketType),
            (0x36, Version::V3_1, Error::InvalidQos),
            (0x38, Version::V3_1_1, Error::DupAtQos0),
            (0x80, Version::V3_1_1, Error::ReservedFlags),
            (0x60, Version::V5, Error::ReservedFlags),
            (0xC1, Version::V5, Error::ReservedFlags),
        ];
        for (byte, version, error) in table {
            assert_eq!(FixedHeader::decode(&[byte], version), Err(error), "{byte:02X}");
        }
        assert_eq!(FixedHeader::decode(&[], Version::V5), Ok(None));
        assert_eq!(FixedHeader::decode(&[0xC0], Version::V5), Ok(None));
    }

    #[test]
    fn a_packet_of_fixed_size_is_judged_by_its_length() {
        let table = [
            (&[0xC0, 1][..], Version::V5),
            (&[0xD0, 1], Version::V3_1),
            (&[0xE0, 1], Version::V3_1_1),
            (&[0x40, 3], Version::V3_1_1),
            (&[0xB0, 3], Version::V3_1_1),
        ];
        for (bytes, version) in table {
            assert_eq!(FixedHeader::decode(bytes, version), Err(Error::TrailingBytes));
        }
        assert_eq!(
            FixedHeader::decode(&[0x40, 0x82, 0x00], Version::V5),
            Err(Error::OverlongInteger)
        );
        assert!(FixedHeader::decode(&[0x40, 3], Version::V5).is_ok());
    }

    #[test]
    fn mqtt_3_1_leaves_flags_unused() {
        for byte in [0x88, 0x8A, 0xA8, 0xC1, 0x38] {
            assert_eq!(FixedHeader::decode(&[byte], Version::V3_1), Ok(None));
        }
    }
}
