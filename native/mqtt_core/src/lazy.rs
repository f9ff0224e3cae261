//! What most connections and sessions never need.

use core::ops::{Deref, DerefMut};
use std::collections::VecDeque;

/// A value that takes no more than a pointer until it is changed for the first time.
#[derive(Clone, Debug)]
pub(crate) struct Lazy<T>(Option<Box<T>>);

/// One that has an empty value, which is what it is until then.
pub(crate) trait Empty: Default + 'static {
    const EMPTY: &'static Self;
}

impl<T: 'static> Empty for VecDeque<T> {
    const EMPTY: &'static Self = &Self::new();
}

impl<T> Lazy<T> {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Bytes that it takes besides the pointer, without what the value has elsewhere.
    pub(crate) fn size(&self) -> usize {
        self.0.as_deref().map_or(0, size_of_val)
    }

    /// The value to be changed, if it has been before.
    pub(crate) fn existing(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T: Empty> Deref for Lazy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Empty> DerefMut for Lazy<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}
