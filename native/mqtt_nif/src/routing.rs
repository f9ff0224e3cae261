//! Messages on their way from one client to others.
//!
//! A router knows who has subscribed to what ([`mqtt_core::router`]), the sessions of those, and what is
//! retained. Whom a message goes to is found under its lock for reading, while a connection's `input` may
//! be held; `delivery` then brings it to one after the other without either.
//!
//! The lock of the tables, and that of the retained messages, come behind a connection's `input` and behind that of a
//! session, which a publisher holds while it is found out whom its message goes to. That of the retained messages may be taken
//! under that of the tables, and no other under either: so each message is retained before a subscription is there, or goes
//! to it, and never both.

mod tables;

pub(crate) use tables::{Receiver, Tables};

use crate::broadcast::Sender;
use crate::delivery::{Left, Rest, Routed};
use crate::local::Local;
use crate::session::{Shared, SharedSession, lock};
use mqtt_codec::{
    PropertiesBuf, Property, PropertyIdentifier, Publish, Qos, ReasonCode, RetainHandling,
    SubscriptionOptions,
};
use mqtt_core::retained::{Retained, RetainedLimits};
use mqtt_core::router::{Matches, Strategy, Subscribed, SubscriberId, Subscription};
use mqtt_core::{Granted, Message, Millis, Rules};
use rustler::LocalPid;
use std::cell::RefCell;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::{mem, thread};

/// How a shared subscription's filter begins. Before MQTT 5.0 it is one like any other.
const SHARE: &str = "$share/";
/// Expired messages that are looked for when there is no room for another.
const EXPIRED: usize = 64;
/// Subscribers, or groups, that are looked up at once. It touches the session of each.
pub(crate) const LOOKED_UP: usize = 256;
/// Up to so many subscriptions a message's subscribers are found while the tables are locked.
const FOUND_AT_ONCE: usize = 16 * 1024;

thread_local! {
    static MATCHES: RefCell<Matches> = RefCell::default();
}

/// What a router consists of.
pub(crate) struct Hub {
    tables: RwLock<Tables>,
    retained: Mutex<Retained<Message>>,
    /// Messages that were published, and how many they went to together.
    pub(crate) received: AtomicUsize,
    pub(crate) sent: AtomicUsize,
}

/// From so many subscriptions and retained messages on, a router that has ended is given back by a thread of its own: half a million
/// held a scheduler for 74 ms.
const MANY: usize = 4096;

impl Drop for Hub {
    fn drop(&mut self) {
        let tables = self.tables.get_mut().unwrap_or_else(PoisonError::into_inner);
        let retained = self.retained.get_mut().unwrap_or_else(PoisonError::into_inner);
        if tables.router.len() + retained.len() < MANY {
            return;
        }
        let tables = mem::replace(tables, Tables::new(Strategy::default()));
        let retained = mem::replace(retained, Retained::new(RetainedLimits::default()));
        // Without a thread it is given back here.
        let _ = thread::Builder::new().spawn(move || drop((tables, retained)));
    }
}

/// How a router knows a session.
pub(crate) struct Subscriber {
    hub: Weak<Hub>,
    id: SubscriberId,
}

impl Subscriber {
    /// The router, unless it is gone, and the number.
    pub(crate) fn of(&self) -> Option<(Arc<Hub>, SubscriberId)> {
        Some((self.hub.upgrade()?, self.id))
    }
}

/// What the session knows of a subscription.
fn granted(subscription: Subscription) -> Granted {
    let Subscription { qos, no_local, retain_as_published, identifier } = subscription;
    let retain_handling = RetainHandling::default();
    Granted {
        options: SubscriptionOptions { qos, no_local, retain_as_published, retain_handling },
        identifier: identifier.map(NonZeroU32::get),
    }
}

/// A subscription that was added.
pub(crate) struct Added {
    pub(crate) subscribed: Subscribed,
    /// How many messages had been retained by then. What is later comes because it matches.
    pub(crate) stored: u64,
}

/// A subscription that is not added.
pub(crate) enum NotSubscribed {
    /// The session has as many as it may, or the router no room for such a filter.
    Full,
    /// The session is another router's.
    OtherRouter,
    /// Another connection has the session.
    TakenOver,
}

impl Hub {
    pub(crate) fn new(strategy: Strategy, limits: RetainedLimits) -> Arc<Self> {
        Arc::new(Self {
            tables: RwLock::new(Tables::new(strategy)),
            retained: Mutex::new(Retained::new(limits)),
            received: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
        })
    }

    pub(crate) fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables_mut(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn retained(&self) -> MutexGuard<'_, Retained<Message>> {
        self.retained.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a session, which it keeps until it [leaves](Self::leave); none if it is another
    /// router's. It is locked.
    pub(crate) fn join(
        self: &Arc<Self>,
        shared: &mut Shared,
        session: &SharedSession,
    ) -> Option<SubscriberId> {
        if let Some((hub, id)) = shared.subscriber.as_ref().and_then(Subscriber::of) {
            return Arc::ptr_eq(&hub, self).then_some(id);
        }
        let id = self.tables_mut().add(Receiver::Session(session.clone()));
        shared.subscriber = Some(Subscriber { hub: Arc::downgrade(self), id });
        Some(id)
    }

    /// The number of a session that is known.
    fn known(self: &Arc<Self>, shared: &Shared) -> Option<SubscriberId> {
        let (hub, id) = shared.subscriber.as_ref()?.of()?;
        Arc::ptr_eq(&hub, self).then_some(id)
    }

    pub(crate) fn id_of(self: &Arc<Self>, session: &SharedSession) -> Option<SubscriberId> {
        self.known(&lock(session))
    }

    /// The subscriptions of a session, which is locked, end. It gets nothing that was on its way.
    pub(crate) fn begin_anew(&self, id: SubscriberId) {
        self.tables_mut().begin_anew(id);
    }

    /// Those subscriptions of a session, which is locked, end that the rules do not allow. Gives what waited of shared ones.
    pub(crate) fn revoke(
        &self,
        id: SubscriberId,
        shared: &mut Shared,
        rules: &Rules,
    ) -> Vec<Message> {
        let (filters, messages) = shared.session().revoke(|filter| rules.may_subscribe(filter));
        if !filters.is_empty() {
            let router = &mut self.tables_mut().router;
            for filter in &filters {
                router.unsubscribe(filter, true, id);
                router.unsubscribe(filter, false, id);
            }
        }
        messages
    }

    /// Subscribes a session, for the process of its connection if it has one.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        session: &SharedSession,
        caller: LocalPid,
        filter: &str,
        is_shared: bool,
        subscription: Subscription,
    ) -> Result<Added, NotSubscribed> {
        let mut shared = lock(session);
        if shared.owner().is_some_and(|owner| owner != caller) {
            return Err(NotSubscribed::TakenOver);
        }
        let id = self.join(&mut shared, session).ok_or(NotSubscribed::OtherRouter)?;
        // It has room for so many. SUBACK says the same again.
        if !shared.session().subscribe(filter, granted(subscription)) {
            return Err(NotSubscribed::Full);
        }
        let mut tables = self.tables_mut();
        // The session has a filter once, whatever it is in the client's version.
        if filter.starts_with(SHARE) {
            tables.router.unsubscribe(filter, !is_shared, id);
        }
        let Some(subscribed) = tables.router.subscribe(filter, is_shared, id, subscription) else {
            shared.session().unsubscribe(filter);
            return Err(NotSubscribed::Full);
        };
        Ok(Added { subscribed, stored: self.retained().stored() })
    }

    pub(crate) fn unsubscribe(
        self: &Arc<Self>,
        session: &SharedSession,
        caller: LocalPid,
        filter: &str,
    ) -> bool {
        let mut shared = lock(session);
        if shared.owner().is_some_and(|owner| owner != caller) {
            return false;
        }
        let Some(id) = self.known(&shared) else { return false };
        shared.session().unsubscribe(filter);
        let router = &mut self.tables_mut().router;
        let shared = filter.starts_with(SHARE) && router.unsubscribe(filter, true, id);
        router.unsubscribe(filter, false, id) || shared
    }

    /// Forgets a session and its subscriptions, and says how many these were; none if it has more than so many of them, or
    /// messages. What it has of shared subscriptions goes to other members.
    pub(crate) fn leave(
        self: &Arc<Self>,
        session: &SharedSession,
        at_most: usize,
        sender: &mut Sender<'_>,
    ) -> Option<usize> {
        let (count, messages) = {
            let mut shared = lock(session);
            let Some(id) = self.known(&shared) else { return Some(0) };
            if shared.session().count() > at_most {
                return None;
            }
            shared.subscriber = None;
            let count = self.tables_mut().remove(id);
            // What it was chosen for before is not for it any more.
            session.begin_anew();
            shared.end(sender.env());
            (count, shared.session().take_of_groups())
        };
        self.pass_on(messages, sender);
        Some(count)
    }

    /// What came through groups goes to other members.
    pub(crate) fn pass_on(self: &Arc<Self>, messages: Vec<Message>, sender: &mut Sender<'_>) {
        let mut left = Left::new(self.clone(), messages);
        while !left.deliver(sender) {
            sender.restart();
        }
    }

    /// Makes a process of this node a subscriber.
    pub(crate) fn add_local(&self, local: Arc<Local>) -> SubscriberId {
        self.tables_mut().add(Receiver::Local(local))
    }

    pub(crate) fn remove_local(&self, id: SubscriberId) {
        self.tables_mut().remove(id);
    }

    /// None if there is no room for such a filter.
    pub(crate) fn subscribe_local(
        &self,
        id: SubscriberId,
        filter: &str,
        subscription: Subscription,
    ) -> Option<Added> {
        let mut tables = self.tables_mut();
        let subscribed = tables.router.subscribe(filter, true, id, subscription)?;
        Some(Added { subscribed, stored: self.retained().stored() })
    }

    pub(crate) fn unsubscribe_local(&self, id: SubscriberId, filter: &str) -> bool {
        self.tables_mut().router.unsubscribe(filter, true, id)
    }

    /// The number of sessions.
    pub(crate) fn sessions(&self) -> usize {
        self.tables().sessions()
    }

    /// Finds whom a message goes to, and retains it if it asks for that.
    pub(crate) fn route(
        self: &Arc<Self>,
        publish: &Publish<'_>,
        publisher: Option<SubscriberId>,
        now: Millis,
    ) -> Routed {
        let routed = self.route_by(&self.tables(), publish, publisher, now);
        // Those of the broker itself say how many there were.
        if !publish.topic.starts_with("$SYS/") {
            self.count(1, routed.len());
        }
        routed
    }

    pub(crate) fn count(&self, received: usize, sent: usize) {
        self.received.fetch_add(received, Ordering::Relaxed);
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// As [`route`](Self::route), with the tables locked, and not counted.
    pub(crate) fn route_by(
        self: &Arc<Self>,
        tables: &Tables,
        publish: &Publish<'_>,
        publisher: Option<SubscriberId>,
        now: Millis,
    ) -> Routed {
        let mut message = publish.retain.then(|| copy(publish, now));
        let retained =
            message.as_ref().is_none_or(|message| self.retain(publish.topic, message, now));
        let (deliveries, rest, work, grouped) = MATCHES.with_borrow_mut(|matches| {
            let router = &tables.router;
            let gathering =
                router.matches_at_once(publish.topic, publisher, matches, FOUND_AT_ONCE);
            let (work, count) = (matches.work(), matches.len());
            let key = publisher.map_or(0, |publisher| u64::from(publisher.0));
            let deliveries = tables.deliveries(matches, publish, key);
            let left = count.min(LOOKED_UP)..count;
            let grouped = !matches.groups().is_empty();
            let groups = matches.groups().get(LOOKED_UP - left.start..).unwrap_or_default();
            let groups = groups.to_vec();
            let some = gathering.is_some() || !left.is_empty() || !groups.is_empty();
            let rest = some.then(|| {
                Rest::new(
                    self.clone(),
                    gathering,
                    (matches.take_found(), left),
                    (groups, key),
                    tables.joined(),
                )
            });
            (deliveries, rest, work, grouped)
        });
        if deliveries.is_empty() && rest.is_none() {
            let reason = if retained {
                ReasonCode::NO_MATCHING_SUBSCRIBERS
            } else {
                ReasonCode::QUOTA_EXCEEDED
            };
            return Routed::nowhere(publish, reason).found_by(work);
        }
        // Most that nobody gets are not copied.
        let message = message.take().unwrap_or_else(|| copy(publish, now));
        let is_answered = publish.qos > Qos::AtMostOnce;
        let routed = Routed::to(message, deliveries, is_answered).and(rest).found_by(work);
        if grouped { routed.at(self) } else { routed }
    }

    /// Says whether there is room.
    fn retain(&self, topic: &str, message: &Message, now: Millis) -> bool {
        let mut retained = self.retained();
        if message.publish().payload.is_empty() {
            retained.remove(topic);
            return true;
        }
        let store = |retained: &mut Retained<Message>| {
            retained.store(topic, message.clone(), message.size(), message.expires_at()).is_ok()
        };
        let stored =
            store(&mut retained) || (retained.expire(now, EXPIRED) > 0 && store(&mut retained));
        if !stored {
            // The one before it is no longer the last one, whether or not this is kept [MQTT-3.3.1-7].
            retained.remove(topic);
        }
        stored
    }
}

/// A copy of a message of a client, whose alias is nobody else's, nor are identifiers of subscriptions [MQTT-3.3.4-6].
fn copy(publish: &Publish<'_>, now: Millis) -> Message {
    let plain = Publish { dup: false, packet_id: None, ..*publish };
    let has = |identifier| publish.properties.has(identifier);
    if !has(PropertyIdentifier::TopicAlias) && !has(PropertyIdentifier::SubscriptionIdentifier) {
        return Message::new(&plain, 0, now);
    }
    let mut properties = PropertiesBuf::default();
    for property in publish.properties.iter() {
        if !matches!(property, Property::TopicAlias(_) | Property::SubscriptionIdentifier(_)) {
            // It had room with more.
            let _ = properties.push(&property);
        }
    }
    Message::new(&Publish { properties: properties.as_properties(), ..plain }, 0, now)
}
