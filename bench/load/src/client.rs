//! A connection to the server.

use crate::packet::{self, unexpected};
use mqtt_codec::{Decoded, Decoder, Packet, Qos, Version};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// A server that answers nothing for so long is broken.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Client {
    stream: TcpStream,
    version: Version,
}

impl Client {
    /// Connects and waits until the server has accepted it.
    pub(crate) fn connect(port: u16, client_id: &str) -> io::Result<Self> {
        Self::connect_with(Version::V3_1_1, port, client_id)
    }

    pub(crate) fn connect_with(version: Version, port: u16, client_id: &str) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self { stream, version };
        client.write(&packet::connect(version, client_id))?;
        client.expect_packet(packet::is_connack)?;
        Ok(client)
    }

    /// So many connections.
    pub(crate) fn connect_many(port: u16, count: usize) -> io::Result<Vec<Self>> {
        (0..count).map(|number| Self::connect(port, &format!("client-{number}"))).collect()
    }

    pub(crate) fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        self.subscribe_at(filter, Qos::AtMostOnce)
    }

    pub(crate) fn subscribe_at(&mut self, filter: &str, qos: Qos) -> io::Result<()> {
        self.write(&packet::subscribe(self.version, filter, qos))?;
        self.expect_packet(|packet| packet::is_suback(packet, qos))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads what has come, once something has.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }

    /// Reads exactly these bytes.
    pub(crate) fn expect(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut read = vec![0; bytes.len()];
        self.stream.read_exact(&mut read)?;
        if read != bytes {
            return Err(io::Error::other(format!("expected {bytes:02X?} and got {read:02X?}")));
        }
        Ok(())
    }

    /// Reads a packet, which has to be such a one, and nothing behind it.
    fn expect_packet(&mut self, is_right: impl Fn(&Packet<'_>) -> bool) -> io::Result<()> {
        let decoder = Decoder::new(self.version);
        let mut read = Vec::new();
        loop {
            match decoder.decode(&read).map_err(io::Error::other)? {
                Decoded::Packet(packet, _) if is_right(&packet) => return Ok(()),
                Decoded::Packet(..) => return Err(unexpected(&read)),
                Decoded::Incomplete(size) => {
                    let had = read.len();
                    read.resize(size, 0);
                    self.stream.read_exact(&mut read[had..])?;
                }
            }
        }
    }

    /// Writes what can be written at once.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        would_block(self.stream.write(bytes))
    }

    /// Reads what has come.
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match would_block(self.stream.read(buffer))? {
            Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }

    /// Whether [`write`](Self::write) and [`expect`](Self::expect) may be used, or `try_write` and
    /// `try_read`.
    pub(crate) fn set_blocking(&self, blocking: bool) -> io::Result<()> {
        self.stream.set_nonblocking(!blocking)
    }

    /// Disconnects, and waits until the server has closed [MQTT-3.14.4-1].
    pub(crate) fn disconnect(mut self) -> io::Result<()> {
        self.write(&packet::DISCONNECT)?;
        match self.stream.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::other("something comes after DISCONNECT")),
        }
    }

    /// Waits until the server has dealt with everything that the clients sent, which it does in
    /// order.
    pub(crate) fn settle<'a>(clients: impl IntoIterator<Item = &'a mut Self>) -> io::Result<()> {
        let mut clients: Vec<_> = clients.into_iter().collect();
        clients.iter_mut().try_for_each(|client| client.write(&packet::PINGREQ))?;
        clients.iter_mut().try_for_each(|client| client.expect(&packet::PINGRESP))
    }
}

impl AsRawFd for Client {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

fn would_block(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}
