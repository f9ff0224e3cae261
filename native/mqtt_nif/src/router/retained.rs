//! The calls about retained messages.

use super::{RouterResource, check, message_term, subscription};
use crate::atoms;
use crate::broadcast::{Sender, Sent};
use crate::clock;
use crate::delivery::adapted;
use crate::handle::Handle;
use crate::routing::Hub;
use mqtt_codec::Publish;
use mqtt_core as core;
use mqtt_core::retained::Cursor;
use rustler::{Encoder, Env, NifResult, Resource, ResourceArc, Term};
use std::ops::ControlFlow;

/// Retained messages that a call looks at.
const LOOKED_AT: usize = 256;
/// The bytes of those that it sends, from which on no further one is.
const PAGE: usize = 64 * 1024;

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

/// Removes retained messages that have expired, and says whether there may be more.
#[rustler::nif]
fn router_expire(router: ResourceArc<RouterResource>) -> bool {
    router.0.retained().expire(clock::now(), LOOKED_AT) == LOOKED_AT
}
