//! Shorthands for the byte vectors at the foot of each packet's file.

use crate::{Decoded, Decoder, Error, Packet, Version};

/// The packet that `wire` is, all of it.
pub(crate) fn decode(version: Version, wire: &[u8]) -> Result<Packet<'_>, Error> {
    match Decoder::new(version).decode(wire)? {
        Decoded::Packet(packet, length) => {
            assert_eq!(length, wire.len());
            Ok(packet)
        }
        Decoded::Incomplete(length) => panic!("{length} bytes needed of {wire:02X?}"),
    }
}

/// `wire` is `packet`, and the other way round.
pub(crate) fn same(version: Version, wire: &[u8], packet: &Packet<'_>) {
    assert_eq!(decode(version, wire).as_ref(), Ok(packet));
    let mut written = Vec::new();
    assert_eq!(packet.encode(version, &mut written), Ok(wire.len()));
    assert_eq!(written, wire);
}

/// `wire` is refused with `error`.
pub(crate) fn refused(version: Version, wire: &[u8], error: Error) {
    assert_eq!(Decoder::new(version).decode(wire), Err(error), "{wire:02X?}");
}

/// `packet` is not written, and nothing of it either.
pub(crate) fn unwritable(version: Version, packet: &Packet<'_>, error: Error) {
    let mut buffer = vec![1, 2, 3];
    assert_eq!(packet.encode(version, &mut buffer), Err(error));
    assert_eq!(buffer, [1, 2, 3]);
}
