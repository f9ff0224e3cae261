//! Enhanced authentication (MQTT 5.0, section 4.12).

use crate::support::{CONNECT, Server, connect_5, packet, properties};
use mqtt_codec::{Place, PropertiesBuf, Property, ReasonCode};
use mqtt_core::{
    Close, CommandError, Config, Connection, Event, Session, SessionLimits, Violation,
};

const METHOD: &[u8] = &[0x15, 0, 1, b'm'];
const CONFIG: fn() -> Config = || Config { enhanced_authentication: true, ..Config::default() };

/// An AUTH with these properties.
fn auth(reason: ReasonCode, properties: &[u8]) -> Vec<u8> {
    packet(0xF0, &[&[reason.0, properties.len() as u8], properties].concat())
}

fn data(byte: u8) -> Vec<u8> {
    vec![0x16, 0, 1, byte]
}

/// The application's step.
fn step(server: &mut Server, reason: ReasonCode, of_auth: &[u8]) -> Result<Vec<u8>, CommandError> {
    let mut output = Vec::new();
    // They are checked as if the method was there, which the library adds.
    let properties = properties(of_auth, Place::Auth);
    server.connection.authenticate(server.now, reason, properties, &mut output).map(|()| output)
}

const CONTINUE: ReasonCode = ReasonCode::CONTINUE_AUTHENTICATION;
const AGAIN: ReasonCode = ReasonCode::RE_AUTHENTICATE;

fn deciding(more: &[u8]) -> Server {
    Server::deciding(&connect_5(&[METHOD, more].concat()), CONFIG())
}

/// A server that waits for AUTH.
fn authenticating() -> Server {
    let mut server = deciding(&[]);
    step(&mut server, CONTINUE, METHOD).unwrap();
    server
}

fn authenticated(more: &[u8]) -> Server {
    let mut server = deciding(more);
    server.accept(true, &[]);
    server
}

#[test]
fn from_connect_to_connack_mqtt_4_12_0_2_mqtt_4_12_0_3() {
    let mut server = deciding(&data(1));
    let challenge = step(&mut server, CONTINUE, &[METHOD, &data(2)].concat()).unwrap();
    assert_eq!(challenge, auth(CONTINUE, &[METHOD, &data(2)].concat()));
    assert!(!server.connection.is_connected());
    match server.event(&auth(CONTINUE, &[METHOD, &data(3)].concat())) {
        Event::Auth(auth) => assert_eq!(auth.reason, CONTINUE),
        other => panic!("{other:?}"),
    }
    // [MQTT-4.12.0-5]
    let connack = server.accept(true, &[]);
    assert!(connack.ends_with(METHOD));
    assert!(server.connection.is_connected());
}

#[test]
fn connack_may_have_the_last_data() {
    let mut properties = PropertiesBuf::default();
    properties.push(&Property::AuthenticationData(&[4])).unwrap();
    let Server { mut connection, mut session, .. } = deciding(&data(1));
    let (properties, mut output) = (properties.as_properties(), Vec::new());
    connection.accept(0, true, None, properties, &mut session, &mut output).unwrap();
    assert_eq!(output[5..9], data(4));
    assert!(output.ends_with(METHOD));
}

#[test]
fn the_application_may_refuse_mqtt_4_12_0_4() {
    let mut server = authenticating();
    server.event(&auth(CONTINUE, METHOD));
    let (properties, mut output) = (mqtt_codec::Properties::EMPTY, Vec::new());
    server.connection.reject(ReasonCode::NOT_AUTHORIZED, false, properties, &mut output).unwrap();
    assert_eq!(output, [0x20, 3, 0, 0x87, 0]);
}

#[test]
fn a_method_that_nobody_knows_mqtt_4_12_0_1() {
    let mut connection = Connection::new(Config::default(), 0);
    let mut session = Session::new(SessionLimits::default());
    let mut output = Vec::new();
    let connect = connect_5(METHOD);
    let received = connection.receive(0, &connect, &mut session, &mut output);
    let violation = Violation::AuthenticationMethodNotSupported;
    assert_eq!(received, Err(Close::ProtocolError(violation)));
    assert_eq!(output, [0x20, 3, 0, 0x8C, 0]);
}

#[test]
fn another_method_mqtt_4_12_0_5() {
    let other = auth(CONTINUE, &[0x15, 0, 1, b'n']);
    let violation = Violation::AuthenticationMethodChanged;
    authenticating().closes(&other, violation, &[0x20, 3, 0, 0x82, 0]);
    let other = auth(AGAIN, &[0x15, 0, 1, b'n']);
    authenticated(&[]).closes(&other, violation, &[0xE0, 1, 0x82]);
}

#[test]
fn only_auth_and_disconnect_come_before_connack_mqtt_3_1_2_30() {
    let answer = [0x20, 3, 0, 0x82, 0];
    for wire in [&[0xC0, 0][..], &[0x30, 4, 0, 1, b't', 0], &auth(AGAIN, METHOD)] {
        authenticating().closes(wire, Violation::UnexpectedPacket, &answer);
    }
    assert!(matches!(authenticating().event(&[0xE0, 0]), Event::Disconnect(_)));
}

#[test]
fn the_client_has_to_answer_in_time() {
    let server = authenticating();
    assert_eq!(server.connection.check_time(0), Ok(Some(5_000)));
    assert_eq!(server.connection.check_time(5_000), Err(Close::ConnectTimeout));
}

#[test]
fn again_beside_the_connection_mqtt_4_12_1_1() {
    let mut server = authenticated(&[]);
    server.event(&auth(AGAIN, METHOD));
    // Other packets go on.
    assert_eq!(server.event(&[0xC0, 0]), Event::Pingreq);
    let challenge = step(&mut server, CONTINUE, METHOD).unwrap();
    assert_eq!(challenge, auth(CONTINUE, METHOD));
    server.event(&auth(CONTINUE, METHOD));
    let done = step(&mut server, ReasonCode::SUCCESS, METHOD).unwrap();
    assert_eq!(done, auth(ReasonCode::SUCCESS, METHOD));
    assert!(server.connection.is_connected());
    // And once more.
    server.event(&auth(AGAIN, METHOD));
}

#[test]
fn steps_out_of_turn() {
    let answer = [0xE0, 1, 0x82];
    let violation = Violation::UnexpectedPacket;
    authenticated(&[]).closes(&auth(CONTINUE, METHOD), violation, &answer);
    let mut server = authenticated(&[]);
    server.event(&auth(AGAIN, METHOD));
    server.closes(&auth(AGAIN, METHOD), violation, &answer);
    // A client that did not begin with a method [MQTT-4.12.1-1].
    Server::v5(&[]).closes(&auth(AGAIN, METHOD), violation, &answer);
    // The application's.
    let wrong = Err(CommandError::WrongState);
    assert_eq!(step(&mut authenticated(&[]), CONTINUE, METHOD), wrong);
    assert_eq!(step(&mut authenticating(), CONTINUE, METHOD), wrong);
    assert_eq!(step(&mut deciding(&[]), ReasonCode::SUCCESS, METHOD), wrong);
    let mut without = Server::deciding(CONNECT, CONFIG());
    assert_eq!(step(&mut without, CONTINUE, METHOD), wrong);
}

#[test]
fn the_server_does_not_ask_to_authenticate_again() {
    assert!(step(&mut deciding(&[]), AGAIN, METHOD).is_err());
    let mut server = authenticated(&[]);
    server.event(&auth(AGAIN, METHOD));
    assert!(step(&mut server, AGAIN, METHOD).is_err());
}

#[test]
fn texts_that_are_not_wanted_or_do_not_fit_are_left_out_mqtt_3_1_2_29_mqtt_3_15_2_2() {
    let text = [0x1F, 0, 4, b't', b'e', b'x', b't'];
    let whole = [METHOD, &text].concat();
    for (connect, expected) in
        [(&[][..], &whole[..]), (&[0x17, 0], METHOD), (&[0x27, 0, 0, 0, 14], METHOD)]
    {
        let challenge = step(&mut deciding(connect), CONTINUE, &whole).unwrap();
        assert_eq!(challenge, auth(CONTINUE, expected));
    }
}
