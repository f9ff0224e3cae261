//! A connected socket that is ours. It is read and written without ever blocking, and closed when
//! the last part of the connection that uses it lets go.

use crate::counters::DESCRIPTORS;
use rustix::io::retry_on_intr;
use rustix::net::sockopt;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;

/// Slices that one system call takes.
const MAX_SLICES: usize = 64;
/// Seconds after which a client is accepted that has sent nothing.
const SILENT: libc::c_int = 1;

pub(crate) struct Socket {
    fd: OwnedFd,
    /// Whether somebody else has it open as well, so that closing it here ends nothing.
    shared: bool,
    /// What the listener gets back when the socket closes.
    slot: Option<Slot>,
}

/// A place of a listener.
pub(crate) type Slot = Arc<dyn Send + Sync>;

impl Socket {
    /// Takes a socket that was accepted from one that was [prepared](Self::prepare_listening), and a slot
    /// that is given back when it closes.
    pub(crate) fn accepted(fd: OwnedFd, slot: Slot) -> Self {
        DESCRIPTORS.add(1);
        Self { fd, shared: false, slot: Some(slot) }
    }

    /// What the sockets inherit that a listening one accepts, and that they are accepted with their first
    /// bytes.
    pub(crate) fn prepare_listening(fd: BorrowedFd<'_>) -> io::Result<()> {
        defer_accept(fd);
        Ok(sockopt::set_tcp_nodelay(fd, true)?)
    }

    /// Takes a duplicate of a descriptor that stays with its owner. What the socket may have been set to
    /// is shared with them. One that is not TCP has none of these options, and needs none.
    pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let fd = rustix::io::fcntl_dupfd_cloexec(fd, 0)?;
        DESCRIPTORS.add(1);
        let _ = sockopt::set_tcp_nodelay(&fd, true);
        let _ = sockopt::set_socket_linger(&fd, None);
        Ok(Self { fd, shared: true, slot: None })
    }

    /// Reads into both slices, the first one first; 0 is the end.
    pub(crate) fn receive(&self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if let [slice] = slices {
            let read = || rustix::net::recv(&self.fd, &mut **slice, RecvFlags::DONTWAIT);
            return Ok(retry_on_intr(read)?.1);
        }
        let mut control = RecvAncillaryBuffer::default();
        let read = || rustix::net::recvmsg(&self.fd, slices, &mut control, RecvFlags::DONTWAIT);
        Ok(retry_on_intr(read)?.bytes)
    }

    /// Writes as much as the kernel takes.
    pub(crate) fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if let [slice] = slices {
            return Ok(retry_on_intr(|| rustix::net::send(&self.fd, slice, flags))?);
        }
        let slices = slices.get(..MAX_SLICES).unwrap_or(slices);
        let mut control = SendAncillaryBuffer::default();
        Ok(retry_on_intr(|| rustix::net::sendmsg(&self.fd, slices, &mut control, flags))?)
    }

    /// The place of the listener, which is taken as long as somebody has this.
    pub(crate) fn slot(&self) -> Option<Slot> {
        self.slot.clone()
    }

    /// Bytes that have come and were not read.
    pub(crate) fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.fd).unwrap_or(0)
    }

    /// Ends our direction. `close` alone would say nothing while the former owner of the socket has
    /// it open.
    pub(crate) fn end_output(&self) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
    }

    /// Ends both directions, if closing the socket, which has to follow, would not.
    pub(crate) fn end_before_close(&self) {
        if self.shared {
            self.end();
        }
    }

    /// Ends both directions.
    pub(crate) fn end(&self) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Both);
    }

    pub(crate) fn peer_address(&self) -> Option<std::net::SocketAddr> {
        rustix::net::getpeername(&self.fd).ok().flatten()?.try_into().ok()
    }

    pub(crate) fn local_address(&self) -> Option<std::net::SocketAddr> {
        rustix::net::getsockname(&self.fd).ok()?.try_into().ok()
    }
}

/// Has the kernel keep a client to itself until something has come from it, for [`SILENT`] seconds at most.
/// A system that cannot do so gives it at once.
fn defer_accept(fd: BorrowedFd<'_>) {
    let length = size_of_val(&SILENT) as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed, and the value is as long as is said.
    let _ = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            ptr::from_ref(&SILENT).cast(),
            length,
        )
    };
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        DESCRIPTORS.subtract(1);
    }
}
