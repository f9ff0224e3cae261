//! The state machine of a connection.

use crate::aliases::{ChosenAliases, SetAliases};
use crate::config::{Config, Features, Peer, code_for};
use crate::lazy::Lazy;
use crate::{Close, Event, Millis, Received, Session, Violation};
use bytes::BufMut;
use core::fmt;
use mqtt_codec::{
    Ack, Decoded, Decoder, Disconnect, Error, Limits, Packet, PacketId, PacketType, Place,
    Properties, PropertiesBuf, Property, Qos, ReasonCode, Suback, Version,
};
use std::collections::VecDeque;
use std::sync::Arc;

/// A connection of the server with one client.
///
/// What outlives it is in a [`Session`], which is given to the calls that need it, always the same
/// one from [`accept`](Self::accept) on.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(crate) decoder: Decoder,
    pub(crate) state: State,
    /// When the last packet was complete; at first, when the connection began.
    pub(crate) last_packet: Millis,
    /// How long the client may be silent.
    pub(crate) patience: Option<Millis>,
    /// Shared by all that are allowed the same.
    pub(crate) config: Arc<Config>,
    pub(crate) peer: Peer,
    pub(crate) features: Features,
    /// The authentication that goes on beside an accepted connection.
    pub(crate) authentication: Authentication,
    /// How many connections had begun with the session, with this one.
    pub(crate) number: u64,
    /// Messages of QoS 1 and 2 that the application has not answered, in their order.
    pub(crate) unanswered: VecDeque<(PacketId, Qos)>,
    /// How many messages of QoS 1 and 2 of this connection are not complete.
    pub(crate) incoming: u16,
    /// How many messages of QoS 1 and 2 may still be sent (MQTT 5.0, section 4.9).
    pub(crate) quota: u16,
    pub(crate) set_aliases: SetAliases,
    /// The alias that stands for the topic of the last message.
    pub(crate) last_alias: u16,
    pub(crate) chosen_aliases: ChosenAliases,
    pub(crate) subscribing: Lazy<VecDeque<crate::subscribing::Request>>,
    /// Memory for the properties of the packet that is being written.
    pub(crate) scratch: Option<Box<PropertiesBuf>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing has come yet.
    AwaitingConnect,
    /// CONNECT has come, or an AUTH behind it, and the application decides.
    Deciding,
    /// The client has to answer AUTH.
    Authenticating,
    Connected,
    Closed,
}

/// A re-authentication (MQTT 5.0, section 4.12.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authentication {
    Idle,
    /// The application has to answer.
    Deciding,
    /// The client has to answer.
    Continuing,
}

/// A command that does not fit the state of the connection, or has something that the specification
/// does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The connection is not in a state for it.
    WrongState,
    /// The packet cannot be written.
    Packet(Error),
    /// The command was right and cannot be carried out with this client, whose connection is over: its
    /// Maximum Packet Size has no room for the packet [MQTT-3.1.2-24], or its will is not one that
    /// CONNACK offers.
    Client(Violation),
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        Self::Packet(error)
    }
}

impl CommandError {
    /// The error's name in `snake_case`, which is also its atom on the BEAM.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongState => "wrong_state",
            Self::Packet(error) => error.name(),
            Self::Client(violation) => violation.name(),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongState => f.write_str("the command does not fit the state of the connection"),
            Self::Packet(error) => error.fmt(f),
            Self::Client(violation) => Close::ProtocolError(*violation).fmt(f),
        }
    }
}

impl core::error::Error for CommandError {}

impl Connection {
    /// A connection that begins `now`.
    #[must_use]
    pub fn new(config: impl Into<Arc<Config>>, now: Millis) -> Self {
        let config = config.into();
        let limits = Limits { packet_size: config.connect_size, ..config.limits };
        Self {
            decoder: Decoder { version: Version::V3_1_1, limits },
            state: State::AwaitingConnect,
            last_packet: now,
            patience: config.connect_timeout,
            config,
            peer: Peer::default(),
            features: Features::default(),
            authentication: Authentication::Idle,
            number: 0,
            unanswered: VecDeque::new(),
            incoming: 0,
            quota: 0,
            set_aliases: SetAliases::default(),
            last_alias: 0,
            chosen_aliases: ChosenAliases::default(),
            subscribing: Lazy::new(),
            scratch: None,
        }
    }

    /// The version that the client asked for; before CONNECT it means nothing.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.decoder.version
    }

    /// Reads the packet at the front of `input`. What the protocol answers by itself is appended to
    /// `output`; when the connection ends, that is what there is to say.
    pub fn receive<'a>(
        &mut self,
        now: Millis,
        input: &'a [u8],
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<Received<'a>, Close> {
        self.receive_after("", now, input, session, output)
    }

    /// The same behind a message with that topic, as [`Decoder::decode_after`] says.
    pub fn receive_after<'a>(
        &mut self,
        topic: &'a str,
        now: Millis,
        input: &'a [u8],
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<Received<'a>, Close> {
        let received = match self.state {
            State::Connected => self.receive_packet(topic, input, session, output),
            State::AwaitingConnect => self.receive_connect(input, output),
            State::Authenticating => self.receive_authentication(input, output),
            State::Deciding | State::Closed => Ok(Received::Held),
        };
        match received {
            Ok(Received::Event(..) | Received::Handled(_)) => self.last_packet = now,
            Ok(_) => {}
            Err(close) => {
                if self.state == State::Connected {
                    self.say_why(close, output);
                }
                self.state = State::Closed;
            }
        }
        received
    }

    fn receive_packet<'a>(
        &mut self,
        last_topic: &'a str,
        input: &'a [u8],
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<Received<'a>, Close> {
        // Looked at where it lies: to move what may be any packet takes longer than to check a small one.
        let decoded = self.decoder.decode_after(last_topic, input);
        let (packet, length) = match &decoded {
            Ok(Decoded::Packet(packet, length)) => (packet, *length),
            Ok(Decoded::Incomplete(length)) => return Ok(Received::Incomplete(*length)),
            Err(error) => return Err((*error).into()),
        };
        match packet {
            Packet::Publish(publish) => self.receive_publish(publish, length, session, output),
            Packet::Puback(ack) => {
                self.receive_puback(*ack, session)?;
                Ok(Received::Handled(length))
            }
            Packet::Pubrec(ack) => {
                self.receive_pubrec(*ack, session, output)?;
                Ok(Received::Handled(length))
            }
            Packet::Pubrel(ack) => {
                self.receive_pubrel(*ack, session, output)?;
                Ok(Received::Handled(length))
            }
            Packet::Pubcomp(ack) => {
                self.receive_pubcomp(*ack, session)?;
                Ok(Received::Handled(length))
            }
            Packet::Subscribe(subscribe) => {
                self.check_subscribe(subscribe)?;
                self.remember_subscribe(subscribe, session);
                Ok(Received::Event(Event::Subscribe(*subscribe), length))
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.remember_unsubscribe(unsubscribe, session);
                Ok(Received::Event(Event::Unsubscribe(*unsubscribe), length))
            }
            Packet::Pingreq => Ok(Received::Event(Event::Pingreq, length)),
            Packet::Auth(auth) => {
                self.receive_auth(auth)?;
                Ok(Received::Event(Event::Auth(*auth), length))
            }
            Packet::Disconnect(disconnect) => {
                self.receive_disconnect(disconnect, session)?;
                Ok(Received::Event(Event::Disconnect(*disconnect), length))
            }
            Packet::Connect(_) => Err(Violation::SecondConnect.into()),
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                Err(Violation::UnexpectedPacket.into())
            }
        }
    }

    fn receive_disconnect(
        &mut self,
        disconnect: &Disconnect<'_>,
        session: &mut Session,
    ) -> Result<(), Violation> {
        for property in disconnect.properties.iter() {
            if let Property::SessionExpiryInterval(seconds) = property {
                // [MQTT-3.14.2-2] is the server's; that of the client has no number (3.14.2.2.2).
                if self.peer.session_expiry_interval == 0 && seconds > 0 {
                    return Err(Violation::SessionExpiryRaised);
                }
                session.expiry_interval = seconds.min(self.features.longest_session);
            }
        }
        self.state = State::Closed;
        Ok(())
    }

    /// Ends the connection and says why, if this version has a packet for it and nobody else has
    /// ended it.
    pub fn disconnect(
        &mut self,
        reason: ReasonCode,
        properties: Properties<'_>,
        output: &mut impl BufMut,
    ) -> Result<(), CommandError> {
        if self.state == State::Connected && self.version() >= Version::V5 {
            let properties = Properties::from_bytes(properties.as_bytes(), Place::Disconnect)?;
            // [MQTT-3.14.2-2]
            if properties.iter().any(|p| matches!(p, Property::SessionExpiryInterval(_))) {
                return Err(Error::PropertyNotAllowed.into());
            }
            let reason = code_for(reason, PacketType::Disconnect);
            let mut disconnect = Disconnect { reason, properties };
            let short;
            // [MQTT-3.14.2-3] [MQTT-3.14.2-4]
            if !self.fits(&Packet::Disconnect(disconnect)) {
                short = without_texts(&disconnect.properties);
                disconnect.properties = short.as_properties();
            }
            Packet::Disconnect(disconnect).encode(self.version(), output)?;
        }
        self.state = State::Closed;
        Ok(())
    }

    fn say_why(&self, close: Close, output: &mut impl BufMut) {
        if self.version() < Version::V5 {
            return;
        }
        let reason = close.reason_code();
        let reason = if reason.allowed_in(PacketType::Disconnect) {
            reason
        } else {
            ReasonCode::PROTOCOL_ERROR
        };
        let disconnect = Disconnect { reason, properties: Properties::EMPTY };
        put(&Packet::Disconnect(disconnect), self.version(), output);
    }

    pub(crate) fn expect(&self, state: State) -> Result<(), CommandError> {
        if self.state == state { Ok(()) } else { Err(CommandError::WrongState) }
    }

    /// Whether packets may be sent.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// Whether the session has begun anew since, so that nothing of this connection belongs into it.
    #[must_use]
    pub const fn is_before(&self, session: &Session) -> bool {
        self.number < session.since
    }

    /// Whether the client takes a packet of this size [MQTT-3.1.2-24].
    pub(crate) fn fits(&self, packet: &Packet<'_>) -> bool {
        let Some(maximum) = self.peer.maximum_packet_size else { return true };
        packet.packet_length(self.version()).is_ok_and(|length| length <= maximum)
    }

    /// The client cannot be told, so the connection is over [MQTT-3.1.2-24].
    pub(crate) fn check_fits(&mut self, packet: &Packet<'_>) -> Result<(), CommandError> {
        if self.fits(packet) {
            return Ok(());
        }
        self.state = State::Closed;
        Err(CommandError::Client(Violation::Packet(Error::PacketTooLarge)))
    }

    /// The properties of an acknowledgement as the client wants them, which is without texts if it
    /// said so or they make the packet too large.
    pub(crate) fn acknowledgement<'a, 'p>(
        &self,
        properties: Properties<'p>,
        packet: impl Fn(Properties<'p>) -> Packet<'a>,
    ) -> Packet<'a>
    where
        'p: 'a,
    {
        // There are only Reason String and User Property [MQTT-3.1.2-29].
        if self.peer.wants_problem_information && self.fits(&packet(properties)) {
            packet(properties)
        } else {
            packet(Properties::EMPTY)
        }
    }

    /// Answers SUBSCRIBE with a code for each filter, in their order.
    pub fn suback(
        &mut self,
        packet_id: PacketId,
        codes: &[u8],
        properties: Properties<'_>,
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<(), CommandError> {
        let mut codes = ack_codes(codes, PacketType::Suback);
        self.subscribed(packet_id, &mut codes, session);
        if self.version() < Version::V5 {
            // [MQTT-3.9.3-2]
            for code in &mut codes {
                *code = (*code).min(0x80);
            }
        }
        let suback = Suback { packet_id, properties: self.only_mqtt_5(properties), codes: &codes };
        let packet = self.acknowledgement(suback.properties, |properties| {
            Packet::Suback(Suback { properties, ..suback })
        });
        self.check_fits(&packet)?;
        packet.encode(self.version(), output)?;
        Ok(())
    }

    /// Answers UNSUBSCRIBE with a code for each filter, in their order; before MQTT 5.0 without.
    pub fn unsuback(
        &mut self,
        packet_id: PacketId,
        codes: &[u8],
        properties: Properties<'_>,
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<(), CommandError> {
        let codes = ack_codes(codes, PacketType::Unsuback);
        let sent = if self.version() >= Version::V5 { codes.as_slice() } else { &[] };
        let unsuback = Suback { packet_id, properties: self.only_mqtt_5(properties), codes: sent };
        let packet = self.acknowledgement(unsuback.properties, |properties| {
            Packet::Unsuback(Suback { properties, ..unsuback })
        });
        self.check_fits(&packet)?;
        packet.encode(self.version(), output)?;
        self.unsubscribed(packet_id, &codes, session);
        Ok(())
    }

    /// An application need not know the version: what that has no place for is left out.
    pub(crate) fn only_mqtt_5<'a>(&self, properties: Properties<'a>) -> Properties<'a> {
        if self.version() >= Version::V5 { properties } else { Properties::EMPTY }
    }

    /// Appends an acknowledgement of a message.
    pub(crate) fn put_ack<'a>(
        &self,
        packet: fn(Ack<'a>) -> Packet<'a>,
        ack: Ack<'a>,
        output: &mut impl BufMut,
    ) -> Result<(), Error> {
        let packet = if self.version() < Version::V5 {
            packet(Ack::new(ack.packet_id))
        } else if ack.properties.is_empty() {
            packet(ack)
        } else {
            self.acknowledgement(ack.properties, |properties| packet(Ack { properties, ..ack }))
        };
        packet.encode(self.version(), output).map(|_| ())
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
        let (patience, close) = match self.state {
            State::AwaitingConnect => (self.patience, Close::ConnectTimeout),
            State::Authenticating => (self.config.connect_timeout, Close::ConnectTimeout),
            State::Connected => (self.patience, Close::KeepAliveTimeout),
            State::Deciding | State::Closed => return Ok(None),
        };
        match patience.map(|patience| self.last_packet.saturating_add(patience)) {
            Some(deadline) if deadline <= now => Err(close),
            deadline => Ok(deadline),
        }
    }
}

fn ack_codes(codes: &[u8], packet_type: PacketType) -> Vec<u8> {
    codes.iter().map(|&code| code_for(ReasonCode(code), packet_type).0).collect()
}

/// The properties without Reason String and User Property.
pub(crate) fn without_texts(properties: &Properties<'_>) -> PropertiesBuf {
    let mut left = PropertiesBuf::default();
    for property in properties.iter() {
        if !matches!(property, Property::ReasonString(_) | Property::UserProperty(_)) {
            // It has been in properties before.
            let _ = left.push(&property);
        }
    }
    left
}

/// Appends a packet made here, in which nothing can be wrong.
pub(crate) fn put(packet: &Packet<'_>, version: Version, output: &mut impl BufMut) {
    let encoded = packet.encode(version, output);
    debug_assert!(encoded.is_ok(), "{packet:?}");
}

/// Appends an acknowledgement that says nothing but that, which is alike in all versions and is most of
/// what a server sends at QoS 1 and 2.
pub(crate) fn put_success(packet_type: PacketType, id: PacketId, output: &mut impl BufMut) {
    let [high, low] = id.get().to_be_bytes();
    output.put_slice(&[(packet_type as u8) << 4 | packet_type.flags(), 2, high, low]);
}
