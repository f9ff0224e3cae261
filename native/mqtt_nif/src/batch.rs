//! What one read brings: messages on their way to a router, answers, and events for the owner, as terms.

use crate::atoms;
use crate::delivery::Routing;
use crate::events::{
    delivered, message_properties, params, properties_term, put, subscribe_event, unsubscribe_event,
};
use crate::route::{Route, Way};
use crate::terms::{Source, binary, list_of, map};
use mqtt_codec::{Auth, Disconnect, PacketType, Properties, Publish, Qos, Version};
use mqtt_core::{Close, Connection, Event, Millis, Received, Session};
use rustler::sys::ErlNifTerm;
use rustler::{Encoder, Env, Term};
use std::cell::Cell;
use std::ptr;

/// Packets that one call decodes at most, or what takes as long, which is about 200 microseconds.
const MAX_WORK: usize = 2048;
/// What a topic filter takes, and so many bytes of properties, compared with a packet.
const FILTER: usize = 2;
const PROPERTIES: usize = 8;
/// Bytes of messages that take as long to decode as a packet.
const BYTES: usize = 40;

/// Behind so many events to give back what they took costs the owner less than it brings.
const MANY: usize = 256;

/// The options maps of messages by QoS, DUP and RETAIN.
const OPTIONS: usize = 12;

thread_local! {
    /// The memory for the events of the next call.
    static EVENTS: Cell<Vec<ErlNifTerm>> = const { Cell::new(Vec::new()) };
}

/// The events of one call, in their order.
pub(crate) struct Batch<'a> {
    env: Env<'a>,
    now: Millis,
    events: Vec<ErlNifTerm>,
    deliveries: Vec<ErlNifTerm>,
    /// What is answered without the owner.
    output: Vec<u8>,
    /// The options maps, but for packet identifier and properties, made when first needed.
    options: [Option<Term<'a>>; OPTIONS],
    /// Bytes that were read and decoded.
    size: usize,
    /// What the packets hold besides, as so many more packets.
    parts: usize,
    /// Where messages go, if not to the owner, and those that do.
    pub(crate) routing: Option<(Route, Routing)>,
    /// What it took to bring these on their way, as a `Sender` counts.
    pub(crate) work: usize,
    /// Whether it ends before the first packet that the owner has to see.
    without_owner: bool,
    /// Whether it has left something for the owner.
    is_left: bool,
}

/// A topic name and its term.
type Topic<'a, 'b> = (&'b str, Option<Term<'a>>);

/// Why no further packet was read.
pub(crate) enum Stop {
    /// The next packet has so many bytes, as far as can be told.
    Incomplete(usize),
    /// The batch is full.
    Full,
    /// The application has to answer CONNECT first, or all is over.
    Held,
    Close(Close),
}

impl<'a> Batch<'a> {
    pub(crate) fn new(env: Env<'a>, now: Millis) -> Self {
        Self {
            env,
            now,
            events: EVENTS.take(),
            deliveries: Vec::new(),
            output: Vec::new(),
            options: [None; OPTIONS],
            size: 0,
            parts: 0,
            routing: None,
            work: 0,
            without_owner: false,
            is_left: false,
        }
    }

    /// One that ends before the first packet that the owner has to see. It is not [finished](Self::finish).
    pub(crate) fn without_owner(env: Env<'a>, now: Millis) -> Self {
        Self { without_owner: true, ..Self::new(env, now) }
    }

    pub(crate) fn env(&self) -> Env<'a> {
        self.env
    }

    pub(crate) fn now(&self) -> Millis {
        self.now
    }

    /// Counts bytes that were read and are not yet a packet.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.size += bytes;
    }

    /// The bytes, and as many as would take as long as what is in them.
    pub(crate) fn size(&self) -> usize {
        self.size + BYTES * self.parts
    }

    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Runs the state machine over the bytes from `start` on, and says where it stopped and why.
    pub(crate) fn run<'b>(
        &mut self,
        connection: &mut Connection,
        session: &mut Session,
        source: &mut Source<'a, 'b>,
        start: usize,
    ) -> (usize, Stop) {
        let mut at = start;
        let mut turns = 0;
        let mut routing = self.routing.take();
        let mut way = routing.as_mut().map(|(route, routing)| (Way::new(route), routing));
        // The topic of the last message, which often is that of the next.
        let mut topic: Topic<'a, 'b> = ("", None);
        let stop = loop {
            if turns + self.parts >= MAX_WORK {
                break Stop::Full;
            }
            turns += 1;
            let rest = source.bytes().get(at..).unwrap_or_default();
            let routed = || way.as_ref().is_some_and(|(_, routing)| !routing.is_empty());
            if self.without_owner && is_for_owner(rest, routed) {
                break Stop::Full;
            }
            // Looked at where it lies, as any event is large.
            match &connection.receive_after(topic.0, self.now, rest, session, &mut self.output) {
                Ok(Received::Event(event, length)) => {
                    at += length;
                    if let Event::Publish(publish) = event
                        && !publish.topic.is_empty()
                        && !ptr::eq(publish.topic, topic.0)
                    {
                        topic = (publish.topic, None);
                    }
                    match (event, &mut way) {
                        (Event::Publish(publish), Some((way, routing))) => {
                            self.parts += properties_work(&publish.properties);
                            let publish = with_topic(publish, connection);
                            let secured = way.take(&publish, self.now, routing);
                            if secured && publish.qos == Qos::ExactlyOnce {
                                connection.secure(session);
                            }
                            if routing.is_full() {
                                break Stop::Full;
                            }
                        }
                        // Alone it is answered here, and behind other events by the owner, in its turn.
                        (Event::Pingreq, way)
                            if self.events.is_empty()
                                && way.as_ref().is_none_or(|(_, routing)| routing.is_empty()) =>
                        {
                            connection.pingresp(&mut self.output);
                        }
                        (event, way) => {
                            let event = self.event(event, connection, &mut topic, source);
                            self.events.push(event.as_c_arg());
                            // A message behind it must not overtake it.
                            if way.is_some() {
                                break Stop::Full;
                            }
                        }
                    }
                }
                Ok(Received::Incomplete(length)) => break Stop::Incomplete(*length),
                Ok(Received::Handled(length)) => at += length,
                Ok(Received::Full) => break Stop::Full,
                Ok(Received::Held) => break Stop::Held,
                Err(close) => break Stop::Close(*close),
            }
        };
        drop(way);
        self.routing = routing;
        self.size += at - start;
        (at, stop)
    }

    pub(crate) fn is_without_owner(&self) -> bool {
        self.without_owner
    }

    /// Whether there is nothing for the owner.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether something has come, and nothing of it, or of messages with a reference, is for the owner.
    pub(crate) fn was_for_nobody(&self) -> bool {
        self.size > 0 && self.events.is_empty() && self.deliveries.is_empty()
    }

    /// What has become of messages with a reference.
    pub(crate) fn deliveries(&mut self, session: &mut Session) {
        if self.without_owner {
            self.is_left = session.has_deliveries();
            return;
        }
        while let Some(delivery) = session.next_delivery() {
            self.deliveries.push(delivered(self.env, delivery).as_c_arg());
        }
    }

    /// Whether such things are left, which the owner has to be told.
    pub(crate) fn is_left(&self) -> bool {
        self.is_left
    }

    /// `{events, next}`, or `{events, deliveries, next}`, with `{:collect, next}` behind many events.
    pub(crate) fn finish(self, next: impl Encoder) -> Term<'a> {
        let next = if self.events.len() < MANY {
            next.encode(self.env)
        } else {
            (atoms::collect(), next).encode(self.env)
        };
        let mut memory = self.events;
        let events = list_of(self.env, &memory);
        memory.clear();
        EVENTS.set(memory);
        if self.deliveries.is_empty() {
            return (events, next).encode(self.env);
        }
        (events, list_of(self.env, &self.deliveries), next).encode(self.env)
    }

    fn event(
        &mut self,
        event: &Event<'_>,
        connection: &Connection,
        last: &mut Topic<'a, '_>,
        source: &mut Source<'a, '_>,
    ) -> Term<'a> {
        let env = self.env;
        let version = connection.version();
        match event {
            Event::Connect(connect) => (atoms::connect(), params(env, connect, source)).encode(env),
            Event::Publish(publish) => {
                let topic = self.topic(publish, connection, last, source);
                self.publish(publish, topic, version, source)
            }
            Event::Subscribe(subscribe) => {
                let (event, count) = subscribe_event(env, subscribe, version, source);
                self.parts += FILTER * count + properties_work(&subscribe.properties);
                event
            }
            Event::Unsubscribe(unsubscribe) => {
                let (event, count) = unsubscribe_event(env, unsubscribe, source);
                self.parts += FILTER * count + properties_work(&unsubscribe.properties);
                event
            }
            Event::Pingreq => atoms::pingreq().encode(env),
            Event::Auth(Auth { reason, properties }) => {
                let properties = properties_term(env, properties, source);
                (atoms::auth(), reason.0, properties).encode(env)
            }
            Event::Disconnect(Disconnect { reason, properties }) => {
                let properties = properties_term(env, properties, source);
                (atoms::disconnect(), reason.0, properties).encode(env)
            }
        }
    }

    /// The topic of a message, which may be an alias, or that of the message before.
    fn topic(
        &self,
        publish: &Publish<'_>,
        connection: &Connection,
        (last, term): &mut Topic<'a, '_>,
        source: &mut Source<'a, '_>,
    ) -> Term<'a> {
        if publish.topic.is_empty() {
            return binary(self.env, connection.aliased_topic().as_bytes()).to_term(self.env);
        }
        *term.get_or_insert_with(|| source.term(last.as_bytes()))
    }

    /// `{:publish, topic, message, opts}`, and the packet identifier behind it at QoS 1 and 2.
    fn publish(
        &mut self,
        publish: &Publish<'_>,
        topic: Term<'a>,
        version: Version,
        source: &mut Source<'a, '_>,
    ) -> Term<'a> {
        let env = self.env;
        let mut options = self.options(publish, version);
        if !publish.properties.is_empty() {
            self.parts += properties_work(&publish.properties);
            let properties = message_properties(env, &publish.properties, source);
            options = put(options, atoms::properties(), properties);
        }
        let payload = source.term(publish.payload);
        match publish.packet_id {
            None => (atoms::publish(), topic, payload, options).encode(env),
            Some(id) => {
                let id = id.get().encode(env);
                let options = put(options, atoms::packet_id(), id);
                (atoms::publish(), topic, payload, options, id).encode(env)
            }
        }
    }

    /// The options map of a message, whose keys are shared by all that are alike.
    fn options(&mut self, publish: &Publish<'_>, version: Version) -> Term<'a> {
        let env = self.env;
        let index =
            4 * publish.qos as usize + 2 * usize::from(publish.dup) + usize::from(publish.retain);
        let make = || {
            let mut entries = vec![
                (atoms::dup(), publish.dup.encode(env)),
                (atoms::qos(), (publish.qos as u8).encode(env)),
                (atoms::retain(), publish.retain.encode(env)),
            ];
            if publish.qos > Qos::AtMostOnce {
                entries.push((atoms::packet_id(), 0.encode(env)));
            }
            if version >= Version::V5 {
                entries.push((atoms::properties(), Term::map_new(env)));
            }
            map(env, &entries)
        };
        match self.options.get_mut(index) {
            Some(options) => *options.get_or_insert_with(make),
            None => make(),
        }
    }
}

/// Whether the owner has to see the next packet, if messages on their way to a router are before it.
fn is_for_owner(packet: &[u8], routed: impl FnOnce() -> bool) -> bool {
    match packet.first().and_then(|byte| PacketType::from_first_byte(*byte)) {
        Some(
            PacketType::Connect
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::Disconnect
            | PacketType::Auth,
        ) => true,
        Some(PacketType::Pingreq) => routed(),
        _ => false,
    }
}

fn properties_work(properties: &Properties<'_>) -> usize {
    properties.as_bytes().len() / PROPERTIES
}

/// A message with the topic that its alias stands for, if it has none.
fn with_topic<'a>(publish: &Publish<'a>, connection: &'a Connection) -> Publish<'a> {
    let topic = if publish.topic.is_empty() { connection.aliased_topic() } else { publish.topic };
    Publish { topic, ..*publish }
}
