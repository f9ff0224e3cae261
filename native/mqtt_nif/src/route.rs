//! The way of what a client publishes to a router, without its owner.
//!
//! While it is found out whom the messages of a read go to, the tables of the router are locked for reading, behind the
//! connection's `input` and its session.

use crate::delivery::{Routed, Routing};
use crate::routing::{Hub, Tables};
use mqtt_codec::{Publish, ReasonCode};
use mqtt_core::router::SubscriberId;
use mqtt_core::{Millis, Rules};
use std::sync::{Arc, RwLockReadGuard};

/// Messages of a read for which the tables stay locked. Taking a lock that all schedulers share costs more than finding
/// out that nobody gets a message, and who subscribes waits for it.
const LOCKED: usize = 64;

/// So many lines of an ACL are looked at in the time of a node of the router's tree.
pub(crate) const RULES: usize = 4;

/// Where what a client publishes goes.
#[derive(Clone)]
pub(crate) struct Route {
    hub: Arc<Hub>,
    publisher: SubscriberId,
    /// What the client may publish, if not everything.
    rules: Option<Rules>,
}

impl Route {
    pub(crate) fn new(hub: Arc<Hub>, publisher: SubscriberId, rules: Option<Rules>) -> Self {
        Self { hub, publisher, rules }
    }
}

/// It, for the messages of one read.
pub(crate) struct Way<'r> {
    route: &'r Route,
    tables: Option<RwLockReadGuard<'r, Tables>>,
    /// For how many more messages these stay locked.
    left: usize,
    received: usize,
    sent: usize,
}

impl Drop for Way<'_> {
    fn drop(&mut self) {
        if self.received > 0 {
            self.route.hub.count(self.received, self.sent);
        }
    }
}

impl<'r> Way<'r> {
    pub(crate) fn new(route: &'r Route) -> Self {
        Self { route, tables: None, left: 0, received: 0, sent: 0 }
    }

    /// Takes a message of the client, with its topic, and says whether it was not refused.
    pub(crate) fn take(
        &mut self,
        publish: &Publish<'_>,
        now: Millis,
        routing: &mut Routing,
    ) -> bool {
        let Route { hub, publisher, rules } = self.route;
        let allowed = rules.as_ref().is_none_or(|rules| rules.may_publish(publish.topic));
        let routed = if !allowed || is_reserved(publish.topic) {
            Routed::nowhere(publish, ReasonCode::NOT_AUTHORIZED)
        } else {
            if self.left == 0 {
                // Whoever waits to write has its turn.
                self.tables = None;
                self.left = LOCKED;
            }
            self.left -= 1;
            let tables = self.tables.get_or_insert_with(|| hub.tables());
            let routed = hub.route_by(tables, publish, Some(*publisher), now);
            self.received += 1;
            self.sent += routed.len();
            routed
        };
        let refused = routed.reason().is_error();
        routing.charge(rules.as_ref().map_or(0, Rules::work) / RULES);
        let properties = publish.properties.as_bytes().len();
        routing.push(routed, publish.topic.len() + publish.payload.len() + properties);
        !refused
    }
}

/// Whether clients may not publish to the topic: what is the server's, and what before MQTT 5.0 could be
/// taken for a shared subscription's filter.
fn is_reserved(topic: &str) -> bool {
    topic == "$SYS" || topic.starts_with("$SYS/") || topic.starts_with("$share/")
}
