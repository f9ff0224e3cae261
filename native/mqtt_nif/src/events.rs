//! The events of the state machine as terms, a batch at a time.

use crate::atoms;
use crate::terms::{Source, list_of, name};
use mqtt_codec::{Connect, Publish, Subscribe, Unsubscribe};
use mqtt_core::{Close, Connection, Event, Millis, Received};
use rustler::sys::ErlNifTerm;
use rustler::{Atom, Encoder, Env, Term};

/// Packets that one call decodes at most, which takes a scheduler about 200 microseconds.
const MAX_PACKETS: usize = 2048;

/// The events of one call, in their order.
pub(crate) struct Batch<'a> {
    env: Env<'a>,
    now: Millis,
    events: Vec<ErlNifTerm>,
    /// What is answered without the owner.
    output: Vec<u8>,
    /// The options map of a message without and with RETAIN, made when first needed.
    options: [Option<Term<'a>>; 2],
    /// Bytes that were read and decoded.
    size: usize,
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
        Self { env, now, events: Vec::new(), output: Vec::new(), options: [None; 2], size: 0 }
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

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    /// Runs the state machine over the bytes from `start` on, and says where it stopped and why.
    pub(crate) fn run<'b>(
        &mut self,
        connection: &mut Connection,
        source: &mut Source<'a, 'b>,
        start: usize,
    ) -> (usize, Stop) {
        let mut at = start;
        let mut turns = 0;
        // The topic of the last message, which often is that of the next.
        let mut topic: Topic<'a, 'b> = ("", None);
        let stop = loop {
            if turns == MAX_PACKETS {
                break Stop::Full;
            }
            turns += 1;
            let rest = source.bytes().get(at..).unwrap_or_default();
            match connection.receive(self.now, rest, &mut self.output) {
                // Alone it is answered here, and behind other events by the owner, in its turn.
                Ok(Received::Event(Event::Pingreq, length)) if self.events.is_empty() => {
                    connection.pingresp(&mut self.output);
                    at += length;
                }
                Ok(Received::Event(Event::Publish(publish), length)) => {
                    let event = self.publish(&publish, &mut topic, source);
                    self.events.push(event.as_c_arg());
                    at += length;
                }
                Ok(Received::Event(event, length)) => {
                    let event = self.event(&event, source);
                    self.events.push(event.as_c_arg());
                    at += length;
                }
                Ok(Received::Incomplete(length)) => break Stop::Incomplete(length),
                Ok(Received::Held) => break Stop::Held,
                Err(close) => break Stop::Close(close),
            }
        };
        self.size += at - start;
        (at, stop)
    }

    /// `{events, next}`.
    pub(crate) fn finish(self, next: impl Encoder) -> Term<'a> {
        (list_of(self.env, &self.events), next).encode(self.env)
    }

    fn event(&mut self, event: &Event<'_>, source: &mut Source<'a, '_>) -> Term<'a> {
        let env = self.env;
        match event {
            Event::Publish(publish) => self.publish(publish, &mut ("", None), source),
            Event::Connect(connect) => (atoms::connect(), params(env, connect, source)).encode(env),
            Event::Subscribe(subscribe) => subscribe_event(env, subscribe, source),
            Event::Unsubscribe(unsubscribe) => unsubscribe_event(env, unsubscribe, source),
            Event::Pingreq => atoms::pingreq().encode(env),
            Event::Disconnect => atoms::disconnect().encode(env),
        }
    }

    fn publish<'b>(
        &mut self,
        publish: &Publish<'b>,
        last: &mut Topic<'a, 'b>,
        source: &mut Source<'a, '_>,
    ) -> Term<'a> {
        let env = self.env;
        let [plain, retained] = &mut self.options;
        let options = if publish.retain { retained } else { plain };
        let options = *options.get_or_insert_with(|| {
            let entries = [
                (atoms::dup(), publish.dup.encode(env)),
                (atoms::qos(), (publish.qos as u8).encode(env)),
                (atoms::retain(), publish.retain.encode(env)),
            ];
            map(env, &entries)
        });
        let topic = match *last {
            (name, Some(term)) if name == publish.topic => term,
            _ => {
                let term = source.term(publish.topic.as_bytes());
                *last = (publish.topic, Some(term));
                term
            }
        };
        let payload = source.term(publish.payload);
        (atoms::publish(), topic, payload, options).encode(env)
    }
}

fn subscribe_event<'a>(
    env: Env<'a>,
    subscribe: &Subscribe<'_>,
    source: &mut Source<'a, '_>,
) -> Term<'a> {
    let filters: Vec<_> = subscribe
        .subscriptions
        .iter()
        .map(|subscription| {
            let filter = source.term(subscription.filter.as_bytes());
            (filter, subscription.options.qos as u8)
        })
        .collect();
    (atoms::subscribe(), subscribe.packet_id.get(), filters).encode(env)
}

fn unsubscribe_event<'a>(
    env: Env<'a>,
    unsubscribe: &Unsubscribe<'_>,
    source: &mut Source<'a, '_>,
) -> Term<'a> {
    let filters: Vec<_> =
        unsubscribe.filters.iter().map(|filter| source.term(filter.as_bytes())).collect();
    (atoms::unsubscribe(), unsubscribe.packet_id.get(), filters).encode(env)
}

/// The map that `init/2` gets: what the client did not send is not in it.
fn params<'a>(env: Env<'a>, connect: &Connect<'_>, source: &mut Source<'a, '_>) -> Term<'a> {
    let mut entries = vec![
        (atoms::protocol(), connect.version.protocol_name().encode(env)),
        (atoms::protocol_version(), connect.version.level().encode(env)),
        (atoms::clean_session(), connect.clean_start.encode(env)),
        (atoms::keep_alive(), connect.keep_alive.encode(env)),
        (atoms::client_id(), source.term(connect.client_id.as_bytes())),
    ];
    if let Some(username) = connect.username {
        entries.push((atoms::username(), source.term(username.as_bytes())));
    }
    if let Some(password) = connect.password {
        entries.push((atoms::password(), source.term(password)));
    }
    if let Some(will) = &connect.will {
        let will = [
            (atoms::topic(), source.term(will.topic.as_bytes())),
            (atoms::message(), source.term(will.payload)),
            (atoms::qos(), (will.qos as u8).encode(env)),
            (atoms::retain(), will.retain.encode(env)),
        ];
        entries.push((atoms::last_will(), map(env, &will)));
    }
    map(env, &entries)
}

/// A map of entries whose keys differ.
pub(crate) fn map<'a>(env: Env<'a>, entries: &[(Atom, Term<'a>)]) -> Term<'a> {
    Term::map_from_pairs(env, entries).unwrap_or_else(|_| Term::map_new(env))
}

/// A reason for the end of a connection as a term.
pub(crate) fn close_reason(env: Env<'_>, close: Close) -> Term<'_> {
    match close {
        Close::ProtocolError(violation) => {
            (atoms::protocol_error(), name(env, violation.name())).encode(env)
        }
        Close::ConnectTimeout => atoms::connect_timeout().encode(env),
        Close::KeepAliveTimeout => atoms::keep_alive_timeout().encode(env),
    }
}
