//! Who has subscribed to a filter.

use super::{SubscriberId, Subscription};
use std::sync::Arc;

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

/// So many members are in a piece. Beside those of one that somebody else has as well, no others are copied when one is changed.
const PIECE: usize = 1024;

/// A part of the members, which stays as it is while somebody has it.
pub(super) type Piece = Arc<Vec<Member>>;

/// Most filters have one subscriber, who needs no memory of its own.
#[derive(Debug, Default)]
pub(super) enum Members {
    #[default]
    None,
    One(Member),
    Many(Piece),
    /// All of these are full but the last, which is not empty.
    #[expect(clippy::box_collection, reason = "a filter is smaller by a quarter")]
    Crowd(Box<Vec<Piece>>),
}

impl Members {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(piece) => piece.len(),
            Self::Crowd(pieces) => {
                pieces.last().map_or(0, |last| (pieces.len() - 1) * PIECE + last.len())
            }
        }
    }

    pub(super) fn get(&self, position: usize) -> Option<&Member> {
        match self {
            Self::None => None,
            Self::One(member) => (position == 0).then_some(member),
            Self::Many(piece) => piece.get(position),
            Self::Crowd(pieces) => pieces.get(position / PIECE)?.get(position % PIECE),
        }
    }

    pub(super) fn get_mut(&mut self, position: u32) -> Option<&mut Member> {
        let position = position as usize;
        match self {
            Self::None => None,
            Self::One(member) => (position == 0).then_some(member),
            Self::Many(piece) => Arc::make_mut(piece).get_mut(position),
            Self::Crowd(pieces) => {
                Arc::make_mut(pieces.get_mut(position / PIECE)?).get_mut(position % PIECE)
            }
        }
    }

    /// Calls with all of them, in parts.
    pub(super) fn each_slice<'a>(&'a self, mut call: impl FnMut(&'a [Member])) {
        match self {
            Self::None => {}
            Self::One(member) => call(core::slice::from_ref(member)),
            Self::Many(piece) => call(piece),
            Self::Crowd(pieces) => pieces.iter().for_each(|piece| call(piece)),
        }
    }

    /// All of them as they are now, to be looked at later.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece> {
        let (one, pieces): (_, &[Piece]) = match self {
            Self::None => (None, &[]),
            Self::One(member) => (Some(Arc::new(vec![*member])), &[]),
            Self::Many(piece) => (None, core::slice::from_ref(piece)),
            Self::Crowd(pieces) => (None, pieces),
        };
        one.into_iter().chain(pieces.iter().cloned())
    }

    /// Adds a member at the end and tells its position.
    pub(super) fn push(&mut self, member: Member) -> u32 {
        let position = self.len() as u32;
        match self {
            Self::None => *self = Self::One(member),
            Self::One(first) => *self = Self::Many(Arc::new(vec![*first, member])),
            Self::Many(piece) if piece.len() < PIECE => Arc::make_mut(piece).push(member),
            Self::Many(piece) => {
                let pieces = vec![core::mem::take(piece), Arc::new(vec![member])];
                *self = Self::Crowd(Box::new(pieces));
            }
            Self::Crowd(pieces) => match pieces.last_mut() {
                Some(last) if last.len() < PIECE => Arc::make_mut(last).push(member),
                _ => pieces.push(Arc::new(vec![member])),
            },
        }
        position
    }

    /// Removes a member. The last one moves to its position, and is told if it is another.
    pub(super) fn remove(&mut self, position: u32) -> Option<SubscriberId> {
        let last = self.pop()?;
        let moved = self.get_mut(position).map(|place| *place = last);
        moved.map(|()| last.subscriber)
    }

    fn pop(&mut self) -> Option<Member> {
        match self {
            Self::None => None,
            Self::One(member) => {
                let member = *member;
                *self = Self::None;
                Some(member)
            }
            Self::Many(piece) => {
                let members = Arc::make_mut(piece);
                let member = members.pop();
                if let [member] = members[..] {
                    *self = Self::One(member);
                } else if members.len() < members.capacity() / 4 {
                    members.shrink_to(members.len() * 2);
                }
                member
            }
            Self::Crowd(pieces) => {
                let last = Arc::make_mut(pieces.last_mut()?);
                let member = last.pop();
                if last.is_empty() {
                    pieces.pop();
                }
                if let [piece] = &mut pieces[..] {
                    *self = Self::Many(core::mem::take(piece));
                }
                member
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribers(members: &Members) -> Vec<u32> {
        let mut all = Vec::new();
        members.each_slice(|members| all.extend(members.iter().map(|one| one.subscriber.0)));
        all
    }

    fn member(id: u32) -> Member {
        Member { subscriber: SubscriberId(id), subscription: Subscription::default() }
    }

    #[test]
    fn the_last_takes_the_place_of_one_that_is_removed() {
        let mut members = Members::default();
        for id in 0..4 {
            assert_eq!(members.push(member(id)), id);
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

    #[test]
    fn many_are_in_pieces_that_stay_as_they_are_for_who_has_them() {
        let mut members = Members::default();
        let mut expected: Vec<u32> = Vec::new();
        // There and back, over the borders of pieces.
        for round in 0..3 {
            for id in 0..3 * PIECE as u32 {
                assert_eq!(members.push(member(id)) as usize, expected.len());
                expected.push(id);
            }
            let kept: Vec<_> = members.pieces().collect();
            assert_eq!(kept.iter().map(|piece| piece.len()).max(), Some(PIECE));
            let as_it_was = expected.clone();
            let mut place = 0;
            while expected.len() > round {
                place = (place * 31 + 7) % expected.len();
                expected.swap_remove(place);
                let moved = members.remove(place as u32).map(|moved| moved.0);
                assert_eq!(moved, expected.get(place).copied());
                assert_eq!(members.len(), expected.len());
                assert_eq!(
                    members.get(place).map(|member| member.subscriber.0),
                    expected.get(place).copied()
                );
            }
            assert_eq!(subscribers(&members), expected);
            let kept = kept.iter().flat_map(|piece| piece.iter());
            assert!(kept.map(|member| member.subscriber.0).eq(as_it_was));
        }
    }
}
