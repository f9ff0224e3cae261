//! The options of a connection, as the BEAM has checked them.

use crate::atoms;
use crate::output::{OutputOptions, SlowPeer};
use mqtt_codec::Limits;
use mqtt_core::{Config, Millis, SessionLimits};
use rustler::{Atom, Decoder, Error, NifMap, NifResult, Term};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The configuration that was asked for last. Nothing else is locked behind it.
static LAST: Mutex<Option<Arc<Config>>> = Mutex::new(None);

/// Milliseconds, or `:infinity`.
#[derive(Clone, Copy)]
pub(crate) struct Timeout(pub(crate) Option<Millis>);

impl<'a> Decoder<'a> for Timeout {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        infinity_or(term).map(Self)
    }
}

/// A positive number, or `:infinity`.
#[derive(Clone, Copy)]
pub(crate) struct Limit(pub(crate) Option<usize>);

impl<'a> Decoder<'a> for Limit {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        infinity_or(term).map(Self)
    }
}

/// The value of the type, or nothing for `:infinity`.
fn infinity_or<'a, T: Decoder<'a>>(term: Term<'a>) -> NifResult<Option<T>> {
    match term.decode::<Atom>() {
        Ok(atom) if atom == atoms::infinity() => Ok(None),
        Ok(_) => Err(Error::BadArg),
        Err(_) => term.decode().map(Some),
    }
}

impl<'a> Decoder<'a> for SlowPeer {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let atom: Atom = term.decode()?;
        if atom == atoms::block() {
            Ok(Self::Block)
        } else if atom == atoms::drop_messages() {
            Ok(Self::Drop)
        } else if atom == atoms::close() {
            Ok(Self::Close)
        } else {
            Err(Error::BadArg)
        }
    }
}

/// Whether the oldest message is dropped, instead of the newest.
#[derive(Clone, Copy)]
struct Overflow(bool);

impl<'a> Decoder<'a> for Overflow {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let atom: Atom = term.decode()?;
        if atom == atoms::drop_oldest() {
            Ok(Self(true))
        } else if atom == atoms::drop_newest() {
            Ok(Self(false))
        } else {
            Err(Error::BadArg)
        }
    }
}

#[derive(Clone, Copy, NifMap)]
#[rustler(decode)]
pub(crate) struct ConnectionOptions {
    connect_timeout: Timeout,
    idle_timeout: Timeout,
    send_timeout: Timeout,
    max_packet_size: usize,
    max_connect_size: usize,
    max_topic_levels: u16,
    max_topic_filters: usize,
    max_user_properties: u16,
    max_queue_bytes: usize,
    slow_peer: SlowPeer,
    receive_maximum: u16,
    max_inflight: u16,
    topic_alias_maximum: u16,
    max_session_messages: usize,
    max_session_bytes: usize,
    max_session_subscriptions: usize,
    session_overflow: Overflow,
    enhanced_authentication: bool,
}

/// What a session may hold.
#[allow(clippy::struct_field_names, reason = "they are the options' names")]
#[derive(Clone, Copy, NifMap)]
#[rustler(decode)]
pub(crate) struct SessionOptions {
    max_session_messages: usize,
    max_session_bytes: usize,
    max_session_subscriptions: usize,
    session_overflow: Overflow,
}

impl SessionOptions {
    pub(crate) fn core(&self) -> SessionLimits {
        SessionLimits {
            messages: self.max_session_messages,
            bytes: self.max_session_bytes,
            subscriptions: self.max_session_subscriptions,
            drop_oldest: self.session_overflow.0,
        }
    }
}

impl ConnectionOptions {
    /// The configuration, which connections with the same share if they are opened one behind the other.
    pub(crate) fn core(&self) -> Arc<Config> {
        let config = self.config();
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| ***last == config) {
            return last.clone();
        }
        last.insert(Arc::new(config)).clone()
    }

    fn config(&self) -> Config {
        Config {
            limits: Limits {
                packet_size: self.max_packet_size,
                topic_levels: self.max_topic_levels,
                topic_filters: self.max_topic_filters,
                user_properties: self.max_user_properties,
            },
            connect_size: self.max_connect_size,
            connect_timeout: self.connect_timeout.0,
            idle_timeout: self.idle_timeout.0,
            receive_maximum: self.receive_maximum,
            max_inflight: self.max_inflight,
            topic_alias_maximum: self.topic_alias_maximum,
            enhanced_authentication: self.enhanced_authentication,
        }
    }

    pub(crate) fn session(&self) -> SessionLimits {
        SessionOptions {
            max_session_messages: self.max_session_messages,
            max_session_bytes: self.max_session_bytes,
            max_session_subscriptions: self.max_session_subscriptions,
            session_overflow: self.session_overflow,
        }
        .core()
    }

    pub(crate) fn output(&self) -> OutputOptions {
        OutputOptions {
            slow_peer: self.slow_peer,
            queue_limit: self.max_queue_bytes,
            send_timeout: self.send_timeout.0.map(Duration::from_millis),
        }
    }
}
