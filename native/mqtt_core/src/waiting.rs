//! The messages of a session that wait for their turn.
//!
//! Those of QoS 0 wait only while a connection is there to send them, and take no room of the others.

use crate::Millis;
use crate::lazy::Empty;
use crate::message::Message;
use crate::session::{Dropped, Session};
use mqtt_codec::{Publish, Qos};
use std::collections::{VecDeque, vec_deque};

#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    messages: VecDeque<Message>,
    /// How many of them have QoS 0, and the bytes of these.
    light: usize,
    light_bytes: usize,
    /// When the first of them expires that nobody has looked for, or earlier.
    expires: Option<Millis>,
}

impl Waiting {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn iter(&self) -> vec_deque::Iter<'_, Message> {
        self.messages.iter()
    }

    /// Those that outlast a connection.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|message| message.qos > Qos::AtMostOnce)
    }

    pub(crate) fn first(&self) -> Option<&Message> {
        self.messages.front()
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut Message> {
        self.messages.back_mut()
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut Message> {
        self.messages.get_mut(at)
    }

    pub(crate) fn iter_mut(&mut self) -> vec_deque::IterMut<'_, Message> {
        self.messages.iter_mut()
    }

    pub(crate) fn push(&mut self, message: Message) {
        if message.qos == Qos::AtMostOnce {
            self.light += 1;
            self.light_bytes += message.size();
        }
        self.expires = self.expires.into_iter().chain(message.expires_at()).min();
        self.messages.push_back(message);
    }

    #[inline]
    pub(crate) fn remove(&mut self, at: usize) -> Option<Message> {
        // The first one is what nearly always goes.
        let message = if at == 0 { self.messages.pop_front() } else { self.messages.remove(at) };
        if let Some(message) = &message
            && message.qos == Qos::AtMostOnce
        {
            self.light -= 1;
            self.light_bytes -= message.size();
        }
        message
    }

    /// Takes out those that `goes` says.
    pub(crate) fn take(&mut self, goes: impl FnMut(&Message) -> bool) -> Vec<Message> {
        let (taken, stay) = std::mem::take(self).messages.into_iter().partition(goes);
        for message in stay {
            self.push(message);
        }
        taken
    }

    /// Takes out those that have expired, but for so many at the front. It looks at all of them only if there may be one.
    fn take_expired(&mut self, front: usize, now: Millis) -> Vec<Message> {
        if self.expires.is_none_or(|expires| expires > now) {
            return Vec::new();
        }
        let mut taken = Vec::new();
        let mut expires = None;
        for (at, message) in std::mem::take(self).messages.into_iter().enumerate() {
            if at >= front && message.has_expired(now) {
                taken.push(message);
                continue;
            }
            if at >= front {
                expires = expires.into_iter().chain(message.expires_at()).min();
            }
            self.push(message);
        }
        self.expires = expires;
        taken
    }
}

impl Empty for Waiting {
    const EMPTY: &'static Self =
        &Self { messages: VecDeque::new(), light: 0, light_bytes: 0, expires: None };
}

impl Session {
    /// Puts a message behind those that wait. `reference` is how the application calls it, or 0. A
    /// message of QoS 0 only waits for the moment when a connection is there to send it.
    pub fn enqueue(
        &mut self,
        publish: &Publish<'_>,
        reference: u64,
        now: Millis,
        connected: bool,
    ) -> Result<(), Dropped> {
        let dropped = if publish.qos == Qos::AtMostOnce && !connected {
            Dropped::NotConnected
        } else if self.make_room(publish.qos, now) {
            self.put(Message::new(publish, reference, now));
            return Ok(());
        } else {
            Dropped::QueueFull
        };
        if self.asks() {
            // Whoever has it put here is told by the result.
            self.lose(Message::new(publish, 0, now), dropped);
        } else {
            self.dropped += 1;
        }
        Err(dropped)
    }

    /// As [`enqueue`](Self::enqueue) while there is no connection, for a message that others may have as well.
    pub fn enqueue_shared(&mut self, message: Message, now: Millis) {
        if message.qos == Qos::AtMostOnce {
            self.lose(message, Dropped::NotConnected);
        } else if self.make_room(message.qos, now) {
            self.put(message);
        } else {
            self.lose(message, Dropped::QueueFull);
        }
    }

    /// Puts a message behind those that wait, for which there is room.
    pub(crate) fn put(&mut self, message: Message) {
        self.bytes += message.size();
        self.waiting.push(message);
    }

    /// Takes out the messages that wait of which `goes` says so.
    pub(crate) fn take_waiting(&mut self, goes: impl FnMut(&Message) -> bool) -> Vec<Message> {
        self.waiting.existing().map_or_else(Vec::new, |waiting| waiting.take(goes))
    }

    /// Messages that have not been sent yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a new message has to wait behind others.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.sent.resend.is_empty() || !self.waiting.is_empty()
    }

    /// How many further messages of QoS 1 and 2 are taken, if they are small.
    #[must_use]
    pub fn room(&self) -> usize {
        let waiting = &*self.waiting;
        if self.bytes - waiting.light_bytes >= self.limits.bytes {
            return 0;
        }
        let kept = self.under_way + waiting.len() - waiting.light;
        self.limits.messages.saturating_sub(kept)
    }

    /// How many further messages, if they are small, leave half of the room to others.
    #[must_use]
    pub fn half_room(&self) -> usize {
        if self.bytes > self.limits.bytes / 2 {
            return 0;
        }
        let kept = self.under_way + self.waiting.len();
        self.limits.messages.div_ceil(2).saturating_sub(kept)
    }

    /// Whether a further message is taken, whatever its QoS.
    #[must_use]
    pub fn has_any_room(&self) -> bool {
        self.has_room(Qos::AtMostOnce) && self.has_room(Qos::AtLeastOnce)
    }

    /// Whether a further message of that QoS is taken.
    fn has_room(&self, qos: Qos) -> bool {
        if qos > Qos::AtMostOnce {
            return self.room() > 0;
        }
        let Waiting { light, light_bytes, .. } = *self.waiting;
        light < self.limits.messages && light_bytes < self.limits.bytes
    }

    /// Drops what is of no more use or has waited longest, if there is no room otherwise for a message of that QoS. Says
    /// whether there is.
    pub(crate) fn make_room(&mut self, qos: Qos, now: Millis) -> bool {
        if self.has_room(qos) {
            return true;
        }
        self.drop_expired(now);
        if !self.has_room(qos) {
            self.drop_all_expired(now);
        }
        while self.limits.drop_oldest && !self.has_room(qos) && self.first_makes_room(qos) {
            self.lose_first(Dropped::QueueFull);
        }
        self.has_room(qos)
    }

    /// Whether something is gained by dropping the messages that wait from the first one on: one of QoS 0 takes only the place of another,
    /// and one of the others only theirs.
    fn first_makes_room(&self, qos: Qos) -> bool {
        if qos > Qos::AtMostOnce {
            self.waiting.len() > self.waiting.light
        } else {
            self.waiting.first().is_some_and(|first| first.qos == Qos::AtMostOnce)
        }
    }

    /// Takes the first message that waits, to send it; its bytes still count.
    #[inline]
    pub(crate) fn take_first(&mut self) -> Option<Message> {
        let first = self.waiting.remove(0)?;
        if let Some(asking) = &mut self.asking {
            asking.first_is_sent();
        }
        Some(first)
    }

    /// Drops messages at the front of those that wait which are of no more use [MQTT-3.3.2-5].
    pub(crate) fn drop_expired(&mut self, now: Millis) {
        while self.waiting.first().is_some_and(|message| message.has_expired(now)) {
            self.lose_first(Dropped::Expired);
        }
    }

    /// Drops all of these, but for those that the application has been asked about [MQTT-3.3.2-5].
    fn drop_all_expired(&mut self, now: Millis) {
        let front = self.asking.as_ref().map_or(0, |asking| asking.asked_about());
        let Some(waiting) = self.waiting.existing() else { return };
        for message in waiting.take_expired(front, now) {
            self.bytes -= message.size();
            self.lose(message, Dropped::Expired);
        }
    }

    /// Drops those of QoS 0, as there is no connection any more.
    pub fn disconnect(&mut self) {
        if self.waiting.light == 0 {
            return;
        }
        self.others_wait();
        for message in self.take_waiting(|message| message.qos == Qos::AtMostOnce) {
            self.bytes -= message.size();
            self.lose(message, Dropped::NotConnected);
        }
    }

    /// Forgets what waits and the subscriptions, which can be done while there is a connection.
    pub fn clear_waiting(&mut self) {
        while !self.waiting.is_empty() {
            self.lose_first(Dropped::Discarded);
        }
        self.clear_subscriptions();
    }
}
