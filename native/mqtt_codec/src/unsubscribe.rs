//! UNSUBSCRIBE (section 3.10).

use crate::reader::Reader;
use crate::{Decoder, Error, Limits, PacketId, Place, Properties, Version, text, topic};
use bytes::BufMut;
use core::fmt;

/// A request to end subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// The packet identifier.
    pub packet_id: PacketId,
    /// The properties.
    pub properties: Properties<'a>,
    /// The topic filters.
    pub filters: TopicFilters<'a>,
}

/// The filters of an UNSUBSCRIBE: the bytes of its payload, checked, and read when asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TopicFilters<'a> {
    raw: &'a [u8],
}

impl<'a> TopicFilters<'a> {
    /// The filters in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.raw);
        core::iter::from_fn(move || reader.string().ok())
    }

    fn check(&self, version: Version, limits: &Limits) -> Result<(), Error> {
        let mut reader = Reader::new(self.raw);
        let mut count = 0;
        if reader.is_empty() {
            return Err(Error::NoTopicFilters);
        }
        while !reader.is_empty() {
            topic::check_filter(reader.binary()?, version, limits.topic_levels)?;
            count += 1;
            if count > limits.topic_filters {
                return Err(Error::TooManyTopicFilters);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TopicFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Filters to be written into an UNSUBSCRIBE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicFiltersBuf {
    raw: Vec<u8>,
}

impl TopicFiltersBuf {
    /// Appends a filter. Whether it is well formed shows when the packet is encoded.
    pub fn push(&mut self, filter: &str) -> Result<(), Error> {
        text::string_length(filter)?;
        text::write(filter.as_bytes(), &mut self.raw);
        Ok(())
    }

    /// The filters, to be put into a packet.
    #[must_use]
    pub fn as_filters(&self) -> TopicFilters<'_> {
        TopicFilters { raw: &self.raw }
    }
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(decoder: &Decoder, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = if decoder.version >= Version::V5 {
            Properties::read(&mut reader, Place::Unsubscribe, decoder.limits.user_properties)?
        } else {
            Properties::EMPTY
        };
        let filters = TopicFilters { raw: reader.take_rest() };
        filters.check(decoder.version, &decoder.limits)?;
        Ok(Self { packet_id, properties, filters })
    }

    pub(crate) fn length(&self, version: Version) -> Result<usize, Error> {
        self.filters.check(version, &Limits::NONE)?;
        Ok(2 + self.properties.length_in(version, Place::Unsubscribe)? + self.filters.raw.len())
    }

    pub(crate) fn write(&self, version: Version, buffer: &mut impl BufMut) {
        buffer.put_u16(self.packet_id.get());
        self.properties.write_in(version, buffer);
        buffer.put_slice(self.filters.raw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;
    use crate::testing::{refused, same};

    #[test]
    fn two_filters() {
        let mut filters = TopicFiltersBuf::default();
        filters.push("a").unwrap();
        filters.push("b/#").unwrap();
        let packet = Packet::Unsubscribe(Unsubscribe {
            packet_id: PacketId::new(0x1234).unwrap(),
            properties: Properties::EMPTY,
            filters: filters.as_filters(),
        });
        let wire = [0xA2, 10, 0x12, 0x34, 0, 1, b'a', 0, 3, b'b', b'/', b'#'];
        same(Version::V3_1_1, &wire, &packet);
        let wire = [0xA2, 11, 0x12, 0x34, 0, 0, 1, b'a', 0, 3, b'b', b'/', b'#'];
        same(Version::V5, &wire, &packet);
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        let table: [(&[u8], Error); 6] = [
            (&[0xA2, 2, 0, 0], Error::ZeroPacketIdentifier),
            (&[0xA2, 2, 0, 1], Error::NoTopicFilters),
            (&[0xA2, 4, 0, 1, 0, 0], Error::EmptyTopicFilter),
            (&[0xA2, 5, 0, 1, 0, 2, b'a'], Error::Truncated),
            (&[0xA2, 6, 0, 1, 0, 2, 0xC3, 0x28], Error::InvalidUtf8),
            (&[0xA2, 6, 0, 1, 0, 2, b'#', b'a'], Error::MisplacedMultiLevelWildcard),
        ];
        for (wire, error) in table {
            refused(Version::V3_1_1, wire, error);
        }
    }
}
