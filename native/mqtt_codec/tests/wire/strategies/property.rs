//! The properties (MQTT 5.0, table 2-4) once more: what each holds and where each may stand.

use super::text::{binary, text, topic_name};
use mqtt_codec::{Place, Property, Version};
use proptest::collection::vec;
use proptest::prelude::*;

/// A value that a property owns, with the value that it lends and the bytes that it is.
trait Value {
    type Lent<'a>
    where
        Self: 'a;
    fn lend(&self) -> Self::Lent<'_>;
    fn wire(&self) -> Vec<u8>;
}

macro_rules! numbers {
    ($($number:ty)+) => {
        $(impl Value for $number {
            type Lent<'a> = Self;
            fn lend(&self) -> Self {
                *self
            }
            fn wire(&self) -> Vec<u8> {
                self.to_be_bytes().to_vec()
            }
        })+
    };
}

numbers! { u8 u16 u32 }

/// A Variable Byte Integer.
#[derive(Clone, Debug)]
pub(crate) struct Varint(u32);

impl Value for Varint {
    type Lent<'a> = u32;
    fn lend(&self) -> u32 {
        self.0
    }
    fn wire(&self) -> Vec<u8> {
        crate::support::varint(self.0 as usize)
    }
}

impl Value for Vec<u8> {
    type Lent<'a> = &'a [u8];
    fn lend(&self) -> &[u8] {
        self
    }
    fn wire(&self) -> Vec<u8> {
        [&(self.len() as u16).to_be_bytes(), &self[..]].concat()
    }
}

impl Value for String {
    type Lent<'a> = &'a str;
    fn lend(&self) -> &str {
        self
    }
    fn wire(&self) -> Vec<u8> {
        self.as_bytes().to_vec().wire()
    }
}

impl Value for (String, String) {
    type Lent<'a> = (&'a str, &'a str);
    fn lend(&self) -> (&str, &str) {
        (&self.0, &self.1)
    }
    fn wire(&self) -> Vec<u8> {
        [self.0.wire(), self.1.wire()].concat()
    }
}

/// A property, the places it may stand in, and how its values are made up.
pub(crate) struct Row {
    pub(crate) id: u8,
    pub(crate) places: &'static [Place],
    pub(crate) values: BoxedStrategy<OwnedProperty>,
}

macro_rules! properties {
    ($($id:literal $variant:ident($type:ty) [$($place:ident)*] $values:expr;)+) => {
        #[derive(Clone, Debug)]
        pub(crate) enum OwnedProperty {
            $($variant($type),)+
        }

        impl OwnedProperty {
            pub(crate) fn lend(&self) -> Property<'_> {
                match self { $(Self::$variant(value) => Property::$variant(value.lend()),)+ }
            }

            /// The identifier and the value.
            pub(crate) fn wire(&self) -> Vec<u8> {
                let (id, value): (u8, _) = match self {
                    $(Self::$variant(value) => ($id, value.wire()),)+
                };
                [&[id], &value[..]].concat()
            }
        }

        /// Every property.
        pub(crate) fn rows() -> Vec<Row> {
            vec![$(Row {
                id: $id,
                places: &[$(Place::$place),*],
                values: $values.prop_map(OwnedProperty::$variant).boxed(),
            },)+]
        }
    };
}

properties! {
    0x01 PayloadFormatIndicator(u8) [Publish Will] 0..=1_u8;
    0x02 MessageExpiryInterval(u32) [Publish Will] any::<u32>();
    0x03 ContentType(String) [Publish Will] text();
    0x08 ResponseTopic(String) [Publish Will] topic_name();
    0x09 CorrelationData(Vec<u8>) [Publish Will] binary();
    0x0B SubscriptionIdentifier(Varint) [Publish Subscribe] identifier();
    0x11 SessionExpiryInterval(u32) [Connect Connack Disconnect] any::<u32>();
    0x12 AssignedClientIdentifier(String) [Connack] text();
    0x13 ServerKeepAlive(u16) [Connack] any::<u16>();
    0x15 AuthenticationMethod(String) [Connect Connack Auth] text();
    0x16 AuthenticationData(Vec<u8>) [Connect Connack Auth] binary();
    0x17 RequestProblemInformation(u8) [Connect] 0..=1_u8;
    0x18 WillDelayInterval(u32) [Will] any::<u32>();
    0x19 RequestResponseInformation(u8) [Connect] 0..=1_u8;
    0x1A ResponseInformation(String) [Connack] text();
    0x1C ServerReference(String) [Connack Disconnect] text();
    0x1F ReasonString(String) [
        Connack Puback Pubrec Pubrel Pubcomp Suback Unsuback Disconnect Auth
    ] text();
    0x21 ReceiveMaximum(u16) [Connect Connack] 1..=u16::MAX;
    0x22 TopicAliasMaximum(u16) [Connect Connack] any::<u16>();
    0x23 TopicAlias(u16) [Publish] 1..=u16::MAX;
    0x24 MaximumQos(u8) [Connack] 0..=1_u8;
    0x25 RetainAvailable(u8) [Connack] 0..=1_u8;
    0x26 UserProperty((String, String)) [
        Connect Connack Publish Will Puback Pubrec Pubrel Pubcomp Subscribe Suback Unsubscribe
        Unsuback Disconnect Auth
    ] (text(), text());
    0x27 MaximumPacketSize(u32) [Connect Connack] 1..=u32::MAX;
    0x28 WildcardSubscriptionAvailable(u8) [Connack] 0..=1_u8;
    0x29 SubscriptionIdentifierAvailable(u8) [Connack] 0..=1_u8;
    0x2A SharedSubscriptionAvailable(u8) [Connack] 0..=1_u8;
}

/// Where properties may stand.
pub(crate) const PLACES: [Place; 14] = [
    Place::Connect,
    Place::Will,
    Place::Connack,
    Place::Publish,
    Place::Puback,
    Place::Pubrec,
    Place::Pubrel,
    Place::Pubcomp,
    Place::Subscribe,
    Place::Suback,
    Place::Unsubscribe,
    Place::Unsuback,
    Place::Disconnect,
    Place::Auth,
];

/// Properties as they may stand in that place, in any order; before MQTT 5.0 none.
pub(crate) fn properties(version: Version, place: Place) -> BoxedStrategy<Vec<OwnedProperty>> {
    if version < Version::V5 {
        return Just(Vec::new()).boxed();
    }
    let rows = rows().into_iter().filter(|row| row.places.contains(&place));
    let of_each: Vec<_> = rows.map(|row| vec(row.values, 0..=most(row.id, place))).collect();
    let some = of_each.prop_map(move |of_each| complete(place, of_each.concat())).prop_shuffle();
    let least = complete(place, Vec::new());
    prop_oneof![1 => Just(least), 3 => some].boxed()
}

/// How many of a property there are at most: more than one only where it may be repeated.
fn most(id: u8, place: Place) -> usize {
    match (id, place) {
        (0x26, _) => 4,
        (0x0B, Place::Publish) => 3,
        _ => 1,
    }
}

/// Authentication Data needs an Authentication Method, and so does AUTH.
fn complete(place: Place, mut properties: Vec<OwnedProperty>) -> Vec<OwnedProperty> {
    let has = |wanted: u8| properties.iter().any(|property| property.lend().id() == wanted);
    if (place == Place::Auth || has(0x16)) && !has(0x15) {
        properties.push(OwnedProperty::AuthenticationMethod("SCRAM-SHA-256".to_owned()));
    }
    properties
}

fn identifier() -> impl Strategy<Value = Varint> {
    prop_oneof![1..=127_u32, 128..=16_383_u32, 16_384..=2_097_151_u32, 2_097_152..=268_435_455_u32]
        .prop_map(Varint)
}
