//! What can be wrong with a packet, each by the name and the number the specifications give it.

use crate::{ReasonCode, Version};
use core::fmt;

macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $reason:ident, $v3:literal, $v5:literal;)+) => {
        /// A packet that cannot be read or written, and why.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Error {
            $($(#[$doc])* $variant,)+
        }

        impl Error {
            /// Every error there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The error's name in `snake_case`, which is also its atom on the BEAM.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The reason code with which MQTT 5.0 answers it (4.13.1).
            #[must_use]
            pub const fn reason_code(self) -> ReasonCode {
                match self { $(Self::$variant => ReasonCode::$reason,)+ }
            }

            /// The normative statement that forbids it, or the section where a statement has no
            /// number. Empty where that version has no such rule.
            #[must_use]
            pub const fn statement(self, version: Version) -> &'static str {
                match (self, version) {
                    $((Self::$variant, Version::V5) => $v5, (Self::$variant, _) => $v3,)+
                }
            }
        }
    };
}

errors! {
    /// The Remaining Length goes on after its fourth byte.
    RemainingLengthTooLong = "remaining_length_too_long", MALFORMED_PACKET, "2.2.3", "1.5.5";
    /// A Variable Byte Integer takes more bytes than its value needs.
    OverlongInteger = "overlong_integer", MALFORMED_PACKET, "", "MQTT-1.5.5-1";
    /// The packet is larger than the receiver takes.
    PacketTooLarge = "packet_too_large", PACKET_TOO_LARGE, "", "MQTT-3.2.2-15";
    /// Packet type 0, or 15 before MQTT 5.0.
    ReservedPacketType = "reserved_packet_type", MALFORMED_PACKET, "2.2.1", "2.1.2";
    /// The flags of the fixed header are not those of the packet type.
    ReservedFlags = "reserved_flags", MALFORMED_PACKET, "MQTT-2.2.2-2", "MQTT-2.1.3-1";
    /// Both QoS bits of a PUBLISH are set.
    InvalidQos = "invalid_qos", MALFORMED_PACKET, "MQTT-3.3.1-4", "MQTT-3.3.1-4";
    /// A PUBLISH has DUP set at QoS 0.
    DupAtQos0 = "dup_at_qos_0", MALFORMED_PACKET, "MQTT-3.3.1-2", "MQTT-3.3.1-2";
    /// A field reaches beyond the end of the packet.
    Truncated = "truncated", MALFORMED_PACKET, "MQTT-4.8.0-1", "MQTT-4.13.1-1";
    /// The packet goes on after its last field.
    TrailingBytes = "trailing_bytes", MALFORMED_PACKET, "MQTT-4.8.0-1", "MQTT-4.13.1-1";
    /// A string is not UTF-8.
    InvalidUtf8 = "invalid_utf8", MALFORMED_PACKET, "MQTT-1.5.3-1", "MQTT-1.5.4-1";
    /// A string encodes a surrogate, U+D800 to U+DFFF.
    SurrogateInString = "surrogate_in_string", MALFORMED_PACKET, "MQTT-1.5.3-1", "MQTT-1.5.4-1";
    /// A string encodes a character in more bytes than it needs.
    OverlongUtf8 = "overlong_utf8", MALFORMED_PACKET, "MQTT-1.5.3-1", "MQTT-1.5.4-1";
    /// A string holds U+0000.
    NulInString = "nul_in_string", MALFORMED_PACKET, "MQTT-1.5.3-2", "MQTT-1.5.4-2";
    /// A string or binary to be written is longer than 65,535 bytes.
    StringTooLong = "string_too_long", MALFORMED_PACKET, "1.5.3", "1.5.4";
    /// The protocol name is not the one of any version.
    UnknownProtocolName = "unknown_protocol_name", UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-1", "MQTT-3.1.2-1";
    /// The protocol level is not the one of any version.
    UnacceptableProtocol = "unacceptable_protocol", UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-2", "MQTT-3.1.2-2";
    /// Bit 0 of the connect flags is set.
    ReservedConnectFlag = "reserved_connect_flag", MALFORMED_PACKET, "MQTT-3.1.2-3", "MQTT-3.1.2-3";
    /// Will QoS or Will Retain is set without the Will Flag.
    WillFlagsWithoutWill = "will_flags_without_will", MALFORMED_PACKET, "MQTT-3.1.2-11", "MQTT-3.1.2-11";
    /// Both Will QoS bits are set.
    InvalidWillQos = "invalid_will_qos", MALFORMED_PACKET, "MQTT-3.1.2-14", "MQTT-3.1.2-12";
    /// The Password Flag is set without the User Name Flag.
    PasswordWithoutUsername = "password_without_username", MALFORMED_PACKET, "MQTT-3.1.2-22", "";
    /// A topic name has no characters.
    EmptyTopicName = "empty_topic_name", PROTOCOL_ERROR, "MQTT-4.7.3-1", "MQTT-4.7.3-1";
    /// A topic name has `+` or `#` in it.
    WildcardInTopicName = "wildcard_in_topic_name", TOPIC_NAME_INVALID, "MQTT-3.3.2-2", "MQTT-3.3.2-2";
    /// A topic filter has no characters.
    EmptyTopicFilter = "empty_topic_filter", PROTOCOL_ERROR, "MQTT-4.7.3-1", "MQTT-4.7.3-1";
    /// `#` is not alone in the last level of the filter.
    MisplacedMultiLevelWildcard = "misplaced_multi_level_wildcard", TOPIC_FILTER_INVALID, "MQTT-4.7.1-2", "MQTT-4.7.1-1";
    /// `+` is not alone in its level of the filter.
    MisplacedSingleLevelWildcard = "misplaced_single_level_wildcard", TOPIC_FILTER_INVALID, "MQTT-4.7.1-3", "MQTT-4.7.1-2";
    /// A shared subscription's filter lacks its share name or the filter behind it.
    InvalidShareName = "invalid_share_name", TOPIC_FILTER_INVALID, "", "MQTT-4.8.2-2";
    /// No Local is set on a shared subscription.
    NoLocalOnSharedSubscription = "no_local_on_shared_subscription", PROTOCOL_ERROR, "", "MQTT-3.8.3-4";
    /// A topic has more levels than the receiver takes.
    TooManyTopicLevels = "too_many_topic_levels", TOPIC_NAME_INVALID, "", "";
    /// A topic filter has.
    TooManyFilterLevels = "too_many_filter_levels", TOPIC_FILTER_INVALID, "", "";
    /// A SUBSCRIBE or UNSUBSCRIBE has no topic filter.
    NoTopicFilters = "no_topic_filters", PROTOCOL_ERROR, "MQTT-3.8.3-3", "MQTT-3.8.3-2";
    /// A SUBSCRIBE or UNSUBSCRIBE has more topic filters than the receiver takes.
    TooManyTopicFilters = "too_many_topic_filters", QUOTA_EXCEEDED, "", "";
    /// A SUBACK or UNSUBACK has no reason code.
    NoReasonCodes = "no_reason_codes", PROTOCOL_ERROR, "MQTT-3.8.4-5", "MQTT-3.8.4-6";
    /// The packet identifier is 0.
    ZeroPacketIdentifier = "zero_packet_identifier", PROTOCOL_ERROR, "MQTT-2.3.1-1", "MQTT-2.2.1-3";
    /// A PUBLISH has a packet identifier at QoS 0, or none above.
    PacketIdentifierMismatch = "packet_identifier_mismatch", PROTOCOL_ERROR, "MQTT-2.3.1-5", "MQTT-2.2.1-2";
    /// Reserved bits of the subscription options are set.
    ReservedSubscriptionOptions = "reserved_subscription_options", MALFORMED_PACKET, "MQTT-3.8.3-4", "MQTT-3.8.3-5";
    /// The requested QoS is 3.
    InvalidSubscriptionQos = "invalid_subscription_qos", PROTOCOL_ERROR, "MQTT-3.8.3-4", "3.8.3.1";
    /// The Retain Handling option is 3.
    InvalidRetainHandling = "invalid_retain_handling", PROTOCOL_ERROR, "", "3.8.3.1";
    /// Reserved bits of the connect acknowledge flags are set.
    ReservedAcknowledgeFlags = "reserved_acknowledge_flags", MALFORMED_PACKET, "3.2.2.1", "MQTT-3.2.2-1";
    /// A refusing CONNACK says that a session is present.
    SessionPresentOnRefusal = "session_present_on_refusal", PROTOCOL_ERROR, "MQTT-3.2.2-4", "MQTT-3.2.2-6";
    /// The reason code is not one of the packet's.
    InvalidReasonCode = "invalid_reason_code", PROTOCOL_ERROR, "MQTT-3.9.3-2", "MQTT-3.4.2-1";
    /// There is no property with this identifier.
    UnknownProperty = "unknown_property", MALFORMED_PACKET, "", "2.2.2.2";
    /// The property does not belong to this packet.
    PropertyNotAllowed = "property_not_allowed", MALFORMED_PACKET, "", "2.2.2.2";
    /// The property appears twice.
    DuplicateProperty = "duplicate_property", PROTOCOL_ERROR, "", "2.2.2.2";
    /// The property's value is outside its range.
    InvalidPropertyValue = "invalid_property_value", PROTOCOL_ERROR, "", "3.1.2.11";
    /// The packet has more user properties than the receiver takes.
    TooManyUserProperties = "too_many_user_properties", IMPLEMENTATION_SPECIFIC_ERROR, "", "";
    /// Authentication Data comes without an Authentication Method.
    AuthenticationDataWithoutMethod = "authentication_data_without_method", PROTOCOL_ERROR, "", "3.1.2.11.10";
    /// An AUTH packet names no Authentication Method.
    AuthenticationMethodMissing = "authentication_method_missing", PROTOCOL_ERROR, "", "3.15.2.2.2";
    /// The Topic Alias is 0.
    ZeroTopicAlias = "zero_topic_alias", TOPIC_ALIAS_INVALID, "", "MQTT-3.3.2-8";
    /// The packet or the field does not exist in this version.
    NotInThisVersion = "not_in_this_version", PROTOCOL_ERROR, "MQTT-4.8.0-1", "MQTT-4.13.1-1";
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().replace('_', " "))
    }
}

impl core::error::Error for Error {}
