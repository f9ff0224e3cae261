//! What has become of each message, which is the reference that both endpoints are held against.

use crate::rng::Rng;
use mqtt_codec::{Packet, PacketId, Properties, PropertiesBuf, Property, Publish, Qos, Version};
use mqtt_core::{Delivery, Dropped, Millis};

/// Topics of several lengths, so that an alias pays for some.
pub(crate) const TOPICS: [&str; 5] =
    ["a", "b/c", "a/longer/topic", "another/topic/that/is/long", "x"];

/// What a message is. Its payload begins with its number, which is its place in the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) qos: Qos,
    pub(crate) topic: usize,
    pub(crate) payload: Vec<u8>,
    /// Its Message Expiry Interval, and when that is over.
    pub(crate) expiry: Option<(u32, Millis)>,
}

impl Content {
    pub(crate) fn new(number: usize, now: Millis, rng: &mut Rng) -> Self {
        let mut payload = (number as u32).to_be_bytes().to_vec();
        payload.resize(4 + rng.pick(&[0, 0, 3, 20, 60]), 0);
        let seconds = 1 + rng.below(5) as u32;
        Self {
            qos: rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce]),
            topic: rng.below(TOPICS.len()),
            payload,
            expiry: rng.chance(20).then(|| (seconds, now + Millis::from(seconds) * 1000)),
        }
    }

    pub(crate) fn properties(&self) -> PropertiesBuf {
        let mut properties = PropertiesBuf::default();
        if let Some((seconds, _)) = self.expiry {
            properties.push(&Property::MessageExpiryInterval(seconds)).unwrap();
        }
        properties
    }

    pub(crate) fn publish<'a>(&'a self, properties: Properties<'a>) -> Publish<'a> {
        Publish {
            dup: false,
            qos: self.qos,
            retain: false,
            topic: TOPICS[self.topic],
            packet_id: None,
            properties,
            payload: &self.payload,
        }
    }

    /// The bytes of the packet, with its topic in full.
    pub(crate) fn packet_length(&self, version: Version) -> usize {
        let properties = self.properties();
        let properties =
            if version < Version::V5 { Properties::EMPTY } else { properties.as_properties() };
        let packet_id = (self.qos > Qos::AtMostOnce).then_some(PacketId::MIN);
        let publish = Publish { packet_id, ..self.publish(properties) };
        Packet::Publish(publish).packet_length(version).unwrap()
    }
}

/// The number of the message with this payload.
pub(crate) fn number(payload: &[u8]) -> usize {
    u32::from_be_bytes(payload[..4].try_into().unwrap()) as usize
}

/// A message from the server to the client.
#[derive(Debug)]
pub(crate) struct Down {
    pub(crate) content: Content,
    /// Whether the server shall tell of it.
    pub(crate) referenced: bool,
    /// How often it was written.
    pub(crate) sent: usize,
    /// How often it reached the client, who took it or refused it.
    pub(crate) arrived: usize,
    pub(crate) taken: usize,
    pub(crate) refused: usize,
    /// What the server told of it.
    pub(crate) outcome: Option<Delivery>,
}

/// A message from the client to the server.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) content: Content,
    /// How often it reached the application, which took it or refused it.
    pub(crate) arrived: usize,
    pub(crate) taken: usize,
    pub(crate) refused: usize,
    /// What the client knows of it.
    pub(crate) outcome: Option<UpOutcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpOutcome {
    Acknowledged,
    Refused,
    /// A session ended before anything was known.
    Discarded,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) down: Vec<Down>,
    pub(crate) up: Vec<Up>,
    last_taken_down: [Option<usize>; 2],
    last_arrived_up: [Option<usize>; 2],
    /// How many messages the server told were dropped.
    pub(crate) dropped: usize,
}

/// QoS 0 may overtake the others, so it has an order of its own.
fn lane(qos: Qos) -> usize {
    usize::from(qos > Qos::AtMostOnce)
}

impl Ledger {
    pub(crate) fn new_down(&mut self, now: Millis, rng: &mut Rng) -> usize {
        let number = self.down.len();
        self.down.push(Down {
            content: Content::new(number, now, rng),
            referenced: rng.chance(90),
            sent: 0,
            arrived: 0,
            taken: 0,
            refused: 0,
            outcome: None,
        });
        number
    }

    pub(crate) fn new_up(&mut self, now: Millis, rng: &mut Rng) -> usize {
        let number = self.up.len();
        let content = Content::new(number, now, rng);
        self.up.push(Up { content, arrived: 0, taken: 0, refused: 0, outcome: None });
        number
    }

    /// The client has a message for the first time, or again.
    pub(crate) fn arrived_down(&mut self, number: usize, dup: bool) {
        let down = &mut self.down[number];
        if down.arrived == 0 {
            let last = &mut self.last_taken_down[lane(down.content.qos)];
            if down.content.qos > Qos::AtMostOnce {
                assert!(*last < Some(number), "{number} came behind {last:?}");
            }
            *last = Some(number);
        } else {
            assert!(dup, "{number} came twice, without DUP: {down:?}");
        }
        down.arrived += 1;
    }

    /// The client takes a message.
    pub(crate) fn taken_down(&mut self, number: usize) {
        let down = &mut self.down[number];
        down.taken += 1;
        let twice = down.taken > 1 && down.content.qos != Qos::AtLeastOnce;
        assert!(!twice, "the client took {number} twice: {down:?}");
    }

    /// The server's application has a message.
    pub(crate) fn arrived_up(&mut self, number: usize, topic: &str, qos: Qos) {
        let up = &mut self.up[number];
        assert_eq!((TOPICS[up.content.topic], up.content.qos), (topic, qos));
        if up.arrived == 0 {
            let last = &mut self.last_arrived_up[lane(qos)];
            assert!(*last < Some(number), "{number} came behind {last:?}");
            *last = Some(number);
        }
        up.arrived += 1;
        let again = up.taken > 0 && qos == Qos::ExactlyOnce;
        assert!(!again, "the application has {number} already: {up:?}");
        assert!(up.arrived == 1 || qos > Qos::AtMostOnce);
    }

    pub(crate) fn taken_up(&mut self, number: usize) {
        let up = &mut self.up[number];
        up.taken += 1;
        let twice = up.taken > 1 && up.content.qos != Qos::AtLeastOnce;
        assert!(!twice, "the application took {number} twice: {up:?}");
    }

    /// The server told what has become of a message.
    pub(crate) fn told(&mut self, number: usize, delivery: Delivery) {
        let down = &mut self.down[number];
        assert_eq!(down.outcome, None, "{number} is told of twice: {delivery:?}");
        assert!(down.referenced);
        self.dropped += usize::from(matches!(delivery, Delivery::Dropped(_)));
        down.outcome = Some(delivery);
        match delivery {
            Delivery::Acknowledged if down.content.qos == Qos::AtMostOnce => {
                assert_eq!(down.sent, 1);
            }
            Delivery::Acknowledged => assert!(down.taken > 0, "{number}: {down:?}"),
            Delivery::Refused(reason) => {
                assert!(reason.is_error() && down.refused > 0, "{number}: {down:?}");
            }
            Delivery::Dropped(Dropped::Expired | Dropped::QueueFull | Dropped::NotConnected) => {
                assert_eq!(down.sent, 0, "{number} was sent and dropped: {down:?}");
            }
            Delivery::Dropped(
                Dropped::PacketTooLarge | Dropped::Discarded | Dropped::NotAuthorized,
            ) => {}
        }
    }

    /// All is done, and nothing is left in the session.
    pub(crate) fn settled(&self, dropped: usize) {
        for (number, down) in self.down.iter().enumerate() {
            match down.outcome {
                None => assert!(!down.referenced, "nothing was told of {number}: {down:?}"),
                Some(Delivery::Refused(_)) if down.content.qos == Qos::ExactlyOnce => {
                    assert_eq!(down.taken, 0, "{number}: {down:?}");
                }
                Some(_) => {}
            }
        }
        for (number, up) in self.up.iter().enumerate() {
            let outcome = if up.content.qos == Qos::AtMostOnce { None } else { up.outcome };
            match outcome {
                Some(UpOutcome::Acknowledged) => assert!(up.taken > 0, "{number}: {up:?}"),
                Some(UpOutcome::Refused) => assert!(up.refused > 0, "{number}: {up:?}"),
                Some(UpOutcome::Discarded) => {}
                None => assert_eq!(up.content.qos, Qos::AtMostOnce, "{number} is lost: {up:?}"),
            }
        }
        // Of those that have no reference, only the number of the dropped ones is known.
        let lost = |down: &&Down| {
            !down.referenced && down.content.qos > Qos::AtMostOnce && down.taken + down.refused == 0
        };
        let lost = self.down.iter().filter(lost).count();
        assert!(self.dropped + lost <= dropped, "{lost} messages are lost");
        if self.down.iter().all(|down| down.referenced) {
            assert_eq!(self.dropped, dropped);
        }
    }
}
