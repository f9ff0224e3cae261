//! Values under numbers, which are given out again.

/// No number.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Slab<T> {
    values: Vec<T>,
    free: Vec<u32>,
}

impl<T: Default> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(id) = self.free.pop()
            && let Some(slot) = self.values.get_mut(id as usize)
        {
            *slot = value;
            return id;
        }
        if self.values.len() == self.values.capacity() {
            // By a quarter instead of twofold, since a slab may be hundreds of megabytes.
            self.values.reserve_exact(self.values.len() / 4 + 8);
        }
        self.values.push(value);
        (self.values.len() - 1) as u32
    }

    pub(super) fn get(&self, id: u32) -> Option<&T> {
        self.values.get(id as usize)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.values.get_mut(id as usize)
    }

    /// Takes out a value that is there.
    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        let value = self.values.get_mut(id as usize).map(core::mem::take)?;
        self.free.push(id);
        Some(value)
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_out_again() {
        let mut slab = Slab::new();
        assert_eq!([slab.insert('a'), slab.insert('b'), slab.insert('c')], [0, 1, 2]);
        assert_eq!(slab.remove(1), Some('b'));
        assert_eq!((slab.len(), slab.insert('d'), slab.insert('e')), (2, 1, 3));
        assert_eq!((slab.get(1), slab.get(4)), (Some(&'d'), None));
    }
}
