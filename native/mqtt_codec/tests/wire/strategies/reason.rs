//! The reason codes of each packet (MQTT 5.0, table 2-6), and what stood there before.

use mqtt_codec::{PacketType, Version};

/// The codes that a packet may carry; none where the version's packet has no code.
pub(crate) fn codes(version: Version, packet_type: PacketType) -> &'static [u8] {
    match (version, packet_type) {
        // MQTT 3.1.1, section 3.2.2.3: the rest is reserved.
        (Version::V3_1 | Version::V3_1_1, PacketType::Connack) => &[0, 1, 2, 3, 4, 5],
        (Version::V3_1 | Version::V3_1_1, PacketType::Suback) => &[0x00, 0x01, 0x02, 0x80],
        // Section 3.2.2.2
        (Version::V5, PacketType::Connack) => &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90,
            0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
        ],
        // Sections 3.4.2.1 and 3.5.2.1
        (Version::V5, PacketType::Puback | PacketType::Pubrec) => {
            &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]
        }
        // Sections 3.6.2.1 and 3.7.2.1
        (Version::V5, PacketType::Pubrel | PacketType::Pubcomp) => &[0x00, 0x92],
        // Section 3.9.3
        (Version::V5, PacketType::Suback) => {
            &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2]
        }
        // Section 3.11.3
        (Version::V5, PacketType::Unsuback) => &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91],
        // Section 3.14.2.1, and 0x8C, which only table 2-6 gives to DISCONNECT.
        (Version::V5, PacketType::Disconnect) => &[
            0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90,
            0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0,
            0xA1, 0xA2,
        ],
        // Section 3.15.2.1
        (Version::V5, PacketType::Auth) => &[0x00, 0x18, 0x19],
        _ => &[],
    }
}
