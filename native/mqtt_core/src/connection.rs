//! The state machine of a connection.

use crate::aliases::{ChosenAliases, SetAliases};
use crate::config::{Config, Features, Peer, connack_code};
use crate::{Close, Event, Millis, Received, Session, Violation};
use bytes::BufMut;
use core::fmt;
use mqtt_codec::{
    Ack, Auth, Connack, Connect, Decoded, Decoder, Disconnect, Error, Limits, Packet, PacketId,
    PacketType, Place, Properties, PropertiesBuf, Property, Qos, ReasonCode, Suback, Version,
};
use std::collections::VecDeque;

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
    patience: Option<Millis>,
    pub(crate) config: Config,
    pub(crate) peer: Peer,
    pub(crate) features: Features,
    /// The authentication that goes on beside an accepted connection.
    authentication: Authentication,
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
    pub(crate) subscribing: VecDeque<crate::subscribing::Request>,
    /// Properties of the packet that is being written.
    pub(crate) scratch: PropertiesBuf,
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
enum Authentication {
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
    /// The client's Maximum Packet Size has no room for CONNACK, so there is nothing to be said and
    /// the connection is over [MQTT-3.1.2-24].
    ClientTakesTooLittle,
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
            Self::ClientTakesTooLittle => Error::PacketTooLarge.name(),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongState => f.write_str("the command does not fit the state of the connection"),
            Self::Packet(error) => error.fmt(f),
            Self::ClientTakesTooLittle => {
                f.write_str("CONNACK is larger than what the client takes")
            }
        }
    }
}

impl core::error::Error for CommandError {}

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
            peer: Peer::default(),
            features: Features::default(),
            authentication: Authentication::Idle,
            unanswered: VecDeque::new(),
            incoming: 0,
            quota: 0,
            set_aliases: SetAliases::default(),
            last_alias: 0,
            chosen_aliases: ChosenAliases::new(0),
            subscribing: VecDeque::new(),
            scratch: PropertiesBuf::default(),
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
        let received = match self.state {
            State::Connected => self.receive_packet(input, session, output),
            State::AwaitingConnect => self.receive_connect(input, output),
            State::Authenticating => self.receive_authentication(input, output),
            State::Deciding | State::Closed => return Ok(Received::Held),
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
                self.decoder = Decoder { version: connect.version, limits: self.config.limits };
                self.peer = Peer::of(&connect);
                self.check_connect(&connect, output)?;
                self.set_keep_alive(connect.keep_alive);
                self.state = State::Deciding;
                Ok(Received::Event(Event::Connect(connect), length))
            }
            Ok(Decoded::Packet(..)) => Err(Violation::FirstPacketNotConnect.into()),
            Ok(Decoded::Incomplete(length)) => Ok(Received::Incomplete(length)),
            Err(error) => {
                if error == Error::UnacceptableProtocol {
                    // The one malformed CONNECT of MQTT 3.1.1 that is answered [MQTT-3.1.2-2].
                    refuse(Version::V3_1_1, UNACCEPTABLE_PROTOCOL, Properties::EMPTY, output);
                } else if says_mqtt_5(input) {
                    let code = connack_code(error.reason_code(), Version::V5);
                    refuse(Version::V5, code, Properties::EMPTY, output);
                }
                Err(error.into())
            }
        }
    }

    /// What a CONNECT that can be read has to fulfil.
    fn check_connect(&self, connect: &Connect<'_>, output: &mut impl BufMut) -> Result<(), Close> {
        let violation = if connect.version >= Version::V5 {
            let has_method = self.peer.authentication_method.is_some();
            // [MQTT-4.12.0-1]
            if !has_method || self.config.enhanced_authentication {
                return Ok(());
            }
            Violation::AuthenticationMethodNotSupported
        } else {
            // MQTT 3.1 has no empty identifier at all. That it has none over 23 bytes either is
            // enforced by no server, and clients count on it.
            let needs_id = !connect.clean_start || connect.version == Version::V3_1;
            if !connect.client_id.is_empty() || !needs_id {
                return Ok(());
            }
            Violation::ClientIdentifierRequired
        };
        let code = connack_code(violation.reason_code(), connect.version);
        refuse(connect.version, code, Properties::EMPTY, output);
        Err(violation.into())
    }

    fn set_keep_alive(&mut self, seconds: u16) {
        self.patience = match seconds {
            0 => self.config.idle_timeout,
            seconds => Some(Millis::from(seconds) * 1500),
        };
    }

    /// What may come while the client authenticates itself [MQTT-3.1.2-30].
    fn receive_authentication<'a>(
        &mut self,
        input: &'a [u8],
        output: &mut impl BufMut,
    ) -> Result<Received<'a>, Close> {
        let received = match self.decoder.decode(input) {
            Ok(Decoded::Packet(Packet::Auth(auth), length)) => self
                .check_auth(&auth, ReasonCode::CONTINUE_AUTHENTICATION)
                .map(|()| Received::Event(Event::Auth(auth), length)),
            Ok(Decoded::Packet(Packet::Disconnect(disconnect), length)) => {
                self.state = State::Closed;
                return Ok(Received::Event(Event::Disconnect(disconnect), length));
            }
            Ok(Decoded::Packet(..)) => Err(Violation::UnexpectedPacket),
            Ok(Decoded::Incomplete(length)) => return Ok(Received::Incomplete(length)),
            Err(error) => Err(Violation::Packet(error)),
        };
        match received {
            Ok(_) => self.state = State::Deciding,
            Err(violation) => {
                let code = connack_code(violation.reason_code(), Version::V5);
                refuse(Version::V5, code, Properties::EMPTY, output);
            }
        }
        Ok(received?)
    }

    /// The method is the one of CONNECT [MQTT-4.12.0-5].
    fn check_auth(&self, auth: &Auth<'_>, expected: ReasonCode) -> Result<(), Violation> {
        let same = auth.properties.iter().any(|property| match property {
            Property::AuthenticationMethod(method) => {
                Some(method) == self.peer.authentication_method.as_deref()
            }
            _ => false,
        });
        if auth.reason != expected || self.peer.authentication_method.is_none() {
            Err(Violation::UnexpectedPacket)
        } else if same {
            Ok(())
        } else {
            Err(Violation::AuthenticationMethodChanged)
        }
    }

    fn receive_packet<'a>(
        &mut self,
        input: &'a [u8],
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<Received<'a>, Close> {
        let (packet, length) = match self.decoder.decode(input)? {
            Decoded::Packet(packet, length) => (packet, length),
            Decoded::Incomplete(length) => return Ok(Received::Incomplete(length)),
        };
        let event = match packet {
            Packet::Publish(publish) => {
                return self.receive_publish(publish, length, session, output);
            }
            Packet::Puback(ack) => {
                self.receive_puback(ack, session)?;
                return Ok(Received::Handled(length));
            }
            Packet::Pubrec(ack) => {
                self.receive_pubrec(ack, session, output)?;
                return Ok(Received::Handled(length));
            }
            Packet::Pubrel(ack) => {
                self.receive_pubrel(ack, session, output)?;
                return Ok(Received::Handled(length));
            }
            Packet::Pubcomp(ack) => {
                self.receive_pubcomp(ack, session)?;
                return Ok(Received::Handled(length));
            }
            Packet::Subscribe(subscribe) => {
                self.check_subscribe(&subscribe)?;
                self.remember_subscribe(&subscribe, session);
                Event::Subscribe(subscribe)
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.remember_unsubscribe(&unsubscribe, session);
                Event::Unsubscribe(unsubscribe)
            }
            Packet::Pingreq => Event::Pingreq,
            Packet::Auth(auth) => {
                self.receive_auth(&auth)?;
                Event::Auth(auth)
            }
            Packet::Disconnect(disconnect) => {
                self.receive_disconnect(&disconnect, session)?;
                Event::Disconnect(disconnect)
            }
            Packet::Connect(_) => return Err(Violation::SecondConnect.into()),
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                return Err(Violation::UnexpectedPacket.into());
            }
        };
        Ok(Received::Event(event, length))
    }

    /// AUTH on an accepted connection.
    fn receive_auth(&mut self, auth: &Auth<'_>) -> Result<(), Violation> {
        let expected = match self.authentication {
            Authentication::Idle => ReasonCode::RE_AUTHENTICATE,
            Authentication::Continuing => ReasonCode::CONTINUE_AUTHENTICATION,
            Authentication::Deciding => return Err(Violation::UnexpectedPacket),
        };
        self.check_auth(auth, expected)?;
        self.authentication = Authentication::Deciding;
        Ok(())
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
                session.expiry_interval = seconds;
            }
        }
        self.state = State::Closed;
        Ok(())
    }

    /// Answers CONNECT with success, from when on the Keep Alive counts. `clean` says whether the
    /// session begins anew. `properties` are the application's, of which those that limit the client
    /// take effect; what it does not say, the library does.
    ///
    /// Behind it [`pump`](Self::pump) sends what the session has.
    pub fn accept(
        &mut self,
        now: Millis,
        clean: bool,
        assigned_client_id: Option<&str>,
        properties: Properties<'_>,
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<(), CommandError> {
        self.expect(State::Deciding)?;
        let version = self.version();
        let mut written = PropertiesBuf::default();
        if version >= Version::V5 {
            match Properties::from_bytes(properties.as_bytes(), Place::Connack) {
                // The method is what the library adds.
                Ok(_) | Err(Error::AuthenticationDataWithoutMethod) => {}
                Err(error) => return Err(error.into()),
            }
            self.settle(&properties, assigned_client_id, &mut written)?;
        }
        let known = session.begin(clean);
        session.expiry_interval = match version {
            Version::V5 => self.features.session_expiry_interval,
            // In MQTT 3.1.1 a session that is not clean lasts.
            _ if self.peer.clean_start => 0,
            _ => u32::MAX,
        };
        let mut connack = Connack {
            session_present: known && version > Version::V3_1,
            reason: ReasonCode::SUCCESS,
            properties: written.as_properties(),
        };
        let short;
        if !self.fits(&Packet::Connack(connack)) {
            // What the client has to know stays [MQTT-3.2.2-19] [MQTT-3.2.2-20].
            short = without_texts(&connack.properties);
            connack.properties = short.as_properties();
            if !self.fits(&Packet::Connack(connack)) {
                self.state = State::Closed;
                return Err(CommandError::ClientTakesTooLittle);
            }
        }
        Packet::Connack(connack).encode(version, output)?;
        self.state = State::Connected;
        self.last_packet = now;
        self.quota = self.peer.receive_maximum.min(self.config.max_inflight);
        self.chosen_aliases = ChosenAliases::new(self.peer.topic_alias_maximum);
        self.set_aliases = SetAliases::new(self.config.topic_alias_maximum);
        Ok(())
    }

    /// The properties of CONNACK, and what follows from them.
    fn settle(
        &mut self,
        properties: &Properties<'_>,
        assigned_client_id: Option<&str>,
        written: &mut PropertiesBuf,
    ) -> Result<(), Error> {
        self.features.session_expiry_interval = self.peer.session_expiry_interval;
        for property in properties.iter() {
            match property {
                Property::ReceiveMaximum(maximum) => {
                    self.config.receive_maximum = maximum;
                }
                Property::MaximumPacketSize(size) => {
                    self.decoder.limits.packet_size = size as usize;
                }
                Property::TopicAliasMaximum(maximum) => {
                    self.config.topic_alias_maximum = maximum;
                }
                Property::ServerKeepAlive(seconds) => self.set_keep_alive(seconds),
                Property::SessionExpiryInterval(seconds) => {
                    self.features.session_expiry_interval = seconds;
                }
                // [MQTT-4.12.0-6]
                Property::AuthenticationMethod(_) | Property::AuthenticationData(_)
                    if self.peer.authentication_method.is_none() =>
                {
                    continue;
                }
                // [MQTT-3.1.2-28]
                Property::ResponseInformation(_) if !self.peer.wants_response_information => {
                    continue;
                }
                other => self.features.learn(&other),
            }
            written.push(&property)?;
        }
        let given = |is: fn(&Property<'_>) -> bool| properties.iter().any(|property| is(&property));
        if !given(|property| matches!(property, Property::ReceiveMaximum(_)))
            && self.config.receive_maximum < u16::MAX
        {
            written.push(&Property::ReceiveMaximum(self.config.receive_maximum))?;
        }
        if !given(|property| matches!(property, Property::MaximumPacketSize(_))) {
            let size = u32::try_from(self.decoder.limits.packet_size).unwrap_or(u32::MAX);
            written.push(&Property::MaximumPacketSize(size))?;
        }
        if !given(|property| matches!(property, Property::TopicAliasMaximum(_)))
            && self.config.topic_alias_maximum > 0
        {
            written.push(&Property::TopicAliasMaximum(self.config.topic_alias_maximum))?;
        }
        let named = given(|property| matches!(property, Property::AssignedClientIdentifier(_)));
        if let (Some(id), false) = (assigned_client_id, named) {
            written.push(&Property::AssignedClientIdentifier(id))?;
        }
        let named = given(|property| matches!(property, Property::AuthenticationMethod(_)));
        if let (Some(method), false) = (&self.peer.authentication_method, named) {
            written.push(&Property::AuthenticationMethod(method))?;
        }
        Ok(())
    }

    /// Answers CONNECT with a refusal, behind which nothing is read [MQTT-3.1.4-5]. `code` is one of
    /// MQTT 5.0, for which earlier versions have one, or `exact`ly the one to be sent.
    pub fn reject(
        &mut self,
        code: ReasonCode,
        exact: bool,
        properties: Properties<'_>,
        output: &mut impl BufMut,
    ) -> Result<(), CommandError> {
        self.expect(State::Deciding)?;
        let version = self.version();
        if version < Version::V5 {
            let code = if exact { code } else { connack_code(code, version) };
            // No code says it, so nothing does [MQTT-3.2.2-6].
            if code != ReasonCode::SUCCESS {
                refuse(version, code, Properties::EMPTY, output);
            }
        } else {
            let properties = Properties::from_bytes(properties.as_bytes(), Place::Connack)?;
            let mut connack =
                Connack { session_present: false, reason: connack_code(code, version), properties };
            let short;
            if !self.fits(&Packet::Connack(connack)) {
                short = without_texts(&connack.properties);
                connack.properties = short.as_properties();
            }
            Packet::Connack(connack).encode(version, output)?;
        }
        self.state = State::Closed;
        Ok(())
    }

    /// A step of the enhanced authentication that CONNECT or a re-authentication began. With
    /// [`ReasonCode::SUCCESS`] a re-authentication has ended; CONNECT is answered with
    /// [`accept`](Self::accept).
    pub fn authenticate(
        &mut self,
        now: Millis,
        reason: ReasonCode,
        properties: Properties<'_>,
        output: &mut impl BufMut,
    ) -> Result<(), CommandError> {
        let connecting = self.state == State::Deciding && reason != ReasonCode::SUCCESS;
        let again =
            self.state == State::Connected && self.authentication == Authentication::Deciding;
        let Some(method) = self.peer.authentication_method.as_deref() else {
            return Err(CommandError::WrongState);
        };
        if !connecting && !again {
            return Err(CommandError::WrongState);
        }
        if reason == ReasonCode::RE_AUTHENTICATE {
            // That is the client's to say (section 3.15.2.1).
            return Err(Error::InvalidReasonCode.into());
        }
        let mut written = PropertiesBuf::default();
        written.push(&Property::AuthenticationMethod(method))?;
        for property in properties.iter() {
            if !matches!(property, Property::AuthenticationMethod(_)) {
                written.push(&property)?;
            }
        }
        let mut auth = Auth { reason, properties: written.as_properties() };
        let short;
        if !self.peer.wants_problem_information || !self.fits(&Packet::Auth(auth)) {
            // [MQTT-3.1.2-29] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
            short = without_texts(&auth.properties);
            auth.properties = short.as_properties();
        }
        Packet::Auth(auth).encode(self.version(), output)?;
        let continues = reason == ReasonCode::CONTINUE_AUTHENTICATION;
        if connecting {
            self.state = State::Authenticating;
            self.last_packet = now;
        } else if continues {
            self.authentication = Authentication::Continuing;
        } else {
            self.authentication = Authentication::Idle;
        }
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

    fn expect(&self, state: State) -> Result<(), CommandError> {
        if self.state == state { Ok(()) } else { Err(CommandError::WrongState) }
    }

    /// Whether packets may be sent.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// Whether the client takes a packet of this size [MQTT-3.1.2-24].
    fn fits(&self, packet: &Packet<'_>) -> bool {
        let Some(maximum) = self.peer.maximum_packet_size else { return true };
        packet.packet_length(self.version()).is_ok_and(|length| length <= maximum)
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
        let old;
        let codes = if self.version() >= Version::V5 {
            codes
        } else {
            // [MQTT-3.9.3-2]
            old = codes.iter().map(|&code| code.min(0x80)).collect::<Vec<u8>>();
            &old
        };
        let suback = Suback { packet_id, properties: self.only_mqtt_5(properties), codes };
        let packet = self.acknowledgement(suback.properties, |properties| {
            Packet::Suback(Suback { properties, ..suback })
        });
        packet.encode(self.version(), output)?;
        self.subscribed(packet_id, codes, session);
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
        let sent = if self.version() >= Version::V5 { codes } else { &[] };
        let unsuback = Suback { packet_id, properties: self.only_mqtt_5(properties), codes: sent };
        let packet = self.acknowledgement(unsuback.properties, |properties| {
            Packet::Unsuback(Suback { properties, ..unsuback })
        });
        packet.encode(self.version(), output)?;
        self.unsubscribed(packet_id, codes, session);
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

/// The return code of a CONNACK before MQTT 5.0 that refuses the protocol level.
const UNACCEPTABLE_PROTOCOL: ReasonCode = ReasonCode(1);

/// Whether what came is a CONNECT of MQTT 5.0, whatever else is wrong with it.
fn says_mqtt_5(input: &[u8]) -> bool {
    // The fixed header has two to five bytes.
    (2..=5).any(|at| input.get(at..).is_some_and(|rest| rest.starts_with(b"\x00\x04MQTT\x05")))
}

/// The properties without Reason String and User Property.
fn without_texts(properties: &Properties<'_>) -> PropertiesBuf {
    let mut left = PropertiesBuf::default();
    for property in properties.iter() {
        if !matches!(property, Property::ReasonString(_) | Property::UserProperty(_)) {
            // It has been in properties before.
            let _ = left.push(&property);
        }
    }
    left
}

/// A CONNACK that refuses.
fn refuse(
    version: Version,
    code: ReasonCode,
    properties: Properties<'_>,
    output: &mut impl BufMut,
) {
    let connack = Connack { session_present: false, reason: code, properties };
    put(&Packet::Connack(connack), version, output);
}

/// Appends a packet made here, in which nothing can be wrong.
pub(crate) fn put(packet: &Packet<'_>, version: Version, output: &mut impl BufMut) {
    let encoded = packet.encode(version, output);
    debug_assert!(encoded.is_ok(), "{packet:?}");
}
