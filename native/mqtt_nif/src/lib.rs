//! The native half of the `:mqtt` application: sockets, timers, threads and terms around
//! `mqtt_core`. What crosses the boundary is listed in `native/README.md`.
//!
//! # Layout
//!
//! A packet's way in: `driver` (what the emulator polls) and `poller` (who has something to read, of the `watching`; whether to `spin` before it sleeps), `reader` (which reads it where the owner has nothing to say), `connection` (the calls),
//! `deciding` (those about the client), `socket`, `input`, `batch`, `events`. Its way out: `commands`, `output`,
//! `flusher`; from other processes `broadcast`, `writers`. From one client to others: `routing`, `delivery`, and `orphans` where the client's owner was killed, with the calls in `router`; `acl` says who may, and `local` is a process that has subscribed. `session` is what outlives a connection. Before a connection `listener`, `acceptor`,
//! `greetings` and `gate` let the client in. `packet` and `packet_encode` are the codec for the BEAM.
//! `terms`, `handle` and `driver` hold what is unsafe about the interfaces of the emulator.

#![allow(clippy::needless_pass_by_value, reason = "the arguments of a NIF are decoded values")]

mod acceptor;
mod acl;
mod atoms;
mod batch;
mod broadcast;
mod clock;
mod commands;
mod connection;
mod counters;
mod deciding;
mod delivery;
mod driver;
mod events;
mod flusher;
mod gate;
mod greetings;
mod handle;
mod input;
mod listener;
mod local;
mod options;
mod orphans;
mod os;
mod output;
mod packet;
mod packet_encode;
mod poller;
mod reader;
mod record;
mod record_encode;
mod route;
mod router;
mod routing;
mod runtime;
mod session;
mod socket;
mod spin;
mod terms;
mod watching;
mod writers;

use rustler::{Env, Term};

/// What is alive: a map from the counters' names to their values.
#[rustler::nif]
fn counters_read(env: Env<'_>) -> Term<'_> {
    use rustler::Encoder;
    terms::map(
        env,
        &[
            (atoms::connections(), counters::CONNECTIONS.get().encode(env)),
            (atoms::descriptors(), counters::DESCRIPTORS.get().encode(env)),
            (atoms::queued_bytes(), counters::QUEUED_BYTES.get().encode(env)),
            (atoms::flushers(), counters::FLUSHERS.get().encode(env)),
            (atoms::dropped_messages(), counters::DROPPED_MESSAGES.get().encode(env)),
        ],
    )
}

fn load(env: Env<'_>, _info: Term<'_>) -> bool {
    driver::is_nif();
    handle::register(env)
}

rustler::init!("Elixir.MQTT.Native", load = load);
