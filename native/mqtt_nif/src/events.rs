//! The events of the state machine as terms.

use crate::atoms;
use crate::packet::properties_map;
use crate::terms::{Source, map, name};
use mqtt_codec::{
    Connect, Properties, Property, PropertyIdentifier, Subscribe, SubscriptionOptions, Unsubscribe,
    Version,
};
use mqtt_core::{Close, Delivery};
use rustler::{Atom, Encoder, Env, Term};

/// A map with another value for a key that it has.
pub(crate) fn put<'a>(map: Term<'a>, key: Atom, value: Term<'a>) -> Term<'a> {
    map.map_update(key, value).unwrap_or(map)
}

/// `{reference, :ok | {:error, reason}}`.
pub(crate) fn delivered(env: Env<'_>, (reference, delivery): (u64, Delivery)) -> Term<'_> {
    let result = match delivery {
        Delivery::Acknowledged => atoms::ok().encode(env),
        Delivery::Refused(code) => env.error_tuple((atoms::refused(), code.0)),
        Delivery::Dropped(dropped) => env.error_tuple(name(env, dropped.name())),
    };
    (reference, result).encode(env)
}

pub(crate) fn properties_term<'a>(
    env: Env<'a>,
    properties: &Properties<'_>,
    source: &mut Source<'a, '_>,
) -> Term<'a> {
    properties_map(env, properties, source).unwrap_or_else(|_| Term::map_new(env))
}

/// The properties of a message without its alias, which the application has nothing to do with.
pub(crate) fn message_properties<'a>(
    env: Env<'a>,
    properties: &Properties<'_>,
    source: &mut Source<'a, '_>,
) -> Term<'a> {
    let map = properties_term(env, properties, source);
    if !properties.has(PropertyIdentifier::TopicAlias) {
        return map;
    }
    map.map_remove(atoms::topic_alias()).unwrap_or(map)
}

/// The options of a subscription of MQTT 5.0, with its QoS.
pub(crate) fn subscription_options(
    env: Env<'_>,
    options: SubscriptionOptions,
) -> Vec<(Atom, Term<'_>)> {
    vec![
        (atoms::qos(), (options.qos as u8).encode(env)),
        (atoms::no_local(), options.no_local.encode(env)),
        (atoms::retain_as_published(), options.retain_as_published.encode(env)),
        (atoms::retain_handling(), (options.retain_handling as u8).encode(env)),
    ]
}

/// `{:subscribe, packet_id, [{filter, options}]}`, where the options have what came with the packet
/// as well; and how many they are.
pub(crate) fn subscribe_event<'a>(
    env: Env<'a>,
    subscribe: &Subscribe<'_>,
    version: Version,
    source: &mut Source<'a, '_>,
) -> (Term<'a>, usize) {
    let mut common = vec![(atoms::packet_id(), subscribe.packet_id.get().encode(env))];
    common.push((atoms::shared(), (version >= Version::V5).encode(env)));
    if version >= Version::V5 {
        common.push((atoms::properties(), properties_term(env, &subscribe.properties, source)));
        let identifier = subscribe.properties.iter().find_map(|property| match property {
            Property::SubscriptionIdentifier(identifier) => Some(identifier),
            _ => None,
        });
        if let Some(identifier) = identifier {
            common.push((atoms::subscription_identifier(), identifier.encode(env)));
        }
    }
    // Those of one filter are mostly those of the next.
    let mut last: Option<(SubscriptionOptions, Term<'a>)> = None;
    let filters: Vec<_> = subscribe
        .subscriptions
        .iter()
        .map(|subscription| {
            let filter = source.term(subscription.filter.as_bytes());
            let options = match last {
                Some((options, term)) if options == subscription.options => term,
                _ => {
                    let mut options = subscription_options(env, subscription.options);
                    options.extend_from_slice(&common);
                    map(env, &options)
                }
            };
            last = Some((subscription.options, options));
            (filter, options)
        })
        .collect();
    let event = (atoms::subscribe(), subscribe.packet_id.get(), &filters).encode(env);
    (event, filters.len())
}

/// `{:unsubscribe, packet_id, [filter], options}`, and how many these are.
pub(crate) fn unsubscribe_event<'a>(
    env: Env<'a>,
    unsubscribe: &Unsubscribe<'_>,
    source: &mut Source<'a, '_>,
) -> (Term<'a>, usize) {
    let filters: Vec<_> =
        unsubscribe.filters.iter().map(|filter| source.term(filter.as_bytes())).collect();
    let packet_id = unsubscribe.packet_id.get();
    let options = [
        (atoms::packet_id(), packet_id.encode(env)),
        (atoms::properties(), properties_term(env, &unsubscribe.properties, source)),
    ];
    let event = (atoms::unsubscribe(), packet_id, &filters, map(env, &options)).encode(env);
    (event, filters.len())
}

/// The map that `init/2` gets: what the client did not send is not in it.
pub(crate) fn params<'a>(
    env: Env<'a>,
    connect: &Connect<'_>,
    source: &mut Source<'a, '_>,
) -> Term<'a> {
    let is_5 = connect.version >= Version::V5;
    let mut entries = vec![
        (atoms::protocol(), connect.version.protocol_name().encode(env)),
        (atoms::protocol_version(), connect.version.level().encode(env)),
        (atoms::clean_session(), connect.clean_start.encode(env)),
        (atoms::keep_alive(), connect.keep_alive.encode(env)),
        (atoms::client_id(), source.term(connect.client_id.as_bytes())),
    ];
    if is_5 {
        entries.push((atoms::properties(), properties_term(env, &connect.properties, source)));
    }
    if let Some(username) = connect.username {
        entries.push((atoms::username(), source.term(username.as_bytes())));
    }
    if let Some(password) = connect.password {
        entries.push((atoms::password(), source.term(password)));
    }
    if let Some(will) = &connect.will {
        let mut last_will = vec![
            (atoms::topic(), source.term(will.topic.as_bytes())),
            (atoms::message(), source.term(will.payload)),
            (atoms::qos(), (will.qos as u8).encode(env)),
            (atoms::retain(), will.retain.encode(env)),
        ];
        if is_5 {
            last_will.push((atoms::properties(), properties_term(env, &will.properties, source)));
        }
        entries.push((atoms::last_will(), map(env, &last_will)));
    }
    map(env, &entries)
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
