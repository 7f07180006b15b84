// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fixed little-endian fields: a writer and a reader that never panic on bytes from a disk.

/// The page every flush ends on, and the unit of all fixed parts.
pub(crate) const PAGE: usize = 4096;
/// [`PAGE`] as an offset.
pub(crate) const PAGE_U64: u64 = 4096;

/// A length on disk as a length in memory.
pub(crate) fn memory(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a 64-bit machine holds the lengths that were checked before")
}

/// A count that the format caps below 2^32.
pub(crate) fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("the format caps this count")
}

/// The next multiple of `unit`, a power of two.
pub(crate) const fn align(value: u64, unit: u64) -> u64 {
    (value + unit - 1) & !(unit - 1)
}

/// Fixed-width fields in their order; `None` at the first that is not there.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// A page filled with `parts`, zeros, and BLAKE3 of all that in its last 32 bytes.
pub(crate) fn hashed_page(parts: &[&[u8]]) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    let mut at = 0;
    for part in parts {
        page[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    assert!(at <= PAGE - 32, "the parts leave room for the hash");
    let hash = blake3::hash(&page[..PAGE - 32]);
    page[PAGE - 32..].copy_from_slice(hash.as_bytes());
    page
}

/// The bytes before the hash, if it is right.
pub(crate) fn checked_page(page: &[u8]) -> Option<&[u8]> {
    let page: &[u8; PAGE] = page.try_into().ok()?;
    let (body, hash) = page.split_last_chunk::<32>()?;
    (blake3::hash(body).as_bytes() == hash).then_some(body)
}
