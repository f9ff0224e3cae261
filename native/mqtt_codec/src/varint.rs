//! The Variable Byte Integer (section 2.2.3, and 1.5.5 of MQTT 5.0).

use crate::Error;
use bytes::BufMut;

/// The greatest value that fits: 268,435,455.
pub(crate) const MAX: usize = 0x0FFF_FFFF;

/// The value at the front of `input` and the bytes it takes; `None` while it is not all there.
pub(crate) fn decode(input: &[u8]) -> Result<Option<(u32, usize)>, Error> {
    let mut value = 0;
    for (index, &byte) in input.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            return Ok(Some((value, index + 1)));
        }
    }
    if input.len() < 4 { Ok(None) } else { Err(Error::RemainingLengthTooLong) }
}

/// The bytes that a value up to [`MAX`] takes.
pub(crate) const fn length(value: u32) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

pub(crate) fn write(mut value: u32, buffer: &mut impl BufMut) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_take_one_more_byte() {
        let table = [
            (0, vec![0x00]),
            (127, vec![0x7F]),
            (128, vec![0x80, 0x01]),
            (16_383, vec![0xFF, 0x7F]),
            (16_384, vec![0x80, 0x80, 0x01]),
            (2_097_151, vec![0xFF, 0xFF, 0x7F]),
            (2_097_152, vec![0x80, 0x80, 0x80, 0x01]),
            (268_435_455, vec![0xFF, 0xFF, 0xFF, 0x7F]),
        ];
        for (value, bytes) in table {
            let mut written = Vec::new();
            write(value, &mut written);
            assert_eq!(written, bytes);
            assert_eq!(length(value), bytes.len());
            assert_eq!(decode(&bytes), Ok(Some((value, bytes.len()))));
        }
    }

    #[test]
    fn a_fifth_byte_is_an_error_and_a_missing_one_is_not() {
        assert_eq!(decode(&[0xFF, 0xFF, 0xFF, 0xFF]), Err(Error::RemainingLengthTooLong));
        for cut in [&[][..], &[0x80], &[0x80, 0x80, 0x80]] {
            assert_eq!(decode(cut), Ok(None));
        }
    }
}
