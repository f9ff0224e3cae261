//! The shapes of the filters in the tree: which of their levels are `+`.
//!
//! Of all nodes of one shape a topic comes to one at most, so there is no message for which more nodes are looked at than there
//! are shapes. Of few levels there are few, and of few `+` as well; how many others there may be is limited.

use super::slab::{NONE, Slab};

pub(super) const ROOT: u32 = 0;
/// Up to so many levels there may be every shape: 2,046 of them.
const SHALLOW: u32 = 10;
/// With one `+`, up to so many levels: 2,025 shapes of more than ten.
const LONG: u32 = 64;
/// How many shapes there may be of more than that, unless nothing is limited.
pub(super) const OTHERS: usize = 2048;

#[derive(Debug)]
struct Shape {
    parent: u32,
    kind: Kind,
    /// How many nodes have it.
    nodes: u32,
    /// Those of one level more: with a `+`, and with anything else.
    plus: u32,
    other: u32,
}

/// How many levels a shape has, and how many of them are `+`.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    levels: u32,
    pluses: u32,
}

impl Kind {
    const fn and(self, plus: bool) -> Self {
        Self { levels: self.levels + 1, pluses: self.pluses + plus as u32 }
    }

    const fn is_limited(self) -> bool {
        match self.pluses {
            0 => false,
            1 => self.levels > LONG,
            _ => self.levels > SHALLOW,
        }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self::new(NONE, Kind::default())
    }
}

impl Shape {
    const fn new(parent: u32, kind: Kind) -> Self {
        Self { parent, kind, nodes: 0, plus: NONE, other: NONE }
    }

    const fn child_mut(&mut self, plus: bool) -> &mut u32 {
        if plus { &mut self.plus } else { &mut self.other }
    }
}

#[derive(Debug)]
pub(super) struct Shapes {
    slab: Slab<Shape>,
    /// How many of them are limited in their number, and how many may be.
    limited: usize,
    most: usize,
}

impl Shapes {
    pub(super) fn new(most: usize) -> Self {
        let mut slab = Slab::new();
        slab.insert(Shape::default());
        Self { slab, limited: 0, most }
    }

    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// Whether there may be nodes for all levels of a filter, of which is known which are `+`.
    pub(super) fn have_room(&self, levels: impl Iterator<Item = bool>) -> bool {
        let (mut shape, mut kind, mut new) = (ROOT, Kind::default(), 0);
        for plus in levels {
            (shape, kind) = (self.child(shape, plus), kind.and(plus));
            new += usize::from(shape == NONE && kind.is_limited());
        }
        new == 0 || self.limited + new <= self.most
    }

    /// The shape of one level more, if there are nodes of it.
    pub(super) fn child(&self, shape: u32, plus: bool) -> u32 {
        self.slab.get(shape).map_or(NONE, |shape| if plus { shape.plus } else { shape.other })
    }

    /// The same for a node that is new.
    pub(super) fn enter(&mut self, parent: u32, plus: bool) -> u32 {
        let mut id = self.child(parent, plus);
        if id == NONE {
            let kind =
                self.slab.get(parent).map(|parent| parent.kind).unwrap_or_default().and(plus);
            let shape = Shape::new(parent, kind);
            self.limited += usize::from(kind.is_limited());
            id = self.slab.insert(shape);
            if let Some(parent) = self.slab.get_mut(parent) {
                *parent.child_mut(plus) = id;
            }
        }
        if let Some(shape) = self.slab.get_mut(id) {
            shape.nodes += 1;
        }
        id
    }

    /// A node of that shape is gone. Gives the shape of the node above it.
    pub(super) fn leave(&mut self, id: u32) -> u32 {
        let Some(shape) = self.slab.get_mut(id) else { return NONE };
        shape.nodes -= 1;
        let parent = shape.parent;
        if shape.nodes == 0
            && let Some(shape) = self.slab.remove(id)
        {
            self.limited -= usize::from(shape.kind.is_limited());
            if let Some(parent) = self.slab.get_mut(parent) {
                let plus = parent.plus == id;
                *parent.child_mut(plus) = NONE;
            }
        }
        parent
    }

    pub(super) fn bytes(&self) -> usize {
        self.slab.bytes()
    }
}
