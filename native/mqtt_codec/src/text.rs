//! UTF-8 strings: what may stand in them, and how they are written.

use crate::Error;
use bytes::BufMut;

/// The bytes as a string, if they are UTF-8 without surrogates and without U+0000.
/// A byte order mark at the front stays where it is [MQTT-1.5.4-3].
pub(crate) fn check(bytes: &[u8]) -> Result<&str, Error> {
    let string = check_utf8(bytes)?;
    if bytes.contains(&0) { Err(Error::NulInString) } else { Ok(string) }
}

/// As [`check`], but U+0000 may be in it.
pub(crate) fn check_utf8(bytes: &[u8]) -> Result<&str, Error> {
    core::str::from_utf8(bytes)
        .map_err(|error| classify(bytes.get(error.valid_up_to()..).unwrap_or_default()))
}

/// Names what is wrong with the bytes at the front of `rest`.
#[cold]
fn classify(rest: &[u8]) -> Error {
    match rest {
        [0xED, 0xA0..=0xBF, ..] => Error::SurrogateInString,
        [0xC0 | 0xC1, 0x80..=0xBF, ..] | [0xE0, 0x80..=0x9F, ..] | [0xF0, 0x80..=0x8F, ..] => {
            Error::OverlongUtf8
        }
        _ => Error::InvalidUtf8,
    }
}

/// The bytes that a string or Binary Data takes with its length in front.
pub(crate) const fn length(bytes: &[u8]) -> Result<usize, Error> {
    if bytes.len() > u16::MAX as usize {
        return Err(Error::StringTooLong);
    }
    Ok(2 + bytes.len())
}

/// As [`length`], for a string that has to be checked before it is written.
pub(crate) fn string_length(string: &str) -> Result<usize, Error> {
    if string.as_bytes().contains(&0) {
        return Err(Error::NulInString);
    }
    length(string.as_bytes())
}

/// Writes a string or Binary Data whose length has been checked.
pub(crate) fn write(bytes: &[u8], buffer: &mut impl BufMut) {
    buffer.put_u16(bytes.len() as u16);
    buffer.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_bad_string_has_its_name() {
        let table: [(&[u8], Error); 9] = [
            (&[b'a', 0xC3, 0x28], Error::InvalidUtf8),
            (&[0xFF], Error::InvalidUtf8),
            (&[0xE2, 0x82], Error::InvalidUtf8),
            (&[0xED, 0xA0, 0x80], Error::SurrogateInString),
            (&[b'a', 0xED, 0xBF, 0xBF], Error::SurrogateInString),
            (&[0xC0, 0x80], Error::OverlongUtf8),
            (&[0xE0, 0x80, 0x80], Error::OverlongUtf8),
            (&[0xF0, 0x80, 0x80, 0x80], Error::OverlongUtf8),
            (b"a\0b", Error::NulInString),
        ];
        for (bytes, error) in table {
            assert_eq!(check(bytes), Err(error), "{bytes:02X?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_a_character_mqtt_1_5_4_3() {
        assert_eq!(check(&[0xEF, 0xBB, 0xBF, b'a']), Ok("\u{FEFF}a"));
    }
}
