//! The calls of sessions, which any process may make.

use super::{SessionResource, lock, resource};
use crate::broadcast::Sender;
use crate::commands::{Invalid, Message};
use crate::options::SessionOptions;
use crate::routing::Subscriber;
use crate::terms::name;
use crate::{atoms, clock, events, terms};
use mqtt_core::{self as core, Granted};
use rustler::{Atom, Binary, Encoder, Env, LocalPid, ResourceArc, Term};

/// A session that nobody has used.
#[rustler::nif]
fn session_new(options: SessionOptions) -> ResourceArc<SessionResource> {
    resource(core::Session::with_subscriptions(options.core()))
}

/// Puts a message into a session, and tells the owner of its connection if there is one: `:ok` or
/// `{:error, reason}`.
#[rustler::nif]
fn session_publish<'a>(
    env: Env<'a>,
    session: ResourceArc<SessionResource>,
    topic: Term<'a>,
    payload: Term<'a>,
    options: Term<'a>,
) -> Term<'a> {
    let message = Message { topic, payload, options: Some(options) };
    let result = message.with_publish(|publish, reference, _| {
        core::check_publish(publish).map_err(|error| Invalid(name(env, error.name())))?;
        let mut shared = lock(&session.0);
        let connected = shared.attached.is_some();
        let queued = shared.session.enqueue(publish, reference, clock::now(), connected);
        shared.tell_owner(env);
        Ok(queued)
    });
    match result {
        Ok(Ok(())) => atoms::ok().encode(env),
        Ok(Err(dropped)) => env.error_tuple(name(env, dropped.name())),
        Err(Invalid(reason)) => env.error_tuple((atoms::invalid(), reason)),
    }
}

/// Has the caller told of the next connection, if the one of this process, which may have ended, was the last that had
/// the session: `:ok`, or what the other one was told.
#[rustler::nif]
fn session_await(
    env: Env<'_>,
    session: ResourceArc<SessionResource>,
    connection: LocalPid,
) -> Term<'_> {
    let mut shared = lock(&session.0);
    if shared.last == Some(connection) {
        shared.waiter = Some(env.pid());
        atoms::ok().encode(env)
    } else {
        // What came first behind it counts. One that never had it is as good as the one before the last.
        let behind = shared.former.iter().rev().find(|(owner, _)| *owner == connection);
        let clean = behind.or(shared.former.last()).is_none_or(|(_, clean)| *clean);
        (atoms::session_taken_over(), clean).encode(env)
    }
}

/// What a session holds, as a map.
#[rustler::nif]
fn session_info(env: Env<'_>, session: ResourceArc<SessionResource>) -> Term<'_> {
    let shared = lock(&session.0);
    let session = &shared.session;
    let expiry_interval = match session.expiry_interval() {
        u32::MAX => atoms::infinity().encode(env),
        seconds => seconds.encode(env),
    };
    let owner = shared.owner();
    terms::map(
        env,
        &[
            (atoms::size(), session.size().encode(env)),
            (atoms::queued(), session.waiting().encode(env)),
            (atoms::inflight(), session.under_way().encode(env)),
            (atoms::received(), session.unreleased().encode(env)),
            (atoms::dropped(), session.dropped().encode(env)),
            (atoms::expiry_interval(), expiry_interval),
            (
                atoms::connection(),
                owner.map_or_else(|| atoms::nil().encode(env), |pid| pid.encode(env)),
            ),
        ],
    )
}

/// `[{filter, options}]`.
#[rustler::nif(schedule = "DirtyCpu")]
fn session_subscriptions(env: Env<'_>, session: ResourceArc<SessionResource>) -> Term<'_> {
    let shared = lock(&session.0);
    let subscriptions: Vec<_> = shared
        .session
        .subscriptions()
        .map(|(filter, granted)| {
            let filter = terms::binary(env, filter.as_bytes()).to_term(env);
            (filter, granted_options(env, granted))
        })
        .collect();
    subscriptions.encode(env)
}

fn granted_options(env: Env<'_>, granted: Granted) -> Term<'_> {
    let mut entries = events::subscription_options(env, granted.options);
    if let Some(identifier) = granted.identifier {
        entries.push((atoms::subscription_identifier(), identifier.encode(env)));
    }
    terms::map(env, &entries)
}

/// Forgets everything, or what can be forgotten while there is a connection.
#[rustler::nif(schedule = "DirtyCpu")]
fn session_clear(env: Env<'_>, session: ResourceArc<SessionResource>) -> Atom {
    let (router, of_groups) = {
        let mut shared = lock(&session.0);
        let router = shared.subscriber.as_ref().and_then(Subscriber::of);
        let of_groups = if shared.attached.is_some() {
            shared.session.clear_waiting();
            shared.tell_owner(env);
            Vec::new()
        } else {
            let of_groups = shared.session.of_groups();
            shared.session.clear();
            of_groups
        };
        if let Some((hub, id)) = &router {
            hub.begin_anew(*id);
            session.0.begin_anew();
        }
        (router, of_groups)
    };
    if let Some((hub, _)) = router {
        let mut sender = Sender::new(env, clock::now());
        hub.pass_on(of_groups, &mut sender);
        sender.finish(false);
    }
    atoms::ok()
}

/// The session as bytes, which say when it was that.
#[rustler::nif(schedule = "DirtyCpu")]
fn session_export(env: Env<'_>, session: ResourceArc<SessionResource>) -> Term<'_> {
    let bytes = lock(&session.0).session.export(clock::now(), clock::unix());
    terms::binary(env, &bytes).to_term(env)
}

/// A session from such bytes: `{:ok, session}` or `{:error, :invalid}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn session_import<'a>(env: Env<'a>, bytes: Binary<'a>, options: SessionOptions) -> Term<'a> {
    let imported =
        core::Session::import(bytes.as_slice(), options.core(), clock::now(), clock::unix());
    match imported {
        Some(session) => (atoms::ok(), resource(session)).encode(env),
        None => env.error_tuple(atoms::invalid()),
    }
}
