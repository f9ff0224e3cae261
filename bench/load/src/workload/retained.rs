//! Retained messages that a new subscriber gets.

use super::{Outcome, Workload};
use crate::client::Client;
use crate::latency::Latency;
use crate::packet::{self, unexpected};
use mqtt_codec::{Decoded, Decoder, Packet, Publish, Qos, Version};
use std::io;
use std::time::{Duration, Instant};

/// The topics are `retained/<n mod 100>/<n>`.
const GROUPS: usize = 100;
const FILTER: &str = "retained/#";
/// Bytes of a message.
const SIZE: usize = 64;
const VERSION: Version = Version::V3_1_1;

/// So many bytes are read at once.
const BUFFER: usize = 64 * 1024;

pub(crate) struct Retained {
    port: u16,
    payload: Vec<u8>,
    /// Whether the message with this number has come.
    received: Vec<bool>,
    buffer: Box<[u8]>,
}

impl Retained {
    /// Stores so many.
    pub(crate) fn start(port: u16, count: usize) -> io::Result<Self> {
        let payload = packet::payload(SIZE);
        let publish = |number| {
            let topic = format!("retained/{}/{number}", number % GROUPS);
            let publish = Publish { retain: true, ..packet::message(&topic, &payload) };
            packet::encode(VERSION, &Packet::Publish(publish))
        };
        let mut publisher = Client::connect(port, "publisher")?;
        publisher.write(&(0..count).flat_map(publish).collect::<Vec<_>>())?;
        Client::settle([&mut publisher])?;
        publisher.disconnect()?;
        Ok(Self {
            port,
            payload,
            received: vec![false; count],
            buffer: vec![0; BUFFER].into_boxed_slice(),
        })
    }

    /// Connects, subscribes, gets all of them and disconnects. Says how long it took from subscribing
    /// to the last one.
    fn fetch(&mut self) -> io::Result<Duration> {
        let mut client = Client::connect(self.port, "subscriber")?;
        let start = Instant::now();
        client.write(&packet::subscribe(VERSION, FILTER, Qos::AtMostOnce))?;
        self.receive(&mut client)?;
        let elapsed = start.elapsed();
        // Nothing comes behind them.
        Client::settle([&mut client])?;
        client.disconnect()?;
        Ok(elapsed)
    }

    /// The acknowledgement of the subscription may come before, behind or between the messages.
    fn receive(&mut self, client: &mut Client) -> io::Result<()> {
        let decoder = Decoder::new(VERSION);
        let (mut subscribed, mut missing, mut filled) = (false, self.received.len(), 0);
        self.received.fill(false);
        while !subscribed || missing > 0 || filled > 0 {
            filled += client.read(&mut self.buffer[filled..]).map_err(|error| {
                io::Error::new(error.kind(), format!("{missing} messages are missing: {error}"))
            })?;
            let mut taken = 0;
            while let Decoded::Packet(packet, size) =
                decoder.decode(&self.buffer[taken..filled]).map_err(io::Error::other)?
            {
                match packet {
                    Packet::Publish(publish)
                        if take(&publish, &self.payload, &mut self.received) =>
                    {
                        missing -= 1;
                    }
                    packet if !subscribed && packet::is_suback(&packet, Qos::AtMostOnce) => {
                        subscribed = true;
                    }
                    _ => return Err(unexpected(&self.buffer[taken..filled])),
                }
                taken += size;
            }
            self.buffer.copy_within(taken..filled, 0);
            filled -= taken;
        }
        Ok(())
    }
}

/// Marks it as received. Says whether it is one that was stored, and has not come before.
fn take(publish: &Publish<'_>, payload: &[u8], received: &mut [bool]) -> bool {
    let right = publish.retain && publish.qos == Qos::AtMostOnce && publish.payload == payload;
    let place = number(publish.topic).and_then(|number| received.get_mut(number));
    right && place.is_some_and(|received| !std::mem::replace(received, true))
}

fn number(topic: &str) -> Option<usize> {
    let (group, number) = topic.strip_prefix("retained/")?.split_once('/')?;
    let (group, number): (usize, usize) = (group.parse().ok()?, number.parse().ok()?);
    (group == number % GROUPS).then_some(number)
}

impl Workload for Retained {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        let mut latency = Latency::new()?;
        let end = Instant::now() + duration;
        while Instant::now() < end {
            latency.record(self.fetch()?);
        }
        let messages = latency.count() * self.received.len() as u64;
        Ok(Outcome { messages, latency: Some(latency) })
    }

    /// None stays.
    fn connections(&self) -> usize {
        0
    }
}
