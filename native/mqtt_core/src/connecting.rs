//! How a client comes in: CONNECT, CONNACK, and AUTH between them and later (sections 3.1, 3.2, 3.15
//! and 4.12).

use crate::aliases::{ChosenAliases, SetAliases};
use crate::config::{Peer, connack_code};
use crate::connection::{Authentication, CommandError, State, put, without_texts};
use crate::{Close, Connection, Event, Millis, Received, Session, Violation};
use bytes::BufMut;
use mqtt_codec::{
    Auth, Connack, Connect, Decoded, Decoder, Error, Packet, PacketType, Place, Properties,
    PropertiesBuf, Property, ReasonCode, Version,
};
use std::sync::Arc;

/// The return code of a CONNACK before MQTT 5.0 that refuses the protocol level.
const UNACCEPTABLE_PROTOCOL: ReasonCode = ReasonCode(1);

impl Connection {
    /// The first packet [MQTT-3.1.0-1]. Another one is refused by its first byte.
    pub(crate) fn receive_connect<'a>(
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
    pub(crate) fn receive_authentication<'a>(
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

    /// AUTH on an accepted connection.
    pub(crate) fn receive_auth(&mut self, auth: &Auth<'_>) -> Result<(), Violation> {
        let expected = match self.authentication {
            Authentication::Idle => ReasonCode::RE_AUTHENTICATE,
            Authentication::Continuing => ReasonCode::CONTINUE_AUTHENTICATION,
            Authentication::Deciding => return Err(Violation::UnexpectedPacket),
        };
        self.check_auth(auth, expected)?;
        self.authentication = Authentication::Deciding;
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
            let kept = session.keeps_subscriptions();
            self.settle(&properties, assigned_client_id, kept, &mut written)?;
        }
        if self.features.refuses_will(self.peer.will) {
            // [MQTT-3.2.2-12] [MQTT-3.2.2-13]
            let violation = match self.peer.will {
                Some((_, true)) if !self.features.retain => Violation::RetainNotSupported,
                _ => Violation::QosNotSupported,
            };
            refuse(version, violation.reason_code(), Properties::EMPTY, output);
            self.state = State::Closed;
            return Err(CommandError::Client(violation));
        }
        let mut connack = Connack {
            session_present: false,
            reason: ReasonCode::SUCCESS,
            properties: written.as_properties(),
        };
        let short;
        if !self.fits(&Packet::Connack(connack)) {
            // What the client has to know stays [MQTT-3.2.2-19] [MQTT-3.2.2-20].
            short = without_texts(&connack.properties);
            connack.properties = short.as_properties();
            self.check_fits(&Packet::Connack(connack))?;
        }
        connack.session_present = session.begin(clean) && version > Version::V3_1;
        self.number = session.connections;
        Packet::Connack(connack).encode(version, output)?;
        session.expiry_interval = match version {
            Version::V5 => self.features.session_expiry_interval,
            _ if self.peer.clean_start => 0,
            // In MQTT 3.1.1 a session that is not clean lasts, unless the application says for how long.
            _ => properties.iter().find_map(expiry_interval).unwrap_or(u32::MAX),
        };
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
        kept: bool,
        written: &mut PropertiesBuf,
    ) -> Result<(), Error> {
        self.features.session_expiry_interval = self.peer.session_expiry_interval;
        for property in properties.iter() {
            match property {
                // The configuration stays shared where it says so already.
                Property::ReceiveMaximum(maximum) if maximum == self.config.receive_maximum => {}
                Property::ReceiveMaximum(maximum) => {
                    Arc::make_mut(&mut self.config).receive_maximum = maximum;
                }
                Property::MaximumPacketSize(size) => {
                    self.decoder.limits.packet_size = size as usize;
                }
                Property::TopicAliasMaximum(maximum)
                    if maximum == self.config.topic_alias_maximum => {}
                Property::TopicAliasMaximum(maximum) => {
                    Arc::make_mut(&mut self.config).topic_alias_maximum = maximum;
                }
                Property::ServerKeepAlive(seconds) => self.set_keep_alive(seconds),
                Property::SessionExpiryInterval(seconds) => {
                    self.features.session_expiry_interval = seconds;
                    self.features.longest_session = seconds;
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
        let expires = properties.iter().any(|property| expiry_interval(property).is_some());
        if !kept && !expires && self.peer.session_expiry_interval > 0 {
            // It ends with the connection, whatever the client hoped (section 3.2.2.3.2).
            self.features.session_expiry_interval = 0;
            written.push(&Property::SessionExpiryInterval(0))?;
        }
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
        if self.state == State::Closed {
            // Something else has ended it.
            return Ok(());
        }
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
            self.check_fits(&Packet::Auth(auth))?;
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
}

/// Whether what came is a CONNECT of MQTT 5.0, whatever else is wrong with it.
fn says_mqtt_5(input: &[u8]) -> bool {
    // The fixed header has two to five bytes.
    (2..=5).any(|at| input.get(at..).is_some_and(|rest| rest.starts_with(b"\x00\x04MQTT\x05")))
}

fn expiry_interval(property: Property<'_>) -> Option<u32> {
    if let Property::SessionExpiryInterval(seconds) = property { Some(seconds) } else { None }
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
