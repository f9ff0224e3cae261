//! The calls that bring what the peer sends: read, decoded, passed on where it goes to others, and answered.

use super::attending::{Delivering, Watch};
use super::{Connection, InputSide, Next, close, panicked};
use crate::batch::{Batch, Stop};
use crate::broadcast::Sender;
use crate::handle::Handle;
use crate::input::{Input, Peer, Progress};
use crate::output::{Output, SlowPeer};
use crate::socket::Socket;
use crate::{atoms, clock, commands, orphans, terms};
use mqtt_codec::Properties;
use rustler::{Binary, Env, Term};
use std::io::IoSlice;
use std::sync::Arc;

/// Reads and decodes once: `{events, next}`.
#[rustler::nif]
fn connection_receive<'a>(env: Env<'a>, handle: Handle<'a>) -> Term<'a> {
    let mut batch = Batch::new(env, clock::now());
    let connection = handle.connection();
    let read = |side: &mut InputSide, batch: &mut Batch<'a>| side.read(connection, batch);
    let next = receive(connection, &mut batch, read, |side, next, batch| match next {
        Next::Wait => side.wait(connection, batch).unwrap_or_else(close),
        next => {
            side.calm = 0;
            side.go_back(connection, batch.env().pid());
            next
        }
    });
    terms::consume_timeslice(env, batch.size());
    batch.finish(next)
}

/// Decodes bytes that the owner read: `{events, next}`.
#[rustler::nif]
fn connection_feed<'a>(env: Env<'a>, handle: Handle<'a>, data: Binary<'a>) -> Term<'a> {
    let mut batch = Batch::new(env, clock::now());
    let feed = |side: &mut InputSide, batch: &mut Batch<'a>| side.feed(data, batch);
    let next = receive(handle.connection(), &mut batch, feed, |_, next, _| next);
    terms::consume_timeslice(env, batch.size());
    batch.finish(next)
}

/// Reads by `read`, sends what goes to others on its way, and answers. `then` has the last word, unless nothing
/// could be read.
pub(super) fn receive<'a>(
    connection: &Arc<Connection>,
    batch: &mut Batch<'a>,
    read: impl FnOnce(&mut InputSide, &mut Batch<'a>) -> Result<Next, Next>,
    then: impl FnOnce(&mut InputSide, Next, &Batch<'a>) -> Next,
) -> Next {
    let env = batch.env();
    let Ok(mut input) = connection.input.lock() else { return panicked() };
    let mut next = match read(&mut input, batch) {
        Ok(next) => next,
        Err(next) => return next,
    };
    let mut answers = Vec::new();
    if !input.routing.is_empty() {
        // No lock of ours is held while those of others are.
        let mut routing = std::mem::take(&mut input.routing);
        input.delivering = true;
        let delivering = Delivering(connection);
        let was_connected = input.state.is_connected();
        let socket = input.socket.as_ref().filter(|_| batch.is_without_owner());
        let slot = socket.and_then(|socket| socket.slot());
        drop(input);
        let mut sender = Sender::new(env, batch.now());
        answers = routing.deliver(&mut sender);
        // What ends the connection is behind all of it, and what the owner has to see. There is more than a call delivers only of a message
        // behind which nothing was read, unless its bytes were fed.
        while !routing.is_empty() && (matches!(next, Next::Close(_)) || !batch.is_empty()) {
            sender.restart();
            answers.append(&mut routing.deliver(&mut sender));
        }
        batch.work += sender.finish_batch();
        drop(delivering);
        let Ok(again) = connection.input.lock() else {
            connection.fail();
            orphans::adopt(routing, slot);
            return panicked();
        };
        input = again;
        input.delivering = false;
        if !routing.is_empty() {
            if input.ended {
                drop(input);
                orphans::adopt(routing, slot);
                return close(atoms::closed());
            }
            input.routing = routing;
            next = Next::More;
        }
        // The owner has said goodbye meanwhile, behind which nothing is sent. [MQTT-3.14.4-1]
        if was_connected && !input.state.is_connected() {
            return Next::More;
        }
    }
    let side = &mut *input;
    if side.ended {
        return close(atoms::closed());
    }
    let Some(mut session) = side.session.access() else {
        return close(atoms::session_taken_over());
    };
    for reason in answers {
        // There is one for each that was taken, and properties that could be wrong are none.
        let _ = side.state.acknowledge(reason, Properties::EMPTY, &mut session, &mut side.answers);
    }
    let mut peer = Peer { connection: &mut side.state, session: &mut session };
    let next = follow_up(connection, &mut peer, &mut side.answers, batch, next);
    drop(session);
    then(side, next, batch)
}

impl InputSide {
    /// Reads from the socket and decodes, unless messages of the client are still on their way.
    fn read(&mut self, connection: &Arc<Connection>, batch: &mut Batch<'_>) -> Result<Next, Next> {
        if self.socket.is_none() || self.ended {
            return Err(close(atoms::closed()));
        }
        // A reader is not to read meanwhile.
        if matches!(self.watch, Some(Watch::Reader(..))) {
            connection.readiness().look();
        }
        if !self.routing.is_empty() || self.delivering {
            return Ok(Next::More);
        }
        if let Some(reason) = self.verdict.take() {
            return Ok(Next::Close(reason));
        }
        if let Some(next) = blocked(&mut connection.output()) {
            return Err(next);
        }
        self.read_some(batch)
    }

    /// Reads once and decodes.
    pub(super) fn read_some(&mut self, batch: &mut Batch<'_>) -> Result<Next, Next> {
        let watched = self.watch.is_some();
        self.decode(batch, |input, peer, socket, batch| {
            let Some(socket) = socket else { return Next::Wait };
            match input.read(peer, socket, batch, watched) {
                Ok(progress) => after(&progress),
                Err(error) => close(error),
            }
        })
    }

    /// Decodes bytes that the owner read.
    fn feed<'a>(&mut self, data: Binary<'a>, batch: &mut Batch<'a>) -> Result<Next, Next> {
        // What the client published before goes on its way first.
        if !self.routing.is_empty() && self.input.keep(data.as_slice()) {
            return Ok(Next::More);
        }
        self.decode(batch, |input, peer, _, batch| match input.feed(peer, data, batch) {
            // Its end comes to the owner.
            Progress::End => Next::Wait,
            progress => after(&progress),
        })
    }

    fn decode<'a>(
        &mut self,
        batch: &mut Batch<'a>,
        read: impl FnOnce(&mut Input, &mut Peer<'_>, Option<&Socket>, &mut Batch<'a>) -> Next,
    ) -> Result<Next, Next> {
        let Some(mut session) = self.session.access() else {
            return Err(close(atoms::session_taken_over()));
        };
        session.looked_at();
        let mut peer = Peer { connection: &mut self.state, session: &mut session };
        let routing = std::mem::take(&mut self.routing).begin();
        batch.routing = self.route.take().map(|route| (route, routing));
        let next = read(&mut self.input, &mut peer, self.socket.as_deref(), batch);
        if let Some((route, routing)) = batch.routing.take() {
            (self.route, self.routing) = (Some(route), routing);
        }
        Ok(next)
    }
}

/// What follows from a read.
fn after(progress: &Progress) -> Next {
    match progress {
        Progress::Drained => Next::Wait,
        Progress::More => Next::More,
        Progress::Stop(stop) => stopped(stop),
        Progress::End => close(atoms::closed()),
    }
}

/// Whether the peer, or a writer, has to be first.
fn blocked(output: &mut Output) -> Option<Next> {
    if output.waits_for_writer() {
        return Some(Next::More);
    }
    if !output.blocks_input() {
        return None;
    }
    if output.options().slow_peer == SlowPeer::Close {
        return Some(close(atoms::send_queue_full()));
    }
    output.wait();
    Some(Next::Blocked)
}

fn stopped(stop: &Stop) -> Next {
    match stop {
        Stop::Close(reason) => close(*reason),
        Stop::Held | Stop::Incomplete(_) | Stop::Full => Next::Decide,
    }
}

/// What follows a read: answers and messages that wait are written, and what has become of others
/// is told. Answers wait for those of the owner, if it has some to give.
fn follow_up(
    connection: &Arc<Connection>,
    peer: &mut Peer<'_>,
    answers: &mut Vec<u8>,
    batch: &mut Batch<'_>,
    next: Next,
) -> Next {
    if answers.is_empty() {
        *answers = std::mem::take(batch.output());
    } else {
        answers.append(batch.output());
    }
    let others = peer.connection.unanswered() > 0 && matches!(next, Next::Wait | Next::More);
    if !answers.is_empty() && !others {
        connection.output().write(connection, &mut [IoSlice::new(answers)]);
        *answers = Vec::new();
    }
    let mut more = false;
    if peer.session.is_waiting() {
        let written;
        (more, written) = commands::pump(batch.env(), connection, peer);
        batch.work += written;
    }
    batch.deliveries(peer.session);
    if more && matches!(next, Next::Wait) { Next::More } else { next }
}
