//! Pairs of a publisher and its subscriber, whose messages are acknowledged on both ways.

use super::exchange::Exchange;
use super::peers::Dialogue;
use crate::client::Client;
use crate::latency::{Latency, Shared};
use crate::packet::{self, unexpected};
use crate::template::Template;
use mqtt_codec::{PacketId, Qos};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

/// A pair has a topic of its own, and so many of its messages are on the way at most: published, and
/// not yet both delivered to the subscriber and acknowledged to the publisher.
pub(super) fn start(
    port: u16,
    pairs: usize,
    size: usize,
    window: u16,
) -> io::Result<Exchange<Member>> {
    let latency = Latency::shared()?;
    let mut members = Vec::with_capacity(2 * pairs);
    for pair in 0..pairs {
        let topic = format!("pair/{pair}");
        let messages = Rc::new(Messages {
            template: template(&topic, size)?,
            written: (0..window).map(|_| Cell::new(Instant::now())).collect(),
            delivered: Cell::new(0),
        });
        let mut client = Client::connect(port, &format!("subscriber-{pair}"))?;
        client.subscribe_at(&topic, Qos::AtLeastOnce)?;
        let publisher = members.len() + 1;
        let (latency, delivered) = (latency.clone(), messages.clone());
        members.push((client, Member::Subscriber { messages: delivered, latency, publisher }));

        let client = Client::connect(port, &format!("publisher-{pair}"))?;
        members.push((client, Member::Publisher { messages, sent: 0, acknowledged: 0 }));
    }
    Exchange::new(members, Some(latency))
}

/// The packet identifier, which before MQTT 5.0 the payload follows, and the message's number, with
/// which that starts.
const PLACE_SIZE: usize = size_of::<PacketId>() + size_of::<u64>();

fn template(topic: &str, size: usize) -> io::Result<Template<PLACE_SIZE>> {
    let payload = packet::payload(size);
    let packet = packet::publish_with(topic, Qos::AtLeastOnce, Some(PacketId::MIN), &payload);
    Template::new(packet, size + size_of::<PacketId>())
}

/// What a publisher and its subscriber know together. Their messages are numbered, and come in the
/// order in which they were sent [MQTT-4.6.0-6].
pub(super) struct Messages {
    template: Template<PLACE_SIZE>,
    /// When those were written that are on the way, each at its number modulo the window's size.
    written: Box<[Cell<Instant>]>,
    delivered: Cell<u64>,
}

impl Messages {
    fn window(&self) -> u64 {
        self.written.len() as u64
    }

    /// Where in the window the message with this number is.
    fn place(&self, number: u64) -> usize {
        (number % self.window()) as usize
    }

    /// The packet identifier of the message with this number at its publisher.
    fn id(&self, number: u64) -> [u8; 2] {
        (self.place(number) as u16 + 1).to_be_bytes()
    }

    fn append(&self, number: u64, now: Instant, output: &mut Vec<u8>) {
        let mut bytes = [0; PLACE_SIZE];
        bytes[..2].copy_from_slice(&self.id(number));
        bytes[2..].copy_from_slice(&number.to_be_bytes());
        self.template.append(bytes, output);
        self.written[self.place(number)].set(now);
    }
}

pub(super) enum Member {
    Publisher { messages: Rc<Messages>, sent: u64, acknowledged: u64 },
    Subscriber { messages: Rc<Messages>, latency: Shared, publisher: usize },
}

impl Dialogue for Member {
    fn receive(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Publisher { messages, sent, acknowledged } => {
                let Some(ack) = input.first_chunk::<{ packet::ACK_SIZE }>() else { return Ok(0) };
                let due = packet::ack(packet::PUBACK, messages.id(*acknowledged));
                if acknowledged == sent || *ack != due {
                    return Err(unexpected(input));
                }
                *acknowledged += 1;
                Ok(packet::ACK_SIZE)
            }
            Self::Subscriber { messages, latency, .. } => {
                let Some(bytes) = messages.template.take(input)? else { return Ok(0) };
                let [high, low, number @ ..] = bytes;
                let number = u64::from_be_bytes(number);
                if number != messages.delivered.get() || [high, low] == [0, 0] {
                    return Err(unexpected(input));
                }
                let written = messages.written[messages.place(number)].get();
                latency.borrow_mut().record(written.elapsed());
                messages.delivered.set(number + 1);
                output.extend_from_slice(&packet::ack(packet::PUBACK, [high, low]));
                Ok(messages.template.size())
            }
        }
    }

    fn send(&mut self, output: &mut Vec<u8>) {
        if let Self::Publisher { messages, sent, acknowledged } = self {
            let now = Instant::now();
            let end = messages.delivered.get().min(*acknowledged) + messages.window();
            while *sent < end {
                messages.append(*sent, now, output);
                *sent += 1;
            }
        }
    }

    /// Deliveries.
    fn completed(&self) -> u64 {
        match self {
            Self::Publisher { .. } => 0,
            Self::Subscriber { messages, .. } => messages.delivered.get(),
        }
    }

    fn is_idle(&self) -> bool {
        match self {
            Self::Publisher { messages, sent, acknowledged } => {
                sent == acknowledged && *sent == messages.delivered.get()
            }
            Self::Subscriber { .. } => true,
        }
    }

    fn wakes(&self) -> Option<usize> {
        match self {
            Self::Publisher { .. } => None,
            Self::Subscriber { publisher, .. } => Some(*publisher),
        }
    }
}
