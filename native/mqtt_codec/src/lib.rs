//! Bytes to packets and back, for MQTT 3.1, 3.1.1 and 5.0, in both directions.
//!
//! [`Decoder::decode`] reads one packet from the front of a slice and borrows everything from it;
//! [`Packet::encode`] appends one to a buffer of the caller's. Nothing is allocated on the way in,
//! so nothing can be allocated from a length that a peer declared. Lists (properties, filters)
//! stay the bytes they were on the wire, checked once, and are read by iterators; to be written
//! they are collected in [`PropertiesBuf`], [`SubscriptionsBuf`] and [`TopicFiltersBuf`].
//!
//! ```
//! use mqtt_codec::{Decoded, Decoder, Packet, Version};
//!
//! let decoder = Decoder::new(Version::V3_1_1);
//! let wire = [0x30, 0x05, 0x00, 0x01, b'a', b'h', b'i'];
//! match decoder.decode(&wire)? {
//!     Decoded::Packet(Packet::Publish(publish), length) => {
//!         assert_eq!((publish.topic, publish.payload, length), ("a", &b"hi"[..], 7));
//!     }
//!     other => panic!("{other:?}"),
//! }
//! # Ok::<(), mqtt_codec::Error>(())
//! ```
//!
//! # Layout
//!
//! `fixed_header` finds the packet, `packet` chooses among the files that each hold one packet:
//! its type, decode, encode, and byte vectors. They are made of `reader`, `varint`, `text`, `topic`,
//! `property` and `properties`. [`Error`] names everything that can be wrong, with its normative number.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )
)]

mod ack;
mod auth;
mod connack;
mod connect;
mod decoder;
mod disconnect;
mod error;
mod fixed_header;
mod packet;
mod properties;
mod property;
mod publish;
mod reader;
mod reason;
mod suback;
mod subscribe;
mod text;
pub mod topic;
mod unsubscribe;
mod varint;
mod version;

#[cfg(test)]
mod testing;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::Connack;
pub use connect::{Connect, Will};
pub use decoder::{Decoded, Decoder, Limits};
pub use disconnect::Disconnect;
pub use error::Error;
pub use fixed_header::{FixedHeader, PacketType};
pub use packet::Packet;
pub use properties::{Properties, PropertiesBuf};
pub use property::{Kind, Place, Property, PropertyIdentifier, Value};
pub use publish::{Publish, Qos};
pub use reason::ReasonCode;
pub use suback::Suback;
pub use subscribe::{
    RetainHandling, Subscribe, Subscription, SubscriptionOptions, Subscriptions, SubscriptionsBuf,
};
pub use unsubscribe::{TopicFilters, TopicFiltersBuf, Unsubscribe};
pub use version::Version;

/// A packet identifier (section 2.3.1, and 2.2.1 of MQTT 5.0): never 0.
pub type PacketId = core::num::NonZeroU16;
