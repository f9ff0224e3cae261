//! The router as a resource of the BEAM, and its calls. Those about retained messages are in `retained`.

mod retained;

use crate::atoms;
use crate::broadcast::Sender;
use crate::clock;
use crate::commands::{Invalid, Message};
use crate::delivery::{Routed, adapted};
use crate::routing::{Added, Hub, NotSubscribed};
use crate::session::SessionResource;
use crate::terms::{self, binary, map, name};
use mqtt_codec::{Property, Qos, Version, topic};
use mqtt_core::retained::RetainedLimits;
use mqtt_core::router::{Strategy, Subscribed, Subscription};
use mqtt_core::{self as core, check_publish};
use rustler::{Atom, Encoder, Env, NifResult, Resource, ResourceArc, Term};
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// What a session may have that is forgotten by a call on a scheduler.
pub(crate) const SMALL: usize = 64;

/// A router behind a term.
pub(crate) struct RouterResource(Arc<Hub>);

#[rustler::resource_impl]
impl Resource for RouterResource {}

impl RouterResource {
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.0
    }
}

/// A message that has not reached everybody yet.
struct Remaining(Mutex<Option<Routed>>);

#[rustler::resource_impl]
impl Resource for Remaining {}

#[rustler::nif]
fn router_new(strategy: Atom, messages: usize, bytes: usize) -> ResourceArc<RouterResource> {
    let strategy = if strategy == atoms::sticky() {
        Strategy::Sticky
    } else if strategy == atoms::hash() {
        Strategy::Hash
    } else {
        Strategy::LeastLoaded
    };
    ResourceArc::new(RouterResource(Hub::new(strategy, RetainedLimits { messages, bytes })))
}

/// Subscribes a session: `{:new, cursor}`, `{:replaced, cursor}`, or an error.
#[rustler::nif]
fn router_subscribe<'a>(
    env: Env<'a>,
    router: ResourceArc<RouterResource>,
    session: ResourceArc<SessionResource>,
    filter: &'a str,
    shared: bool,
    options: Term<'a>,
) -> NifResult<Term<'a>> {
    if let Err(invalid) = check(env, filter, shared) {
        return Ok(invalid);
    }
    let subscription = subscription(options)?;
    let subscribed = router.0.subscribe(session.shared(), env.pid(), filter, shared, subscription);
    Ok(match subscribed {
        Ok(added) => answer(env, &added),
        Err(NotSubscribed::Full) => env.error_tuple(atoms::quota_exceeded()),
        Err(NotSubscribed::TakenOver) => env.error_tuple(atoms::session_taken_over()),
        Err(NotSubscribed::OtherRouter) => env.error_tuple(atoms::other_router()),
    })
}

/// An error for what is no topic filter.
pub(crate) fn check<'a>(env: Env<'a>, filter: &str, shared: bool) -> Result<(), Term<'a>> {
    let version = if shared { Version::V5 } else { Version::V3_1_1 };
    topic::check_filter(filter.as_bytes(), version, u16::MAX)
        .map(drop)
        .map_err(|error| env.error_tuple((atoms::invalid(), name(env, error.name()))))
}

pub(crate) fn answer<'a>(env: Env<'a>, added: &Added) -> Term<'a> {
    let subscribed = match added.subscribed {
        Subscribed::New => atoms::new(),
        Subscribed::Replaced => atoms::replaced(),
    };
    (subscribed, added.stored).encode(env)
}

pub(crate) fn subscription(options: Term<'_>) -> NifResult<Subscription> {
    let qos: Option<u8> = option(options, atoms::qos())?;
    let identifier: Option<u32> = option(options, atoms::subscription_identifier())?;
    Ok(Subscription {
        qos: Qos::from_bits(qos.unwrap_or(0)).ok_or(rustler::Error::BadArg)?,
        no_local: option(options, atoms::no_local())?.unwrap_or(false),
        retain_as_published: option(options, atoms::retain_as_published())?.unwrap_or(false),
        identifier: identifier.and_then(NonZeroU32::new),
    })
}

fn option<'a, T: rustler::Decoder<'a>>(options: Term<'a>, key: Atom) -> NifResult<Option<T>> {
    options.map_get(key).ok().map(Term::decode).transpose()
}

/// Says whether there was such a subscription.
#[rustler::nif]
fn router_unsubscribe(
    env: Env<'_>,
    router: ResourceArc<RouterResource>,
    session: ResourceArc<SessionResource>,
    filter: &str,
) -> bool {
    router.0.unsubscribe(session.shared(), env.pid(), filter)
}

/// Forgets a session and its subscriptions, and says how many these were; `:large` if they are too many for a call.
#[rustler::nif]
fn router_leave(
    env: Env<'_>,
    router: ResourceArc<RouterResource>,
    session: ResourceArc<SessionResource>,
) -> Term<'_> {
    leave(env, &router, &session, SMALL)
}

/// The same for many.
#[rustler::nif(schedule = "DirtyCpu")]
fn router_leave_large(
    env: Env<'_>,
    router: ResourceArc<RouterResource>,
    session: ResourceArc<SessionResource>,
) -> Term<'_> {
    leave(env, &router, &session, usize::MAX)
}

fn leave<'a>(
    env: Env<'a>,
    router: &RouterResource,
    session: &SessionResource,
    at_most: usize,
) -> Term<'a> {
    let mut sender = Sender::new(env, clock::now());
    let count = router.0.leave(session.shared(), at_most, &mut sender);
    sender.finish(false);
    count.map_or_else(|| atoms::large().encode(env), |count| count.encode(env))
}

/// Publishes a message to those who have subscribed: `{:ok, reason_code, count}`, or `{:more, remaining}` for
/// `router_continue`, or an error. `session` is the publisher's, if it has one.
#[rustler::nif]
fn router_publish<'a>(
    env: Env<'a>,
    router: ResourceArc<RouterResource>,
    session: Option<ResourceArc<SessionResource>>,
    topic: Term<'a>,
    payload: Term<'a>,
    options: Term<'a>,
) -> Term<'a> {
    let message = Message { topic, payload, options: Some(options) };
    let found = message.with_publish(|publish, _, _| {
        check_publish(publish).map_err(|error| Invalid(name(env, error.name())))?;
        let publisher = session.and_then(|session| router.0.id_of(session.shared()));
        Ok(router.0.route(publish, publisher, clock::now()))
    });
    match found {
        Ok(message) => deliver(env, message, None),
        Err(Invalid(reason)) => env.error_tuple((atoms::invalid(), reason)),
    }
}

/// Goes on where `router_publish` or this stopped.
#[rustler::nif]
fn router_continue(env: Env<'_>, remaining: ResourceArc<Remaining>) -> Term<'_> {
    let routed = remaining.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    match routed {
        Some(routed) => deliver(env, routed, Some(remaining)),
        None => env.error_tuple(atoms::badarg()),
    }
}

fn deliver(
    env: Env<'_>,
    mut routed: Routed,
    remaining: Option<ResourceArc<Remaining>>,
) -> Term<'_> {
    let mut sender = Sender::new(env, clock::now());
    let done = routed.deliver(&mut sender);
    sender.finish(false);
    if done {
        return (atoms::ok(), routed.reason().0, routed.len()).encode(env);
    }
    let remaining = remaining.unwrap_or_else(|| ResourceArc::new(Remaining(Mutex::default())));
    *remaining.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(routed);
    (atoms::more(), remaining).encode(env)
}

pub(crate) fn message_term<'a>(
    env: Env<'a>,
    message: &core::Message,
    now: core::Millis,
) -> Term<'a> {
    let publish = message.publish();
    let identifiers: Vec<_> = publish.properties.iter().filter_map(identifier).collect();
    // They were checked when it was published, and are not more.
    let properties = adapted(message, &identifiers, now).unwrap_or_default();
    let mut source = terms::Source::borrowed(env, properties.as_properties().as_bytes());
    let properties = crate::packet::properties_map(env, &properties.as_properties(), &mut source);
    let properties = properties.unwrap_or_else(|_| map(env, &[]));
    let options = map(
        env,
        &[
            (atoms::qos(), (publish.qos as u8).encode(env)),
            (atoms::retain(), publish.retain.encode(env)),
            (atoms::properties(), properties),
        ],
    );
    let topic = binary(env, publish.topic.as_bytes()).to_term(env);
    let payload = binary(env, publish.payload).to_term(env);
    (topic, payload, options).encode(env)
}

/// That of a subscription through which a message has come.
fn identifier(property: Property<'_>) -> Option<NonZeroU32> {
    match property {
        Property::SubscriptionIdentifier(identifier) => NonZeroU32::new(identifier),
        _ => None,
    }
}

/// What the router holds, as a map.
#[rustler::nif]
fn router_info(env: Env<'_>, router: ResourceArc<RouterResource>) -> Term<'_> {
    let sessions = router.0.sessions();
    let (subscriptions, bytes) = {
        let tables = router.0.tables();
        (tables.router.len(), tables.router.bytes())
    };
    let (retained, retained_bytes) = {
        let retained = router.0.retained();
        (retained.len(), retained.bytes())
    };
    map(
        env,
        &[
            (atoms::sessions(), sessions.encode(env)),
            (atoms::subscriptions(), subscriptions.encode(env)),
            (atoms::size(), bytes.encode(env)),
            (atoms::retained(), retained.encode(env)),
            (atoms::retained_bytes(), retained_bytes.encode(env)),
            (atoms::received(), router.0.received.load(Ordering::Relaxed).encode(env)),
            (atoms::sent(), router.0.sent.load(Ordering::Relaxed).encode(env)),
        ],
    )
}
