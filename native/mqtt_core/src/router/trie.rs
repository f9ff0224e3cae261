//! The filters with wildcards, as a tree of their levels.

use super::index::Index;
use super::seed::Seed;
use super::shapes::{self, Shapes};
use super::slab::{NONE, Slab};
use super::text::Text;

const ROOT: u32 = 0;

/// What the filters have in common that begin with the same levels.
#[derive(Debug)]
struct Node {
    level: Text,
    parent: u32,
    /// How many children it has in the index.
    children: u32,
    /// The child `+`.
    plus: u32,
    /// The filter that ends here.
    here: u32,
    /// The filter that ends with `#` behind this.
    below: u32,
}

impl Default for Node {
    fn default() -> Self {
        Self::new(Text::default(), NONE)
    }
}

impl Node {
    const fn new(level: Text, parent: u32) -> Self {
        Self { level, parent, children: 0, plus: NONE, here: NONE, below: NONE }
    }

    const fn is_unused(&self) -> bool {
        self.children == 0 && self.plus == NONE && self.here == NONE && self.below == NONE
    }
}

/// What a walk needs, to be used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Front {
    /// How many nodes the last walk looked at.
    pub(super) visited: usize,
    now: Vec<u32>,
    next: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Trie {
    nodes: Slab<Node>,
    /// Children by parent and level, but for `+`.
    index: Index,
    shapes: Shapes,
    seed: Seed,
    texts: usize,
}

impl Trie {
    /// With so many shapes at most whose number is limited.
    pub(super) fn new(seed: Seed, shapes: usize) -> Self {
        let (nodes, index, shapes) = (Slab::new(), Index::default(), Shapes::new(shapes));
        Self { nodes, index, shapes, seed, texts: 0 }
    }

    /// Without filters, and as limited as before.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.seed.clone(), self.shapes.most());
    }

    /// Whether a filter may be added, which depends on its levels and on what others there are.
    pub(super) fn has_room(&self, filter: &str) -> bool {
        let levels = filter.split('/').take_while(|level| *level != "#");
        self.shapes.have_room(levels.map(|level| level == "+"))
    }

    /// The filter of that text.
    pub(super) fn find(&self, filter: &str) -> Option<u32> {
        let mut node = ROOT;
        let levels = match filter.strip_suffix('#') {
            Some("") => None,
            Some(levels) => Some(levels.strip_suffix('/')?),
            None => Some(filter),
        };
        for level in levels.into_iter().flat_map(|levels| levels.split('/')) {
            node = self.child(node, level)?;
        }
        let node = self.nodes.get(node)?;
        let id = if filter.ends_with('#') { node.below } else { node.here };
        (id != NONE).then_some(id)
    }

    pub(super) fn insert(&mut self, filter: &str, id: u32) {
        if self.nodes.len() == 0 {
            self.nodes.insert(Node::default());
        }
        let (mut node, mut shape) = (ROOT, shapes::ROOT);
        for level in filter.split('/') {
            if level == "#" {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.below = id;
                }
                return;
            }
            let plus = level == "+";
            (node, shape) = match self.child(node, level) {
                Some(child) => (child, self.shapes.child(shape, plus)),
                None => (self.add(node, level), self.shapes.enter(shape, plus)),
            };
        }
        if let Some(node) = self.nodes.get_mut(node) {
            node.here = id;
        }
    }

    pub(super) fn remove(&mut self, filter: &str) {
        let (mut node, mut shape) = (ROOT, shapes::ROOT);
        for level in filter.split('/') {
            if level == "#" {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.below = NONE;
                }
                return self.prune(node, shape);
            }
            let Some(child) = self.child(node, level) else { return };
            (node, shape) = (child, self.shapes.child(shape, level == "+"));
        }
        if let Some(node) = self.nodes.get_mut(node) {
            node.here = NONE;
        }
        self.prune(node, shape);
    }

    /// Calls with each filter that matches the topic. It goes through the topic level by level with
    /// all nodes that match so far, each of which can be reached in one way only.
    pub(super) fn walk(&self, topic: &str, front: &mut Front, mut found: impl FnMut(u32)) {
        let Front { now, next, visited } = front;
        now.clear();
        *visited = 0;
        let Some(root) = self.nodes.get(ROOT) else { return };
        let mut levels = topic.as_bytes().split(|&byte| byte == b'/');
        if topic.starts_with('$') {
            // No wildcard in its first level matches [MQTT-4.7.2-1].
            let first = levels.next().unwrap_or_default();
            now.extend(self.literal(ROOT, root, first, self.seed.text(first)));
        } else {
            now.push(ROOT);
        }
        for level in levels {
            if now.is_empty() {
                return;
            }
            let hash = self.seed.text(level);
            next.clear();
            *visited += now.len();
            for (id, node) in now.iter().filter_map(|&id| Some((id, self.nodes.get(id)?))) {
                if node.below != NONE {
                    found(node.below);
                }
                if node.plus != NONE {
                    next.push(node.plus);
                }
                next.extend(self.literal(id, node, level, hash));
            }
            core::mem::swap(now, next);
        }
        for node in now.iter().filter_map(|&id| self.nodes.get(id)) {
            // `a/#` matches `a`.
            for filter in [node.here, node.below] {
                if filter != NONE {
                    found(filter);
                }
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.nodes.bytes() + self.index.bytes() + self.shapes.bytes() + self.texts
    }

    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        let node = self.nodes.get(parent)?;
        if level == "+" {
            return (node.plus != NONE).then_some(node.plus);
        }
        let level = level.as_bytes();
        self.literal(parent, node, level, self.seed.text(level))
    }

    /// The child of that level, the hash of which is known.
    fn literal(&self, parent: u32, node: &Node, level: &[u8], hash: u64) -> Option<u32> {
        if node.children == 0 {
            return None;
        }
        let same = |&id: &u32| {
            let child = self.nodes.get(id);
            child.is_some_and(|child| child.parent == parent && child.level.as_bytes() == level)
        };
        self.index.find(self.seed.pair(parent, hash), same)
    }

    /// Adds a child that is not there.
    fn add(&mut self, parent: u32, level: &str) -> u32 {
        let child = Node::new(Text::new(level), parent);
        self.texts += child.level.heap_bytes();
        let id = self.nodes.insert(child);
        let plus = level == "+";
        if let Some(parent) = self.nodes.get_mut(parent) {
            if plus {
                parent.plus = id;
            } else {
                parent.children += 1;
            }
        }
        if !plus {
            let Self { nodes, index, seed, .. } = self;
            let rehash = |&id: &u32| nodes.get(id).map_or(0, |node| hash(seed, node));
            index.insert(seed.pair(parent, seed.text(level.as_bytes())), id, rehash);
        }
        id
    }

    /// Removes a node that is no longer used, and so on towards the root.
    fn prune(&mut self, mut id: u32, mut shape: u32) {
        while id != ROOT
            && self.nodes.get(id).is_some_and(Node::is_unused)
            && let Some(node) = self.nodes.remove(id)
        {
            self.texts -= node.level.heap_bytes();
            shape = self.shapes.leave(shape);
            let hash = hash(&self.seed, &node);
            let Some(parent) = self.nodes.get_mut(node.parent) else { return };
            if parent.plus == id {
                parent.plus = NONE;
            } else {
                parent.children -= 1;
                self.index.remove(hash, |&other| other == id);
            }
            id = node.parent;
        }
    }
}

fn hash(seed: &Seed, node: &Node) -> u64 {
    seed.pair(node.parent, seed.text(node.level.as_bytes()))
}
