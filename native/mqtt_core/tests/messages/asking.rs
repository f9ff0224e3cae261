//! Messages that the application is asked about before they are sent.

use crate::support::{CONNECT, QOS_0, QOS_1, Server, message};
use mqtt_core::{Decision, Delivery, Dropped, Fate, SessionLimits};

fn asking() -> Server {
    let mut server = Server::v3();
    server.session.ask(true);
    server
}

fn offered(server: &mut Server) -> Vec<String> {
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    server.session.offer(server.now).map(|message| text(message.publish().payload)).collect()
}

fn waits(server: &mut Server, payloads: &str) {
    for payload in payloads.as_bytes().chunks(1) {
        assert_eq!(server.publish(&message(QOS_1, payload), 0), (Fate::Waiting, Vec::new()));
    }
}

#[test]
fn what_is_let_go_is_sent_and_the_rest_is_not() {
    let mut server = asking();
    waits(&mut server, "abc");
    assert_eq!(server.publish(&message(QOS_0, b"d"), 0), (Fate::Waiting, Vec::new()));
    assert_eq!(server.pump(), []);
    assert_eq!(offered(&mut server), ["a", "b", "c", "d"]);
    // Not again before it has decided.
    waits(&mut server, "e");
    assert_eq!(offered(&mut server), [""; 0]);
    for decision in [Decision::Send(7), Decision::Drop, Decision::Send(0), Decision::Send(8)] {
        server.session.decide(decision);
    }
    let sent = [
        vec![0x32, 6, 0, 1, b't', 0, 1, b'a'],
        vec![0x32, 6, 0, 1, b't', 0, 2, b'c'],
        vec![0x30, 4, 0, 1, b't', b'd'],
    ];
    assert_eq!(server.pump(), sent.concat());
    server.handled(&[0x40, 2, 0, 1]);
    assert_eq!(server.session.next_delivery(), Some((8, Delivery::Acknowledged)));
    assert_eq!(server.session.next_delivery(), Some((7, Delivery::Acknowledged)));
    assert_eq!((server.session.dropped(), server.session.waiting()), (1, 1));
    assert_eq!(offered(&mut server), ["e"]);
}

#[test]
fn decisions_are_about_what_is_still_there() {
    let mut server = asking();
    let limits = SessionLimits { messages: 3, drop_oldest: true, ..SessionLimits::default() };
    server.session = mqtt_core::Session::new(limits);
    server.session.ask(true);
    waits(&mut server, "abc");
    assert_eq!(offered(&mut server), ["a", "b", "c"]);
    waits(&mut server, "d");
    server.session.decide(Decision::Send(0));
    server.session.decide(Decision::Drop);
    server.session.decide(Decision::Send(0));
    // One too many means nothing.
    server.session.decide(Decision::Send(0));
    assert_eq!(server.pump(), [0x32, 6, 0, 1, b't', 0, 1, b'c']);
    let lost = server.session.next_lost().map(|(message, why)| (message.publish().payload[0], why));
    assert_eq!(lost, Some((b'a', Dropped::QueueFull)));
    assert!(server.session.next_lost().is_none());
    assert_eq!(offered(&mut server), ["d"]);
}

fn limited(limits: SessionLimits) -> Server {
    let mut server = asking();
    server.session = mqtt_core::Session::new(limits);
    server.reconnect(CONNECT, false);
    server.session.ask(true);
    server
}

fn lost(server: &mut Server) -> Vec<(u8, Dropped)> {
    let lost = std::iter::from_fn(|| server.session.next_lost());
    lost.map(|(message, why)| (message.publish().payload[0], why)).collect()
}

#[test]
fn what_was_asked_about_is_told_of_once_and_by_its_name() {
    let mut server =
        limited(SessionLimits { messages: 3, drop_oldest: true, ..SessionLimits::default() });
    waits(&mut server, "abc");
    assert_eq!(offered(&mut server), ["a", "b", "c"]);
    waits(&mut server, "def");
    // It has not decided about those of before.
    assert_eq!(offered(&mut server), [""; 0]);
    for decision in [Decision::Send(5), Decision::Send(0), Decision::Drop] {
        server.session.decide(decision);
    }
    assert_eq!(server.deliveries(), [(5, Delivery::Dropped(Dropped::QueueFull))]);
    assert_eq!(lost(&mut server), [(b'b', Dropped::QueueFull)]);
    assert_eq!(offered(&mut server), ["d", "e", "f"]);
}

#[test]
fn qos_0_takes_no_room_of_others() {
    for drop_oldest in [false, true] {
        let mut server =
            limited(SessionLimits { messages: 2, drop_oldest, ..SessionLimits::default() });
        waits(&mut server, "1");
        for payload in [b"a", b"b"] {
            assert_eq!(server.publish(&message(QOS_0, payload), 0).0, Fate::Waiting);
        }
        waits(&mut server, "2");
        let full = Fate::Dropped(Dropped::QueueFull);
        assert_eq!(server.publish(&message(QOS_0, b"c"), 0).0, full);
        assert_eq!(lost(&mut server), [(b'c', Dropped::QueueFull)]);
        assert_eq!(offered(&mut server), ["1", "a", "b", "2"]);
        assert_eq!(server.session.room(), 0);
    }
    // Nor does it wait where the client does not read.
    let mut server = asking();
    server.room = false;
    let full = Fate::Dropped(Dropped::QueueFull);
    assert_eq!(server.publish(&message(QOS_0, b"a"), 0).0, full);
    waits(&mut server, "1");
}

#[test]
fn qos_0_does_not_outlast_the_connection() {
    for taken_over in [false, true] {
        let mut server = asking();
        assert_eq!(server.publish(&message(QOS_0, b"a"), 0).0, Fate::Waiting);
        waits(&mut server, "1");
        assert_eq!(offered(&mut server), ["a", "1"]);
        server.session.decide(Decision::Send(0));
        if !taken_over {
            server.session.disconnect();
        }
        server.reconnect(CONNECT, false);
        server.session.ask(true);
        assert_eq!(lost(&mut server), [(b'a', Dropped::NotConnected)]);
        assert_eq!(offered(&mut server), ["1"]);
    }
}

#[test]
fn qos_0_is_not_dropped_where_nothing_is_gained() {
    let mut server =
        limited(SessionLimits { messages: 1, drop_oldest: true, ..SessionLimits::default() });
    waits(&mut server, "1");
    assert_eq!(offered(&mut server), ["1"]);
    server.session.decide(Decision::Send(0));
    server.pump();
    assert_eq!(server.publish(&message(QOS_0, b"a"), 0).0, Fate::Waiting);
    let full = Fate::Dropped(Dropped::QueueFull);
    // The only place is that of the message under way.
    assert_eq!(server.publish(&message(QOS_1, b"2"), 0).0, full);
    // The client does not read.
    server.room = false;
    assert_eq!(server.publish(&message(QOS_0, b"b"), 0).0, full);
    let both = [(b'2', Dropped::QueueFull), (b'b', Dropped::QueueFull)];
    assert_eq!(lost(&mut server), both);
    assert_eq!(offered(&mut server), ["a"]);
}

#[test]
fn what_was_dropped_while_it_was_asked_about_is_told_to_the_next_connection() {
    for taken_over in [false, true] {
        let mut server =
            limited(SessionLimits { messages: 2, drop_oldest: true, ..SessionLimits::default() });
        waits(&mut server, "ab");
        if taken_over {
            assert_eq!(server.publish(&message(QOS_0, b"0"), 0).0, Fate::Waiting);
        }
        assert_eq!(offered(&mut server).len(), 2 + usize::from(taken_over));
        waits(&mut server, "c");
        if !taken_over {
            server.session.disconnect();
        }
        server.reconnect(CONNECT, false);
        server.session.ask(true);
        let both = [(b'a', Dropped::QueueFull), (b'0', Dropped::NotConnected)];
        assert_eq!(lost(&mut server), both[..=usize::from(taken_over)]);
        assert_eq!(offered(&mut server), ["b", "c"]);
    }
}

#[test]
fn so_many_bytes_are_offered_and_remembered() {
    let mut server = asking();
    let large = vec![b'x'; 100_000];
    for _ in 0..5 {
        assert_eq!(server.publish(&message(QOS_1, &large), 0).0, Fate::Waiting);
    }
    assert_eq!(server.session.offer(0).count(), 3);
    server.session.clear_waiting();
    for _ in 0..3 {
        server.session.decide(Decision::Send(0));
    }
    assert_eq!(lost(&mut server), [(b'x', Dropped::Discarded)]);
    assert_eq!(server.session.dropped(), 5);
    assert!(!server.session.has_lost());
}

#[test]
fn names_are_those_of_the_connection() {
    let mut server = asking();
    waits(&mut server, "a");
    for name in [7, 8] {
        assert_eq!(offered(&mut server), ["a"]);
        server.session.decide(Decision::Send(name));
        if name == 7 {
            server.reconnect(CONNECT, false);
            server.session.ask(true);
        }
    }
    server.pump();
    server.handled(&[0x40, 2, 0, 1]);
    assert_eq!(server.deliveries(), [(8, Delivery::Acknowledged)]);

    // Whether it was sent or not.
    waits(&mut server, "bc");
    assert_eq!(offered(&mut server), ["b", "c"]);
    server.session.decide(Decision::Send(9));
    server.pump();
    server.session.decide(Decision::Send(10));
    server.reconnect(CONNECT, true);
    server.session.ask(true);
    assert_eq!(server.deliveries(), []);
    assert_eq!(lost(&mut server), [(b'b', Dropped::Discarded), (b'c', Dropped::Discarded)]);
}

#[test]
fn the_next_connection_is_asked_again() {
    let mut server = asking();
    waits(&mut server, "ab");
    assert_eq!(offered(&mut server), ["a", "b"]);
    server.session.decide(Decision::Send(0));
    server.reconnect(CONNECT, false);
    server.session.ask(true);
    server.session.decide(Decision::Drop);
    assert_eq!(server.pump(), []);
    assert_eq!(offered(&mut server), ["a", "b"]);
    // Or nobody is.
    server.reconnect(CONNECT, false);
    server.session.ask(false);
    assert_eq!(server.pump().len(), 16);
}

#[test]
fn what_is_discarded_with_a_session_is_told() {
    let mut server = asking();
    waits(&mut server, "a");
    server.reconnect(CONNECT, true);
    server.session.ask(true);
    assert_eq!(server.session.next_lost().map(|(_, why)| why), Some(Dropped::Discarded));
    assert_eq!(offered(&mut server), [""; 0]);
    waits(&mut server, "b");
    assert_eq!(offered(&mut server), ["b"]);
}

#[test]
fn so_many_are_offered_and_allowed_at_a_time() {
    let mut server = asking();
    for _ in 0..100 {
        waits(&mut server, "x");
    }
    assert_eq!(offered(&mut server).len(), 64);
    for _ in 0..64 {
        server.session.decide(Decision::Send(0));
    }
    // The client takes none of them yet.
    assert_eq!(offered(&mut server).len(), 0);
    server.pump();
    assert_eq!(offered(&mut server).len(), 36);
}
