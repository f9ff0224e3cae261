//! Addresses and errors of the operating system as terms.

use crate::{atoms, terms};
use rustix::io::Errno;
use rustler::types::tuple::make_tuple;
use rustler::{Atom, Encoder, Env, Term};
use std::io;
use std::net::SocketAddr;

/// `{ip, port}`, or `nil`.
pub(crate) fn address(env: Env<'_>, address: Option<SocketAddr>) -> Term<'_> {
    match address {
        Some(SocketAddr::V4(v4)) => {
            let [a, b, c, d] = v4.ip().octets();
            ((a, b, c, d), v4.port()).encode(env)
        }
        Some(SocketAddr::V6(v6)) => {
            let ip = make_tuple(env, &v6.ip().segments().map(|part| part.encode(env)));
            (ip, v6.port()).encode(env)
        }
        None => atoms::nil().encode(env),
    }
}

/// A peer that is gone has closed, whatever the kernel calls it.
pub(crate) fn io_reason<'a>(env: Env<'a>, error: &io::Error) -> Term<'a> {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => atoms::closed().encode(env),
        _ => (atoms::socket_error(), posix(env, error)).encode(env),
    }
}

/// An error of the operating system as the atom that `:inet` has for it.
pub(crate) fn posix(env: Env<'_>, error: &io::Error) -> Atom {
    let name = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS) => "eacces",
        Some(Errno::ADDRINUSE) => "eaddrinuse",
        Some(Errno::ADDRNOTAVAIL) => "eaddrnotavail",
        Some(Errno::AFNOSUPPORT) => "eafnosupport",
        Some(Errno::BADF) => "ebadf",
        Some(Errno::CONNRESET) => "econnreset",
        Some(Errno::HOSTUNREACH) => "ehostunreach",
        Some(Errno::INVAL) => "einval",
        Some(Errno::MFILE) => "emfile",
        Some(Errno::NETDOWN) => "enetdown",
        Some(Errno::NETUNREACH) => "enetunreach",
        Some(Errno::NFILE) => "enfile",
        Some(Errno::NOBUFS) => "enobufs",
        Some(Errno::NOMEM) => "enomem",
        Some(Errno::NOTCONN) => "enotconn",
        Some(Errno::NOTSOCK) => "enotsock",
        Some(Errno::PERM) => "eperm",
        Some(Errno::TIMEDOUT) => "etimedout",
        _ => "unknown",
    };
    terms::name(env, name)
}
