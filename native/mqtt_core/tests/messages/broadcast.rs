//! A message to many connections reaches each as if it were published to it alone.

use crate::support::{CONNECT, QOS_0, QOS_1, QOS_2, Server, connect_5, message, properties};
use mqtt_codec::{Error, Place, Publish};
use mqtt_core::{Broadcast, Config, Fate};

/// Publishes by a broadcast, and gives the packet, or nothing if it waits or is dropped.
fn broadcast(server: &mut Server, broadcast: &Broadcast<'_>) -> (Fate, Vec<u8>) {
    let mut output = Vec::new();
    let Server { connection, session, now, room } = server;
    let fate = connection.broadcast(*now, broadcast, *room, session, &mut output).unwrap();
    if fate == Fate::Head {
        output.extend_from_slice(broadcast.payload());
    }
    (fate, output)
}

#[test]
fn each_client_gets_what_it_would_get_alone() {
    // What a client says: nothing, that it takes aliases, packets of 40 bytes, one message at a time.
    let of_connect: [&[u8]; 5] =
        [&[], &[0x22, 0, 1], &[0x27, 0, 0, 0, 40], &[0x27, 0, 0, 0, 40, 0x22, 0, 1], &[0x21, 0, 1]];
    let connects = of_connect.map(connect_5).into_iter().chain([CONNECT.to_vec()]);
    // None, an expiry of 2 s, and a content type that makes the remaining length two bytes.
    let of_publish = [vec![], vec![2, 0, 0, 0, 2], [&[3, 0, 200][..], &[b'x'; 200][..]].concat()];
    for connect in connects {
        let (mut alone, mut among) =
            [(); 2].map(|()| Server::new(&connect, Config::default())).into();
        for of_publish in &of_publish {
            let properties = properties(of_publish, Place::Publish);
            for qos in [QOS_0, QOS_1, QOS_2] {
                for (length, room) in [(0, true), (31, true), (33, true), (200, false), (0, true)] {
                    let payload = vec![b'p'; length];
                    let publish = Publish { properties, retain: true, ..message(qos, &payload) };
                    let prepared = Broadcast::new(publish, alone.now).unwrap();
                    (alone.room, among.room) = (room, room);
                    assert_eq!(broadcast(&mut among, &prepared), alone.publish(&publish, 0));
                    assert_eq!(among.session.bytes(), alone.session.bytes());
                    assert_eq!(among.session.dropped(), alone.session.dropped());
                }
            }
        }
        // What waits, and what is sent again to a client that comes back.
        assert_eq!(among.pump(), alone.pump());
        (among.now, alone.now) = (1500, 1500);
        among.reconnect(&connect, false);
        alone.reconnect(&connect, false);
        assert_eq!(among.pump(), alone.pump());
        assert_eq!(among.session.under_way(), alone.session.under_way());
    }
}

#[test]
fn what_cannot_be_published_is_refused() {
    let wildcard = Publish { topic: "a/#", ..message(QOS_0, b"") };
    assert_eq!(Broadcast::new(wildcard, 0).err(), Some(Error::WildcardInTopicName));
    let alias = properties(&[0x23, 0, 1], Place::Publish);
    let aliased = Publish { properties: alias, ..message(QOS_0, b"") };
    assert_eq!(Broadcast::new(aliased, 0).err(), Some(Error::PropertyNotAllowed));
}

#[test]
fn a_client_that_is_not_connected_gets_nothing() {
    let mut server = Server::deciding(CONNECT, Config::default());
    let prepared = Broadcast::new(message(QOS_1, b""), 0).unwrap();
    let mut output = Vec::new();
    let Server { connection, session, .. } = &mut server;
    assert!(connection.broadcast(0, &prepared, true, session, &mut output).is_err());
    assert_eq!((output, session.bytes()), (vec![], 0));
}
