// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lists that are read where they lie, so that a decoder needs no heap.

use crate::ids::Id;
use core::marker::PhantomData;
use serde::{Deserialize, Serialize};

/// Ids packed back to back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids<'a>(#[serde(borrow)] &'a [u8]);

impl<'a> Ids<'a> {
    /// Packed ids, if the bytes divide into whole ids.
    #[must_use]
    pub const fn new(packed: &'a [u8]) -> Option<Self> {
        if packed.len().is_multiple_of(Id::BYTES) { Some(Self(packed)) } else { None }
    }

    /// How many ids there are. A torn last id doesn't count: check with [`Ids::is_whole`].
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len().div_euclid(Id::BYTES)
    }

    /// Whether the bytes divide into whole ids. Decoders refuse a message where this is false.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.0.len().is_multiple_of(Id::BYTES)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ids in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Id> + 'a {
        self.0.chunks_exact(Id::BYTES).map(|bytes| Id::from_slice(bytes).unwrap_or_default())
    }

    /// The packed bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// Any number of one message part, encoded back to back and decoded one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts<'a, T> {
    #[serde(borrow)]
    bytes: &'a [u8],
    #[serde(skip)]
    part: PhantomData<fn() -> T>,
}

impl<T> Default for Parts<'_, T> {
    fn default() -> Self {
        Self { bytes: &[], part: PhantomData }
    }
}

impl<'a, T: Deserialize<'a>> Parts<'a, T> {
    /// Parts whose encodings lie back to back in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, part: PhantomData }
    }

    /// The encoded parts.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The parts in their order; the first that does not decode ends the iteration with an error.
    pub fn iter(&self) -> PartsIter<'a, T> {
        PartsIter { rest: self.bytes, part: PhantomData }
    }
}

/// Encodes one part into `buffer`; answers the part that was filled. Parts lie back to back in [`Parts`].
///
/// # Errors
/// When the buffer is too small.
pub fn encode_part<'b, T: Serialize>(part: &T, buffer: &'b mut [u8]) -> Result<&'b mut [u8], postcard::Error> {
    postcard::to_slice(part, buffer)
}

/// Iterates over [`Parts`].
#[derive(Clone, Debug)]
pub struct PartsIter<'a, T> {
    rest: &'a [u8],
    part: PhantomData<fn() -> T>,
}

impl<'a, T: Deserialize<'a>> Iterator for PartsIter<'a, T> {
    type Item = Result<T, postcard::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match postcard::take_from_bytes(self.rest) {
            Ok((part, rest)) => {
                // A part of no bytes would never end the list.
                if rest.len() == self.rest.len() {
                    self.rest = &[];
                    return Some(Err(postcard::Error::DeserializeUnexpectedEnd));
                }
                self.rest = rest;
                Some(Ok(part))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}
