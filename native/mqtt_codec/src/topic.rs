//! Topic names and topic filters (section 4.7).

use crate::{Error, Version, text};

/// The prefix of a shared subscription's filter (MQTT 5.0, section 4.8.2).
const SHARE: &[u8] = b"$share/";

/// The bytes as a topic name of at most `max_levels` levels: not empty, without wildcards.
pub fn check_name(bytes: &[u8], max_levels: u16) -> Result<&str, Error> {
    let name = text::check_utf8(bytes)?;
    check_characters(name, max_levels)?;
    Ok(name)
}

/// As [`check_name`], for what is UTF-8.
pub(crate) fn check_characters(name: &str, max_levels: u16) -> Result<(), Error> {
    let bytes = name.as_bytes();
    if bytes.is_empty() {
        return Err(Error::EmptyTopicName);
    }
    if has_special(bytes) {
        let nul = bytes.contains(&0);
        return Err(if nul { Error::NulInString } else { Error::WildcardInTopicName });
    }
    check_levels(bytes, max_levels, Error::TooManyTopicLevels)
}

/// The bytes as a topic filter of at most `max_levels` levels, its wildcards in their places. In
/// MQTT 5.0 a filter that begins with `$share/` is checked as a shared subscription.
pub fn check_filter(bytes: &[u8], version: Version, max_levels: u16) -> Result<&str, Error> {
    if bytes.is_empty() {
        return Err(Error::EmptyTopicFilter);
    }
    let filter = text::check_utf8(bytes)?;
    let special = has_special(bytes);
    if special && bytes.contains(&0) {
        return Err(Error::NulInString);
    }
    let levels = match bytes.strip_prefix(SHARE) {
        Some(shared) if version >= Version::V5 => check_share(shared)?,
        _ => bytes,
    };
    if special {
        check_wildcards(levels)?;
    }
    check_levels(levels, max_levels, Error::TooManyFilterLevels)?;
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

/// Whether U+0000, `+` or `#` is among the bytes.
fn has_special(bytes: &[u8]) -> bool {
    let special =
        |&byte: &u8| u8::from(byte == 0) | u8::from(byte == b'+') | u8::from(byte == b'#');
    // Without a branch between them, which the compiler turns into vectors.
    let any_of_eight =
        |eight: &[u8; 8]| eight.iter().fold(0, |found, byte| found | special(byte)) != 0;
    match bytes.last_chunk() {
        // Of the last eight some come once more.
        Some(last) => bytes.as_chunks().0.iter().chain([last]).any(any_of_eight),
        None => bytes.iter().any(|byte| special(byte) != 0),
    }
}

/// `#` is alone in the last level, `+` is alone in its level.
fn check_wildcards(levels: &[u8]) -> Result<(), Error> {
    let mut ended = false;
    for level in levels.split(|&byte| byte == b'/') {
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
    Ok(())
}

/// Separators are only counted where there may be too many. The greatest limit is none: 65,535 of them,
/// which a topic has room for [MQTT-4.7.3-3], make a level more than it can say.
fn check_levels(levels: &[u8], max_levels: u16, error: Error) -> Result<(), Error> {
    let max = usize::from(max_levels);
    let separators = || levels.iter().map(|&byte| usize::from(byte == b'/')).sum::<usize>();
    if levels.len() < max || max_levels == u16::MAX || separators() < max {
        Ok(())
    } else {
        Err(error)
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
        assert_eq!(check_filter(b"a/+/b/#", Version::V5, 3), Err(Error::TooManyFilterLevels));
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
