//! Asking the application about each message before it is sent.
//!
//! Those that wait are offered to it from the front on, some at a time, and those that it lets go are sent in
//! their order. It may take its time for that, and what was offered may be gone meanwhile.

use crate::Millis;
use crate::message::Message;
use crate::outgoing::Fate;
use crate::session::{Dropped, Session};
use std::collections::VecDeque;

/// How many messages are offered and may be sent at a time.
const MOST: usize = 64;

/// How many messages that were dropped before they were offered are remembered.
const LOST: usize = 64;

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
    /// How many of these have gone since.
    gone: usize,
    lost: VecDeque<(Message, Dropped)>,
}

impl Asking {
    /// All that waits is dropped.
    pub(crate) fn discard(&mut self, waiting: VecDeque<Message>) {
        self.others_wait();
        for message in waiting {
            self.remember(message, Dropped::Discarded);
        }
    }

    fn others_wait(&mut self) {
        self.gone += std::mem::take(&mut self.offered);
        self.allowed = 0;
    }

    /// One that the application calls by a number is told of by that.
    fn remember(&mut self, message: Message, dropped: Dropped) {
        if message.reference == 0 && self.lost.len() < LOST {
            self.lost.push_back((message, dropped));
        }
    }
}

impl Session {
    /// From now on the application is asked about each message, or is not.
    pub fn ask(&mut self, ask: bool) {
        let lost = self.asking.take().map(|asking| asking.lost);
        self.asking =
            ask.then(|| Box::new(Asking { lost: lost.unwrap_or_default(), ..Asking::default() }));
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
        let waiting = self.queue.len();
        let (from, count) = match &mut self.asking {
            Some(asking) if asking.offered == 0 => {
                asking.gone = 0;
                asking.offered = waiting.min(MOST).saturating_sub(asking.allowed);
                (asking.allowed, asking.offered)
            }
            _ => (0, 0),
        };
        self.queue.iter().skip(from).take(count)
    }

    /// Takes what the application says to a message that was offered, in the same order.
    pub fn decide(&mut self, decision: Decision) {
        let Some(asking) = &mut self.asking else { return };
        if asking.gone > 0 {
            asking.gone -= 1;
            return;
        }
        if asking.offered == 0 {
            return;
        }
        asking.offered -= 1;
        match decision {
            Decision::Send(reference) => {
                if let Some(message) = self.queue.get_mut(asking.allowed)
                    && message.reference == 0
                {
                    message.reference = reference;
                }
                asking.allowed += 1;
            }
            Decision::Drop => {
                if let Some(message) = self.queue.remove(asking.allowed) {
                    self.bytes -= message.size();
                    self.drop_message(message.reference, Dropped::NotAuthorized);
                }
            }
        }
    }

    /// A message that was dropped before the application was asked, the earliest first. Of many only some are remembered.
    pub fn next_lost(&mut self) -> Option<(Message, Dropped)> {
        self.asking.as_mut()?.lost.pop_front()
    }

    /// Whether a message that waits may be sent.
    pub(crate) fn may_send(&self) -> bool {
        self.asking.as_ref().is_none_or(|asking| asking.allowed > 0)
    }

    /// A message waits until the application has decided about it.
    pub(crate) fn put_before(&mut self, message: Message, now: Millis) -> Fate {
        if !self.make_room(now) {
            self.lose(message, Dropped::QueueFull);
            return Fate::Dropped(Dropped::QueueFull);
        }
        self.bytes += message.size();
        self.queue.push_back(message);
        Fate::Waiting
    }

    /// A message is not sent.
    pub(crate) fn lose(&mut self, message: Message, dropped: Dropped) {
        self.drop_message(message.reference, dropped);
        if let Some(asking) = &mut self.asking {
            asking.remember(message, dropped);
        }
    }

    /// The first message that waits was taken.
    pub(crate) fn first_is_gone(&mut self) {
        let Some(asking) = &mut self.asking else { return };
        if asking.allowed > 0 {
            asking.allowed -= 1;
        } else if asking.offered > 0 {
            asking.offered -= 1;
            asking.gone += 1;
        }
    }

    /// Of the messages that wait there are others now.
    pub(crate) fn others_wait(&mut self) {
        if let Some(asking) = &mut self.asking {
            asking.others_wait();
        }
    }
}
