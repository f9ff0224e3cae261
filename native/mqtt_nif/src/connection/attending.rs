//! Who has the socket of a connection and is told of what comes: the poller, for the owner, or a reader, which reads without it.

use super::receiving::receive;
use super::{Connection, InputSide, Next, Reason};
use crate::batch::Batch;
use crate::broadcast::MAX_COST;
use crate::poller::{self, Whose};
use crate::reader::Seat;
use crate::socket::Socket;
use crate::watching::Ticket;
use crate::{atoms, clock, reader};
use rustler::{Env, LocalPid};
use std::io;
use std::sync::{Arc, PoisonError};
use std::thread;

/// When the owner has been called so often for nothing, one behind the other, somebody else reads.
const CALM: u8 = 2;
/// Unless that were so many bytes, or it took a part of a call's time to send them to others.
const MUCH: usize = 8 * 1024;
const MUCH_WORK: usize = MAX_COST / 8;

/// Who is told that there is something to read.
#[derive(Clone, Copy)]
pub(super) enum Watch {
    /// The poller, which tells the owner.
    Poller(Ticket),
    Reader(Seat),
}

impl Watch {
    /// Has them forget the socket, which has to be open still.
    pub(super) fn end(self, socket: &Socket) {
        match self {
            Self::Poller(ticket) => poller::forget(ticket, socket),
            Self::Reader(seat) => reader::forget(seat, socket),
        }
    }
}

impl InputSide {
    /// The owner waits, unless something has come meanwhile. It is not the one to be told where it was called for nothing, until there is more
    /// than a read, or something for it.
    pub(super) fn wait(
        &mut self,
        connection: &Arc<Connection>,
        batch: &Batch<'_>,
    ) -> io::Result<Next> {
        let Some(socket) = &self.socket else { return Ok(Next::Wait) };
        let owner = batch.env().pid();
        let was_told = self.calm == 0;
        if batch.size() >= MUCH || batch.work >= MUCH_WORK || self.input.is_large() {
            self.calm = 0;
        } else if batch.was_for_nobody() && self.route.is_some() {
            self.calm = self.calm.saturating_add(1);
        }
        match self.watch {
            None => self.watch = Some(Watch::Poller(watch(connection, socket, owner)?)),
            Some(Watch::Poller(ticket)) if self.calm >= CALM => {
                let asks = self.session.access().is_some_and(|session| session.asks());
                if !asks && let Ok(seat) = reader::watch(connection, socket, owner) {
                    poller::forget(ticket, socket);
                    self.watch = Some(Watch::Reader(seat));
                } else {
                    self.calm = 0;
                }
            }
            Some(_) if was_told || self.calm == 0 => self.go_back(connection, owner),
            Some(_) => {}
        }
        Ok(if connection.readiness().wait() { Next::Wait } else { Next::More })
    }

    /// Reads for the owner, as long as there is nothing for it.
    fn read_for_owner(
        &mut self,
        connection: &Arc<Connection>,
        batch: &mut Batch<'_>,
    ) -> Result<Next, Next> {
        let output = connection.output();
        let waits = output.waits_for_writer() || output.blocks_input();
        drop(output);
        let busy = self.delivering || !self.routing.is_empty();
        if self.ended || busy || waits || self.verdict.is_some() || self.input.is_large() {
            return Err(Next::More);
        }
        self.read_some(batch)
    }

    /// The owner is the one to be told again.
    pub(super) fn go_back(&mut self, connection: &Arc<Connection>, owner: LocalPid) {
        if let (Some(Watch::Reader(seat)), Some(socket)) = (self.watch, &self.socket)
            && let Ok(ticket) = watch(connection, socket, owner)
        {
            reader::forget(seat, socket);
            self.watch = Some(Watch::Poller(ticket));
        }
    }

    /// Whether a reader has the socket at that seat.
    fn is_at(&self, seat: Seat) -> bool {
        matches!(self.watch, Some(Watch::Reader(other)) if other == seat)
    }
}

/// Has the owner told.
fn watch(connection: &Arc<Connection>, socket: &Socket, owner: LocalPid) -> io::Result<Ticket> {
    poller::watch(Whose::Connection(connection.clone()), socket, owner)
}

/// Says so if bringing what was read on its way ends by a panic.
pub(super) struct Delivering<'c>(pub(super) &'c Connection);

impl Drop for Delivering<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail();
        }
    }
}

impl Connection {
    /// A reader has found something, or the end. Says whether the owner has to be told.
    pub(crate) fn ready(&self, seat: Seat, ended: bool) -> bool {
        let input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.is_at(seat) && self.readiness.ready(ended)
    }

    /// A reader has found something, or the end, and reads it for the owner. Says whether that has to be told. What it has found before the socket was
    /// taken from it, who has it now was told of as well.
    pub(crate) fn receive_for_owner(
        self: &Arc<Self>,
        env: Env<'_>,
        seat: Seat,
        ended: bool,
    ) -> bool {
        let mut waits = true;
        let mut batch = Batch::without_owner(env, clock::now());
        let read = |side: &mut InputSide, batch: &mut Batch<'_>| {
            waits = side.is_at(seat) && self.readiness.ready(ended);
            if !waits {
                return Err(Next::Wait);
            }
            side.read_for_owner(self, batch).inspect_err(|_| side.calm = 0)
        };
        let next = receive(self, &mut batch, read, |side, next, batch| match next {
            Next::Wait if !batch.is_left() && batch.work < MUCH_WORK && self.readiness.wait() => {
                Next::Wait
            }
            next => {
                side.calm = 0;
                if let Next::Close(reason) = next {
                    side.verdict = Some(reason);
                }
                Next::More
            }
        });
        waits && !matches!(next, Next::Wait)
    }

    /// A panic while it was read.
    pub(crate) fn fail(&self) {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.delivering = false;
        input.verdict = Some(Reason::Named(atoms::nif_panicked()));
    }
}
