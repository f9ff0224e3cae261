//! The shapes of the filters in the tree: which of their levels are `+`.
//!
//! Of all nodes of one shape a topic comes to one at most, so there is no message for which more nodes are looked at than there
//! are shapes. Of few levels there are few; how many there may be that are deeper is limited.

use super::slab::{NONE, Slab};

pub(super) const ROOT: u32 = 0;
/// Up to so many levels there may be every shape: 2,046 of them.
const SHALLOW: usize = 10;
/// How many shapes there may be of more levels, unless nothing is limited.
pub(super) const DEEP: usize = 2048;

#[derive(Debug)]
struct Shape {
    parent: u32,
    depth: u32,
    /// How many nodes have it.
    nodes: u32,
    /// Those of one level more: with a `+`, and with anything else.
    plus: u32,
    other: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self::new(NONE, 0)
    }
}

impl Shape {
    const fn new(parent: u32, depth: u32) -> Self {
        Self { parent, depth, nodes: 0, plus: NONE, other: NONE }
    }

    const fn is_deep(&self) -> bool {
        self.depth as usize > SHALLOW
    }

    const fn child_mut(&mut self, plus: bool) -> &mut u32 {
        if plus { &mut self.plus } else { &mut self.other }
    }
}

#[derive(Debug)]
pub(super) struct Shapes {
    slab: Slab<Shape>,
    /// How many of them are deep, and may be.
    deep: usize,
    most: usize,
}

impl Shapes {
    pub(super) fn new(most: usize) -> Self {
        let mut slab = Slab::new();
        slab.insert(Shape::default());
        Self { slab, deep: 0, most }
    }

    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// Whether there may be nodes for all levels of a filter, of which is known which are `+`.
    pub(super) fn have_room(&self, levels: impl Iterator<Item = bool>) -> bool {
        let mut shape = ROOT;
        let mut new = 0;
        for (depth, plus) in (1..).zip(levels) {
            shape = self.child(shape, plus);
            new += usize::from(shape == NONE && depth > SHALLOW);
        }
        new == 0 || self.deep + new <= self.most
    }

    /// The shape of one level more, if there are nodes of it.
    pub(super) fn child(&self, shape: u32, plus: bool) -> u32 {
        self.slab.get(shape).map_or(NONE, |shape| if plus { shape.plus } else { shape.other })
    }

    /// The same for a node that is new.
    pub(super) fn enter(&mut self, parent: u32, plus: bool) -> u32 {
        let mut id = self.child(parent, plus);
        if id == NONE {
            let depth = self.slab.get(parent).map_or(0, |parent| parent.depth) + 1;
            let shape = Shape::new(parent, depth);
            self.deep += usize::from(shape.is_deep());
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
            self.deep -= usize::from(shape.is_deep());
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
