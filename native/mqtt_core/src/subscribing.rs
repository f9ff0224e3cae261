//! SUBSCRIBE and UNSUBSCRIBE: what the client may ask for, and what a session keeps of it.

use crate::lazy::Lazy;
use crate::{Connection, Granted, Session, Violation};
use mqtt_codec::{
    PacketId, Property, Qos, ReasonCode, Subscribe, SubscriptionOptions, Unsubscribe, topic,
};

/// A request that the application has not answered, for a session that keeps subscriptions.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    packet_id: PacketId,
    identifier: Option<u32>,
    /// The filters, with their options if they are to be added.
    filters: Vec<(Box<str>, Option<SubscriptionOptions>)>,
}

impl Connection {
    /// Whether CONNACK offered what the client asks for (MQTT 5.0, sections 3.2.2.3.11 to 13).
    pub(crate) fn check_subscribe(&self, subscribe: &Subscribe<'_>) -> Result<(), Violation> {
        let features = &self.features;
        if features.wildcard_subscriptions
            && features.shared_subscriptions
            && features.subscription_identifiers
        {
            return Ok(());
        }
        if !features.subscription_identifiers && identifier(subscribe).is_some() {
            return Err(Violation::SubscriptionIdentifiersNotSupported);
        }
        for subscription in subscribe.subscriptions.iter() {
            let filter = subscription.filter;
            if !features.shared_subscriptions && topic::is_shared(filter) {
                return Err(Violation::SharedSubscriptionsNotSupported);
            }
            if !features.wildcard_subscriptions && filter.contains(['+', '#']) {
                return Err(Violation::WildcardSubscriptionsNotSupported);
            }
        }
        Ok(())
    }

    pub(crate) fn remember_subscribe(&mut self, subscribe: &Subscribe<'_>, session: &Session) {
        if session.keeps_subscriptions() {
            let filters = subscribe
                .subscriptions
                .iter()
                .map(|subscription| (subscription.filter.into(), Some(subscription.options)))
                .collect();
            let identifier = identifier(subscribe);
            let packet_id = subscribe.packet_id;
            self.subscribing.push_back(Request { packet_id, identifier, filters });
        }
    }

    pub(crate) fn remember_unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        session: &Session,
    ) {
        if session.keeps_subscriptions() {
            let filters = unsubscribe.filters.iter().map(|filter| (filter.into(), None)).collect();
            let packet_id = unsubscribe.packet_id;
            self.subscribing.push_back(Request { packet_id, identifier: None, filters });
        }
    }

    /// SUBACK goes out with these codes, but for those of subscriptions that the session has no room
    /// for.
    pub(crate) fn subscribed(
        &mut self,
        packet_id: PacketId,
        codes: &mut [u8],
        session: &mut Session,
    ) {
        let Some(request) = self.answered(packet_id) else { return };
        for ((filter, options), code) in request.filters.iter().zip(codes) {
            if let (Some(options), Some(qos)) = (options, Qos::from_bits(*code)) {
                let options = SubscriptionOptions { qos, ..*options };
                let granted = Granted { options, identifier: request.identifier };
                if !session.subscribe(filter, granted) {
                    *code = ReasonCode::QUOTA_EXCEEDED.0;
                }
            }
        }
    }

    /// UNSUBACK went out with these codes; none are as good as successes.
    pub(crate) fn unsubscribed(
        &mut self,
        packet_id: PacketId,
        codes: &[u8],
        session: &mut Session,
    ) {
        let Some(request) = self.answered(packet_id) else { return };
        let codes = codes.iter().copied().chain(core::iter::repeat(0));
        for ((filter, _), code) in request.filters.iter().zip(codes) {
            if code < 0x80 {
                session.unsubscribe(filter);
            }
        }
    }

    fn answered(&mut self, packet_id: PacketId) -> Option<Request> {
        let index = self.subscribing.iter().position(|request| request.packet_id == packet_id)?;
        let request = self.subscribing.remove(index);
        if self.subscribing.is_empty() {
            self.subscribing = Lazy::new();
        }
        request
    }
}

fn identifier(subscribe: &Subscribe<'_>) -> Option<u32> {
    subscribe.properties.iter().find_map(|property| match property {
        Property::SubscriptionIdentifier(identifier) => Some(identifier),
        _ => None,
    })
}
