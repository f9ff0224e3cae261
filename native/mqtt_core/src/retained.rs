//! The retained messages (section 3.3.1.3): one a topic, found by topic filters.
//!
//! ```
//! use mqtt_core::retained::{Full, Retained, RetainedLimits};
//!
//! let mut retained = Retained::new(RetainedLimits { messages: 3, bytes: 1000 });
//! retained.store("plant/1/status", "on", 2, None)?;
//! retained.store("plant/2/status", "off", 3, Some(60_000))?;
//! retained.store("plant/2/speed", "7", 1, None)?;
//! assert!(retained.store("plant/3/status", "on", 2, None).is_err());
//!
//! // Page by page; whatever changes in between, what stays is visited once.
//! let (mut found, mut cursor) = (Vec::new(), None);
//! loop {
//!     cursor = retained.matching("plant/+/status", cursor.as_ref(), 1, 0, |topic, message| {
//!         found.push((topic.to_owned(), *message));
//!     });
//!     if cursor.is_none() {
//!         break;
//!     }
//! }
//! assert_eq!(found, [("plant/1/status".into(), "on"), ("plant/2/status".into(), "off")]);
//! assert_eq!(retained.expire(60_000, 100), 1);
//! # Ok::<(), Full>(())
//! ```
//!
//! The topics lie in the order of their bytes. What a filter cannot match is skipped: from a topic
//! that does not match it follows which one may be the next that does. So `a/+/c` looks at each topic
//! or level below `a/`, and never at the others below `a/b/`, however many.

mod skip;

use crate::Millis;
use core::ops::{Bound, ControlFlow};
use skip::{Pattern, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How much may be retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes of messages and their topics.
    pub bytes: usize,
}

impl Default for RetainedLimits {
    fn default() -> Self {
        Self { messages: 1_000_000, bytes: 1024 * 1024 * 1024 }
    }
}

/// As much is retained as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("as much is retained as may be")
    }
}

impl core::error::Error for Full {}

/// Where [`Retained::matching`] goes on, and what it leaves out. It does not go stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Before the first topic there is none.
    from: Option<Bound<Arc<str>>>,
    until: u64,
}

impl Cursor {
    /// At the first topic. What was stored after the first [`stored`](Retained::stored) messages is left out.
    #[must_use]
    pub const fn at_first(stored: u64) -> Self {
        Self { from: None, until: stored }
    }

    /// The same at a topic.
    #[must_use]
    pub fn at(&self, topic: &str) -> Self {
        Self { from: Some(Bound::Included(Arc::from(topic))), ..*self }
    }

    fn until(cursor: Option<&Self>) -> u64 {
        cursor.map_or(u64::MAX, |cursor| cursor.until)
    }
}

/// The retained messages. See the [module](self).
#[derive(Clone, Debug)]
pub struct Retained<M> {
    limits: RetainedLimits,
    messages: BTreeMap<Arc<str>, Entry<M>>,
    expiries: BTreeSet<(Millis, Arc<str>)>,
    bytes: usize,
    stored: u64,
}

#[derive(Clone, Debug)]
struct Entry<M> {
    message: M,
    size: usize,
    expires_at: Option<Millis>,
    /// Which of those that were ever stored it is, from 1 on.
    number: u64,
}

impl<M> Retained<M> {
    /// Without messages.
    #[must_use]
    pub const fn new(limits: RetainedLimits) -> Self {
        Self { limits, messages: BTreeMap::new(), expiries: BTreeSet::new(), bytes: 0, stored: 0 }
    }

    /// Retains a message in place of the one that the topic had, which is told [MQTT-3.3.1-5]. `size`
    /// are the bytes of the message, to which those of the topic are added. If it does not fit, all is
    /// as it was.
    pub fn store(
        &mut self,
        topic: &str,
        message: M,
        size: usize,
        expires_at: Option<Millis>,
    ) -> Result<Option<M>, Full> {
        let old = self.messages.get_key_value(topic);
        let old_size = old.map_or(0, |(_, old)| old.size);
        let size = size.saturating_add(topic.len());
        let bytes = (self.bytes - old_size).saturating_add(size);
        let messages = self.messages.len() + usize::from(old.is_none());
        if bytes > self.limits.bytes || messages > self.limits.messages {
            return Err(Full);
        }
        let topic = old.map_or_else(|| Arc::from(topic), |(topic, _)| Arc::clone(topic));
        self.bytes = bytes;
        if let Some(expires_at) = expires_at {
            self.expiries.insert((expires_at, Arc::clone(&topic)));
        }
        self.stored += 1;
        let entry = Entry { message, size, expires_at, number: self.stored };
        let Some(old) = self.messages.insert(Arc::clone(&topic), entry) else { return Ok(None) };
        if old.expires_at != expires_at {
            self.forget_expiry(topic, old.expires_at);
        }
        Ok(Some(old.message))
    }

    /// Removes the message of a topic [MQTT-3.3.1-6].
    pub fn remove(&mut self, topic: &str) -> Option<M> {
        let (topic, entry) = self.messages.remove_entry(topic)?;
        self.bytes -= entry.size;
        self.forget_expiry(topic, entry.expires_at);
        Some(entry.message)
    }

    /// The message of a topic, unless it has expired or is one that the cursor leaves out.
    #[must_use]
    pub fn get(&self, topic: &str, cursor: Option<&Cursor>, now: Millis) -> Option<&M> {
        let entry = self.messages.get(topic)?;
        entry.is_for(Cursor::until(cursor), now).then_some(&entry.message)
    }

    /// How many messages were ever stored. A [`Cursor`] can begin with those.
    #[must_use]
    pub const fn stored(&self) -> u64 {
        self.stored
    }

    /// How many messages there are, with those that have expired and were not removed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The bytes of the messages and their topics.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Removes messages that have expired, those first that did so first, and tells how many. If that
    /// is `at_most`, there may be more.
    pub fn expire(&mut self, now: Millis, at_most: usize) -> usize {
        for removed in 0..at_most {
            if self.expiries.first().is_none_or(|(expires_at, _)| *expires_at > now) {
                return removed;
            }
            let Some((_, topic)) = self.expiries.pop_first() else { return removed };
            if let Some(entry) = self.messages.remove(&*topic) {
                self.bytes -= entry.size;
            }
        }
        at_most
    }

    /// Calls with the topics that the filter matches and their messages, in the order of the topics,
    /// `from` where an earlier call ended or from the first on. It looks at `at_most` topics, whether
    /// they match or not, and tells where to go on; `None` at the end.
    ///
    /// Topics that are there from the first call to the last, with a message that the cursor does not leave out, are
    /// visited exactly once.
    pub fn matching(
        &self,
        filter: &str,
        from: Option<&Cursor>,
        at_most: usize,
        now: Millis,
        mut f: impl FnMut(&str, &M),
    ) -> Option<Cursor> {
        self.matching_while(filter, from, at_most, now, |topic, message| {
            f(topic, message);
            ControlFlow::Continue(())
        })
    }

    /// As [`matching`](Self::matching), until the call says that it is enough, behind that message.
    pub fn matching_while(
        &self,
        filter: &str,
        from: Option<&Cursor>,
        at_most: usize,
        now: Millis,
        mut f: impl FnMut(&str, &M) -> ControlFlow<()>,
    ) -> Option<Cursor> {
        let pattern = Pattern::new(filter);
        let until = Cursor::until(from);
        let mut start = match from.and_then(|cursor| cursor.from.as_ref()) {
            Some(from) => from.as_ref().map(|topic| &**topic),
            None => Bound::Included(pattern.first()),
        };
        let mut left = at_most.max(1);
        let mut target = String::new();
        let mut next = String::new();
        loop {
            let mut last = None;
            let mut range = self.messages.range::<str, _>((start, Bound::Unbounded));
            loop {
                if left == 0 {
                    let from = last.map_or_else(
                        || start.map(Arc::from),
                        |topic| Bound::Excluded(Arc::clone(topic)),
                    );
                    return Some(Cursor { from: Some(from), until });
                }
                let (topic, entry) = range.next()?;
                left -= 1;
                last = Some(topic);
                match pattern.step(topic, &mut next) {
                    Step::Match if !entry.is_for(until, now) => {}
                    Step::Match => {
                        if f(topic, &entry.message).is_break() {
                            let from = Some(Bound::Excluded(Arc::clone(topic)));
                            return Some(Cursor { from, until });
                        }
                    }
                    Step::Next => {}
                    Step::Skip => break,
                    Step::End => return None,
                }
            }
            core::mem::swap(&mut target, &mut next);
            start = Bound::Included(&target);
        }
    }

    fn forget_expiry(&mut self, topic: Arc<str>, expires_at: Option<Millis>) {
        if let Some(expires_at) = expires_at {
            self.expiries.remove(&(expires_at, topic));
        }
    }
}

impl<M> Entry<M> {
    fn is_for(&self, until: u64, now: Millis) -> bool {
        self.number <= until && self.expires_at.is_none_or(|expires_at| expires_at > now)
    }
}
