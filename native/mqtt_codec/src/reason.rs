//! Reason codes (MQTT 5.0, section 2.4) and the packets each may stand in.

use crate::PacketType;

/// A reason code: below 0x80 a success, from there on a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReasonCode(pub u8);

macro_rules! reason_codes {
    ($($code:literal $constant:ident $name:literal [$($packet:ident)*];)+) => {
        impl ReasonCode {
            $(#[doc = concat!("`", $name, "`")] pub const $constant: Self = Self($code);)+

            /// The code's name in the specification, in `snake_case`. Where one code has several
            /// (0x00), the most general.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($code => Some($name),)+ _ => None }
            }

            /// Whether the specification lists the code for this packet.
            #[must_use]
            pub const fn allowed_in(self, packet: PacketType) -> bool {
                match self.0 {
                    $($code => matches!(packet, $(PacketType::$packet)|*),)+
                    _ => false,
                }
            }
        }
    };
}

reason_codes! {
    0x00 SUCCESS "success" [Connack Puback Pubrec Pubrel Pubcomp Suback Unsuback Auth Disconnect];
    0x01 GRANTED_QOS_1 "granted_qos_1" [Suback];
    0x02 GRANTED_QOS_2 "granted_qos_2" [Suback];
    0x04 DISCONNECT_WITH_WILL_MESSAGE "disconnect_with_will_message" [Disconnect];
    0x10 NO_MATCHING_SUBSCRIBERS "no_matching_subscribers" [Puback Pubrec];
    0x11 NO_SUBSCRIPTION_EXISTED "no_subscription_existed" [Unsuback];
    0x18 CONTINUE_AUTHENTICATION "continue_authentication" [Auth];
    0x19 RE_AUTHENTICATE "re_authenticate" [Auth];
    0x80 UNSPECIFIED_ERROR "unspecified_error" [Connack Puback Pubrec Suback Unsuback Disconnect];
    0x81 MALFORMED_PACKET "malformed_packet" [Connack Disconnect];
    0x82 PROTOCOL_ERROR "protocol_error" [Connack Disconnect];
    0x83 IMPLEMENTATION_SPECIFIC_ERROR "implementation_specific_error" [Connack Puback Pubrec Suback Unsuback Disconnect];
    0x84 UNSUPPORTED_PROTOCOL_VERSION "unsupported_protocol_version" [Connack];
    0x85 CLIENT_IDENTIFIER_NOT_VALID "client_identifier_not_valid" [Connack];
    0x86 BAD_USER_NAME_OR_PASSWORD "bad_user_name_or_password" [Connack];
    0x87 NOT_AUTHORIZED "not_authorized" [Connack Puback Pubrec Suback Unsuback Disconnect];
    0x88 SERVER_UNAVAILABLE "server_unavailable" [Connack];
    0x89 SERVER_BUSY "server_busy" [Connack Disconnect];
    0x8A BANNED "banned" [Connack];
    0x8B SERVER_SHUTTING_DOWN "server_shutting_down" [Disconnect];
    0x8C BAD_AUTHENTICATION_METHOD "bad_authentication_method" [Connack Disconnect];
    0x8D KEEP_ALIVE_TIMEOUT "keep_alive_timeout" [Disconnect];
    0x8E SESSION_TAKEN_OVER "session_taken_over" [Disconnect];
    0x8F TOPIC_FILTER_INVALID "topic_filter_invalid" [Suback Unsuback Disconnect];
    0x90 TOPIC_NAME_INVALID "topic_name_invalid" [Connack Puback Pubrec Disconnect];
    0x91 PACKET_IDENTIFIER_IN_USE "packet_identifier_in_use" [Puback Pubrec Suback Unsuback];
    0x92 PACKET_IDENTIFIER_NOT_FOUND "packet_identifier_not_found" [Pubrel Pubcomp];
    0x93 RECEIVE_MAXIMUM_EXCEEDED "receive_maximum_exceeded" [Disconnect];
    0x94 TOPIC_ALIAS_INVALID "topic_alias_invalid" [Disconnect];
    0x95 PACKET_TOO_LARGE "packet_too_large" [Connack Disconnect];
    0x96 MESSAGE_RATE_TOO_HIGH "message_rate_too_high" [Disconnect];
    0x97 QUOTA_EXCEEDED "quota_exceeded" [Connack Puback Pubrec Suback Disconnect];
    0x98 ADMINISTRATIVE_ACTION "administrative_action" [Disconnect];
    0x99 PAYLOAD_FORMAT_INVALID "payload_format_invalid" [Connack Puback Pubrec Disconnect];
    0x9A RETAIN_NOT_SUPPORTED "retain_not_supported" [Connack Disconnect];
    0x9B QOS_NOT_SUPPORTED "qos_not_supported" [Connack Disconnect];
    0x9C USE_ANOTHER_SERVER "use_another_server" [Connack Disconnect];
    0x9D SERVER_MOVED "server_moved" [Connack Disconnect];
    0x9E SHARED_SUBSCRIPTIONS_NOT_SUPPORTED "shared_subscriptions_not_supported" [Suback Disconnect];
    0x9F CONNECTION_RATE_EXCEEDED "connection_rate_exceeded" [Connack Disconnect];
    0xA0 MAXIMUM_CONNECT_TIME "maximum_connect_time" [Disconnect];
    0xA1 SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED "subscription_identifiers_not_supported" [Suback Disconnect];
    0xA2 WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED "wildcard_subscriptions_not_supported" [Suback Disconnect];
}

impl ReasonCode {
    /// Whether the code is a failure.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }
}
