//! Terms that are made and read with every message, without an allocation of their own.

use crate::atoms;
use rustler::sys;
use rustler::{Atom, Binary, Decoder, Env, ListIterator, NewBinary, Term};
use std::mem::MaybeUninit;

/// Binaries up to this size live on the process heap and are copied; larger ones are shared.
const MAX_HEAP_BINARY: usize = 64;

/// A new binary with these bytes.
pub(crate) fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Binary<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}

/// The bytes of iodata; those of a binary are not copied; none for any other term.
pub(crate) fn iodata(term: Term<'_>) -> Option<&[u8]> {
    let env = term.get_env().as_c_arg();
    let mut binary = MaybeUninit::<sys::ErlNifBinary>::uninit();
    // SAFETY: the out parameter is read only if one of the calls succeeds. The bytes then are those
    // of the term, or a temporary copy, and the BEAM keeps either for as long as the call lasts.
    unsafe {
        if sys::enif_inspect_binary(env, term.as_c_arg(), binary.as_mut_ptr()) == 0
            && sys::enif_inspect_iolist_as_binary(env, term.as_c_arg(), binary.as_mut_ptr()) == 0
        {
            return None;
        }
        let binary = binary.assume_init();
        Some(std::slice::from_raw_parts(binary.data, binary.size))
    }
}

/// The elements of a proper list that are all of the type; none for any other term.
pub(crate) fn list<'a, T: Decoder<'a>>(term: Term<'a>) -> Option<Vec<T>> {
    // rustler's own iterator panics at the end of an improper list.
    let mut elements = Vec::with_capacity(term.list_length().ok()?);
    for element in term.decode::<ListIterator<'_>>().ok()? {
        elements.push(element.decode().ok()?);
    }
    Some(elements)
}

/// A list of terms of the environment.
pub(crate) fn list_of<'a>(env: Env<'a>, terms: &[sys::ErlNifTerm]) -> Term<'a> {
    let length = u32::try_from(terms.len()).unwrap_or(u32::MAX);
    // SAFETY: there are `length` terms, which were made in `env` during this call.
    unsafe {
        let list = sys::enif_make_list_from_array(env.as_c_arg(), terms.as_ptr(), length);
        Term::new(env, list)
    }
}

/// Maps up to this size are made without memory for their keys and values.
const MAX_ENTRIES: usize = 16;

/// A map of entries whose keys differ.
pub(crate) fn map<'a>(env: Env<'a>, entries: &[(Atom, Term<'a>)]) -> Term<'a> {
    let mut keys = [atoms::ok().as_c_arg(); MAX_ENTRIES];
    let mut values = keys;
    if entries.len() > MAX_ENTRIES {
        return Term::map_from_pairs(env, entries).unwrap_or_else(|_| Term::map_new(env));
    }
    for ((key, value), entry) in keys.iter_mut().zip(&mut values).zip(entries) {
        (*key, *value) = (entry.0.as_c_arg(), entry.1.as_c_arg());
    }
    let mut map = MaybeUninit::uninit();
    // SAFETY: the arrays have as many terms of `env` as there are entries, and the out parameter, which
    // then is a term of `env`, is read only if the call says so.
    unsafe {
        let (keys, values, c_env) = (keys.as_ptr(), values.as_ptr(), env.as_c_arg());
        if sys::enif_make_map_from_arrays(c_env, keys, values, entries.len(), map.as_mut_ptr()) == 0
        {
            return Term::map_new(env);
        }
        Term::new(env, map.assume_init())
    }
}

/// A name of ours as an atom.
pub(crate) fn name(env: Env<'_>, name: &str) -> Atom {
    Atom::from_str(env, name).unwrap_or_else(|_| atoms::error())
}

/// The elements of a tuple; none for any other term.
pub(crate) fn tuple(term: Term<'_>) -> &[sys::ErlNifTerm] {
    let mut arity = 0;
    let mut elements = MaybeUninit::uninit();
    // SAFETY: the out parameters are read only if the call says that it is a tuple, whose elements
    // then lie in the environment of the term, for as long as the term.
    unsafe {
        let env = term.get_env().as_c_arg();
        if sys::enif_get_tuple(env, term.as_c_arg(), &raw mut arity, elements.as_mut_ptr()) == 0 {
            return &[];
        }
        std::slice::from_raw_parts(elements.assume_init(), usize::try_from(arity).unwrap_or(0))
    }
}

/// An element of [`tuple`]`(of)`.
pub(crate) fn element(of: Term<'_>, element: sys::ErlNifTerm) -> Term<'_> {
    // SAFETY: the element lies in the environment of the tuple it was read from.
    unsafe { Term::new(of.get_env(), element) }
}

/// Whether a term is that atom.
pub(crate) fn is(term: sys::ErlNifTerm, atom: Atom) -> bool {
    term == atom.as_c_arg()
}

/// Tells the scheduler how much of its time slice `bytes` of packets took: 16 KiB of small packets
/// about 30 microseconds of a millisecond. A thread of ours has none.
pub(crate) fn consume_timeslice(env: Env<'_>, bytes: usize) {
    let percent = i32::try_from(bytes / (4 * 1024)).unwrap_or(100).clamp(1, 100);
    // SAFETY: on a scheduler this is a NIF call with the environment of the calling process.
    unsafe {
        if sys::enif_thread_type() != 0 {
            sys::enif_consume_timeslice(env.as_c_arg(), percent);
        }
    }
}

/// Bytes of which parts become terms: the short ones by copying, the others as parts of one binary
/// that holds all the bytes and is made when the first of them needs it.
pub(crate) struct Source<'a, 'b> {
    env: Env<'a>,
    bytes: &'b [u8],
    binary: Option<Binary<'a>>,
    /// Whether a term is a part of that.
    is_shared: bool,
}

impl<'a, 'b> Source<'a, 'b> {
    /// Bytes of a buffer that is used again.
    pub(crate) fn borrowed(env: Env<'a>, bytes: &'b [u8]) -> Self {
        Self { env, bytes, binary: None, is_shared: false }
    }

    /// The bytes of a binary.
    pub(crate) fn shared(env: Env<'a>, binary: Binary<'a>) -> Self
    where
        'a: 'b,
    {
        Self { env, bytes: binary.as_slice(), binary: Some(binary), is_shared: false }
    }

    pub(crate) fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// Whether the bytes had to be a binary.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// A part of the bytes as a term.
    pub(crate) fn term(&mut self, part: &[u8]) -> Term<'a> {
        if part.len() > MAX_HEAP_BINARY {
            let offset = (part.as_ptr() as usize).wrapping_sub(self.bytes.as_ptr() as usize);
            let whole = *self.binary.get_or_insert_with(|| binary(self.env, self.bytes));
            if let Ok(shared) = whole.make_subbinary(offset, part.len()) {
                self.is_shared = true;
                return shared.to_term(self.env);
            }
        }
        let mut copy = NewBinary::new(self.env, part.len());
        copy.as_mut_slice().copy_from_slice(part);
        copy.into()
    }
}
