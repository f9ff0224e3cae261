//! The fields of a packet's body, read from front to back.

use crate::{Error, PacketId, text, varint};

/// What is left of a packet's body.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub(crate) fn take_rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    /// A Variable Byte Integer inside a packet, so of MQTT 5.0, so in its shortest form
    /// [MQTT-1.5.5-1].
    pub(crate) fn varint(&mut self) -> Result<u32, Error> {
        match varint::decode(self.rest) {
            Ok(Some((value, length))) if length == varint::length(value) => {
                self.bytes(length)?;
                Ok(value)
            }
            Ok(Some(_)) | Err(_) => Err(Error::OverlongInteger),
            Ok(None) => Err(Error::Truncated),
        }
    }

    /// Binary Data: two bytes of length, then that many bytes (MQTT 5.0, section 1.5.6).
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u16()?;
        self.bytes(usize::from(length))
    }

    /// A UTF-8 string (section 1.5.3, and 1.5.4 of MQTT 5.0).
    pub(crate) fn string(&mut self) -> Result<&'a str, Error> {
        text::check(self.binary()?)
    }

    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Error> {
        PacketId::new(self.u16()?).ok_or(Error::ZeroPacketIdentifier)
    }

    /// The end of the packet, where nothing may be left.
    pub(crate) const fn finish(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::TrailingBytes) }
    }
}
