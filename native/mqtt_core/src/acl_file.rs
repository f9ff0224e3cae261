//! The lines of a file of access rules, whose meaning [`Acl`](crate::Acl) says.

use core::fmt;
use mqtt_codec::{Error, Version, topic};

/// The bytes that a topic has at most [MQTT-4.7.3-3].
const MAX_TOPIC: usize = u16::MAX as usize;

/// What a line allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    ReadWrite,
    Deny,
}

/// A line that is neither empty nor a comment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    User(&'a str),
    Topic(Access, &'a str),
    Pattern(Access, &'a str),
}

/// A line of a file of access rules that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong.
    pub kind: AclErrorKind,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclErrorKind {
    /// The line begins with this, and not with `topic`, `user` or `pattern`.
    UnknownKeyword(Box<str>),
    /// This is in front of the topic, and not `read`, `write`, `readwrite` or `deny`.
    UnknownAccess(Box<str>),
    /// There is no topic, or there is only what may be in front of it.
    MissingTopic,
    /// There is no user name.
    MissingUser,
    /// The topic is no topic filter.
    InvalidTopic(Error),
    /// The topic has more than 65,535 bytes.
    TopicTooLong,
    /// `%c` or `%u` is a part of a level only.
    PlaceholderNotAlone,
}

/// The lines of the file in their order, up to the first that is wrong.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Result<Line<'_>, AclError>> {
    text.lines()
        .map(str::trim_ascii)
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| read(line).map_err(|kind| AclError { line: index + 1, kind }))
}

fn read(line: &str) -> Result<Line<'_>, AclErrorKind> {
    match split_word(line) {
        ("user", "") => Err(AclErrorKind::MissingUser),
        ("user", name) => Ok(Line::User(name)),
        ("topic", rest) => read_rule(rest).map(|(access, topic)| Line::Topic(access, topic)),
        ("pattern", rest) => {
            let (access, topic) = read_rule(rest)?;
            check_placeholders(topic)?;
            Ok(Line::Pattern(access, topic))
        }
        (word, _) => Err(AclErrorKind::UnknownKeyword(word.into())),
    }
}

/// The topic is all that is behind the access, with its spaces. Without an access it has none.
fn read_rule(rest: &str) -> Result<(Access, &str), AclErrorKind> {
    let (access, topic) = match split_word(rest) {
        // mosquitto takes a lone `deny` for a topic, to which it gives access.
        (word, "") if word.is_empty() || read_access(word).is_some() => {
            return Err(AclErrorKind::MissingTopic);
        }
        (word, "") => (Access::ReadWrite, word),
        (word, topic) => match read_access(word) {
            Some(access) => (access, topic),
            None => return Err(AclErrorKind::UnknownAccess(word.into())),
        },
    };
    check_topic(topic)?;
    Ok((access, topic))
}

fn read_access(word: &str) -> Option<Access> {
    match word {
        "read" => Some(Access::Read),
        "write" => Some(Access::Write),
        "readwrite" => Some(Access::ReadWrite),
        "deny" => Some(Access::Deny),
        _ => None,
    }
}

fn check_topic(topic: &str) -> Result<(), AclErrorKind> {
    if topic.len() > MAX_TOPIC {
        return Err(AclErrorKind::TopicTooLong);
    }
    topic::check_filter(topic.as_bytes(), Version::V3_1_1, u16::MAX)
        .map(|_| ())
        .map_err(AclErrorKind::InvalidTopic)
}

fn check_placeholders(topic: &str) -> Result<(), AclErrorKind> {
    let partial = |level: &str| {
        level.len() > 2 && ["%c", "%u"].iter().any(|placeholder| level.contains(placeholder))
    };
    if topic.split('/').any(partial) { Err(AclErrorKind::PlaceholderNotAlone) } else { Ok(()) }
}

/// The first word, and what is behind the blanks behind it.
fn split_word(text: &str) -> (&str, &str) {
    match text.split_once([' ', '\t']) {
        Some((word, rest)) => (word, rest.trim_ascii_start()),
        None => (text, ""),
    }
}

impl fmt::Display for AclError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.kind)
    }
}

impl fmt::Display for AclErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKeyword(word) => {
                write!(f, "{word:?} is unknown; a line begins with topic, user or pattern")
            }
            Self::UnknownAccess(word) => write!(
                f,
                "{word:?} is no access; in front of a topic is read, write, readwrite or deny, \
                 and one of them must be if the topic has a space"
            ),
            Self::MissingTopic => f.write_str("the topic is missing"),
            Self::MissingUser => f.write_str("the user name is missing"),
            Self::InvalidTopic(Error::MisplacedMultiLevelWildcard) => {
                f.write_str("# in a topic must be the whole last level")
            }
            Self::InvalidTopic(Error::MisplacedSingleLevelWildcard) => {
                f.write_str("+ in a topic must be a whole level")
            }
            Self::InvalidTopic(error) => write!(f, "the topic is invalid: {error}"),
            Self::TopicTooLong => write!(f, "the topic has more than {MAX_TOPIC} bytes"),
            Self::PlaceholderNotAlone => {
                f.write_str("%c and %u in a pattern must each be a whole level")
            }
        }
    }
}

impl core::error::Error for AclError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> Result<Vec<Line<'_>>, AclError> {
        lines(text).collect()
    }

    #[test]
    fn a_line_is_a_user_a_topic_or_a_pattern() {
        let table = [
            ("user roger", Line::User("roger")),
            ("user  Roger the Dodger \r", Line::User("Roger the Dodger")),
            ("topic a/b", Line::Topic(Access::ReadWrite, "a/b")),
            ("topic read #", Line::Topic(Access::Read, "#")),
            ("topic write a/+/b", Line::Topic(Access::Write, "a/+/b")),
            ("topic readwrite a", Line::Topic(Access::ReadWrite, "a")),
            ("topic deny a/#", Line::Topic(Access::Deny, "a/#")),
            ("  topic\tread \t a  b c ", Line::Topic(Access::Read, "a  b c")),
            ("topic read read", Line::Topic(Access::Read, "read")),
            ("topic reads", Line::Topic(Access::ReadWrite, "reads")),
            ("topic %c%u", Line::Topic(Access::ReadWrite, "%c%u")),
            ("pattern a/%c", Line::Pattern(Access::ReadWrite, "a/%c")),
            ("pattern write %u/%c/#", Line::Pattern(Access::Write, "%u/%c/#")),
            ("pattern deny a/%d/100%", Line::Pattern(Access::Deny, "a/%d/100%")),
        ];
        for (text, line) in table {
            assert_eq!(read_all(text), Ok(vec![line]), "{text}");
        }
    }

    #[test]
    fn comments_and_empty_lines_are_no_lines() {
        assert_eq!(read_all("# topic a\n\n \t\r\n  # b\n#"), Ok(vec![]));
        assert_eq!(read_all(""), Ok(vec![]));
    }

    #[test]
    fn an_error_says_the_line_and_what_is_wrong() {
        let access = "\"a\" is no access; in front of a topic is read, write, readwrite or deny, and one \
                      of them must be if the topic has a space";
        let table = [
            ("topics a", "\"topics\" is unknown; a line begins with topic, user or pattern"),
            ("Topic a", "\"Topic\" is unknown; a line begins with topic, user or pattern"),
            ("topic a b", access),
            ("topic", "the topic is missing"),
            ("topic deny", "the topic is missing"),
            ("pattern read ", "the topic is missing"),
            ("user ", "the user name is missing"),
            ("topic read a#", "# in a topic must be the whole last level"),
            ("topic #/a", "# in a topic must be the whole last level"),
            ("pattern %c/+a", "+ in a topic must be a whole level"),
            ("topic a\0", "the topic is invalid: nul in string"),
            ("pattern sensor-%c/a", "%c and %u in a pattern must each be a whole level"),
            ("pattern a/%count", "%c and %u in a pattern must each be a whole level"),
            ("pattern a/%c%u", "%c and %u in a pattern must each be a whole level"),
        ];
        for (text, sentence) in table {
            let error = read_all(&format!("# comment\n\n{text}\ntopic")).unwrap_err();
            assert_eq!(error.to_string(), format!("line 3: {sentence}"), "{text}");
        }
    }

    #[test]
    fn a_topic_has_at_most_65535_bytes() {
        let most = "a".repeat(65_535);
        assert!(read_all(&format!("topic {most}")).is_ok());
        let error = read_all(&format!("topic {most}a")).unwrap_err();
        assert_eq!(error, AclError { line: 1, kind: AclErrorKind::TopicTooLong });
    }
}
