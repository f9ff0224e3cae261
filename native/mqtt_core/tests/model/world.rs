//! A client and a server, and a link between them that can be cut at any byte.

use crate::client::{Client, State};
use crate::ledger::Ledger;
use crate::rng::Rng;
use crate::server::Server;
use mqtt_codec::Version;
use mqtt_core::{Config, Millis, SessionLimits};

/// What is between the endpoints at most before somebody has to read.
const ALL: usize = usize::MAX;

struct World {
    rng: Rng,
    now: Millis,
    client: Client,
    server: Server,
    ledger: Ledger,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    version: Version,
}

/// One case: something happens for a while, and then all comes to rest.
pub(crate) fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..20 + world.rng.below(400) {
        world.step();
    }
    world.settle();
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let config = Config {
            receive_maximum: rng.pick(&[1, 2, 3, 5, 20]),
            max_inflight: rng.pick(&[1, 2, 3, 5, 1024]),
            topic_alias_maximum: rng.pick(&[0, 1, 2, 3]),
            ..Config::default()
        };
        let limits = SessionLimits {
            messages: rng.pick(&[1, 4, 20, 1000]),
            bytes: rng.pick(&[300, 1000, 1_000_000]),
            drop_oldest: rng.pick(&[false, true]),
            ..SessionLimits::default()
        };
        let version = rng.pick(&[Version::V3_1_1, Version::V5, Version::V5]);
        Self {
            now: rng.below(10_000) as Millis,
            client: Client::new(),
            server: Server::new(config, limits),
            ledger: Ledger::default(),
            to_client: Vec::new(),
            to_server: Vec::new(),
            version,
            rng,
        }
    }

    fn step(&mut self) {
        if self.client.state == State::Offline || !self.server.open {
            return self.step_offline();
        }
        match self.rng.below(100) {
            0..18 => {
                self.server.publish(self.now, &mut self.ledger, &mut self.rng);
            }
            18..32 => self.client.publish(self.now, &mut self.ledger, &mut self.rng),
            32..50 => self.move_to_server(),
            50..68 => self.move_to_client(),
            68..77 => {
                for _ in 0..=self.rng.below(self.client.answers().max(1)) {
                    self.client.answer();
                }
            }
            77..86 => {
                for _ in 0..=self.rng.below(self.server.unanswered().max(1)) {
                    self.server.answer(self.now, true, &mut self.ledger, &mut self.rng);
                }
            }
            86..93 => self.pump(),
            93..97 => self.now += self.rng.below(3_000) as Millis,
            _ => self.cut(),
        }
    }

    fn step_offline(&mut self) {
        match self.rng.below(10) {
            0..3 => self.server.publish(self.now, &mut self.ledger, &mut self.rng),
            3..5 => self.now += self.rng.below(3_000) as Millis,
            5..7 => self.server.answer(self.now, true, &mut self.ledger, &mut self.rng),
            _ => {
                let clean = self.rng.chance(15);
                self.connect(clean);
            }
        }
    }

    fn connect(&mut self, clean: bool) {
        self.cut_off();
        let rng = &mut self.rng;
        let client = &mut self.client;
        if rng.chance(5) {
            self.version = rng.pick(&[Version::V3_1_1, Version::V5]);
        }
        client.version = self.version;
        let plain = self.version < Version::V5;
        client.receive_maximum = if plain { u16::MAX } else { rng.pick(&[1, 2, 3, 5, u16::MAX]) };
        let size = rng.pick(&[None, None, Some(25), Some(40), Some(70)]);
        client.maximum_packet_size = if plain { None } else { size };
        client.topic_alias_maximum = if plain { 0 } else { rng.pick(&[0, 1, 2, 10]) };
        client.problem_information = plain || rng.chance(70);
        if rng.chance(40) {
            let session = &self.server.session;
            let bytes = session.export(self.now, self.now + 1_000_000);
            let (size, waiting, under, unreleased, dropped) = (
                session.bytes(),
                session.waiting(),
                session.under_way(),
                session.unreleased(),
                session.dropped(),
            );
            let restored = mqtt_core::Session::import(
                &bytes,
                self.server.limits,
                self.now,
                self.now + 1_000_000,
            )
            .unwrap();
            assert_eq!(
                (size, waiting, under, dropped),
                (restored.bytes(), restored.waiting(), restored.under_way(), restored.dropped())
            );
            assert!(restored.unreleased() <= unreleased);
            self.server.session = restored;
            for down in &mut self.ledger.down {
                if down.outcome.is_none() {
                    down.referenced = false;
                }
            }
        }
        self.server.begin(self.now, client);
        let window = usize::from(self.server.config.receive_maximum);
        self.server.forgets = rng.chance(3);
        client.connect(clean, window, &mut self.ledger);
        if self.server.forgets {
            // That a session is gone is told once, so that this CONNACK has to arrive.
            self.deliver(ALL);
        }
    }

    fn chunk(&mut self, length: usize) -> usize {
        if self.rng.chance(30) { length } else { self.rng.below(length.min(40) + 1) }
    }

    fn move_to_server(&mut self) {
        self.to_server.append(&mut self.client.output);
        let length = self.chunk(self.to_server.len());
        self.server.input.extend(self.to_server.drain(..length));
        self.server.read(self.now, &mut self.ledger);
        if self.rng.chance(50) {
            self.pump();
        }
    }

    fn pump(&mut self) {
        let limit = if self.rng.chance(50) { ALL } else { self.rng.below(100) };
        self.server.pump(self.now, limit, &mut self.ledger);
    }

    fn move_to_client(&mut self) {
        self.to_client.append(&mut self.server.output);
        let length = self.chunk(self.to_client.len());
        self.client.input.extend(self.to_client.drain(..length));
        self.client.read(&mut self.ledger, &mut self.rng);
    }

    /// Both sides get what is under way, but no more than `limit` bytes.
    fn deliver(&mut self, limit: usize) {
        self.to_server.append(&mut self.client.output);
        let length = self.to_server.len().min(limit);
        self.server.input.extend(self.to_server.drain(..length));
        self.server.read(self.now, &mut self.ledger);
        self.to_client.append(&mut self.server.output);
        let length = self.to_client.len().min(limit);
        self.client.input.extend(self.to_client.drain(..length));
        self.client.read(&mut self.ledger, &mut self.rng);
    }

    /// The connection ends, and some of what is under way arrives yet.
    fn cut(&mut self) {
        let goes = self.client.state == State::Connected && self.rng.chance(30);
        if goes {
            self.client.disconnect();
        }
        for _ in 0..self.rng.below(3) {
            self.move_to_client();
            if !goes {
                self.client.answer();
            }
            self.move_to_server();
        }
        self.cut_off();
    }

    fn cut_off(&mut self) {
        self.client.lose();
        self.server.lose(&mut self.ledger);
        self.to_client.clear();
        self.to_server.clear();
    }

    /// Over a good connection everything is done that was to be done.
    fn settle(&mut self) {
        if self.client.state != State::Connected || !self.server.open {
            self.connect(false);
        }
        for _ in 0..500 {
            self.server.pump(self.now, ALL, &mut self.ledger);
            self.deliver(ALL);
            while self.client.answers() > 0 {
                self.client.answer();
            }
            while self.server.unanswered() > 0 {
                self.server.answer(self.now, false, &mut self.ledger, &mut self.rng);
            }
            let session = &self.server.session;
            let rests = session.waiting() + session.under_way() + session.unreleased() == 0;
            let empty = self.client.output.is_empty() && self.server.output.is_empty();
            if rests && empty && self.client.is_settled() && self.server.input.is_empty() {
                assert_eq!(session.bytes(), 0, "bytes are left in an empty session");
                return self.ledger.settled(session.dropped());
            }
        }
        panic!("it does not come to rest: {:?}", self.server.session);
    }
}
