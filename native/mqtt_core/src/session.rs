//! What outlives a connection: the messages that the client does not have yet, the identifiers of
//! those that it has sent, and its subscriptions (section 4.1).

use crate::asking::Asking;
use crate::ids::IdMap;
use crate::lazy::Lazy;
use crate::message::Message;
use crate::outgoing::Fate;
use crate::subscriptions::Subscriptions;
use crate::under_way::Sent;
use crate::waiting::Waiting;
use core::num::NonZeroU64;
use mqtt_codec::{PacketId, Qos, ReasonCode, SubscriptionOptions};
use std::collections::VecDeque;

/// How much a session may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Messages of QoS 1 and 2 that are waiting or under way, and as many of QoS 0 that wait.
    pub messages: usize,
    /// Bytes of either, from which on no further one is taken, and as many of subscriptions.
    pub bytes: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Whether a further message takes the place of the one that waits longest, instead of being dropped.
    pub drop_oldest: bool,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { messages: 10_000, bytes: 4 * 1024 * 1024, subscriptions: 1_000, drop_oldest: false }
    }
}

/// What has become of a message that the application had given a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The client has it.
    Acknowledged,
    /// The client does not want it (MQTT 5.0), which ends it [MQTT-4.4.0-2].
    Refused(ReasonCode),
    /// It was not sent.
    Dropped(Dropped),
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The session holds as much as it may, or the client reads too slowly.
    QueueFull,
    /// Its Message Expiry Interval is over [MQTT-3.3.2-5].
    Expired,
    /// The client does not take packets as large [MQTT-3.1.2-24].
    PacketTooLarge,
    /// It has QoS 0, and there is no connection.
    NotConnected,
    /// The client began a new session.
    Discarded,
    /// The application does not want it sent.
    NotAuthorized,
}

impl Dropped {
    /// The reason's name in `snake_case`, which is also its atom on the BEAM.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Expired => "expired",
            Self::PacketTooLarge => "packet_too_large",
            Self::NotConnected => "not_connected",
            Self::Discarded => "discarded",
            Self::NotAuthorized => "not_authorized",
        }
    }
}

/// A subscription that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The options, with the QoS that was granted.
    pub options: SubscriptionOptions,
    /// The Subscription Identifier (MQTT 5.0).
    pub identifier: Option<u32>,
}

/// A session with one client.
///
/// ```
/// use mqtt_codec::{Properties, Publish, Qos};
/// use mqtt_core::{Session, SessionLimits};
///
/// let mut session = Session::new(SessionLimits::default());
/// let publish = Publish {
///     dup: false,
///     qos: Qos::AtLeastOnce,
///     retain: false,
///     topic: "a",
///     packet_id: None,
///     properties: Properties::EMPTY,
///     payload: b"kept until the client comes",
/// };
/// session.enqueue(&publish, 0, 0, false).unwrap();
/// assert_eq!(session.waiting(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct Session {
    pub(crate) limits: SessionLimits,
    /// The messages under way.
    pub(crate) sent: Lazy<Sent>,
    /// Messages that wait for their turn.
    pub(crate) waiting: Lazy<Waiting>,
    /// If the application is asked about each.
    pub(crate) asking: Option<Box<Asking>>,
    pub(crate) under_way: usize,
    pub(crate) bytes: usize,
    /// The number of the last message that was sent, and its identifier.
    pub(crate) next: u64,
    pub(crate) last: Option<PacketId>,
    /// Packet identifiers of messages of QoS 2 from the client, until it has released them
    /// [MQTT-4.3.3-10].
    pub(crate) received: IdMap<Received>,
    /// How many connections have begun with it, and from which on it is the session that it is now.
    pub(crate) connections: u64,
    pub(crate) since: u64,
    /// What has become of messages with a reference, to be told.
    deliveries: Lazy<VecDeque<(u64, Delivery)>>,
    pub(crate) dropped: usize,
    /// The subscriptions, if they are kept.
    pub(crate) subscriptions: Option<Box<Subscriptions>>,
    /// Seconds that the session is to be kept after its connection; `u32::MAX` for ever.
    pub(crate) expiry_interval: u32,
    /// Whether a client has ever been connected with it.
    pub(crate) used: bool,
}

/// A packet identifier of ours.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    Free,
    /// PUBLISH was sent.
    Sent(u64, Message),
    /// PUBREL was sent.
    Released(u64),
}

/// A packet identifier of the client's, with QoS 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// The application has not answered.
    Pending,
    /// It has not, and will have it whatever becomes of the connection.
    Secured,
    /// PUBREC was sent.
    Recorded,
    /// The connection before this one ended before the application had answered. It may yet, but to the client this is
    /// as none.
    Abandoned,
}

/// What an acknowledgement from the client means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// The message's way has ended.
    Done,
    /// The same, but it had no place in this connection's quota.
    DoneEarlier,
    /// PUBREL is due.
    Release,
    /// There is no such message.
    Unknown,
    /// It does not fit the message's QoS or state.
    Unexpected,
}

/// What comes next.
pub(crate) enum Next {
    Nothing,
    /// PUBLISH once more.
    Resend(PacketId),
    /// PUBREL once more.
    Release(PacketId),
    /// A message that waits.
    First,
}

impl Session {
    /// A session that nobody has used.
    #[must_use]
    pub fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            sent: Lazy::new(),
            waiting: Lazy::new(),
            asking: None,
            under_way: 0,
            bytes: 0,
            next: 0,
            last: None,
            received: IdMap::default(),
            connections: 0,
            since: 0,
            deliveries: Lazy::new(),
            dropped: 0,
            subscriptions: None,
            expiry_interval: 0,
            used: false,
        }
    }

    /// A session that also keeps what the client has subscribed to.
    #[must_use]
    pub fn with_subscriptions(limits: SessionLimits) -> Self {
        Self { subscriptions: Some(Box::default()), ..Self::new(limits) }
    }

    /// How much it may hold.
    #[must_use]
    pub const fn limits(&self) -> SessionLimits {
        self.limits
    }

    /// Messages that have been sent and not acknowledged.
    #[must_use]
    pub const fn under_way(&self) -> usize {
        self.under_way
    }

    /// Bytes of the messages that wait or are under way, as [`SessionLimits::bytes`] counts them.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages of QoS 2 from the client that it has not released.
    #[must_use]
    pub fn unreleased(&self) -> usize {
        self.received.values().filter(|received| **received != Received::Abandoned).count()
    }

    /// Messages that were not sent.
    #[must_use]
    pub const fn dropped(&self) -> usize {
        self.dropped
    }

    /// Seconds that the session is to be kept after its connection; `u32::MAX` for ever.
    #[must_use]
    pub const fn expiry_interval(&self) -> u32 {
        self.expiry_interval
    }

    /// Whether it was not to outlast its last connection, so that the next one begins anew.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.used && self.expiry_interval == 0
    }

    /// The memory that it takes, about, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + self.sent.size()
            + self.waiting.size()
            + self.deliveries.size()
            + self.bytes
            + self.sent.slots.capacity() * size_of::<Slot>()
            + (self.sent.free.capacity() + self.sent.resend.capacity()) * size_of::<PacketId>()
            + (self.received.capacity() + self.sent.earlier.capacity()) * 4
            + self.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.size())
    }

    /// How many messages and subscriptions it has.
    #[must_use]
    pub fn count(&self) -> usize {
        let subscriptions =
            self.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.len());
        self.waiting.len() + self.under_way + subscriptions
    }

    /// Says through which group of a shared subscription the message came that was published last, with
    /// this result.
    pub fn set_group(&mut self, fate: Fate, group: NonZeroU64) {
        let message = match fate {
            Fate::Waiting => self.waiting.last_mut(),
            Fate::Head => match self.last.and_then(|id| self.slot_mut(id)) {
                Some(Slot::Sent(_, message)) => Some(message),
                _ => None,
            },
            Fate::Dropped(_) => None,
        };
        if let Some(message) = message {
            message.group = Some(group);
        }
    }

    /// The messages that came through groups of shared subscriptions and that another member may get when the session
    /// ends: of those that were sent the ones of QoS 1 [MQTT-4.8.2-5], and those that wait.
    #[must_use]
    pub fn of_groups(&self) -> Vec<Message> {
        let sent = self.sent.slots.iter().filter_map(|slot| match slot {
            Slot::Sent(number, message) if message.qos == Qos::AtLeastOnce => {
                Some((*number, message))
            }
            _ => None,
        });
        let mut sent: Vec<_> = sent.collect();
        sent.sort_unstable_by_key(|(number, _)| *number);
        let sent = sent.into_iter().map(|(_, message)| message);
        sent.chain(self.waiting.iter()).filter(|message| message.group.is_some()).cloned().collect()
    }

    /// The same, after which those that waited do not wait here any more.
    pub fn take_of_groups(&mut self) -> Vec<Message> {
        let taken = self.of_groups();
        for message in self.take_waiting(|message| message.group.is_some()) {
            self.bytes -= message.size();
        }
        self.others_wait();
        taken
    }

    /// What has become of a message with a reference, the earliest first.
    pub fn next_delivery(&mut self) -> Option<(u64, Delivery)> {
        self.deliveries.existing()?.pop_front()
    }

    /// A connection begins. Says whether the session is one that the client knows.
    pub(crate) fn begin(&mut self, clean: bool) -> bool {
        if self.asks() {
            self.forget_references();
        }
        if clean {
            self.clear();
        }
        self.disconnect();
        self.connections += 1;
        let known = std::mem::replace(&mut self.used, true);
        self.received.retain(|_, received| {
            let before = *received;
            *received = match before {
                Received::Pending => Received::Abandoned,
                _ => Received::Recorded,
            };
            before != Received::Abandoned
        });
        let mut order: Vec<(u64, PacketId)> = Vec::with_capacity(self.under_way);
        for (slot, id) in self.sent.slots.iter().zip(1..=u16::MAX) {
            if let (Slot::Sent(number, _) | Slot::Released(number), Some(id)) =
                (slot, PacketId::new(id))
            {
                order.push((*number, id));
            }
        }
        order.sort_unstable();
        if let Some(sent) = self.sent.existing() {
            sent.resend = order.into_iter().map(|(_, id)| id).collect();
            sent.earlier = sent.resend.iter().copied().collect();
        }
        known
    }

    /// The application has answered a message of QoS 2 that came over the connection of that number. If another one has
    /// begun since, the client may have sent it again, and then that is what counts; or another message with its
    /// identifier, which it is not to be taken for.
    pub(crate) fn answered(&mut self, id: PacketId, number: u64, refused: bool) {
        let Some(received) = self.received.get_mut(&id) else { return };
        let is_it = match self.connections.checked_sub(number) {
            Some(0) => true,
            Some(1) => *received == Received::Abandoned,
            _ => false,
        };
        if is_it && refused {
            self.received.remove(&id);
        } else if is_it {
            *received = Received::Recorded;
        }
    }

    /// Forgets everything but its limits [MQTT-3.1.2-4], in MQTT 3.1.1 [MQTT-3.1.2-6].
    pub fn clear(&mut self) {
        for slot in
            self.sent.existing().map(|sent| std::mem::take(&mut sent.slots)).into_iter().flatten()
        {
            if let Slot::Sent(_, message) = slot {
                self.lose(message, Dropped::Discarded);
            }
        }
        self.clear_waiting();
        let asking = self.asking.take();
        let deliveries = std::mem::replace(&mut self.deliveries, Lazy::new());
        let subscriptions = self.subscriptions.take();
        let dropped = self.dropped;
        *self = Self {
            asking,
            deliveries,
            subscriptions,
            dropped,
            next: self.next,
            connections: self.connections,
            since: self.connections + 1,
            ..Self::new(self.limits)
        };
    }

    /// Gives back memory that a burst of messages took. The next burst takes it again, so this is for
    /// when there has been none for a while.
    pub fn trim(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = Lazy::new();
        }
        if self.under_way == 0 {
            self.sent = Lazy::new();
        }
        if self.deliveries.is_empty() {
            self.deliveries = Lazy::new();
        }
    }

    /// Whether something is to be told by [`next_delivery`](Self::next_delivery).
    #[must_use]
    pub fn has_deliveries(&self) -> bool {
        !self.deliveries.is_empty()
    }

    /// A message is not sent.
    pub(crate) fn drop_message(&mut self, reference: u64, dropped: Dropped) {
        self.dropped += 1;
        self.tell(reference, Delivery::Dropped(dropped));
    }

    /// A message of QoS 0 was written, and nothing more will be known of it.
    pub(crate) fn written(&mut self, reference: u64) {
        self.tell(reference, Delivery::Acknowledged);
    }

    /// What the application called messages means nothing to it any more.
    fn forget_references(&mut self) {
        self.deliveries = Lazy::new();
        let sent = self.sent.existing().into_iter().flat_map(|sent| &mut sent.slots);
        let sent = sent.filter_map(|slot| match slot {
            Slot::Sent(_, message) => Some(message),
            _ => None,
        });
        let waiting = self.waiting.existing().into_iter().flat_map(Waiting::iter_mut);
        for message in sent.chain(waiting) {
            message.reference = 0;
        }
    }

    pub(crate) fn tell(&mut self, reference: u64, delivery: Delivery) {
        if reference != 0 {
            self.deliveries.push_back((reference, delivery));
        }
    }
}
