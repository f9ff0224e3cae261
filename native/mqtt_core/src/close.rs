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
    /// A message with a QoS that the server does not support [MQTT-3.2.2-11].
    QosNotSupported,
    /// A retained message, which the server does not support [MQTT-3.2.2-14].
    RetainNotSupported,
    /// A subscription with wildcards, which the server does not support (3.2.2.3.11).
    WildcardSubscriptionsNotSupported,
    /// A shared subscription, which the server does not support (3.2.2.3.13).
    SharedSubscriptionsNotSupported,
    /// A Subscription Identifier, which the server does not support (3.2.2.3.12).
    SubscriptionIdentifiersNotSupported,
    /// More messages of QoS 1 and 2 at once than the server takes [MQTT-3.3.4-7].
    ReceiveMaximumExceeded,
    /// A Topic Alias above the maximum [MQTT-3.3.2-9].
    TopicAliasInvalid,
    /// A Topic Alias that has not been set (3.3.2.3.4).
    UnknownTopicAlias,
    /// A Subscription Identifier in a client's message [MQTT-3.3.4-6].
    SubscriptionIdentifierFromClient,
    /// An Authentication Method for which there is nobody [MQTT-4.12.0-1].
    AuthenticationMethodNotSupported,
    /// Another Authentication Method than in CONNECT [MQTT-4.12.0-5].
    AuthenticationMethodChanged,
    /// DISCONNECT with a Session Expiry Interval, where CONNECT had none (3.14.2.2.2).
    SessionExpiryRaised,
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
            Self::RetainNotSupported => "retain_not_supported",
            Self::WildcardSubscriptionsNotSupported => "wildcard_subscriptions_not_supported",
            Self::SharedSubscriptionsNotSupported => "shared_subscriptions_not_supported",
            Self::SubscriptionIdentifiersNotSupported => "subscription_identifiers_not_supported",
            Self::ReceiveMaximumExceeded => "receive_maximum_exceeded",
            Self::TopicAliasInvalid => "topic_alias_invalid",
            Self::UnknownTopicAlias => "unknown_topic_alias",
            Self::SubscriptionIdentifierFromClient => "subscription_identifier_from_client",
            Self::AuthenticationMethodNotSupported => "authentication_method_not_supported",
            Self::AuthenticationMethodChanged => "authentication_method_changed",
            Self::SessionExpiryRaised => "session_expiry_raised",
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
            (Self::QosNotSupported, _) => "MQTT-3.2.2-11",
            (Self::RetainNotSupported, _) => "MQTT-3.2.2-14",
            (Self::WildcardSubscriptionsNotSupported, _) => "3.2.2.3.11",
            (Self::SharedSubscriptionsNotSupported, _) => "3.2.2.3.13",
            (Self::SubscriptionIdentifiersNotSupported, _) => "3.2.2.3.12",
            (Self::ReceiveMaximumExceeded, _) => "MQTT-3.3.4-7",
            (Self::TopicAliasInvalid, _) => "MQTT-3.3.2-9",
            (Self::UnknownTopicAlias, _) => "3.3.2.3.4",
            (Self::SubscriptionIdentifierFromClient, _) => "MQTT-3.3.4-6",
            (Self::AuthenticationMethodNotSupported, _) => "MQTT-4.12.0-1",
            (Self::AuthenticationMethodChanged, _) => "MQTT-4.12.0-5",
            (Self::SessionExpiryRaised, _) => "3.14.2.2.2",
        }
    }

    /// The reason code with which MQTT 5.0 answers it (section 4.13).
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::Packet(error) => error.reason_code(),
            Self::ClientIdentifierRequired => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
            Self::QosNotSupported => ReasonCode::QOS_NOT_SUPPORTED,
            Self::RetainNotSupported => ReasonCode::RETAIN_NOT_SUPPORTED,
            Self::WildcardSubscriptionsNotSupported => {
                ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
            }
            Self::SharedSubscriptionsNotSupported => ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
            Self::SubscriptionIdentifiersNotSupported => {
                ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
            }
            Self::ReceiveMaximumExceeded => ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
            Self::TopicAliasInvalid => ReasonCode::TOPIC_ALIAS_INVALID,
            Self::AuthenticationMethodNotSupported => ReasonCode::BAD_AUTHENTICATION_METHOD,
            Self::FirstPacketNotConnect
            | Self::SecondConnect
            | Self::UnexpectedPacket
            | Self::UnknownTopicAlias
            | Self::SubscriptionIdentifierFromClient
            | Self::AuthenticationMethodChanged
            | Self::SessionExpiryRaised => ReasonCode::PROTOCOL_ERROR,
        }
    }
}

impl Close {
    /// The reason code with which MQTT 5.0 says it.
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::ProtocolError(violation) => violation.reason_code(),
            Self::ConnectTimeout => ReasonCode::MAXIMUM_CONNECT_TIME,
            Self::KeepAliveTimeout => ReasonCode::KEEP_ALIVE_TIMEOUT,
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
