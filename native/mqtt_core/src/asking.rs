//! Asking the application about each message before it is sent.
//!
//! Those that wait are offered to it from the front on, some at a time, and those that it lets go are sent in
//! their order. It may take its time for that, and what was offered may be gone meanwhile.

use crate::Millis;
use crate::message::Message;
use crate::outgoing::Fate;
use crate::session::{Delivery, Dropped, Session};
use mqtt_codec::Qos;
use std::collections::VecDeque;

/// How many messages are offered and may be sent at a time.
const MOST: usize = 64;
/// Their bytes, from which on no further one is offered.
const MOST_BYTES: usize = 256 * 1024;

/// How many messages that were dropped are remembered, and their bytes, from which on no further one is.
const LOST: usize = 64;
const LOST_BYTES: usize = 64 * 1024;

/// What the application says to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is sent. The application calls it by this number from now on, or 0.
    Send(u64),
    /// It is dropped.
    Drop,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Asking {
    /// Messages at the front of those that wait which may be sent.
    allowed: usize,
    /// Those behind them that the application was asked about.
    offered: usize,
    /// Those before these that it was asked about and that are gone, unless that was told.
    gone: VecDeque<Option<(Message, Dropped)>>,
    /// Those that it is to be told of, and their bytes.
    lost: VecDeque<(Message, Dropped)>,
    lost_bytes: usize,
}

impl Asking {
    /// One that the application calls by a number is told of by that.
    fn remember(&mut self, message: Message, dropped: Dropped) {
        let room = self.lost.len() < LOST && self.lost_bytes < LOST_BYTES;
        if message.reference == 0 && room {
            self.lost_bytes += message.size();
            self.lost.push_back((message, dropped));
        }
    }

    /// The first message that waited, and might, is being sent.
    pub(crate) fn first_is_sent(&mut self) {
        self.allowed = self.allowed.saturating_sub(1);
    }

    /// How many messages at the front of those that wait it was asked about.
    pub(crate) const fn asked_about(&self) -> usize {
        self.allowed + self.offered
    }

    /// Nobody decides about the messages of before any more. Those of them that are gone will be told of.
    fn begin_anew(&mut self) {
        (self.allowed, self.offered) = (0, 0);
        for (message, dropped) in std::mem::take(&mut self.gone).into_iter().flatten() {
            self.remember(message, dropped);
        }
    }

    /// The first message that waited is not sent. One that the application is being asked about is told of when it has
    /// said what it calls it.
    fn lose_first(&mut self, message: Message, dropped: Dropped) {
        if self.allowed == 0 && self.offered > 0 {
            self.offered -= 1;
            let is_told = message.reference != 0;
            self.gone.push_back((!is_told).then_some((message, dropped)));
        } else {
            self.allowed = self.allowed.saturating_sub(1);
            self.remember(message, dropped);
        }
    }
}

impl Session {
    /// From now on the application is asked about each message, or is not.
    pub fn ask(&mut self, ask: bool) {
        let mut asking = self.asking.take().unwrap_or_default();
        asking.begin_anew();
        self.asking = ask.then_some(asking);
    }

    /// Whether the application is asked about each message.
    #[must_use]
    pub const fn asks(&self) -> bool {
        self.asking.is_some()
    }

    /// Messages that the application is to decide about, in their order. There are none while it has not decided about those of
    /// before, or may not have more sent.
    pub fn offer(&mut self, now: Millis) -> impl Iterator<Item = &Message> {
        self.drop_expired(now);
        let (from, count) = match &mut self.asking {
            Some(asking) if asking.offered == 0 && asking.gone.is_empty() => {
                let mut bytes = 0;
                let more = self.waiting.iter().take(MOST).skip(asking.allowed);
                let few = more.take_while(|message| {
                    let goes = bytes < MOST_BYTES;
                    bytes += message.size();
                    goes
                });
                asking.offered = few.count();
                (asking.allowed, asking.offered)
            }
            _ => (0, 0),
        };
        self.waiting.iter().skip(from).take(count)
    }

    /// Takes what the application says to a message that was offered, in the same order.
    pub fn decide(&mut self, decision: Decision) {
        let Some(asking) = &mut self.asking else { return };
        if let Some(gone) = asking.gone.pop_front() {
            match (decision, gone) {
                (Decision::Send(0), Some((message, dropped))) => asking.remember(message, dropped),
                (Decision::Send(reference), Some((_, dropped))) => {
                    self.tell(reference, Delivery::Dropped(dropped));
                }
                _ => {}
            }
            return;
        }
        if asking.offered == 0 {
            return;
        }
        asking.offered -= 1;
        match decision {
            Decision::Send(reference) => {
                if let Some(message) = self.waiting.get_mut(asking.allowed)
                    && message.reference == 0
                {
                    message.reference = reference;
                }
                asking.allowed += 1;
            }
            Decision::Drop => {
                if let Some(message) = self.waiting.remove(asking.allowed) {
                    self.bytes -= message.size();
                    self.drop_message(message.reference, Dropped::NotAuthorized);
                }
            }
        }
    }

    /// A message that was dropped without the application being told of it otherwise, the earliest first. Of many only some are
    /// remembered.
    pub fn next_lost(&mut self) -> Option<(Message, Dropped)> {
        let asking = self.asking.as_mut()?;
        let lost = asking.lost.pop_front()?;
        asking.lost_bytes -= lost.0.size();
        Some(lost)
    }

    /// Whether there is one.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.asking.as_ref().is_some_and(|asking| !asking.lost.is_empty())
    }

    /// Whether a message that waits may be sent.
    pub(crate) fn may_send(&self) -> bool {
        self.asking.as_ref().is_none_or(|asking| asking.allowed > 0)
    }

    /// A message waits until the application has decided about it. Without `room` there is none for one of QoS 0.
    pub(crate) fn put_before(&mut self, message: Message, room: bool, now: Millis) -> Fate {
        let may_wait = room || message.qos > Qos::AtMostOnce;
        if !may_wait || !self.make_room(message.qos, now) {
            self.lose(message, Dropped::QueueFull);
            return Fate::Dropped(Dropped::QueueFull);
        }
        self.put(message);
        Fate::Waiting
    }

    /// A message is not sent.
    pub(crate) fn lose(&mut self, message: Message, dropped: Dropped) {
        self.drop_message(message.reference, dropped);
        if let Some(asking) = &mut self.asking {
            asking.remember(message, dropped);
        }
    }

    /// The first message that waits is not sent.
    pub(crate) fn lose_first(&mut self, dropped: Dropped) {
        let Some(message) = self.waiting.remove(0) else { return };
        self.bytes -= message.size();
        self.drop_message(message.reference, dropped);
        if let Some(asking) = &mut self.asking {
            asking.lose_first(message, dropped);
        }
    }

    /// Of the messages that wait there are others now, and nobody to decide about those of before.
    pub(crate) fn others_wait(&mut self) {
        if let Some(asking) = &mut self.asking {
            asking.begin_anew();
        }
    }
}
