//! Topic aliases (MQTT 5.0, section 3.3.2.3.4), which are a connection's and end with it.

use core::hash::{BuildHasher, Hasher};
use std::hash::RandomState;

/// How many aliases are chosen at most, however many the client takes: enough for the topics that
/// are busy, few enough to be searched one by one.
const MAX_CHOSEN: u16 = 32;
/// Longer topics get none, so that a client cannot make us keep much.
const MAX_TOPIC: usize = 1024;

/// The aliases that the client has set.
#[derive(Clone, Debug, Default)]
pub(crate) struct SetAliases {
    max: u16,
    topics: Vec<Option<Box<str>>>,
}

impl SetAliases {
    pub(crate) fn new(max: u16) -> Self {
        Self { max, topics: Vec::new() }
    }

    /// Whether the client may use this alias [MQTT-3.3.2-8] [MQTT-3.3.2-9].
    pub(crate) fn allows(&self, alias: u16) -> bool {
        alias <= self.max
    }

    pub(crate) fn set(&mut self, alias: u16, topic: &str) {
        let index = usize::from(alias.saturating_sub(1));
        if self.topics.len() <= index {
            self.topics.resize(index + 1, None);
        }
        match self.topics.get_mut(index) {
            Some(slot) if slot.as_deref() != Some(topic) => *slot = Some(topic.into()),
            _ => {}
        }
    }

    pub(crate) fn topic(&self, alias: u16) -> Option<&str> {
        self.topics.get(usize::from(alias).checked_sub(1)?)?.as_deref()
    }
}

/// The aliases that we have chosen, if the client takes any. Most do not, and cost no more than this.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChosenAliases(Option<Box<Choices>>);

/// The least recently used makes place for a new one.
#[derive(Clone, Debug)]
struct Choices {
    max: u16,
    hashes: Vec<u64>,
    entries: Vec<Chosen>,
    uses: u64,
    hasher: RandomState,
}

#[derive(Clone, Debug)]
struct Chosen {
    topic: Box<str>,
    last_use: u64,
}

/// How a topic goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alias {
    /// In full, and without one.
    None,
    /// The client knows what this stands for.
    Known(u16),
    /// In full, and the client is to remember it under this.
    New(u16),
}

impl ChosenAliases {
    pub(crate) fn new(max: u16) -> Self {
        let choices = || Choices {
            max: max.min(MAX_CHOSEN),
            hashes: Vec::new(),
            entries: Vec::new(),
            uses: 0,
            hasher: RandomState::new(),
        };
        Self((max > 0).then(|| Box::new(choices())))
    }

    /// Whether the client takes aliases.
    pub(crate) fn allows_any(&self) -> bool {
        self.0.is_some()
    }

    /// How the topic would go out. [`choose`](Self::choose) has to follow once it does.
    pub(crate) fn look_up(&self, topic: &str) -> Alias {
        match &self.0 {
            Some(choices) if topic.len() <= MAX_TOPIC => choices.look_up(topic),
            _ => Alias::None,
        }
    }

    /// The topic goes out like this.
    pub(crate) fn choose(&mut self, alias: Alias, topic: &str) {
        if let Some(choices) = &mut self.0 {
            choices.choose(alias, topic);
        }
    }
}

impl Choices {
    fn look_up(&self, topic: &str) -> Alias {
        match self.find(topic) {
            Some(index) => Alias::Known(number(index)),
            None if self.entries.len() < usize::from(self.max) => {
                Alias::New(number(self.entries.len()))
            }
            None => {
                let oldest =
                    self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.last_use);
                oldest.map_or(Alias::None, |(index, _)| Alias::New(number(index)))
            }
        }
    }

    fn choose(&mut self, alias: Alias, topic: &str) {
        self.uses += 1;
        let last_use = self.uses;
        match alias {
            Alias::None => {}
            Alias::Known(alias) => {
                if let Some(entry) = self.entries.get_mut(usize::from(alias) - 1) {
                    entry.last_use = last_use;
                }
            }
            Alias::New(alias) => {
                let entry = Chosen { topic: topic.into(), last_use };
                let hash = self.hash(topic);
                let index = usize::from(alias) - 1;
                if let (Some(old), Some(old_hash)) =
                    (self.entries.get_mut(index), self.hashes.get_mut(index))
                {
                    *old = entry;
                    *old_hash = hash;
                } else {
                    self.entries.push(entry);
                    self.hashes.push(hash);
                }
            }
        }
    }

    fn find(&self, topic: &str) -> Option<usize> {
        let hash = self.hash(topic);
        let index = self.hashes.iter().position(|&other| other == hash)?;
        self.entries.get(index).filter(|entry| *entry.topic == *topic).map(|_| index)
    }

    fn hash(&self, topic: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(topic.as_bytes());
        hasher.finish()
    }
}

/// The alias of an entry; there are fewer than 65,535.
fn number(index: usize) -> u16 {
    u16::try_from(index + 1).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(aliases: &mut ChosenAliases, topic: &str) -> Alias {
        let alias = aliases.look_up(topic);
        aliases.choose(alias, topic);
        alias
    }

    #[test]
    fn the_least_recently_used_makes_place() {
        let mut aliases = ChosenAliases::new(2);
        assert_eq!(send(&mut aliases, "a"), Alias::New(1));
        assert_eq!(send(&mut aliases, "b"), Alias::New(2));
        assert_eq!(send(&mut aliases, "a"), Alias::Known(1));
        assert_eq!(send(&mut aliases, "c"), Alias::New(2));
        assert_eq!(send(&mut aliases, "b"), Alias::New(1));
        assert_eq!(send(&mut aliases, "c"), Alias::Known(2));
    }

    #[test]
    fn a_client_that_takes_none_gets_none_mqtt_3_1_2_26() {
        assert_eq!(ChosenAliases::new(0).look_up("a"), Alias::None);
        assert_eq!(ChosenAliases::new(5).look_up(&"a".repeat(1025)), Alias::None);
    }

    #[test]
    fn an_alias_is_set_anew_by_another_topic_mqtt_3_3_2_7() {
        let mut aliases = SetAliases::new(2);
        assert!(aliases.allows(2) && !aliases.allows(3));
        assert_eq!(aliases.topic(2), None);
        aliases.set(2, "a");
        aliases.set(2, "b");
        assert_eq!(aliases.topic(2), Some("b"));
        assert_eq!(aliases.topic(1), None);
    }
}
