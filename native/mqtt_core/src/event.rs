//! What the state machine tells the application.

use mqtt_codec::{Auth, Connect, Disconnect, Publish, Subscribe, Unsubscribe};

/// Something the application has to know, borrowed from the bytes that brought it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// The client wants to connect. Nothing more is read until the application has answered with
    /// [`accept`](crate::Connection::accept), [`reject`](crate::Connection::reject) or
    /// [`authenticate`](crate::Connection::authenticate).
    Connect(Connect<'a>),
    /// A message. At QoS 1 and 2 it is to be answered with
    /// [`acknowledge`](crate::Connection::acknowledge), in the order of the messages. If its topic is
    /// empty, [`aliased_topic`](crate::Connection::aliased_topic) has it until the next call.
    Publish(Publish<'a>),
    /// A request to be answered with [`suback`](crate::Connection::suback).
    Subscribe(Subscribe<'a>),
    /// A request to be answered with [`unsuback`](crate::Connection::unsuback).
    Unsubscribe(Unsubscribe<'a>),
    /// The client wants a sign of life, to be answered with
    /// [`pingresp`](crate::Connection::pingresp) behind the answers to what came before.
    Pingreq,
    /// A step of an enhanced authentication. Before the connection is accepted nothing more is read
    /// until it is answered as CONNECT is; later the answer is
    /// [`authenticate`](crate::Connection::authenticate) or
    /// [`disconnect`](crate::Connection::disconnect).
    Auth(Auth<'a>),
    /// The client said that it goes. Nothing is read after it [MQTT-3.14.4-2].
    Disconnect(Disconnect<'a>),
}

/// What the bytes at the front of the input were.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Received<'a> {
    /// An event, and the bytes it took.
    Event(Event<'a>, usize),
    /// A packet that the application need not know of, and the bytes it took.
    Handled(usize),
    /// A part of a packet, which has as many bytes as far as can be told yet.
    Incomplete(usize),
    /// The application has as many messages to acknowledge as it may, so no further one is read.
    Full,
    /// Nothing may be read now: the application has not answered CONNECT, or all is over.
    Held,
}
