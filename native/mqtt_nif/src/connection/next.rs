//! What a call says that is to be done next, which becomes a term only where it is returned.

use crate::atoms;
use crate::events::close_reason;
use crate::os::io_reason;
use mqtt_core as core;
use rustler::{Atom, Encoder, Env, Term};
use std::io;

/// What the owner has to do next, as an atom or `{:close, reason}`.
pub(crate) enum Next {
    /// Wait for `{:"$mqtt", :readable}`.
    Wait,
    /// Call again, after others had their turn.
    More,
    /// Wait for `{:"$mqtt", :drained}`.
    Blocked,
    /// Accept or reject the client.
    Decide,
    /// End the connection.
    Close(Reason),
}

/// Why a connection is to be closed.
pub(crate) enum Reason {
    /// The state machine says so.
    Protocol(core::Close),
    /// The socket has failed.
    Socket(io::Error),
    Named(Atom),
}

impl From<core::Close> for Reason {
    fn from(close: core::Close) -> Self {
        Self::Protocol(close)
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

impl From<Atom> for Reason {
    fn from(name: Atom) -> Self {
        Self::Named(name)
    }
}

impl Encoder for Next {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let reason = match self {
            Self::Wait => return atoms::wait().encode(env),
            Self::More => return atoms::more().encode(env),
            Self::Blocked => return atoms::blocked().encode(env),
            Self::Decide => return atoms::decide().encode(env),
            Self::Close(Reason::Protocol(close)) => close_reason(env, *close),
            Self::Close(Reason::Socket(error)) => io_reason(env, error),
            Self::Close(Reason::Named(name)) => name.encode(env),
        };
        (atoms::close(), reason).encode(env)
    }
}

pub(crate) fn close(reason: impl Into<Reason>) -> Next {
    Next::Close(reason.into())
}

/// What a call says whose connection was left inconsistent by a panic.
pub(crate) fn panicked() -> Next {
    close(atoms::nif_panicked())
}
