//! As many messages of QoS 1 or 2 as the server acknowledges.

use super::exchange::Exchange;
use super::peers::Dialogue;
use crate::client::Client;
use crate::packet::{self, unexpected};
use mqtt_codec::{PacketId, Qos};
use std::io;
use std::rc::Rc;

pub(super) fn start(
    port: u16,
    connections: usize,
    size: usize,
    qos: Qos,
    window: u16,
) -> io::Result<Exchange<Publisher>> {
    let payload = packet::payload(size);
    let packet = |id| packet::publish_with("ignore", qos, PacketId::new(id), &payload);
    let packets: Rc<[u8]> = (1..=window).flat_map(packet).collect();
    let packet_size = packets.len() / usize::from(window);
    let publisher = || Publisher {
        qos,
        window: window.into(),
        packets: packets.clone(),
        packet_size,
        sent: 0,
        recorded: 0,
        completed: 0,
    };
    let clients = Client::connect_many(port, connections)?;
    Exchange::new(clients.into_iter().map(|client| (client, publisher())), None)
}

/// Its messages have the packet identifiers from 1 to the window's size, again and again, and the
/// server acknowledges them in this order [MQTT-4.6.0-2] [MQTT-4.6.0-3].
pub(super) struct Publisher {
    qos: Qos,
    window: u64,
    /// A window of whole packets, one after the other.
    packets: Rc<[u8]>,
    packet_size: usize,
    sent: u64,
    /// Of QoS 2: PUBREC has come.
    recorded: u64,
    completed: u64,
}

impl Publisher {
    /// Where in the window the message with this number is.
    fn place(&self, number: u64) -> usize {
        (number % self.window) as usize
    }

    /// Whether this is the identifier of the message with this number.
    fn is_id_of(&self, id: [u8; 2], number: u64) -> bool {
        usize::from(u16::from_be_bytes(id)) == self.place(number) + 1
    }
}

impl Dialogue for Publisher {
    fn receive(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        let Some(&[first, 2, high, low]) = input.first_chunk::<{ packet::ACK_SIZE }>() else {
            let part = input.len() < packet::ACK_SIZE;
            return if part { Ok(0) } else { Err(unexpected(input)) };
        };
        let id = [high, low];
        let completes = match self.qos {
            Qos::ExactlyOnce => (packet::PUBCOMP, self.recorded),
            _ => (packet::PUBACK, self.sent),
        };
        if first == completes.0 && self.completed < completes.1 && self.is_id_of(id, self.completed)
        {
            self.completed += 1;
        } else if first == packet::PUBREC
            && self.qos == Qos::ExactlyOnce
            && self.recorded < self.sent
            && self.is_id_of(id, self.recorded)
        {
            self.recorded += 1;
            output.extend_from_slice(&packet::ack(packet::PUBREL, id));
        } else {
            return Err(unexpected(input));
        }
        Ok(packet::ACK_SIZE)
    }

    fn send(&mut self, output: &mut Vec<u8>) {
        let end = self.completed + self.window;
        while self.sent < end {
            let place = self.place(self.sent);
            let count = (end - self.sent).min(self.window - place as u64);
            let from = place * self.packet_size;
            let to = from + count as usize * self.packet_size;
            output.extend_from_slice(&self.packets[from..to]);
            self.sent += count;
        }
    }

    fn completed(&self) -> u64 {
        self.completed
    }

    fn is_idle(&self) -> bool {
        self.completed == self.sent
    }
}
