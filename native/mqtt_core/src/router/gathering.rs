//! Whom a message goes to, where they are so many that this is found out in steps.

use super::SubscriberId;
use super::matches::{Found, Merging};
use super::members::Piece;
use super::slab::NONE;

/// Subscribers whose places are kept together.
const PAGE: usize = 4096;

/// The subscriptions that a message goes to, as they are when it is published; the router may change meanwhile.
///
/// ```
/// use mqtt_core::router::{Matches, Router, Strategy, SubscriberId, Subscription};
///
/// let mut router = Router::new(Strategy::default());
/// for id in 0..5 {
///     router.subscribe("a", false, SubscriberId(id), Subscription::default());
/// }
/// let mut gathering = router.matches_at_once("a", None, &mut Matches::new(), 3).unwrap();
/// router.remove(SubscriberId(4));
/// assert!(!gathering.gather(4));
/// assert!(gathering.gather(4));
/// assert_eq!(gathering.into_found().len(), 5);
/// ```
#[derive(Debug)]
pub struct Gathering {
    pieces: Vec<Piece>,
    /// The piece whose turn it is, and its first member that was not looked at.
    piece: usize,
    member: usize,
    publisher: Option<SubscriberId>,
    /// Of those that were found, if they may come twice.
    places: Option<Places>,
    merging: Merging,
}

impl Gathering {
    /// Of these members, whose subscribers may come twice if they are of several filters.
    pub(super) fn new(pieces: Vec<Piece>, publisher: Option<SubscriberId>, several: bool) -> Self {
        let merging = Merging::for_members(pieces.iter().map(|piece| piece.len()).sum());
        let places = several.then(Places::default);
        Self { pieces, piece: 0, member: 0, publisher, places, merging }
    }

    /// How many subscriptions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at some more subscriptions, and says whether these were all.
    pub fn gather(&mut self, at_most: usize) -> bool {
        let mut left = at_most;
        while left > 0
            && let Some(piece) = self.pieces.get(self.piece)
        {
            let members = piece.get(self.member..).unwrap_or_default();
            let members = members.get(..left).unwrap_or(members);
            for member in members.iter().filter(|member| !member.is_left_out(self.publisher)) {
                let place = self
                    .places
                    .as_mut()
                    .and_then(|places| places.find_or_set(member.subscriber, self.merging.len()));
                self.merging.take(place, member);
            }
            left -= members.len();
            self.member += members.len();
            if self.member == piece.len() {
                (self.piece, self.member) = (self.piece + 1, 0);
            }
        }
        self.piece == self.pieces.len() && self.merging.sort_identifiers(left)
    }

    /// The subscribers, when all was looked at.
    #[must_use]
    pub fn into_found(self) -> Found {
        self.merging.into_found()
    }
}

/// Where subscribers are among those that were found.
#[derive(Debug, Default)]
struct Places {
    pages: Vec<Option<Box<[u32]>>>,
}

impl Places {
    /// The place of a subscriber, or the next one becomes it.
    fn find_or_set(&mut self, subscriber: SubscriberId, next: usize) -> Option<usize> {
        let index = subscriber.0 as usize;
        if self.pages.len() <= index / PAGE {
            self.pages.resize_with(index / PAGE + 1, || None);
        }
        let page = self.pages.get_mut(index / PAGE)?;
        let page = page.get_or_insert_with(|| vec![NONE; PAGE].into_boxed_slice());
        let place = page.get_mut(index % PAGE)?;
        if *place != NONE {
            return Some(*place as usize);
        }
        *place = next as u32;
        None
    }
}
