//! What is corked, until somebody writes it: a writer (`writers`), with all that has come meanwhile, the owner of a fed
//! connection, or whoever writes before. A writer sends without the output's lock: the bytes are lent to it.

use super::{Output, Writing, send_all};
use crate::connection::Connection;
use crate::socket::Socket;
use bytes::{Buf, BytesMut};
use rustler::LocalPid;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// What is corked is written when it is so much.
const MAX_CORKED: usize = 64 * 1024;

/// At most so much memory is taken for what may be corked behind a first packet.
const EXPECTED: usize = 4 * 1024;

/// Who has to see to what was corked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Corked {
    /// Somebody does.
    Known,
    /// A writer.
    ByWriter,
    /// The owner, who writes himself.
    ByOwner(LocalPid),
}

/// What a writer sends without the lock.
pub(crate) struct Loan {
    bytes: BytesMut,
    socket: Arc<Socket>,
    /// Packets, by as many calls of [`cork`](Output::cork).
    pub(crate) packets: u32,
}

impl Loan {
    pub(crate) fn send(&self) -> io::Result<usize> {
        Ok(send_all(&self.socket, &mut [IoSlice::new(&self.bytes)])?.0)
    }
}

impl Output {
    /// What was corked does not show that the peer is slow.
    pub(super) fn try_corked(&mut self, connection: &Arc<Connection>) {
        if self.is_full() && !self.fed {
            self.uncork(connection);
        }
    }

    /// Sends what was corked.
    pub(crate) fn uncork(&mut self, connection: &Arc<Connection>) {
        if self.is_corked() {
            self.write(connection, &mut []);
        }
        self.corked = 0;
    }

    /// For a writer: what was corked, to be sent without the lock, for which others would wait as long as the kernel takes.
    pub(crate) fn lend(&mut self) -> Option<Loan> {
        if !self.is_corked() || self.fed {
            return None;
        }
        let socket = self.socket.clone()?;
        self.writing = Writing::Lent { urgent: false };
        self.expected = self.queue.len();
        let packets = std::mem::take(&mut self.corked);
        Some(Loan { bytes: std::mem::take(&mut self.queue), socket, packets })
    }

    /// What could be sent of that was. Says whether more has been corked meanwhile, and whom to tell that it does not wait for the writer
    /// any more.
    pub(crate) fn take_back(
        &mut self,
        connection: &Arc<Connection>,
        loan: Loan,
        sent: io::Result<usize>,
    ) -> (bool, Option<LocalPid>) {
        let more = self.take_back_loan(connection, loan, sent);
        // Otherwise the flusher tells.
        (more, if self.is_flushing() { None } else { self.waiting() })
    }

    fn take_back_loan(
        &mut self,
        connection: &Arc<Connection>,
        mut loan: Loan,
        sent: io::Result<usize>,
    ) -> bool {
        let urgent = self.writing == Writing::Lent { urgent: true };
        self.writing = Writing::AtOnce;
        let Ok(sent) = sent else {
            drop(self.take());
            if self.socket.take().is_none() {
                // The connection has ended meanwhile.
                loan.socket.end();
            }
            return false;
        };
        loan.bytes.advance(sent);
        let is_refused = !loan.bytes.is_empty();
        if is_refused {
            let behind = std::mem::replace(&mut self.queue, loan.bytes);
            self.queue.extend_from_slice(&behind);
        }
        if is_refused || self.ending.is_some() {
            self.start_flusher(connection, Some(loan.socket));
            return false;
        }
        if self.queue.is_empty() {
            return false;
        }
        self.writing = Writing::Corked;
        if urgent {
            self.uncork(connection);
        }
        self.is_corked()
    }

    /// Puts a small packet, in two parts, behind what waits. Says who has to see to it.
    pub(crate) fn cork(&mut self, connection: &Arc<Connection>, parts: [&[u8]; 2]) -> Corked {
        if self.ending.is_some() || (self.socket.is_none() && !self.fed) {
            return Corked::Known;
        }
        if self.queue.capacity() == 0 {
            self.queue.reserve(self.expected.min(EXPECTED));
        }
        for part in parts {
            self.enqueue(part);
        }
        if self.is_flushing() {
            return Corked::Known;
        }
        if self.is_lent() {
            self.corked = self.corked.saturating_add(1);
            return Corked::Known;
        }
        if !self.fed && self.queue.len() >= MAX_CORKED {
            self.writing = Writing::Corked;
            self.uncork(connection);
            return Corked::Known;
        }
        self.corked = self.corked.saturating_add(1);
        let before = std::mem::replace(&mut self.writing, Writing::Corked);
        match (before == Writing::Corked, self.fed, self.owner) {
            (false, false, _) => Corked::ByWriter,
            (false, true, Some(owner)) => Corked::ByOwner(owner),
            _ => Corked::Known,
        }
    }
}
