//! The router as a resource of the BEAM, and its calls.

use crate::atoms;
use crate::broadcast::{Sender, Sent};
use crate::clock;
use crate::commands::{Invalid, Message};
use crate::delivery::{Routed, adapted};
use crate::handle::Handle;
use crate::routing::{Added, Hub, NotSubscribed};
use crate::session::SessionResource;
use crate::terms::{self, binary, map, name};
use mqtt_codec::{Property, Publish, Qos, Version, topic};
use mqtt_core::retained::{Cursor, RetainedLimits};
use mqtt_core::router::{Strategy, Subscribed, Subscription};
use mqtt_core::{self as core, check_publish};
use rustler::{Atom, Encoder, Env, NifResult, Resource, ResourceArc, Term};
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// What a session may have that is forgotten by a call on a scheduler.
pub(crate) const SMALL: usize = 64;
/// Retained messages that a call looks at.
const LOOKED_AT: usize = 256;
/// The bytes of those that it sends, from which on no further one is.
const PAGE: usize = 64 * 1024;

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

/// Where a look through the retained messages goes on.
struct CursorResource(Cursor);

#[rustler::resource_impl]
impl Resource for CursorResource {}

/// The cursor behind a term: one that a call has returned, or how many messages had been retained.
fn cursor(term: Term<'_>) -> NifResult<Cursor> {
    if let Ok(stored) = term.decode() {
        return Ok(Cursor::at_first(stored));
    }
    let cursor: ResourceArc<CursorResource> = term.decode()?;
    Ok(cursor.0.clone())
}

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

/// Sends retained messages that a filter matches to a connection, as many as a call may and the client takes: `:done`,
/// or `{:more, cursor}` to be called again with, at once, or `{:wait, cursor}` when the client has read, or `{:gone, cursor}` for who
/// has the session next. The options are those of the subscription.
#[rustler::nif]
fn router_send_retained<'a>(
    env: Env<'a>,
    router: ResourceArc<RouterResource>,
    handle: Handle<'a>,
    filter: &'a str,
    options: Term<'a>,
    from: Term<'a>,
) -> NifResult<Term<'a>> {
    let subscription = subscription(options)?;
    let cursor = cursor(from)?;
    let connection = handle.connection();
    let now = clock::now();
    let gone = || Ok((atoms::gone(), from).encode(env));
    let (messages, bytes, tight) = {
        let Ok(mut input) = connection.input.lock() else { return gone() };
        let Some((_, session)) = input.connected() else { return gone() };
        // Others need room as well. Where these have it all, it is one at a time.
        let half = session.half_room();
        let one = usize::from(session.has_any_room());
        (half.max(one).min(LOOKED_AT), connection.output().room() / 2, half == 0)
    };
    if messages == 0 || bytes == 0 {
        return Ok((atoms::wait(), from).encode(env));
    }
    let (found, next) = page(&router.0, filter, Some(&cursor), messages, bytes, now);
    let mut sender = Sender::new(env, now);
    let mut unsent = None;
    for message in found {
        let topic = message.publish().topic;
        let mut input = connection.input.lock().ok();
        let Some((state, mut session)) = input.as_mut().and_then(|input| input.connected()) else {
            unsent = Some(cursor.at(topic));
            break;
        };
        // What replaces it is retained before it is sent to this client, which needs these locks. So an older one
        // never comes behind it.
        let Some(message) = router.0.retained().get(topic, Some(&cursor), now).cloned() else {
            continue;
        };
        let Ok(properties) = adapted(&message, subscription.identifier.as_slice(), now) else {
            continue;
        };
        let publish = message.publish();
        let qos = publish.qos.min(subscription.qos);
        let publish =
            Publish { qos, retain: true, properties: properties.as_properties(), ..publish };
        let _ = sender.send_locked(connection, state, &mut session, &Sent::Alone(&publish), None);
    }
    sender.finish(false);
    let term = |cursor| ResourceArc::new(CursorResource(cursor)).encode(env);
    Ok(match (unsent, next) {
        (Some(unsent), _) => (atoms::gone(), term(unsent)).encode(env),
        (None, None) => atoms::done().encode(env),
        (None, Some(next)) => {
            let again = if tight { atoms::wait() } else { atoms::more() };
            (again, term(next)).encode(env)
        }
    })
}

/// Retained messages that a filter matches, so many of them, of so many bytes or a page, and the cursor of the others.
fn page(
    hub: &Hub,
    filter: &str,
    from: Option<&Cursor>,
    messages: usize,
    bytes: usize,
    now: core::Millis,
) -> (Vec<core::Message>, Option<Cursor>) {
    let (mut found, mut bytes) = (Vec::new(), bytes.min(PAGE));
    let next = hub.retained().matching_while(filter, from, messages, now, |_, message| {
        found.push(message.clone());
        bytes = bytes.saturating_sub(message.size());
        if bytes > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    (found, next)
}

/// Whether a filter matches retained messages, as far as a call looks: if that is not all, there may be some.
#[rustler::nif]
fn router_has_retained(
    router: ResourceArc<RouterResource>,
    filter: &str,
    from: Term<'_>,
) -> NifResult<bool> {
    let cursor = cursor(from)?;
    let mut found = false;
    let look = |_: &str, _: &core::Message| {
        found = true;
        ControlFlow::Break(())
    };
    let retained = router.0.retained();
    let next = retained.matching_while(filter, Some(&cursor), LOOKED_AT, clock::now(), look);
    Ok(found || next.is_some())
}

/// Some of the retained messages that a filter matches, as `{topic, payload, options}`, and the cursor of the others or
/// `:done`; or an error for what is no topic filter.
#[rustler::nif]
fn router_retained<'a>(
    env: Env<'a>,
    router: ResourceArc<RouterResource>,
    filter: &'a str,
    from: Term<'a>,
) -> NifResult<Term<'a>> {
    if let Err(invalid) = check(env, filter, true) {
        return Ok(invalid);
    }
    let now = clock::now();
    let cursor = if atoms::nil() == from { None } else { Some(cursor(from)?) };
    let (found, next) = page(&router.0, filter, cursor.as_ref(), LOOKED_AT, PAGE, now);
    let found: Vec<_> = found.iter().map(|message| message_term(env, message, now)).collect();
    let next = match next {
        None => atoms::done().encode(env),
        Some(next) => ResourceArc::new(CursorResource(next)).encode(env),
    };
    Ok((found, next).encode(env))
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

/// Removes retained messages that have expired, and says whether there may be more.
#[rustler::nif]
fn router_expire(router: ResourceArc<RouterResource>) -> bool {
    router.0.retained().expire(clock::now(), LOOKED_AT) == LOOKED_AT
}
