//! Why a connection ends.

use core::fmt;
use mqtt_codec::{Error, ReasonCode, Version};

/// The reason for which the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The peer broke the protocol.
    ProtocolError(Violation),
    /// No complete CONNECT came in time (section 3.1.4).
    ConnectTimeout,
    /// Nothing came for one and a half times the Keep Alive [MQTT-3.1.2-24].
    KeepAliveTimeout,
}

/// How the peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A packet could not be read.
    Packet(Error),
    /// The first packet is not CONNECT [MQTT-3.1.0-1].
    FirstPacketNotConnect,
    /// A second CONNECT [MQTT-3.1.0-2].
    SecondConnect,
    /// A packet that only servers send, or one that does not fit the state (section 4.8).
    UnexpectedPacket,
    /// An empty client identifier without Clean Session [MQTT-3.1.3-8].
    ClientIdentifierRequired,
    /// A message with a QoS that the server does not support.
    QosNotSupported,
}

impl Violation {
    /// The violation's name in `snake_case`, which is also its atom on the BEAM.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packet(error) => error.name(),
            Self::FirstPacketNotConnect => "first_packet_not_connect",
            Self::SecondConnect => "second_connect",
            Self::UnexpectedPacket => "unexpected_packet",
            Self::ClientIdentifierRequired => "client_identifier_required",
            Self::QosNotSupported => "qos_not_supported",
        }
    }

    /// The normative statement that forbids it, or the section. Empty where there is none.
    #[must_use]
    pub const fn statement(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Packet(error), _) => error.statement(version),
            (Self::FirstPacketNotConnect, _) => "MQTT-3.1.0-1",
            (Self::SecondConnect, _) => "MQTT-3.1.0-2",
            (Self::UnexpectedPacket, Version::V5) => "MQTT-4.13.1-1",
            (Self::UnexpectedPacket, _) => "MQTT-4.8.0-1",
            (Self::ClientIdentifierRequired, _) => "MQTT-3.1.3-8",
            (Self::QosNotSupported, Version::V5) => "MQTT-3.2.2-11",
            (Self::QosNotSupported, _) => "",
        }
    }

    /// The reason code with which MQTT 5.0 answers it (section 4.13).
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::Packet(error) => error.reason_code(),
            Self::ClientIdentifierRequired => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
            Self::QosNotSupported => ReasonCode::QOS_NOT_SUPPORTED,
            Self::FirstPacketNotConnect | Self::SecondConnect | Self::UnexpectedPacket => {
                ReasonCode::PROTOCOL_ERROR
            }
        }
    }
}

impl From<Error> for Close {
    fn from(error: Error) -> Self {
        Self::ProtocolError(Violation::Packet(error))
    }
}

impl From<Violation> for Close {
    fn from(violation: Violation) -> Self {
        Self::ProtocolError(violation)
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProtocolError(violation) => {
                write!(f, "protocol error: {}", violation.name().replace('_', " "))
            }
            Self::ConnectTimeout => f.write_str("no CONNECT in time"),
            Self::KeepAliveTimeout => f.write_str("keep alive timeout"),
        }
    }
}

impl core::error::Error for Close {}
