//! Texts that lie where they are kept if they are short, as most levels and filters are.

const INLINE: usize = 22;

#[derive(Debug)]
pub(super) enum Text {
    Inline(u8, [u8; INLINE]),
    Heap(Box<str>),
}

impl Text {
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = [0; INLINE];
        match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text.as_bytes());
                Self::Inline(text.len() as u8, bytes)
            }
            None => Self::Heap(text.into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Heap(text) => text.as_bytes(),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Inline(..) => core::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Heap(text) => text,
        }
    }

    /// The bytes that it takes beside itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Inline(..) => 0,
            Self::Heap(text) => text.len(),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::Inline(0, [0; INLINE])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_in_comes_out() {
        assert_eq!(size_of::<Text>(), 24);
        for length in 0..100 {
            let text = "ä".repeat(length);
            let kept = Text::new(&text);
            assert_eq!((kept.as_str(), kept.as_bytes()), (&text[..], text.as_bytes()));
            assert_eq!(kept.heap_bytes() > 0, text.len() > INLINE);
        }
    }
}
