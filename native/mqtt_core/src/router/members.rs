//! Who has subscribed to a filter.

use super::{SubscriberId, Subscription};

#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) subscriber: SubscriberId,
    pub(super) subscription: Subscription,
}

impl Member {
    /// Whether it does not get what this publisher publishes [MQTT-3.8.3-3].
    pub(super) fn is_left_out(&self, publisher: Option<SubscriberId>) -> bool {
        self.subscription.no_local && Some(self.subscriber) == publisher
    }
}

/// Most filters have one subscriber, who needs no memory of its own.
#[derive(Debug, Default)]
pub(super) enum Members {
    #[default]
    None,
    One(Member),
    #[expect(clippy::box_collection, reason = "a filter is smaller by a quarter")]
    Many(Box<Vec<Member>>),
}

impl Members {
    pub(super) fn as_slice(&self) -> &[Member] {
        match self {
            Self::None => &[],
            Self::One(member) => core::slice::from_ref(member),
            Self::Many(members) => members,
        }
    }

    pub(super) fn get_mut(&mut self, position: u32) -> Option<&mut Member> {
        match self {
            Self::None => None,
            Self::One(member) => (position == 0).then_some(member),
            Self::Many(members) => members.get_mut(position as usize),
        }
    }

    /// Adds a member at the end and tells its position.
    pub(super) fn push(&mut self, member: Member) -> u32 {
        match self {
            Self::None => *self = Self::One(member),
            Self::One(first) => *self = Self::Many(Box::new(vec![*first, member])),
            Self::Many(members) => members.push(member),
        }
        (self.as_slice().len() - 1) as u32
    }

    /// Removes a member. The last one moves to its position, and is told if it is another.
    pub(super) fn remove(&mut self, position: u32) -> Option<SubscriberId> {
        let position = position as usize;
        let Self::Many(members) = self else {
            *self = Self::None;
            return None;
        };
        if position < members.len() {
            members.swap_remove(position);
        }
        let moved = members.get(position).map(|member| member.subscriber);
        if let [member] = members[..] {
            *self = Self::One(member);
        } else if members.len() < members.capacity() / 4 {
            members.shrink_to(members.len() * 2);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribers(members: &Members) -> Vec<u32> {
        members.as_slice().iter().map(|member| member.subscriber.0).collect()
    }

    #[test]
    fn the_last_takes_the_place_of_one_that_is_removed() {
        let mut members = Members::default();
        for id in 0..4 {
            let subscriber = SubscriberId(id);
            assert_eq!(
                members.push(Member { subscriber, subscription: Subscription::default() }),
                id
            );
        }
        assert_eq!(members.remove(1), Some(SubscriberId(3)));
        assert_eq!(subscribers(&members), [0, 3, 2]);
        assert_eq!(members.remove(2), None);
        assert_eq!(members.remove(0), Some(SubscriberId(3)));
        assert_eq!(subscribers(&members), [3]);
        assert!(members.get_mut(0).is_some() && members.get_mut(1).is_none());
        assert_eq!(members.remove(0), None);
        assert_eq!(subscribers(&members), []);
        assert_eq!(size_of::<Members>(), 16);
    }
}
