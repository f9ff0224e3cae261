//! What a connection is allowed, and what the client said of itself.

use crate::Millis;
use mqtt_codec::{Connect, Limits, PacketType, Property, Qos, ReasonCode, Version};

/// What a connection is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What a packet may hold once the client has connected.
    pub limits: Limits,
    /// Bytes that CONNECT may have.
    pub connect_size: usize,
    /// How long the client may take for CONNECT.
    pub connect_timeout: Option<Millis>,
    /// How long a client that asked for no Keep Alive may be silent.
    pub idle_timeout: Option<Millis>,
    /// Messages of QoS 1 and 2 from the client that may be incomplete.
    pub receive_maximum: u16,
    /// Messages of QoS 1 and 2 to the client that may be unacknowledged, if it does not want fewer.
    pub max_inflight: u16,
    /// Topic aliases that the client may set.
    pub topic_alias_maximum: u16,
    /// Whether the application knows enhanced authentication.
    pub enhanced_authentication: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            connect_size: 64 * 1024,
            connect_timeout: Some(5_000),
            idle_timeout: None,
            receive_maximum: 1024,
            max_inflight: 1024,
            topic_alias_maximum: 16,
            enhanced_authentication: false,
        }
    }
}

/// What CONNECT said, as far as it matters later.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) clean_start: bool,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_size: Option<usize>,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) session_expiry_interval: u32,
    pub(crate) wants_problem_information: bool,
    pub(crate) wants_response_information: bool,
    pub(crate) authentication_method: Option<Box<str>>,
    /// QoS and RETAIN of the will.
    pub(crate) will: Option<(Qos, bool)>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            clean_start: true,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            session_expiry_interval: 0,
            wants_problem_information: true,
            wants_response_information: false,
            authentication_method: None,
            will: None,
        }
    }
}

impl Peer {
    pub(crate) fn of(connect: &Connect<'_>) -> Self {
        let will = connect.will.as_ref().map(|will| (will.qos, will.retain));
        let mut peer = Self { clean_start: connect.clean_start, will, ..Self::default() };
        for property in connect.properties.iter() {
            match property {
                Property::ReceiveMaximum(maximum) => peer.receive_maximum = maximum,
                Property::MaximumPacketSize(size) => peer.maximum_packet_size = Some(size as usize),
                Property::TopicAliasMaximum(maximum) => peer.topic_alias_maximum = maximum,
                Property::SessionExpiryInterval(seconds) => peer.session_expiry_interval = seconds,
                Property::RequestProblemInformation(wanted) => {
                    peer.wants_problem_information = wanted == 1;
                }
                Property::RequestResponseInformation(wanted) => {
                    peer.wants_response_information = wanted == 1;
                }
                Property::AuthenticationMethod(method) => {
                    peer.authentication_method = Some(method.into());
                }
                _ => {}
            }
        }
        peer
    }
}

/// What CONNACK offered, as far as the client has to keep to it.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are the specification's")]
pub(crate) struct Features {
    pub(crate) maximum_qos: Qos,
    pub(crate) retain: bool,
    pub(crate) wildcard_subscriptions: bool,
    pub(crate) shared_subscriptions: bool,
    pub(crate) subscription_identifiers: bool,
    pub(crate) session_expiry_interval: u32,
    /// What the application has the client's session last at most.
    pub(crate) longest_session: u32,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            maximum_qos: Qos::ExactlyOnce,
            retain: true,
            wildcard_subscriptions: true,
            shared_subscriptions: true,
            subscription_identifiers: true,
            session_expiry_interval: 0,
            longest_session: u32::MAX,
        }
    }
}

impl Features {
    /// Whether a will of this QoS and RETAIN is not offered.
    pub(crate) fn refuses_will(&self, will: Option<(Qos, bool)>) -> bool {
        will.is_some_and(|(qos, retain)| qos > self.maximum_qos || (retain && !self.retain))
    }

    pub(crate) fn learn(&mut self, property: &Property<'_>) {
        match *property {
            Property::MaximumQos(qos) => {
                self.maximum_qos = Qos::from_bits(qos).unwrap_or(Qos::ExactlyOnce);
            }
            Property::RetainAvailable(available) => self.retain = available == 1,
            Property::WildcardSubscriptionAvailable(available) => {
                self.wildcard_subscriptions = available == 1;
            }
            Property::SharedSubscriptionAvailable(available) => {
                self.shared_subscriptions = available == 1;
            }
            Property::SubscriptionIdentifierAvailable(available) => {
                self.subscription_identifiers = available == 1;
            }
            _ => {}
        }
    }
}

/// The code of an answer, instead of an error that the specification does not have for this packet.
pub(crate) fn code_for(reason: ReasonCode, packet_type: PacketType) -> ReasonCode {
    let fits = reason.allowed_in(packet_type) || !reason.is_error();
    if fits { reason } else { ReasonCode::UNSPECIFIED_ERROR }
}

/// The code of a CONNACK that refuses; before MQTT 5.0 one of five, or 0 if none says it.
pub(crate) fn connack_code(reason: ReasonCode, version: Version) -> ReasonCode {
    if version >= Version::V5 {
        let fits = reason.allowed_in(PacketType::Connack) && reason.is_error();
        return if fits { reason } else { ReasonCode::UNSPECIFIED_ERROR };
    }
    ReasonCode(match reason {
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => 1,
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => 2,
        ReasonCode::SERVER_UNAVAILABLE
        | ReasonCode::SERVER_BUSY
        | ReasonCode::QUOTA_EXCEEDED
        | ReasonCode::CONNECTION_RATE_EXCEEDED
        | ReasonCode::USE_ANOTHER_SERVER
        | ReasonCode::SERVER_MOVED => 3,
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => 4,
        ReasonCode::NOT_AUTHORIZED | ReasonCode::BANNED | ReasonCode::BAD_AUTHENTICATION_METHOD => {
            5
        }
        _ => 0,
    })
}
