//! The calls by which the owner decides about its client, before it is connected and at the end: CONNACK,
//! AUTH and DISCONNECT.

use crate::acl::RulesResource;
use crate::commands::properties_of;
use crate::connection::{close, panicked};
use crate::handle::Handle;
use crate::route::Route;
use crate::router::RouterResource;
use crate::session::{self, NotTaken, Session, SessionResource, Taken, Taking};
use crate::{atoms, clock, terms};
use mqtt_codec::{Properties, ReasonCode};
use mqtt_core as core;
use rustler::{Atom, Encoder, Env, ResourceArc, Term};
use std::io;
use std::sync::PoisonError;

/// A session, whether the owner is asked about its messages, and the number of the connection, if it has one.
type SessionArguments = (ResourceArc<SessionResource>, bool, Option<u64>);
type RouteArguments = (ResourceArc<RouterResource>, bool, Option<ResourceArc<RulesResource>>);
/// Session, `clean`, client identifier, properties and route.
type Accepted<'a> =
    (Option<SessionArguments>, bool, Option<&'a str>, Term<'a>, Option<RouteArguments>);

/// Answers CONNECT with success. The session is the connection's own, or one that is taken over;
/// `clean` says whether it begins anew, and `client_id` is one that the client did not choose. A `route` is a router, whether
/// what the client publishes goes there instead of to the owner, and the rules for the client. The router knows the session
/// before the client is told, and has forgotten the subscriptions of one that began anew, and those that the rules do not allow. With a
/// session comes whether the owner is asked about each of its messages, and a number, if a connection with a higher one is to keep it:
/// then the client is refused. `:large` says that too much has to be done with it for a call.
#[rustler::nif]
fn connection_accept<'a>(env: Env<'a>, handle: Handle<'a>, accepted: Accepted<'a>) -> Term<'a> {
    if let (Some(of_session), clean, .., route) = &accepted
        && of_session.0.takes_long(&taking(*clean, of_session, route.as_ref()))
    {
        return atoms::large().encode(env);
    }
    accept(env, handle, accepted)
}

/// The same for one with which much is to be done.
#[rustler::nif(schedule = "DirtyCpu")]
fn connection_accept_large<'a>(
    env: Env<'a>,
    handle: Handle<'a>,
    accepted: Accepted<'a>,
) -> Term<'a> {
    accept(env, handle, accepted)
}

fn taking<'t>(
    clean: bool,
    &(_, ask, turn): &SessionArguments,
    route: Option<&'t RouteArguments>,
) -> Taking<'t> {
    Taking {
        clean,
        ask,
        turn,
        hub: route.map(|(router, ..)| router.hub()),
        rules: route.and_then(|(.., rules)| rules.as_ref()).map(|rules| &rules.0),
    }
}

fn accept<'a>(
    env: Env<'a>,
    handle: Handle<'a>,
    (session, clean, client_id, properties, route): Accepted<'a>,
) -> Term<'a> {
    let connection = handle.connection();
    let Ok(mut input) = connection.input.lock() else {
        return panicked().encode(env);
    };
    let properties = match properties_of(properties) {
        Ok(properties) => properties,
        Err(reason) => return env.error_tuple((atoms::bad_action(), reason)),
    };
    let Some((state, own, own_route, routing)) = input.accepting() else {
        return close(atoms::closed()).encode(env);
    };
    let properties = properties.as_properties();
    let (mut connack, mut lost_by) = (Vec::new(), None);
    let mut accept = |session: &mut core::Session, clean| {
        state.accept(clock::now(), clean, client_id, properties, session, &mut connack)
    };
    let accepted = match (session, &mut *own) {
        (Some(of_session), _) => {
            let taking = taking(clean, &of_session, route.as_ref());
            match of_session.0.attach(env, connection, &taking, accept) {
                Ok(Taken { session, id, left, losers }) => {
                    *own = session;
                    lost_by = Some(losers);
                    if let Some(left) = left {
                        routing.begin_with(left);
                    }
                    *own_route = id.zip(route).and_then(|(id, (router, natively, rules))| {
                        let rules = rules.map(|rules| rules.0.clone());
                        natively.then(|| Route::new(router.hub().clone(), id, rules))
                    });
                    Ok(None)
                }
                Err(NotTaken::Outdated) => {
                    let code = ReasonCode::UNSPECIFIED_ERROR;
                    let said = state.reject(code, false, Properties::EMPTY, &mut connack);
                    said.map(|()| Some(atoms::session_taken_over()))
                }
                Err(NotTaken::OtherRouter) => {
                    return env.error_tuple((atoms::bad_action(), atoms::other_router()));
                }
                Err(NotTaken::Command(error)) => Err(error),
            }
        }
        (None, Session::Own(session)) => accept(session, clean).map(|()| None),
        (None, Session::Shared(..)) => Err(core::CommandError::WrongState),
    };
    if !connack.is_empty() {
        connection.output().write(connection, &mut [io::IoSlice::new(&connack)]);
    }
    drop(input);
    if let Some(losers) = lost_by {
        losers.tell(env);
    }
    match accepted {
        Ok(None) => atoms::ok().encode(env),
        Ok(Some(reason)) => close(reason).encode(env),
        Err(error) => refused(env, error),
    }
}

/// Why a packet was not sent: because of the client, or of what the application said.
fn refused(env: Env<'_>, error: core::CommandError) -> Term<'_> {
    match error {
        core::CommandError::Client(violation) => close(core::Close::from(violation)).encode(env),
        error => env.error_tuple((atoms::bad_action(), terms::name(env, error.name()))),
    }
}

/// A new session with the limits of the connection's, to be given to `connection_accept`.
#[rustler::nif]
fn connection_new_session<'a>(env: Env<'a>, handle: Handle<'a>) -> Term<'a> {
    let mut input = handle.connection().input.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = input.session.access_any().0.limits();
    session::resource(core::Session::with_subscriptions(limits)).encode(env)
}

/// Answers CONNECT with a refusal: a reason code of MQTT 5.0, for which older versions have theirs, or
/// `exact`ly the code to be sent.
#[rustler::nif]
fn connection_reject<'a>(
    env: Env<'a>,
    handle: Handle<'a>,
    code: u8,
    exact: bool,
    properties: Term<'a>,
) -> Term<'a> {
    say(env, handle, |state, output| {
        let properties = properties_of(properties).map_err(Said::Bad)?;
        state.reject(ReasonCode(code), exact, properties.as_properties(), output).map_err(Said::Not)
    })
}

/// A step of an enhanced authentication.
#[rustler::nif]
fn connection_authenticate<'a>(
    env: Env<'a>,
    handle: Handle<'a>,
    code: u8,
    properties: Term<'a>,
) -> Term<'a> {
    say(env, handle, |state, output| {
        let properties = properties_of(properties).map_err(Said::Bad)?;
        state
            .authenticate(clock::now(), ReasonCode(code), properties.as_properties(), output)
            .map_err(Said::Not)
    })
}

/// Says why the connection ends, if its version has a packet for it.
#[rustler::nif]
fn connection_disconnect<'a>(
    env: Env<'a>,
    handle: Handle<'a>,
    code: u8,
    properties: Term<'a>,
) -> Term<'a> {
    say(env, handle, |state, output| {
        let properties = properties_of(properties).map_err(Said::Bad)?;
        state.disconnect(ReasonCode(code), properties.as_properties(), output).map_err(Said::Not)
    })
}

/// Why nothing was said.
enum Said {
    Bad(Atom),
    Not(core::CommandError),
}

/// Writes what the state machine says: `:ok`, `{:close, reason}`, or `{:error, {:bad_action, reason}}`.
fn say<'a>(
    env: Env<'a>,
    handle: Handle<'a>,
    command: impl FnOnce(&mut core::Connection, &mut Vec<u8>) -> Result<(), Said>,
) -> Term<'a> {
    let connection = handle.connection();
    let Ok(mut input) = connection.input.lock() else {
        return panicked().encode(env);
    };
    let mut said = Vec::new();
    match command(&mut input.state, &mut said) {
        Ok(()) => {}
        Err(Said::Bad(reason)) => return env.error_tuple((atoms::bad_action(), reason)),
        Err(Said::Not(error)) => return refused(env, error),
    }
    if !said.is_empty() {
        connection.output().write(connection, &mut [io::IoSlice::new(&said)]);
    }
    atoms::ok().encode(env)
}
