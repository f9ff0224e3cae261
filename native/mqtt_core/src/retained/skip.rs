//! Where the next topic may be that a filter matches, in the order of bytes.
//!
//! In it the topics below `a/` lie together, but those below `a/b/` need not follow `a/b`: `a/b-c` is
//! between them, since `-` is before `/`. So only what is below one level can be skipped.

/// What is directly behind all topics that begin with `$`.
const BEHIND_DOLLAR: &str = "%";
/// The character behind `/`.
const BEHIND_SEPARATOR: char = '0';

/// A topic filter.
#[derive(Debug)]
pub(super) struct Pattern<'a> {
    /// The texts between its `+`.
    runs: Vec<&'a str>,
    /// Whether it ends with `/#`, which is not in the last text.
    below: bool,
    /// Whether it is `#`.
    all: bool,
}

/// What follows from a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It matches, and the next one may.
    Match,
    /// It does not match, and the next one may.
    Next,
    /// None matches before the one that was written to the target, which is behind the topic.
    Skip,
    /// None behind it matches.
    End,
}

impl<'a> Pattern<'a> {
    pub(super) fn new(filter: &'a str) -> Self {
        let all = filter == "#";
        let above = if all { Some("") } else { filter.strip_suffix("/#") };
        let runs = above.unwrap_or(filter).split('+').collect();
        Self { runs, below: above.is_some(), all }
    }

    /// No topic before this one matches.
    pub(super) fn first(&self) -> &'a str {
        self.runs.first().copied().unwrap_or_default()
    }

    /// Compares a topic with the filter. For [`Step::Skip`] the target is written.
    pub(super) fn step(&self, topic: &str, target: &mut String) -> Step {
        target.clear();
        if topic.starts_with('$') && self.first().is_empty() {
            // No wildcard in its first level matches [MQTT-4.7.2-1].
            target.push_str(BEHIND_DOLLAR);
            return Step::Skip;
        }
        let Some((last, runs)) = self.runs.split_last() else { return Step::End };
        // What is left of the topic, and where the level of the last `+` ends.
        let (mut rest, mut level_end) = (topic, None);
        for run in runs {
            if level_end.is_some() && rest.is_empty() {
                return Step::Next;
            }
            let Some(behind) = rest.strip_prefix(run) else {
                return skip(topic, rest, run, level_end, target);
            };
            rest = behind.find('/').and_then(|end| behind.get(end..)).unwrap_or_default();
            level_end = Some(topic.len() - rest.len());
        }
        match rest.strip_prefix(last) {
            Some("") => Step::Match,
            Some(behind) if self.below && (self.all || behind.starts_with('/')) => Step::Match,
            Some(behind) if self.below && behind < "/" => {
                target.extend([topic.strip_suffix(behind).unwrap_or_default(), "/"]);
                Step::Skip
            }
            None if level_end.is_some() && rest.is_empty() => Step::Next,
            _ => skip(topic, rest, last, level_end, target),
        }
    }
}

/// What follows if what is left of a topic does not begin with that text, or goes on behind it.
fn skip(topic: &str, rest: &str, run: &str, level_end: Option<usize>, target: &mut String) -> Step {
    if rest < run {
        target.extend([topic.strip_suffix(rest).unwrap_or_default(), run]);
        return Step::Skip;
    }
    match level_end.and_then(|end| topic.get(..end)) {
        Some(level) => {
            // Nothing else below this level matches.
            target.push_str(level);
            target.push(BEHIND_SEPARATOR);
            Step::Skip
        }
        None => Step::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_a_topic() {
        let skip = |target| (Step::Skip, target);
        let table = [
            ("a/b", "a/b", (Step::Match, "")),
            ("a/b", "a", skip("a/b")),
            ("a/b", "a/b/c", (Step::End, "")),
            ("a/+", "a/b", (Step::Match, "")),
            ("a/+", "a/b/c", skip("a/b0")),
            ("a/+", "a-b", skip("a/")),
            ("a/+", "a0", (Step::End, "")),
            // `a/b-c/d` may be between `a/b` and `a/b/d`.
            ("a/+/d", "a/b", (Step::Next, "")),
            ("a/+/d", "a/b/c", skip("a/b/d")),
            ("a/+/d", "a/b/d/e", skip("a/b0")),
            ("a/+/d", "a/b/e", skip("a/b0")),
            ("a/+/d/+", "a/b/d", skip("a/b/d/")),
            ("a/+/d/+", "a/b/d-e/f", skip("a/b/d/")),
            ("+/+", "a", (Step::Next, "")),
            ("+/+", "a/b/c", skip("a/b0")),
            ("a/#", "a", (Step::Match, "")),
            ("a/#", "a/", (Step::Match, "")),
            ("a/#", "a-b", skip("a/")),
            ("a/#", "ab", (Step::End, "")),
            ("+/a/#", "b/a-c", skip("b/a/")),
            ("+/a/#", "b/c", skip("b0")),
            ("+/#", "b", (Step::Match, "")),
            ("#", "/", (Step::Match, "")),
            ("#", "-", (Step::Match, "")),
            ("/#", "/-", (Step::Match, "")),
            ("/#", "-", skip("/")),
            ("/#", "a", (Step::End, "")),
            ("#", "$a/b", skip("%")),
            ("+/b", "$a/b", skip("%")),
            ("$a/+", "$a/b", (Step::Match, "")),
        ];
        for (filter, topic, expected) in table {
            let mut target = String::new();
            let step = Pattern::new(filter).step(topic, &mut target);
            assert_eq!((step, &target[..]), expected, "{filter} and {topic}");
            assert!(target.is_empty() || topic < &target[..], "{filter} and {topic}");
        }
    }
}
