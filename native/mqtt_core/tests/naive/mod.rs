//! Whether a filter matches a topic, as slowly as one likes.

/// Section 4.7, as it is written.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic = topic.as_bytes().split(|&byte| byte == b'/');
    for level in filter.as_bytes().split(|&byte| byte == b'/') {
        match (level, topic.next()) {
            (b"#", _) => return true,
            (b"+", Some(_)) => {}
            (level, Some(other)) if level == other => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}
