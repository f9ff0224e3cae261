//! The properties of a packet (MQTT 5.0, section 2.2.2).

use crate::reader::Reader;
use crate::{Error, Place, Property, PropertyIdentifier, Version, varint};
use bytes::BufMut;
use core::fmt;

/// The properties of a packet: the bytes behind the Property Length, checked, and read when asked
/// for. Before MQTT 5.0 always empty.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties<'a> {
    raw: &'a [u8],
    /// Which there are, as bits by their identifiers.
    present: u64,
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties { raw: &[], present: 0 };

    /// The bytes of [`as_bytes`](Self::as_bytes) again, checked for their place.
    pub fn from_bytes(bytes: &'a [u8], place: Place) -> Result<Self, Error> {
        Ok(Self { raw: bytes, present: check(bytes, place, u16::MAX)? })
    }

    /// The bytes behind the Property Length.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Whether there is one with this identifier, which is known without reading them.
    #[must_use]
    pub const fn has(&self, identifier: PropertyIdentifier) -> bool {
        self.present & bit(identifier as u8) != 0
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
        let raw = reader.bytes(length as usize)?;
        Ok(Self { raw, present: check(raw, place, max_user_properties)? })
    }

    /// The bytes that the properties take with their length in front, if they may be written in
    /// that place; before MQTT 5.0 there is nothing to be written.
    pub(crate) fn length_in(&self, version: Version, place: Place) -> Result<usize, Error> {
        if version < Version::V5 {
            return if self.is_empty() { Ok(0) } else { Err(Error::NotInThisVersion) };
        }
        check(self.raw, place, u16::MAX)?;
        if self.raw.len() > varint::MAX {
            return Err(Error::PacketTooLarge);
        }
        Ok(self.length())
    }

    /// The bytes that they take with their length in front.
    pub(crate) fn length(&self) -> usize {
        varint::length(self.raw.len() as u32) + self.raw.len()
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

/// Checks the properties for their place, and says which there are.
fn check(raw: &[u8], place: Place, max_user_properties: u16) -> Result<u64, Error> {
    let mut reader = Reader::new(raw);
    let mut present = 0;
    let mut user_properties = 0_u16;
    while !reader.is_empty() {
        let property = Property::read(&mut reader)?;
        if property.places() & place as u16 == 0 {
            return Err(Error::PropertyNotAllowed);
        }
        let bit = bit(property.id());
        if present & bit != 0 && !property.repeats(place) {
            return Err(Error::DuplicateProperty);
        }
        present |= bit;
        property.check_value()?;
        if matches!(property, Property::UserProperty(_)) {
            user_properties = user_properties.saturating_add(1);
            if user_properties > max_user_properties {
                return Err(Error::TooManyUserProperties);
            }
        }
    }
    let has = |identifier| present & bit(identifier as u8) != 0;
    let has_method = has(PropertyIdentifier::AuthenticationMethod);
    if has(PropertyIdentifier::AuthenticationData) && !has_method {
        return Err(Error::AuthenticationDataWithoutMethod);
    }
    if place == Place::Auth && !has_method {
        return Err(Error::AuthenticationMethodMissing);
    }
    Ok(present)
}

/// The greatest identifier is 0x2A.
const fn bit(identifier: u8) -> u64 {
    1 << identifier
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
    present: u64,
}

impl PropertiesBuf {
    /// Appends a property. Whether it belongs into the packet shows when that is encoded.
    pub fn push(&mut self, property: &Property<'_>) -> Result<(), Error> {
        property.check_length()?;
        property.check_value()?;
        property.write(&mut self.raw);
        self.present |= bit(property.id());
        Ok(())
    }

    /// Takes all of them out.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.present = 0;
    }

    /// The properties, to be put into a packet.
    #[must_use]
    pub fn as_properties(&self) -> Properties<'_> {
        Properties { raw: &self.raw, present: self.present }
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
        for property in all {
            assert_eq!(Property::new(property.name(), property.value()), Some(property));
        }
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
