//! The server's side of an MQTT connection as a value: bytes go in, events come out; commands go
//! in, bytes come out. It has no socket and no clock. Time is an argument, in milliseconds from a
//! moment of the caller's choice.
//!
//! ```
//! use mqtt_codec::Properties;
//! use mqtt_core::{Config, Connection, Event, Received, Session, SessionLimits};
//!
//! let mut connection = Connection::new(Config::default(), 0);
//! let mut session = Session::new(SessionLimits::default());
//! let mut output = Vec::new();
//! let connect = b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x3C\x00\x01c";
//! let received = connection.receive(0, connect, &mut session, &mut output)?;
//! assert!(matches!(received, Received::Event(Event::Connect(_), 15)));
//! connection.accept(0, true, None, Properties::EMPTY, &mut session, &mut output)?;
//! assert_eq!(output, [0x20, 2, 0, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Layout
//!
//! `connection` is the state machine; what it does with the packets is in `connecting`, `incoming`,
//! `outgoing` and `subscribing`. `broadcast` is a message to many of them. `session` is what outlives it, `subscriptions` those that it keeps, `under_way` the messages of a session
//! that were sent, `message` one of them, `stored` a session as bytes. `event` is what a connection
//! tells, `close` why it ends, `config` what it may; `aliases` and `ids` are tables, `lazy` is what most never need. `acl` is
//! who may publish and receive what, `acl_file` its file, `filter` how topic filters relate to each other.
//!
//! A server between clients also needs [`router`], which tells whom a message goes to, and [`retained`],
//! which keeps messages for those who subscribe later.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )
)]

mod acl;
mod acl_file;
mod aliases;
mod asking;
mod broadcast;
mod close;
mod config;
mod connecting;
mod connection;
mod event;
pub mod filter;
mod ids;
mod incoming;
mod lazy;
mod message;
mod outgoing;
pub mod retained;
pub mod router;
mod session;
mod stored;
mod subscribing;
mod subscriptions;
mod under_way;
mod waiting;

pub use acl::{Acl, Rules};
pub use acl_file::{AclError, AclErrorKind};
pub use asking::Decision;
pub use broadcast::Broadcast;
pub use close::{Close, Violation};
pub use config::Config;
pub use connection::{CommandError, Connection};
pub use event::{Event, Received};
pub use message::Message;
pub use outgoing::{Fate, check_publish};
pub use session::{Delivery, Dropped, Granted, Session, SessionLimits};

/// Milliseconds since a moment that the caller chose.
pub type Millis = u64;
