//! As many messages as the server publishes.

use super::exchange::Exchange;
use super::peers::Dialogue;
use crate::client::Client;
use crate::packet::{self, unexpected};
use mqtt_codec::{PacketId, Qos};
use std::io;

/// A request asks for so many messages.
const BATCH: u16 = 500;
/// So many requests of a connection are not fulfilled, at most: twice what the server lets be under
/// way, so that it always has more to send, and far less than it would drop.
const REQUESTS: u64 = 4;

pub(super) fn start(
    port: u16,
    connections: usize,
    size: usize,
    qos: Qos,
) -> io::Result<Exchange<Subscriber>> {
    let payload = packet::payload(size);
    let mut request = vec![qos as u8];
    request.extend_from_slice(&BATCH.to_be_bytes());
    request.extend_from_slice(&payload);
    let id = (qos != Qos::AtMostOnce).then_some(PacketId::MIN);
    let id_size = if id.is_some() { 2 } else { 0 };
    let mut head = packet::publish_with("flood", qos, id, &payload);
    head.truncate(head.len() - size - id_size);

    let subscriber = || Subscriber {
        qos,
        request: packet::publish_with("flood", Qos::AtMostOnce, None, &request),
        head: head.clone(),
        id_size,
        payload: payload.clone(),
        requested: 0,
        completed: 0,
        unreleased: vec![false; usize::from(u16::MAX) + 1].into_boxed_slice(),
        unreleased_count: 0,
    };
    let clients = Client::connect_many(port, connections)?;
    Exchange::new(clients.into_iter().map(|client| (client, subscriber())), None)
}

/// Asks for messages with small messages, which the handler answers with as many as they say.
pub(super) struct Subscriber {
    qos: Qos,
    request: Vec<u8>,
    /// A message from the server is this, a packet identifier unless it is of QoS 0, and the payload.
    head: Vec<u8>,
    id_size: usize,
    payload: Vec<u8>,
    requested: u64,
    completed: u64,
    /// Of QoS 2: the packet identifiers of messages that the server has not released.
    unreleased: Box<[bool]>,
    unreleased_count: u64,
}

impl Subscriber {
    fn receive_message(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        let id_end = self.head.len() + self.id_size;
        let size = id_end + self.payload.len();
        let Some(message) = input.get(..size) else { return Ok(0) };
        let id = &message[self.head.len()..id_end];
        let due = self.completed + self.unreleased_count < self.requested;
        if !due || !message.starts_with(&self.head) || message[id_end..] != self.payload {
            return Err(unexpected(message));
        }
        match (self.qos, id) {
            (Qos::AtLeastOnce, &[high, low]) => {
                self.completed += 1;
                output.extend_from_slice(&packet::ack(packet::PUBACK, [high, low]));
            }
            (Qos::ExactlyOnce, &[high, low]) => {
                let unreleased = &mut self.unreleased[usize::from(u16::from_be_bytes([high, low]))];
                if std::mem::replace(unreleased, true) {
                    return Err(unexpected(message));
                }
                self.unreleased_count += 1;
                output.extend_from_slice(&packet::ack(packet::PUBREC, [high, low]));
            }
            _ => self.completed += 1,
        }
        Ok(size)
    }

    fn receive_release(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        let Some(&[_, length, high, low]) = input.first_chunk::<{ packet::ACK_SIZE }>() else {
            return Ok(0);
        };
        let unreleased = &mut self.unreleased[usize::from(u16::from_be_bytes([high, low]))];
        if length != 2 || !std::mem::replace(unreleased, false) {
            return Err(unexpected(input));
        }
        self.unreleased_count -= 1;
        self.completed += 1;
        output.extend_from_slice(&packet::ack(packet::PUBCOMP, [high, low]));
        Ok(packet::ACK_SIZE)
    }
}

impl Dialogue for Subscriber {
    fn receive(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        match input.first() {
            None => Ok(0),
            Some(&packet::PUBREL) => self.receive_release(input, output),
            Some(_) => self.receive_message(input, output),
        }
    }

    fn send(&mut self, output: &mut Vec<u8>) {
        let batch = u64::from(BATCH);
        while self.requested + batch <= self.completed + REQUESTS * batch {
            output.extend_from_slice(&self.request);
            self.requested += batch;
        }
    }

    fn completed(&self) -> u64 {
        self.completed
    }

    fn is_idle(&self) -> bool {
        self.completed == self.requested
    }
}
