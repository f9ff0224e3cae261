//! Packets that own what they hold, so that they can be made up and kept; each lends the packet
//! that borrows from it.

use crate::strategies::property::OwnedProperty;
use mqtt_codec::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, PacketId, PacketType, PropertiesBuf, Publish,
    Qos, ReasonCode, Suback, Subscribe, SubscriptionOptions, SubscriptionsBuf, TopicFiltersBuf,
    Unsubscribe, Version, Will,
};

#[derive(Clone, Debug)]
pub(crate) enum OwnedPacket {
    Connect(OwnedConnect),
    Connack {
        session_present: bool,
        reason: ReasonCode,
        properties: Vec<OwnedProperty>,
    },
    Publish(OwnedPublish),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack {
        packet_type: PacketType,
        packet_id: PacketId,
        reason: ReasonCode,
        properties: Vec<OwnedProperty>,
    },
    Subscribe {
        version: Version,
        packet_id: PacketId,
        properties: Vec<OwnedProperty>,
        subscriptions: Vec<(String, SubscriptionOptions)>,
    },
    /// SUBACK or UNSUBACK.
    Suback {
        packet_type: PacketType,
        packet_id: PacketId,
        properties: Vec<OwnedProperty>,
        codes: Vec<u8>,
    },
    Unsubscribe {
        packet_id: PacketId,
        properties: Vec<OwnedProperty>,
        filters: Vec<String>,
    },
    Pingreq,
    Pingresp,
    Disconnect {
        reason: ReasonCode,
        properties: Vec<OwnedProperty>,
    },
    Auth {
        reason: ReasonCode,
        properties: Vec<OwnedProperty>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct OwnedConnect {
    pub(crate) version: Version,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive: u16,
    pub(crate) properties: Vec<OwnedProperty>,
    pub(crate) client_id: String,
    pub(crate) will: Option<OwnedWill>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(crate) struct OwnedWill {
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) properties: Vec<OwnedProperty>,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct OwnedPublish {
    pub(crate) dup: bool,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) properties: Vec<OwnedProperty>,
    pub(crate) payload: Vec<u8>,
}

impl OwnedPacket {
    pub(crate) fn lend<R>(&self, borrow: impl FnOnce(&Packet<'_>) -> R) -> R {
        match self {
            Self::Connect(connect) => connect.lend(borrow),
            Self::Publish(publish) => publish.lend(borrow),
            Self::Pingreq => borrow(&Packet::Pingreq),
            Self::Pingresp => borrow(&Packet::Pingresp),
            Self::Connack { session_present, reason, properties } => {
                let properties = collect(properties);
                borrow(&Packet::Connack(Connack {
                    session_present: *session_present,
                    reason: *reason,
                    properties: properties.as_properties(),
                }))
            }
            Self::Ack { packet_type, packet_id, reason, properties } => {
                let properties = collect(properties);
                let ack = Ack {
                    packet_id: *packet_id,
                    reason: *reason,
                    properties: properties.as_properties(),
                };
                borrow(&match packet_type {
                    PacketType::Puback => Packet::Puback(ack),
                    PacketType::Pubrec => Packet::Pubrec(ack),
                    PacketType::Pubrel => Packet::Pubrel(ack),
                    PacketType::Pubcomp => Packet::Pubcomp(ack),
                    other => panic!("{other:?} is not built like a PUBACK"),
                })
            }
            Self::Subscribe { version, packet_id, properties, subscriptions } => {
                let properties = collect(properties);
                let mut buffer = SubscriptionsBuf::new(*version);
                for (filter, options) in subscriptions {
                    buffer.push(filter, *options).unwrap();
                }
                borrow(&Packet::Subscribe(Subscribe {
                    packet_id: *packet_id,
                    properties: properties.as_properties(),
                    subscriptions: buffer.as_subscriptions(),
                }))
            }
            Self::Suback { packet_type, packet_id, properties, codes } => {
                let properties = collect(properties);
                let suback =
                    Suback { packet_id: *packet_id, properties: properties.as_properties(), codes };
                borrow(&match packet_type {
                    PacketType::Suback => Packet::Suback(suback),
                    PacketType::Unsuback => Packet::Unsuback(suback),
                    other => panic!("{other:?} is not built like a SUBACK"),
                })
            }
            Self::Unsubscribe { packet_id, properties, filters } => {
                let properties = collect(properties);
                let mut buffer = TopicFiltersBuf::default();
                for filter in filters {
                    buffer.push(filter).unwrap();
                }
                borrow(&Packet::Unsubscribe(Unsubscribe {
                    packet_id: *packet_id,
                    properties: properties.as_properties(),
                    filters: buffer.as_filters(),
                }))
            }
            Self::Disconnect { reason, properties } => {
                let properties = collect(properties);
                borrow(&Packet::Disconnect(Disconnect {
                    reason: *reason,
                    properties: properties.as_properties(),
                }))
            }
            Self::Auth { reason, properties } => {
                let properties = collect(properties);
                borrow(&Packet::Auth(Auth {
                    reason: *reason,
                    properties: properties.as_properties(),
                }))
            }
        }
    }
}

impl OwnedConnect {
    fn lend<R>(&self, borrow: impl FnOnce(&Packet<'_>) -> R) -> R {
        let of_packet = collect(&self.properties);
        let of_will = self.will.as_ref().map(|will| collect(&will.properties)).unwrap_or_default();
        let will = self.will.as_ref().map(|will| Will {
            qos: will.qos,
            retain: will.retain,
            properties: of_will.as_properties(),
            topic: &will.topic,
            payload: &will.payload,
        });
        borrow(&Packet::Connect(Connect {
            version: self.version,
            clean_start: self.clean_start,
            keep_alive: self.keep_alive,
            properties: of_packet.as_properties(),
            client_id: &self.client_id,
            will,
            username: self.username.as_deref(),
            password: self.password.as_deref(),
        }))
    }
}

impl OwnedPublish {
    fn lend<R>(&self, borrow: impl FnOnce(&Packet<'_>) -> R) -> R {
        let properties = collect(&self.properties);
        borrow(&Packet::Publish(Publish {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: &self.topic,
            packet_id: self.packet_id,
            properties: properties.as_properties(),
            payload: &self.payload,
        }))
    }
}

fn collect(properties: &[OwnedProperty]) -> PropertiesBuf {
    let mut buffer = PropertiesBuf::default();
    for property in properties {
        buffer.push(&property.lend()).unwrap();
    }
    buffer
}
