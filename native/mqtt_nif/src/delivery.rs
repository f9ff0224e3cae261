//! Bringing a message to those whom it goes to: a session that has a connection gets it there, another
//! keeps it, and a process is sent it. No lock is held from one to the next. Of very many, `rest` finds some at a time.

mod rest;

pub(crate) use rest::Rest;

use crate::atoms;
use crate::broadcast::{self, MAX_COST, Sender, Sent};
use crate::routing::{Hub, LOOKED_UP, Receiver};
use crate::session::lock;
use mqtt_codec::{PropertiesBuf, Property, Publish, Qos, ReasonCode};
use mqtt_core::router::{GroupId, Match};
use mqtt_core::{Broadcast, Message, Millis};
use rest::GATHERED;
use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

/// What it takes to look at a node of the tree, or at a subscription, as a [`Sender`] counts.
const WORK: usize = 32;

/// Messages of a client that have not reached everybody.
#[derive(Default)]
pub(crate) struct Routing {
    /// What goes first.
    left: Option<Box<Left>>,
    messages: VecDeque<Routed>,
    /// What it takes to deliver these, as a [`Sender`] counts it, and took to find to whom.
    cost: usize,
}

impl Routing {
    /// Takes a message of so many bytes, unless nobody gets it and nobody has to be told.
    pub(crate) fn push(&mut self, routed: Routed, size: usize) {
        let most = routed.at_most();
        self.cost += WORK * routed.work + most * broadcast::cost(size);
        if routed.is_answered || most > 0 {
            self.messages.push_back(routed);
        }
    }

    /// Counts what it took to find out whether a message may be taken, as nodes of the router's tree.
    pub(crate) fn charge(&mut self, nodes: usize) {
        self.cost += WORK * nodes;
    }

    /// Takes messages that go first.
    pub(crate) fn begin_with(&mut self, left: Left) {
        // Where there is nothing, the owner is not called once more for it.
        self.left = Some(left).filter(|left| !left.messages.is_empty()).map(Box::new);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.left.is_none()
    }

    /// Counts anew, unless there are some of before.
    pub(crate) fn begin(mut self) -> Self {
        if self.is_empty() {
            self.cost = 0;
        }
        self
    }

    /// Whether no further message may be taken.
    pub(crate) fn is_full(&self) -> bool {
        self.cost >= MAX_COST / 2
    }

    /// Delivers as much as a call may. Gives the answers that are due to messages of QoS 1 and 2.
    pub(crate) fn deliver(&mut self, sender: &mut Sender<'_>) -> Vec<ReasonCode> {
        let mut answers = Vec::new();
        if self.left.as_mut().is_some_and(|left| !left.deliver(sender)) {
            return answers;
        }
        self.left = None;
        while let Some(routed) = self.messages.front_mut() {
            if !routed.deliver(sender) {
                break;
            }
            if routed.is_answered {
                answers.push(routed.reason);
            }
            self.messages.pop_front();
        }
        answers
    }
}

/// Messages that came through groups of shared subscriptions to a member that is gone. They go to others, which are
/// chosen one after the other.
pub(crate) struct Left {
    hub: Arc<Hub>,
    messages: VecDeque<Message>,
    /// The one that is on its way.
    routed: Option<Routed>,
}

impl Left {
    pub(crate) fn new(hub: Arc<Hub>, messages: Vec<Message>) -> Self {
        Self { hub, messages: messages.into(), routed: None }
    }

    /// Delivers as many as a call may, and says whether these were all.
    pub(crate) fn deliver(&mut self, sender: &mut Sender<'_>) -> bool {
        loop {
            if self.routed.as_mut().is_some_and(|routed| !routed.deliver(sender)) {
                return false;
            }
            self.routed = None;
            if sender.is_done() {
                return self.messages.is_empty();
            }
            let Some(message) = self.messages.pop_front() else { return true };
            sender.charge(WORK);
            // [MQTT-3.3.2-5]
            if !message.has_expired(sender.now()) {
                let routed = self.hub.tables().pass_on(message);
                self.routed = routed.map(|routed| routed.at(&self.hub));
            }
        }
    }
}

/// A message, and whom it goes to.
pub(crate) struct Routed {
    /// None if it goes to nobody.
    message: Option<Message>,
    /// How many it goes to, but for those that are being found.
    count: usize,
    /// Those of them that have been looked up last.
    deliveries: Vec<To>,
    /// The first of these that is not done.
    next: usize,
    rest: Option<Box<Rest>>,
    /// Where another member of a group is found, if the session of the chosen one has ended meanwhile.
    hub: Option<Arc<Hub>>,
    /// What it took to find them, until the call counts it that begins to deliver.
    work: usize,
    /// Whether its publisher is told the reason, when these are done.
    is_answered: bool,
    reason: ReasonCode,
}

/// A subscriber that a message goes to.
pub(crate) struct To {
    pub(crate) receiver: Receiver,
    /// Of the session.
    life: usize,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) identifiers: Box<[NonZeroU32]>,
    /// The group of a shared subscription, if it is for that.
    pub(crate) group: Option<NonZeroU64>,
}

impl Routed {
    pub(crate) fn nowhere(publish: &Publish<'_>, reason: ReasonCode) -> Self {
        let is_answered = publish.qos > Qos::AtMostOnce;
        Self { reason, ..Self::of(None, Vec::new(), is_answered) }
    }

    pub(crate) fn to(message: Message, deliveries: Vec<To>, is_answered: bool) -> Self {
        Self::of(Some(message), deliveries, is_answered)
    }

    fn of(message: Option<Message>, deliveries: Vec<To>, is_answered: bool) -> Self {
        let reason = ReasonCode::SUCCESS;
        let count = deliveries.len();
        let (rest, hub) = (None, None);
        Self { message, count, deliveries, next: 0, rest, hub, work: 0, is_answered, reason }
    }

    /// Has other members of groups be found there.
    pub(crate) fn at(self, hub: &Arc<Hub>) -> Self {
        Self { hub: Some(hub.clone()), ..self }
    }

    /// Has it go to more.
    pub(crate) fn and(self, rest: Option<Rest>) -> Self {
        let more = rest.as_ref().map_or(0, Rest::len);
        Self { count: self.count + more, rest: rest.map(Box::new), ..self }
    }

    /// Says what it took to find whom it goes to.
    pub(crate) fn found_by(self, work: usize) -> Self {
        Self { work, ..self }
    }

    pub(crate) fn reason(&self) -> ReasonCode {
        self.reason
    }

    /// How many it goes to, as far as they are known.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// How many it may go to.
    fn at_most(&self) -> usize {
        self.count + self.rest.as_ref().map_or(0, |rest| rest.subscriptions())
    }

    /// Delivers to as many as a call may, and says whether these were all.
    pub(crate) fn deliver(&mut self, sender: &mut Sender<'_>) -> bool {
        sender.charge(WORK * std::mem::take(&mut self.work));
        let Some(message) = &self.message else { return true };
        let publish = message.publish();
        let now = sender.now();
        // A call of before, or a member of a group that had it, took some of its time. [MQTT-3.3.2-5] [MQTT-3.3.2-6]
        let aged = message.has_aged(now);
        if aged && message.has_expired(now) {
            return true;
        }
        let adapts = message.expires_at().is_some() || message.group().is_some();
        // By QoS and RETAIN.
        let mut shared: [Option<Broadcast<'_>>; 6] = Default::default();
        let alone = self.at_most() == 1;
        loop {
            let Some(to) = self.deliveries.get(self.next) else {
                self.deliveries.clear();
                self.next = 0;
                let Some(rest) = &mut self.rest else { return true };
                if sender.is_done() {
                    return false;
                }
                if let Some(more) = rest.gather() {
                    sender.charge(WORK * GATHERED);
                    self.count += more;
                    continue;
                }
                // All of them may be gone.
                sender.charge(WORK * LOOKED_UP);
                if rest.look_up(&publish, &mut self.deliveries) {
                    continue;
                }
                return true;
            };
            if sender.is_done() {
                return false;
            }
            self.next += 1;
            let reached = if alone || aged || !to.identifiers.is_empty() {
                let mut publish = Publish { qos: to.qos, retain: to.retain, ..publish };
                let properties;
                if adapts || !to.identifiers.is_empty() {
                    // What does not fit with the identifiers is not sent.
                    let Ok(other) = adapted(message, &to.identifiers, now) else { continue };
                    properties = other;
                    publish.properties = properties.as_properties();
                }
                let keep = || Message::new(&publish, 0, now);
                to.deliver(&Sent::Alone(&publish), keep, sender)
            } else {
                let class = 2 * to.qos as usize + usize::from(to.retain);
                let Some(place) = shared.get_mut(class) else { continue };
                if place.is_none() {
                    *place = Broadcast::granted(message, to.qos, to.retain).ok();
                }
                let Some(broadcast) = place else { continue };
                let keep = || message.granted(to.qos, to.retain);
                to.deliver(&Sent::Shared(broadcast), keep, sender)
            };
            if !reached {
                let other = other_member(self.hub.as_ref(), to, message);
                self.deliveries.extend(other);
            }
        }
    }
}

/// Another member of the group, instead of one whose session has ended since it was chosen.
fn other_member(hub: Option<&Arc<Hub>>, to: &To, message: &Message) -> Option<To> {
    hub?.tables().choose(to.group?, &message.publish())
}

/// How often a connection may have ended between finding it and sending to it.
const TRIES: usize = 3;

impl To {
    pub(crate) fn new(
        receiver: &Receiver,
        found: Match<'_>,
        publish: &Publish<'_>,
        group: Option<GroupId>,
    ) -> Self {
        Self {
            receiver: receiver.clone(),
            life: match receiver {
                Receiver::Session(session) => session.life(),
                Receiver::Local(_) => 0,
            },
            qos: publish.qos.min(found.qos),
            retain: publish.retain && found.retain_as_published,
            identifiers: found.identifiers.into(),
            group: group.map(GroupId::to_number),
        }
    }

    /// Sends a message to the session's connection, or has the session keep it; or to a process. Says whether the session is still the
    /// one that it was for.
    fn deliver(
        &self,
        sent: &Sent<'_, '_>,
        keep: impl FnOnce() -> Message,
        sender: &mut Sender<'_>,
    ) -> bool {
        let session = match &self.receiver {
            Receiver::Session(session) => session,
            Receiver::Local(local) => {
                sender.charge(broadcast::cost(sent.payload().len()));
                local.send(&keep(), sender);
                return true;
            }
        };
        sender.charge(broadcast::COST);
        for _ in 0..TRIES {
            let connection = {
                let shared = lock(session);
                if session.life() != self.life {
                    return false;
                }
                shared.connection()
            };
            let Some(connection) = connection else { break };
            if sender.send(&connection, sent, self.group) != Err(atoms::not_connected()) {
                return true;
            }
        }
        // A connection that ends may still have the session.
        if self.qos > Qos::AtMostOnce {
            let message = keep().of_group(self.group);
            let mut shared = lock(session);
            if session.life() != self.life {
                return false;
            }
            shared.keep(message, sender.now(), sender.env());
        }
        true
    }
}

/// The properties of a message that was kept, with what is left of its Message Expiry Interval
/// [MQTT-3.3.2-6], and the identifiers of the subscriptions that it goes to.
pub(crate) fn adapted(
    message: &Message,
    identifiers: &[NonZeroU32],
    now: Millis,
) -> Result<PropertiesBuf, mqtt_codec::Error> {
    let mut properties = PropertiesBuf::default();
    for property in message.publish().properties.iter() {
        match (property, message.seconds_left(now)) {
            // Of the member of a group that had it before.
            (Property::SubscriptionIdentifier(_), _) => {}
            (Property::MessageExpiryInterval(_), Some(seconds)) => {
                properties.push(&Property::MessageExpiryInterval(seconds))?;
            }
            _ => properties.push(&property)?,
        }
    }
    for identifier in identifiers {
        properties.push(&Property::SubscriptionIdentifier(identifier.get()))?;
    }
    Ok(properties)
}
