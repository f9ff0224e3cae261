//! The server's side of an MQTT connection as a value: bytes go in, events come out; commands go
//! in, bytes come out. It has no socket and no clock. Time is an argument, in milliseconds from a
//! moment of the caller's choice.
//!
//! ```
//! use mqtt_core::{Config, Connection, Event, Received};
//!
//! let mut connection = Connection::new(Config::default(), 0);
//! let mut output = Vec::new();
//! let connect = b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x3C\x00\x01c";
//! let received = connection.receive(0, connect, &mut output)?;
//! assert!(matches!(received, Received::Event(Event::Connect(_), 15)));
//! connection.accept(0, false, &mut output)?;
//! assert_eq!(output, [0x20, 2, 0, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Layout
//!
//! `connection` is the state machine, `event` what it tells, `close` why it ends.

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

mod close;
mod connection;
mod event;

pub use close::{Close, Violation};
pub use connection::{Config, Connection, WrongState};
pub use event::{Event, Received};

/// Milliseconds since a moment that the caller chose.
pub type Millis = u64;
