//! The messages of a session that are under way, and their packet identifiers (section 2.3.1, in MQTT
//! 5.0 section 2.2.1).

use crate::Session;
use crate::ids::IdSet;
use crate::lazy::Empty;
use crate::message::Message;
use crate::session::{Acknowledged, Delivery, Dropped, Next, Slot};
use core::hash::BuildHasherDefault;
use mqtt_codec::{PacketId, Qos, ReasonCode};
use std::collections::VecDeque;

/// Messages under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// That with packet identifier `n` is at `n - 1`.
    pub(crate) slots: Vec<Slot>,
    /// Packet identifiers of free slots, the one that has been free for longest first.
    pub(crate) free: VecDeque<PacketId>,
    /// Those that have to be sent again, in their order.
    pub(crate) resend: VecDeque<PacketId>,
    /// Those that this connection has not sent, so that they take no place in its quota.
    pub(crate) earlier: IdSet,
}

impl Empty for Sent {
    const EMPTY: &'static Self = &Self {
        slots: Vec::new(),
        free: VecDeque::new(),
        resend: VecDeque::new(),
        earlier: IdSet::with_hasher(BuildHasherDefault::new()),
    };
}

impl Session {
    /// What has to be sent next. A message that is sent again needs a place in the client's quota,
    /// PUBREL needs none.
    pub(crate) fn next(&mut self, quota: u16) -> Next {
        while let Some(&id) = self.sent.resend.front() {
            let next = match self.slot(id) {
                Some(Slot::Sent(..)) if quota == 0 => return Next::Nothing,
                Some(Slot::Sent(..)) => Next::Resend(id),
                Some(Slot::Released(_)) => Next::Release(id),
                _ => Next::Nothing,
            };
            self.sent.resend.pop_front();
            if !matches!(next, Next::Nothing) {
                return next;
            }
        }
        match self.waiting.first().filter(|_| self.may_send()) {
            Some(message) if quota > 0 || message.qos == Qos::AtMostOnce => Next::First,
            _ => Next::Nothing,
        }
    }

    /// A packet identifier for a message that will be sent, and stays free until then.
    pub(crate) fn free_id(&mut self) -> Option<PacketId> {
        let sent = &mut *self.sent;
        if let Some(&id) = sent.free.front() {
            return Some(id);
        }
        let id = PacketId::new(u16::try_from(sent.slots.len() + 1).ok()?)?;
        sent.slots.push(Slot::Free);
        sent.free.push_back(id);
        Some(id)
    }

    /// A message is under way with the identifier that [`free_id`](Self::free_id) gave, and counts.
    #[inline]
    pub(crate) fn sent(&mut self, id: PacketId, message: Message) {
        self.under_way += 1;
        self.next += 1;
        self.last = Some(id);
        let sent = &mut *self.sent;
        sent.free.pop_front();
        if let Some(slot) = sent.slot_mut(id) {
            *slot = Slot::Sent(self.next, message);
        }
    }

    /// A message that was under way was sent again, and takes a place in this connection's quota.
    pub(crate) fn resent(&mut self, id: PacketId) {
        self.sent.earlier.remove(&id);
    }

    pub(crate) fn message(&self, id: PacketId) -> Option<&Message> {
        match self.slot(id)? {
            Slot::Sent(_, message) => Some(message),
            _ => None,
        }
    }

    /// PUBACK, or a PUBREC that refuses.
    pub(crate) fn acknowledge(
        &mut self,
        id: PacketId,
        qos: Qos,
        reason: ReasonCode,
    ) -> Acknowledged {
        match self.slot(id) {
            Some(Slot::Sent(_, message)) if message.qos == qos => {
                let (size, reference) = (message.size(), message.reference);
                self.bytes -= size;
                let delivery = if reason.is_error() {
                    Delivery::Refused(reason)
                } else {
                    Delivery::Acknowledged
                };
                self.tell(reference, delivery);
                self.done(id)
            }
            Some(Slot::Free) | None => Acknowledged::Unknown,
            Some(_) => Acknowledged::Unexpected,
        }
    }

    /// PUBREC.
    pub(crate) fn record(&mut self, id: PacketId, reason: ReasonCode) -> Acknowledged {
        if reason.is_error() {
            return self.acknowledge(id, Qos::ExactlyOnce, reason);
        }
        match self.slot(id) {
            Some(Slot::Sent(number, message)) if message.qos == Qos::ExactlyOnce => {
                let (number, size, reference) = (*number, message.size(), message.reference);
                self.bytes -= size;
                self.tell(reference, Delivery::Acknowledged);
                if let Some(slot) = self.slot_mut(id) {
                    *slot = Slot::Released(number);
                }
                Acknowledged::Release
            }
            Some(Slot::Released(_)) => Acknowledged::Release,
            Some(Slot::Sent(..)) => Acknowledged::Unexpected,
            Some(Slot::Free) | None => Acknowledged::Unknown,
        }
    }

    /// PUBCOMP.
    pub(crate) fn complete(&mut self, id: PacketId) -> Acknowledged {
        match self.slot(id) {
            Some(Slot::Released(_)) => self.done(id),
            Some(Slot::Free) | None => Acknowledged::Unknown,
            Some(Slot::Sent(..)) => Acknowledged::Unexpected,
        }
    }

    /// A message that was under way can't be sent again. Says whether PUBREL is due: the client may
    /// have the message, and would take another one of QoS 2 with its identifier for the same.
    pub(crate) fn drop_sent(&mut self, id: PacketId, dropped: Dropped) -> bool {
        let Some(Slot::Sent(number, message)) = self.slot(id) else { return false };
        let (number, size, reference) = (*number, message.size(), message.reference);
        let release = message.qos == Qos::ExactlyOnce;
        self.bytes -= size;
        self.drop_message(reference, dropped);
        if !release {
            self.done(id);
        } else if let Some(slot) = self.slot_mut(id) {
            *slot = Slot::Released(number);
        }
        release
    }

    fn done(&mut self, id: PacketId) -> Acknowledged {
        self.under_way -= 1;
        let sent = &mut *self.sent;
        if let Some(slot) = sent.slot_mut(id) {
            *slot = Slot::Free;
            sent.free.push_back(id);
        }
        if sent.earlier.remove(&id) { Acknowledged::DoneEarlier } else { Acknowledged::Done }
    }

    fn slot(&self, id: PacketId) -> Option<&Slot> {
        self.sent.slots.get(usize::from(id.get()) - 1)
    }

    pub(crate) fn slot_mut(&mut self, id: PacketId) -> Option<&mut Slot> {
        self.sent.existing()?.slot_mut(id)
    }
}

impl Sent {
    fn slot_mut(&mut self, id: PacketId) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(id.get()) - 1)
    }
}
