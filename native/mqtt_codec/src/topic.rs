//! Topic names and topic filters (section 4.7).

use crate::{Error, Version, text};

/// The prefix of a shared subscription's filter (MQTT 5.0, section 4.8.2).
const SHARE: &[u8] = b"$share/";

/// The bytes as a topic name of at most `max_levels` levels: not empty, without wildcards.
pub fn check_name(bytes: &[u8], max_levels: u16) -> Result<&str, Error> {
    if bytes.is_empty() {
        return Err(Error::EmptyTopicName);
    }
    let mut separators = 0_usize;
    let (mut wildcards, mut nuls) = (0, 0);
    // In pieces that a byte can count, which the compiler turns into vectors.
    for piece in bytes.chunks(128) {
        let mut slashes = 0_u8;
        for &byte in piece {
            slashes += u8::from(byte == b'/');
            wildcards |= u8::from(byte == b'+') | u8::from(byte == b'#');
            nuls |= u8::from(byte == 0);
        }
        separators += usize::from(slashes);
    }
    let name = if nuls == 0 { text::check_utf8(bytes)? } else { text::check(bytes)? };
    if wildcards != 0 {
        return Err(Error::WildcardInTopicName);
    }
    check_levels(separators, max_levels)?;
    Ok(name)
}

/// The bytes as a topic filter of at most `max_levels` levels, its wildcards in their places. In
/// MQTT 5.0 a filter that begins with `$share/` is checked as a shared subscription.
pub fn check_filter(bytes: &[u8], version: Version, max_levels: u16) -> Result<&str, Error> {
    if bytes.is_empty() {
        return Err(Error::EmptyTopicFilter);
    }
    let filter = text::check(bytes)?;
    let levels = match bytes.strip_prefix(SHARE) {
        Some(shared) if version >= Version::V5 => check_share(shared)?,
        _ => bytes,
    };
    let mut separators = 0_usize;
    let mut ended = false;
    for level in levels.split(|&byte| byte == b'/') {
        separators += 1;
        if ended {
            return Err(Error::MisplacedMultiLevelWildcard);
        }
        match level {
            [b'#'] => ended = true,
            [b'+'] => {}
            _ if level.contains(&b'#') => return Err(Error::MisplacedMultiLevelWildcard),
            _ if level.contains(&b'+') => return Err(Error::MisplacedSingleLevelWildcard),
            _ => {}
        }
    }
    check_levels(separators.saturating_sub(1), max_levels)?;
    Ok(filter)
}

/// Whether a filter of MQTT 5.0 is a shared subscription's.
#[must_use]
pub fn is_shared(filter: &str) -> bool {
    filter.as_bytes().starts_with(SHARE)
}

/// What is behind the share name of a shared filter without its prefix
/// [MQTT-4.8.2-1] [MQTT-4.8.2-2].
fn check_share(shared: &[u8]) -> Result<&[u8], Error> {
    let slash = shared.iter().position(|&byte| byte == b'/').ok_or(Error::InvalidShareName)?;
    let (name, filter) = shared.split_at(slash);
    if name.is_empty() || name.iter().any(|byte| matches!(byte, b'+' | b'#')) {
        return Err(Error::InvalidShareName);
    }
    match filter.get(1..) {
        Some(filter) if !filter.is_empty() => Ok(filter),
        _ => Err(Error::InvalidShareName),
    }
}

/// The greatest limit is none: 65,535 separators, which a topic has room for [MQTT-4.7.3-3], make a
/// level more than it can say.
fn check_levels(separators: usize, max_levels: u16) -> Result<(), Error> {
    if separators < usize::from(max_levels) || max_levels == u16::MAX {
        Ok(())
    } else {
        Err(Error::TooManyTopicLevels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "/", "a/b", "//", " ", "$SYS/x", "sport/ä", "\u{FEFF}a"] {
            assert_eq!(check_name(good.as_bytes(), 128), Ok(good));
        }
        let table: [(&[u8], Error); 6] = [
            (b"", Error::EmptyTopicName),
            (b"a/+", Error::WildcardInTopicName),
            (b"a/#", Error::WildcardInTopicName),
            (b"a+b", Error::WildcardInTopicName),
            (b"a\0", Error::NulInString),
            (&[b'a', 0xFF], Error::InvalidUtf8),
        ];
        for (bad, error) in table {
            assert_eq!(check_name(bad, 128), Err(error), "{bad:02X?}");
        }
    }

    #[test]
    fn filters() {
        for good in
            ["#", "+", "/", "a/#", "+/a", "a/+/b", "+/+/#", "/+", "$SYS/#", "a/", "$share/g/a"]
        {
            for version in Version::ALL {
                assert_eq!(check_filter(good.as_bytes(), version, 128), Ok(good));
            }
        }
        let table: [(&str, Error); 12] = [
            ("", Error::EmptyTopicFilter),
            ("a#", Error::MisplacedMultiLevelWildcard),
            ("#/a", Error::MisplacedMultiLevelWildcard),
            ("#/", Error::MisplacedMultiLevelWildcard),
            ("a/#/b", Error::MisplacedMultiLevelWildcard),
            ("##", Error::MisplacedMultiLevelWildcard),
            ("a+", Error::MisplacedSingleLevelWildcard),
            ("+a/b", Error::MisplacedSingleLevelWildcard),
            ("a/b+/c", Error::MisplacedSingleLevelWildcard),
            ("++", Error::MisplacedSingleLevelWildcard),
            ("+#", Error::MisplacedMultiLevelWildcard),
            ("a\0", Error::NulInString),
        ];
        for (bad, error) in table {
            assert_eq!(check_filter(bad.as_bytes(), Version::V3_1_1, 128), Err(error), "{bad}");
        }
    }

    #[test]
    fn shared_filters_are_those_of_mqtt_5_mqtt_4_8_2_1_mqtt_4_8_2_2() {
        for bad in ["$share/", "$share//a", "$share/g", "$share/g/", "$share/g+/a", "$share/#/a"] {
            let checked = check_filter(bad.as_bytes(), Version::V5, 128);
            assert_eq!(checked, Err(Error::InvalidShareName), "{bad}");
        }
        assert_eq!(check_filter(b"$share//a", Version::V3_1_1, 128), Ok("$share//a"));
        assert_eq!(
            check_filter(b"$share/g/a#", Version::V5, 128),
            Err(Error::MisplacedMultiLevelWildcard)
        );
    }

    #[test]
    fn levels_have_a_limit() {
        assert_eq!(check_name(b"a/b/c", 3), Ok("a/b/c"));
        assert_eq!(check_name(b"a/b/c/", 3), Err(Error::TooManyTopicLevels));
        assert_eq!(check_filter(b"a/+/#", Version::V5, 3), Ok("a/+/#"));
        assert_eq!(check_filter(b"a/+/b/#", Version::V5, 3), Err(Error::TooManyTopicLevels));
        assert_eq!(check_filter(b"$share/g/a/b/c", Version::V5, 3), Ok("$share/g/a/b/c"));
    }

    #[test]
    fn the_topic_with_the_most_levels_is_within_the_greatest_limit_mqtt_4_7_3_3() {
        let most = "/".repeat(65_535);
        for version in Version::ALL {
            assert_eq!(check_filter(most.as_bytes(), version, u16::MAX), Ok(&most[..]));
        }
        assert_eq!(check_name(most.as_bytes(), u16::MAX), Ok(&most[..]));
        assert_eq!(check_name(most.as_bytes(), u16::MAX - 1), Err(Error::TooManyTopicLevels));
    }
}
