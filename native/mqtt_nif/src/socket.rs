//! A connected socket that is ours. It is read and written without ever blocking, and closed when
//! the last part of the connection that uses it lets go.

use crate::counters::DESCRIPTORS;
use rustix::io::retry_on_intr;
use rustix::net::sockopt;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Slices that one system call takes.
const MAX_SLICES: usize = 64;

pub(crate) struct Socket {
    fd: OwnedFd,
    /// What the listener gets back when the socket closes.
    _slot: Option<Box<dyn Send + Sync>>,
}

impl Socket {
    /// Takes a connected socket, and a slot that is given back when it closes.
    pub(crate) fn new(fd: OwnedFd, slot: Option<Box<dyn Send + Sync>>) -> Self {
        DESCRIPTORS.add(1);
        let socket = Self { fd, _slot: slot };
        socket.prepare();
        socket
    }

    /// Takes a duplicate of a descriptor that stays with its owner.
    pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::new(rustix::io::fcntl_dupfd_cloexec(fd, 0)?, None))
    }

    /// What the socket may have been set to is shared with its former owner. A socket that is not
    /// TCP has none of these options, and needs none.
    fn prepare(&self) {
        let _ = sockopt::set_tcp_nodelay(&self.fd, true);
        let _ = sockopt::set_socket_linger(&self.fd, None);
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

    /// Bytes that have come and were not read.
    pub(crate) fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.fd).unwrap_or(0)
    }

    /// Ends our direction. `close` alone would say nothing while the former owner of the socket has
    /// it open.
    pub(crate) fn end_output(&self) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
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
