//! The versions of the protocol.

/// A version of MQTT. It orders by age, so `version >= Version::V5` asks for properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1, protocol name `MQIsdp`.
    V3_1 = 3,
    /// MQTT 3.1.1.
    V3_1_1 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 3] = [Self::V3_1, Self::V3_1_1, Self::V5];

    /// The version of a protocol level (3.1.2.2), the byte behind the protocol name.
    #[must_use]
    pub fn from_level(level: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.level() == level)
    }

    /// The protocol level, as CONNECT carries it.
    #[must_use]
    pub const fn level(self) -> u8 {
        self as u8
    }

    /// The protocol name, as CONNECT carries it.
    #[must_use]
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V3_1 => "MQIsdp",
            Self::V3_1_1 | Self::V5 => "MQTT",
        }
    }
}
