//! The properties of MQTT 5.0 (section 2.2.2).

use crate::reader::Reader;
use crate::{Error, Version, text, topic, varint};
use bytes::BufMut;
use core::fmt;

/// What may carry properties: the packets, and the will inside CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs, reason = "they are the packets' names")]
pub enum Place {
    Connect = 1,
    Will = 1 << 1,
    Connack = 1 << 2,
    Publish = 1 << 3,
    Puback = 1 << 4,
    Pubrec = 1 << 5,
    Pubrel = 1 << 6,
    Pubcomp = 1 << 7,
    Subscribe = 1 << 8,
    Suback = 1 << 9,
    Unsubscribe = 1 << 10,
    Unsuback = 1 << 11,
    Disconnect = 1 << 12,
    Auth = 1 << 13,
}

macro_rules! properties {
    (@decode byte $r:ident) => { $r.u8()? };
    (@decode u16 $r:ident) => { $r.u16()? };
    (@decode u32 $r:ident) => { $r.u32()? };
    (@decode varint $r:ident) => { $r.varint()? };
    (@decode string $r:ident) => { $r.string()? };
    (@decode binary $r:ident) => { $r.binary()? };
    (@decode pair $r:ident) => { ($r.string()?, $r.string()?) };
    (@write byte $v:ident $b:ident) => { $b.put_u8(*$v) };
    (@write u16 $v:ident $b:ident) => { $b.put_u16(*$v) };
    (@write u32 $v:ident $b:ident) => { $b.put_u32(*$v) };
    (@write varint $v:ident $b:ident) => { varint::write(*$v, $b) };
    (@write string $v:ident $b:ident) => { text::write($v.as_bytes(), $b) };
    (@write binary $v:ident $b:ident) => { text::write($v, $b) };
    (@write pair $v:ident $b:ident) => {{
        text::write($v.0.as_bytes(), $b);
        text::write($v.1.as_bytes(), $b);
    }};
    (@type byte $a:lifetime) => { u8 };
    (@type u16 $a:lifetime) => { u16 };
    (@type u32 $a:lifetime) => { u32 };
    (@type varint $a:lifetime) => { u32 };
    (@type string $a:lifetime) => { &$a str };
    (@type binary $a:lifetime) => { &$a [u8] };
    (@type pair $a:lifetime) => { (&$a str, &$a str) };

    ($($id:literal $variant:ident $name:literal $kind:tt [$($place:ident)*];)+) => {
        /// A property and its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Property<'a> {
            $(#[doc = concat!("`", $name, "`")] $variant(properties!(@type $kind 'a)),)+
        }

        impl<'a> Property<'a> {
            /// The property's identifier.
            #[must_use]
            pub const fn id(&self) -> u8 {
                match self { $(Self::$variant(_) => $id,)+ }
            }

            /// The property's name in the specification, in `snake_case`.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// The places the property may stand in, as the bits of [`Place`].
            const fn places(&self) -> u16 {
                match self { $(Self::$variant(_) => 0 $(| Place::$place as u16)*,)+ }
            }

            fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
                // A Variable Byte Integer, of which one byte is in use.
                match reader.u8()? {
                    $($id => Ok(Self::$variant(properties!(@decode $kind reader))),)+
                    _ => Err(Error::UnknownProperty),
                }
            }

            fn write(&self, buffer: &mut impl BufMut) {
                buffer.put_u8(self.id());
                match self { $(Self::$variant(value) => properties!(@write $kind value buffer),)+ }
            }
        }
    };
}

properties! {
    0x01 PayloadFormatIndicator "payload_format_indicator" byte [Publish Will];
    0x02 MessageExpiryInterval "message_expiry_interval" u32 [Publish Will];
    0x03 ContentType "content_type" string [Publish Will];
    0x08 ResponseTopic "response_topic" string [Publish Will];
    0x09 CorrelationData "correlation_data" binary [Publish Will];
    0x0B SubscriptionIdentifier "subscription_identifier" varint [Publish Subscribe];
    0x11 SessionExpiryInterval "session_expiry_interval" u32 [Connect Connack Disconnect];
    0x12 AssignedClientIdentifier "assigned_client_identifier" string [Connack];
    0x13 ServerKeepAlive "server_keep_alive" u16 [Connack];
    0x15 AuthenticationMethod "authentication_method" string [Connect Connack Auth];
    0x16 AuthenticationData "authentication_data" binary [Connect Connack Auth];
    0x17 RequestProblemInformation "request_problem_information" byte [Connect];
    0x18 WillDelayInterval "will_delay_interval" u32 [Will];
    0x19 RequestResponseInformation "request_response_information" byte [Connect];
    0x1A ResponseInformation "response_information" string [Connack];
    0x1C ServerReference "server_reference" string [Connack Disconnect];
    0x1F ReasonString "reason_string" string [Connack Puback Pubrec Pubrel Pubcomp Suback Unsuback Disconnect Auth];
    0x21 ReceiveMaximum "receive_maximum" u16 [Connect Connack];
    0x22 TopicAliasMaximum "topic_alias_maximum" u16 [Connect Connack];
    0x23 TopicAlias "topic_alias" u16 [Publish];
    0x24 MaximumQos "maximum_qos" byte [Connack];
    0x25 RetainAvailable "retain_available" byte [Connack];
    0x26 UserProperty "user_property" pair [Connect Will Connack Publish Puback Pubrec Pubrel Pubcomp Subscribe Suback Unsubscribe Unsuback Disconnect Auth];
    0x27 MaximumPacketSize "maximum_packet_size" u32 [Connect Connack];
    0x28 WildcardSubscriptionAvailable "wildcard_subscription_available" byte [Connack];
    0x29 SubscriptionIdentifierAvailable "subscription_identifier_available" byte [Connack];
    0x2A SharedSubscriptionAvailable "shared_subscription_available" byte [Connack];
}

impl Property<'_> {
    /// Whether the value is one that the specification allows.
    fn check_value(&self) -> Result<(), Error> {
        let good = match *self {
            Self::PayloadFormatIndicator(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::MaximumQos(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifierAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => value <= 1,
            Self::ReceiveMaximum(value) => value > 0,
            Self::MaximumPacketSize(value) => value > 0,
            Self::SubscriptionIdentifier(value) => value > 0 && value as usize <= varint::MAX,
            Self::TopicAlias(0) => return Err(Error::ZeroTopicAlias),
            // [MQTT-3.3.2-14], and [MQTT-4.7.3-1] for the empty one
            Self::ResponseTopic(name) => {
                return topic::check_name(name.as_bytes(), u16::MAX).map(|_| ());
            }
            _ => true,
        };
        if good { Ok(()) } else { Err(Error::InvalidPropertyValue) }
    }

    /// Whether a string or binary of the value is short enough, and a string free of U+0000.
    fn check_length(&self) -> Result<(), Error> {
        match *self {
            Self::UserProperty((name, value)) => {
                text::string_length(name)?;
                text::string_length(value)?;
            }
            Self::ContentType(value)
            | Self::ResponseTopic(value)
            | Self::AssignedClientIdentifier(value)
            | Self::AuthenticationMethod(value)
            | Self::ResponseInformation(value)
            | Self::ServerReference(value)
            | Self::ReasonString(value) => {
                text::string_length(value)?;
            }
            Self::CorrelationData(value) | Self::AuthenticationData(value) => {
                text::length(value)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the property may appear more than once: only a User Property, and in a PUBLISH the
    /// Subscription Identifier.
    const fn repeats(&self, place: Place) -> bool {
        match self {
            Self::UserProperty(_) => true,
            Self::SubscriptionIdentifier(_) => matches!(place, Place::Publish),
            _ => false,
        }
    }
}

/// The properties of a packet: the bytes behind the Property Length, checked, and read when asked
/// for. Before MQTT 5.0 always empty.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties<'a> {
    raw: &'a [u8],
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties { raw: &[] };

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The properties in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut reader = Reader::new(self.raw);
        // What is in `raw` has been read once, so the end is the only error there can be.
        core::iter::from_fn(move || Property::read(&mut reader).ok())
    }

    /// Reads the Property Length and checks as many bytes of properties for their place.
    pub(crate) fn read(
        reader: &mut Reader<'a>,
        place: Place,
        max_user_properties: u16,
    ) -> Result<Self, Error> {
        let length = reader.varint()?;
        let properties = Self { raw: reader.bytes(length as usize)? };
        properties.check(place, max_user_properties)?;
        Ok(properties)
    }

    pub(crate) fn check(&self, place: Place, max_user_properties: u16) -> Result<(), Error> {
        let mut reader = Reader::new(self.raw);
        let mut seen = 0_u64;
        let mut user_properties = 0_u16;
        while !reader.is_empty() {
            let property = Property::read(&mut reader)?;
            if property.places() & place as u16 == 0 {
                return Err(Error::PropertyNotAllowed);
            }
            let bit = 1 << property.id();
            if seen & bit != 0 && !property.repeats(place) {
                return Err(Error::DuplicateProperty);
            }
            seen |= bit;
            property.check_value()?;
            if matches!(property, Property::UserProperty(_)) {
                user_properties = user_properties.saturating_add(1);
                if user_properties > max_user_properties {
                    return Err(Error::TooManyUserProperties);
                }
            }
        }
        let authentication = |id: u8| seen & (1 << id) != 0;
        if authentication(0x16) && !authentication(0x15) {
            return Err(Error::AuthenticationDataWithoutMethod);
        }
        if place == Place::Auth && !authentication(0x15) {
            return Err(Error::AuthenticationMethodMissing);
        }
        Ok(())
    }

    /// The bytes that the properties take with their length in front, if they may be written in
    /// that place; before MQTT 5.0 there is nothing to be written.
    pub(crate) fn length_in(&self, version: Version, place: Place) -> Result<usize, Error> {
        if version < Version::V5 {
            return if self.is_empty() { Ok(0) } else { Err(Error::NotInThisVersion) };
        }
        self.check(place, u16::MAX)?;
        let length = self.raw.len();
        if length > varint::MAX {
            return Err(Error::PacketTooLarge);
        }
        Ok(varint::length(length as u32) + length)
    }

    pub(crate) fn write_in(&self, version: Version, buffer: &mut impl BufMut) {
        if version >= Version::V5 {
            self.write(buffer);
        }
    }

    pub(crate) fn write(&self, buffer: &mut impl BufMut) {
        varint::write(self.raw.len() as u32, buffer);
        buffer.put_slice(self.raw);
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Properties to be written.
///
/// ```
/// use mqtt_codec::{PropertiesBuf, Property};
///
/// let mut properties = PropertiesBuf::default();
/// properties.push(&Property::MessageExpiryInterval(60))?;
/// properties.push(&Property::UserProperty(("unit", "°C")))?;
/// assert_eq!(properties.as_properties().iter().count(), 2);
/// # Ok::<(), mqtt_codec::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertiesBuf {
    raw: Vec<u8>,
}

impl PropertiesBuf {
    /// Appends a property. Whether it belongs into the packet shows when that is encoded.
    pub fn push(&mut self, property: &Property<'_>) -> Result<(), Error> {
        property.check_length()?;
        property.check_value()?;
        property.write(&mut self.raw);
        Ok(())
    }

    /// The properties, to be put into a packet.
    #[must_use]
    pub fn as_properties(&self) -> Properties<'_> {
        Properties { raw: &self.raw }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], place: Place) -> Result<usize, Error> {
        Properties::read(&mut Reader::new(bytes), place, 2).map(|found| found.iter().count())
    }

    #[test]
    fn every_property_survives_the_wire() {
        let all = [
            Property::PayloadFormatIndicator(1),
            Property::MessageExpiryInterval(u32::MAX),
            Property::ContentType("text/plain"),
            Property::ResponseTopic("a/b"),
            Property::CorrelationData(&[0, 255]),
            Property::SubscriptionIdentifier(268_435_455),
            Property::SessionExpiryInterval(1),
            Property::AssignedClientIdentifier("c"),
            Property::ServerKeepAlive(1),
            Property::AuthenticationMethod("m"),
            Property::AuthenticationData(&[]),
            Property::RequestProblemInformation(0),
            Property::WillDelayInterval(0),
            Property::RequestResponseInformation(1),
            Property::ResponseInformation("r"),
            Property::ServerReference("s"),
            Property::ReasonString("r"),
            Property::ReceiveMaximum(1),
            Property::TopicAliasMaximum(0),
            Property::TopicAlias(1),
            Property::MaximumQos(1),
            Property::RetainAvailable(0),
            Property::UserProperty(("", "ä")),
            Property::MaximumPacketSize(1),
            Property::WildcardSubscriptionAvailable(1),
            Property::SubscriptionIdentifierAvailable(1),
            Property::SharedSubscriptionAvailable(1),
        ];
        let mut buffer = PropertiesBuf::default();
        for property in &all {
            buffer.push(property).unwrap();
        }
        assert!(buffer.as_properties().iter().eq(all));
    }

    #[test]
    fn what_is_wrong_with_properties_has_a_name() {
        let table: [(&[u8], Place, Error); 16] = [
            (&[], Place::Publish, Error::Truncated),
            (&[2, 1], Place::Publish, Error::Truncated),
            (&[1, 1], Place::Publish, Error::Truncated),
            (&[0x80, 0x00], Place::Publish, Error::OverlongInteger),
            (&[2, 0x04, 0], Place::Publish, Error::UnknownProperty),
            (&[2, 0x80, 0x01], Place::Publish, Error::UnknownProperty),
            (&[3, 0x21, 0, 1], Place::Publish, Error::PropertyNotAllowed),
            (&[4, 1, 0, 1, 0], Place::Publish, Error::DuplicateProperty),
            (&[4, 0x0B, 1, 0x0B, 1], Place::Subscribe, Error::DuplicateProperty),
            (&[2, 1, 2], Place::Publish, Error::InvalidPropertyValue),
            (&[3, 0x21, 0, 0], Place::Connect, Error::InvalidPropertyValue),
            (&[5, 0x27, 0, 0, 0, 0], Place::Connect, Error::InvalidPropertyValue),
            (&[2, 0x0B, 0], Place::Subscribe, Error::InvalidPropertyValue),
            (&[3, 0x23, 0, 0], Place::Publish, Error::ZeroTopicAlias),
            (&[3, 0x16, 0, 0], Place::Connect, Error::AuthenticationDataWithoutMethod),
            (&[6, 0x08, 0, 3, b'a', b'/', b'#'], Place::Publish, Error::WildcardInTopicName),
        ];
        for (bytes, place, error) in table {
            assert_eq!(read(bytes, place), Err(error), "{bytes:02X?}");
        }
        assert_eq!(read(&[4, 0x0B, 1, 0x0B, 1], Place::Publish), Ok(2));
    }

    #[test]
    fn user_properties_have_a_limit() {
        let one = [0x26, 0, 0, 0, 0];
        let with = |count: usize| {
            let mut bytes = vec![5 * count as u8];
            bytes.extend(one.repeat(count));
            bytes
        };
        assert_eq!(read(&with(2), Place::Disconnect), Ok(2));
        assert_eq!(read(&with(3), Place::Disconnect), Err(Error::TooManyUserProperties));
    }
}
