//! The state machine of a connection.

use crate::{Close, Event, Millis, Received, Violation};
use bytes::BufMut;
use core::fmt;
use mqtt_codec::{
    Connack, Connect, Decoded, Decoder, Error, Limits, Packet, PacketId, PacketType, Properties,
    Publish, Qos, ReasonCode, Suback, Version,
};

/// The return code of a CONNACK before MQTT 5.0 that refuses the protocol level.
const UNACCEPTABLE_PROTOCOL: ReasonCode = ReasonCode(1);
/// The return code of a CONNACK before MQTT 5.0 that refuses the client identifier.
const IDENTIFIER_REJECTED: ReasonCode = ReasonCode(2);

/// What a connection is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What a packet may hold once the client has connected.
    pub limits: Limits,
    /// Bytes that CONNECT may have.
    pub connect_size: usize,
    /// How long the client may take for CONNECT.
    pub connect_timeout: Option<Millis>,
    /// How long a client that asked for no Keep Alive may be silent.
    pub idle_timeout: Option<Millis>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            connect_size: 64 * 1024,
            connect_timeout: Some(5_000),
            idle_timeout: None,
        }
    }
}

/// A connection of the server with one client.
#[derive(Clone, Debug)]
pub struct Connection {
    decoder: Decoder,
    state: State,
    /// When the last packet was complete; at first, when the connection began.
    last_packet: Millis,
    /// How long the client may be silent.
    patience: Option<Millis>,
    config: Config,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has come yet.
    AwaitingConnect,
    /// CONNECT has come, and the application decides.
    Deciding,
    Connected,
    Closed,
}

/// A command that does not fit the state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongState;

impl fmt::Display for WrongState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the command does not fit the state of the connection")
    }
}

impl core::error::Error for WrongState {}

impl Connection {
    /// A connection that begins `now`.
    #[must_use]
    pub fn new(config: Config, now: Millis) -> Self {
        let limits = Limits { packet_size: config.connect_size, ..config.limits };
        Self {
            decoder: Decoder { version: Version::V3_1_1, limits },
            state: State::AwaitingConnect,
            last_packet: now,
            patience: config.connect_timeout,
            config,
        }
    }

    /// The version that the client asked for; before CONNECT it means nothing.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.decoder.version
    }

    /// Reads the packet at the front of `input`. When the connection ends and there is something to
    /// say, that is appended to `output`.
    pub fn receive<'a>(
        &mut self,
        now: Millis,
        input: &'a [u8],
        output: &mut impl BufMut,
    ) -> Result<Received<'a>, Close> {
        let received = match self.state {
            State::AwaitingConnect => self.receive_connect(input, output),
            State::Connected => self.receive_packet(input),
            State::Deciding | State::Closed => return Ok(Received::Held),
        };
        match received {
            Ok(Received::Event(..)) => self.last_packet = now,
            Ok(_) => {}
            Err(_) => self.state = State::Closed,
        }
        received
    }

    /// The first packet [MQTT-3.1.0-1]. Another one is refused by its first byte.
    fn receive_connect<'a>(
        &mut self,
        input: &'a [u8],
        output: &mut impl BufMut,
    ) -> Result<Received<'a>, Close> {
        let first = input.first().map(|&byte| PacketType::from_first_byte(byte));
        if first.is_some_and(|packet_type| packet_type != Some(PacketType::Connect)) {
            return Err(Violation::FirstPacketNotConnect.into());
        }
        match self.decoder.decode(input) {
            Ok(Decoded::Packet(Packet::Connect(connect), length)) => {
                check_connect(&connect, output)?;
                self.decoder = Decoder { version: connect.version, limits: self.config.limits };
                self.patience = match connect.keep_alive {
                    0 => self.config.idle_timeout,
                    seconds => Some(Millis::from(seconds) * 1500),
                };
                self.state = State::Deciding;
                Ok(Received::Event(Event::Connect(connect), length))
            }
            Ok(Decoded::Packet(..)) => Err(Violation::FirstPacketNotConnect.into()),
            Ok(Decoded::Incomplete(length)) => Ok(Received::Incomplete(length)),
            Err(error) => {
                // The one malformed CONNECT that is answered [MQTT-3.1.2-2].
                if error == Error::UnacceptableProtocol {
                    refuse(UNACCEPTABLE_PROTOCOL, output);
                }
                Err(error.into())
            }
        }
    }

    fn receive_packet<'a>(&mut self, input: &'a [u8]) -> Result<Received<'a>, Close> {
        let (packet, length) = match self.decoder.decode(input)? {
            Decoded::Packet(packet, length) => (packet, length),
            Decoded::Incomplete(length) => return Ok(Received::Incomplete(length)),
        };
        let event = match packet {
            Packet::Publish(publish) if publish.qos == Qos::AtMostOnce => Event::Publish(publish),
            Packet::Publish(_) => return Err(Violation::QosNotSupported.into()),
            Packet::Subscribe(subscribe) => Event::Subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => Event::Unsubscribe(unsubscribe),
            Packet::Pingreq => Event::Pingreq,
            Packet::Disconnect(_) => {
                self.state = State::Closed;
                Event::Disconnect
            }
            Packet::Connect(_) => return Err(Violation::SecondConnect.into()),
            Packet::Connack(_)
            | Packet::Puback(_)
            | Packet::Pubrec(_)
            | Packet::Pubrel(_)
            | Packet::Pubcomp(_)
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingresp
            | Packet::Auth(_) => return Err(Violation::UnexpectedPacket.into()),
        };
        Ok(Received::Event(event, length))
    }

    /// Answers CONNECT with success, from when on the Keep Alive counts.
    pub fn accept(
        &mut self,
        now: Millis,
        session_present: bool,
        output: &mut impl BufMut,
    ) -> Result<(), WrongState> {
        self.decide(State::Connected)?;
        self.last_packet = now;
        let connack = Connack {
            session_present: session_present && self.version() > Version::V3_1,
            reason: ReasonCode::SUCCESS,
            properties: Properties::EMPTY,
        };
        put(&Packet::Connack(connack), self.version(), output);
        Ok(())
    }

    /// Answers CONNECT with a return code other than 0, behind which nothing is read
    /// [MQTT-3.1.4-5].
    pub fn reject(&mut self, code: ReasonCode, output: &mut impl BufMut) -> Result<(), WrongState> {
        self.decide(State::Closed)?;
        refuse(code, output);
        Ok(())
    }

    fn decide(&mut self, state: State) -> Result<(), WrongState> {
        if self.state != State::Deciding {
            return Err(WrongState);
        }
        self.state = state;
        Ok(())
    }

    /// Whether packets may be sent.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// Appends a PUBLISH without its payload, which the caller sends behind it.
    pub fn publish_head(
        &mut self,
        publish: &Publish<'_>,
        output: &mut impl BufMut,
    ) -> Result<usize, Error> {
        publish.encode_head(self.version(), output)
    }

    /// Answers SUBSCRIBE with a code for each filter, in their order.
    pub fn suback(
        &mut self,
        packet_id: PacketId,
        codes: &[u8],
        output: &mut impl BufMut,
    ) -> Result<(), Error> {
        let suback = Suback { packet_id, properties: Properties::EMPTY, codes };
        Packet::Suback(suback).encode(self.version(), output).map(|_| ())
    }

    /// Answers UNSUBSCRIBE.
    pub fn unsuback(&mut self, packet_id: PacketId, output: &mut impl BufMut) -> Result<(), Error> {
        let unsuback = Suback { packet_id, properties: Properties::EMPTY, codes: &[] };
        Packet::Unsuback(unsuback).encode(self.version(), output).map(|_| ())
    }

    /// A good part of a large packet has come, which shows that the client is alive: over a slow link
    /// the whole may take longer than the Keep Alive.
    pub fn progress(&mut self, now: Millis) {
        if self.state == State::Connected {
            self.last_packet = now;
        }
    }

    /// Answers PINGREQ [MQTT-3.12.4-1].
    pub fn pingresp(&mut self, output: &mut impl BufMut) {
        put(&Packet::Pingresp, self.version(), output);
    }

    /// Whether the client has been silent for too long, or when it will have been. It is the caller's
    /// to end the connection.
    pub fn check_time(&self, now: Millis) -> Result<Option<Millis>, Close> {
        let close = match self.state {
            State::AwaitingConnect => Close::ConnectTimeout,
            State::Connected => Close::KeepAliveTimeout,
            State::Deciding | State::Closed => return Ok(None),
        };
        match self.patience.map(|patience| self.last_packet.saturating_add(patience)) {
            Some(deadline) if deadline <= now => Err(close),
            deadline => Ok(deadline),
        }
    }
}

/// What a CONNECT that can be read has to fulfil.
fn check_connect(connect: &Connect<'_>, output: &mut impl BufMut) -> Result<(), Close> {
    if connect.version >= Version::V5 {
        refuse(UNACCEPTABLE_PROTOCOL, output);
        return Err(Error::UnacceptableProtocol.into());
    }
    // MQTT 3.1 has no empty identifier at all. That it has none over 23 bytes either is
    // enforced by no server, and clients count on it.
    let needs_id = !connect.clean_start || connect.version == Version::V3_1;
    if connect.client_id.is_empty() && needs_id {
        refuse(IDENTIFIER_REJECTED, output);
        return Err(Violation::ClientIdentifierRequired.into());
    }
    Ok(())
}

/// A CONNACK that refuses, in the form of MQTT 3.1 and 3.1.1.
fn refuse(code: ReasonCode, output: &mut impl BufMut) {
    let connack = Connack { session_present: false, reason: code, properties: Properties::EMPTY };
    put(&Packet::Connack(connack), Version::V3_1_1, output);
}

/// Appends a packet made here, in which nothing can be wrong.
fn put(packet: &Packet<'_>, version: Version, output: &mut impl BufMut) {
    let encoded = packet.encode(version, output);
    debug_assert!(encoded.is_ok(), "{packet:?}");
}
