//! What the state machine tells the application.

use mqtt_codec::{Connect, Publish, Subscribe, Unsubscribe};

/// Something the application has to know, borrowed from the bytes that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The client wants to connect. Nothing more is read until the application has answered with
    /// [`accept`](crate::Connection::accept) or [`reject`](crate::Connection::reject).
    Connect(Connect<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// A request to be answered with [`suback`](crate::Connection::suback).
    Subscribe(Subscribe<'a>),
    /// A request to be answered with [`unsuback`](crate::Connection::unsuback).
    Unsubscribe(Unsubscribe<'a>),
    /// The client wants a sign of life, to be answered with
    /// [`pingresp`](crate::Connection::pingresp) behind the answers to what came before.
    Pingreq,
    /// The client said that it goes. Nothing is read after it [MQTT-3.14.4-2].
    Disconnect,
}

/// What the bytes at the front of the input were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// An event, and the bytes it took.
    Event(Event<'a>, usize),
    /// A part of a packet, which has as many bytes as far as can be told yet.
    Incomplete(usize),
    /// Nothing may be read now: the application has not answered CONNECT, or all is over.
    Held,
}
