//! Each property of MQTT 5.0, its value, and where it may stand (section 2.2.2.2).

use crate::reader::Reader;
use crate::{Error, text, topic, varint};
use bytes::BufMut;

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

/// The value of a property, by the kind of its field (section 1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the data representations' names")]
pub enum Value<'a> {
    Byte(u8),
    TwoByteInteger(u16),
    FourByteInteger(u32),
    VariableByteInteger(u32),
    Utf8String(&'a str),
    BinaryData(&'a [u8]),
    Utf8StringPair((&'a str, &'a str)),
}

/// The kind of a property's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the data representations' names")]
pub enum Kind {
    Byte,
    TwoByteInteger,
    FourByteInteger,
    VariableByteInteger,
    Utf8String,
    BinaryData,
    Utf8StringPair,
}

macro_rules! properties {
    (@decode Byte $r:ident) => { $r.u8()? };
    (@decode TwoByteInteger $r:ident) => { $r.u16()? };
    (@decode FourByteInteger $r:ident) => { $r.u32()? };
    (@decode VariableByteInteger $r:ident) => { $r.varint()? };
    (@decode Utf8String $r:ident) => { $r.string()? };
    (@decode BinaryData $r:ident) => { $r.binary()? };
    (@decode Utf8StringPair $r:ident) => { ($r.string()?, $r.string()?) };
    (@write Byte $v:ident $b:ident) => { $b.put_u8(*$v) };
    (@write TwoByteInteger $v:ident $b:ident) => { $b.put_u16(*$v) };
    (@write FourByteInteger $v:ident $b:ident) => { $b.put_u32(*$v) };
    (@write VariableByteInteger $v:ident $b:ident) => { varint::write(*$v, $b) };
    (@write Utf8String $v:ident $b:ident) => { text::write($v.as_bytes(), $b) };
    (@write BinaryData $v:ident $b:ident) => { text::write($v, $b) };
    (@write Utf8StringPair $v:ident $b:ident) => {{
        text::write($v.0.as_bytes(), $b);
        text::write($v.1.as_bytes(), $b);
    }};
    (@type Byte $a:lifetime) => { u8 };
    (@type TwoByteInteger $a:lifetime) => { u16 };
    (@type FourByteInteger $a:lifetime) => { u32 };
    (@type VariableByteInteger $a:lifetime) => { u32 };
    (@type Utf8String $a:lifetime) => { &$a str };
    (@type BinaryData $a:lifetime) => { &$a [u8] };
    (@type Utf8StringPair $a:lifetime) => { (&$a str, &$a str) };

    ($($id:literal $variant:ident $name:literal $kind:ident [$($place:ident)*];)+) => {
        /// The identifier of a property.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum PropertyIdentifier {
            $(#[doc = concat!("`", $name, "`")] $variant = $id,)+
        }

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

            /// The value of the property, by the kind of its field.
            #[must_use]
            pub const fn value(&self) -> Value<'a> {
                match *self { $(Self::$variant(value) => Value::$kind(value),)+ }
            }

            /// The kind of the property that has this name.
            #[must_use]
            pub fn kind(name: &str) -> Option<Kind> {
                match name { $($name => Some(Kind::$kind),)+ _ => None }
            }

            /// The property of this name, if there is one and its value is of that kind.
            #[must_use]
            pub fn new(name: &str, value: Value<'a>) -> Option<Self> {
                match (name, value) {
                    $(($name, Value::$kind(value)) => Some(Self::$variant(value)),)+
                    _ => None,
                }
            }

            /// The places the property may stand in, as the bits of [`Place`].
            pub(crate) const fn places(&self) -> u16 {
                match self { $(Self::$variant(_) => 0 $(| Place::$place as u16)*,)+ }
            }

            pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
                // A Variable Byte Integer, of which one byte is in use.
                match reader.u8()? {
                    $($id => Ok(Self::$variant(properties!(@decode $kind reader))),)+
                    _ => Err(Error::UnknownProperty),
                }
            }

            pub(crate) fn write(&self, buffer: &mut impl BufMut) {
                buffer.put_u8(self.id());
                match self { $(Self::$variant(value) => properties!(@write $kind value buffer),)+ }
            }
        }
    };
}

properties! {
    0x01 PayloadFormatIndicator "payload_format_indicator" Byte [Publish Will];
    0x02 MessageExpiryInterval "message_expiry_interval" FourByteInteger [Publish Will];
    0x03 ContentType "content_type" Utf8String [Publish Will];
    0x08 ResponseTopic "response_topic" Utf8String [Publish Will];
    0x09 CorrelationData "correlation_data" BinaryData [Publish Will];
    0x0B SubscriptionIdentifier "subscription_identifier" VariableByteInteger [Publish Subscribe];
    0x11 SessionExpiryInterval "session_expiry_interval" FourByteInteger [Connect Connack Disconnect];
    0x12 AssignedClientIdentifier "assigned_client_identifier" Utf8String [Connack];
    0x13 ServerKeepAlive "server_keep_alive" TwoByteInteger [Connack];
    0x15 AuthenticationMethod "authentication_method" Utf8String [Connect Connack Auth];
    0x16 AuthenticationData "authentication_data" BinaryData [Connect Connack Auth];
    0x17 RequestProblemInformation "request_problem_information" Byte [Connect];
    0x18 WillDelayInterval "will_delay_interval" FourByteInteger [Will];
    0x19 RequestResponseInformation "request_response_information" Byte [Connect];
    0x1A ResponseInformation "response_information" Utf8String [Connack];
    0x1C ServerReference "server_reference" Utf8String [Connack Disconnect];
    0x1F ReasonString "reason_string" Utf8String [Connack Puback Pubrec Pubrel Pubcomp Suback Unsuback Disconnect Auth];
    0x21 ReceiveMaximum "receive_maximum" TwoByteInteger [Connect Connack];
    0x22 TopicAliasMaximum "topic_alias_maximum" TwoByteInteger [Connect Connack];
    0x23 TopicAlias "topic_alias" TwoByteInteger [Publish];
    0x24 MaximumQos "maximum_qos" Byte [Connack];
    0x25 RetainAvailable "retain_available" Byte [Connack];
    0x26 UserProperty "user_property" Utf8StringPair [Connect Will Connack Publish Puback Pubrec Pubrel Pubcomp Subscribe Suback Unsubscribe Unsuback Disconnect Auth];
    0x27 MaximumPacketSize "maximum_packet_size" FourByteInteger [Connect Connack];
    0x28 WildcardSubscriptionAvailable "wildcard_subscription_available" Byte [Connack];
    0x29 SubscriptionIdentifierAvailable "subscription_identifier_available" Byte [Connack];
    0x2A SharedSubscriptionAvailable "shared_subscription_available" Byte [Connack];
}

impl Property<'_> {
    /// Whether the value is one that the specification allows.
    pub(crate) fn check_value(&self) -> Result<(), Error> {
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
            Self::ResponseTopic(name) => return topic::check_characters(name, u16::MAX),
            _ => true,
        };
        if good { Ok(()) } else { Err(Error::InvalidPropertyValue) }
    }

    /// Whether a string or binary of the value is short enough, and a string free of U+0000.
    pub(crate) fn check_length(&self) -> Result<(), Error> {
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
    pub(crate) const fn repeats(&self, place: Place) -> bool {
        match self {
            Self::UserProperty(_) => true,
            Self::SubscriptionIdentifier(_) => matches!(place, Place::Publish),
            _ => false,
        }
    }
}
