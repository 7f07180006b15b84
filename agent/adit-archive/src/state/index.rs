// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The content index: keyed hash of a small file's content to its place in a bundle, sorted, in pages.
//!
//! A renamed or copied small file finds its place here and sends nothing. Only the first hash of each page is held in
//! memory; a look-up reads one page.

use super::StateError;
use super::block::sum;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes of one place: hash, bundle number, offset, length.
const PLACE_BYTES: usize = 28;
/// Places of one page.
const PAGE_PLACES: usize = 145;
/// Bytes of one page: places, then a checksum of 36 bytes' room.
pub(super) const PAGE_BYTES: usize = 4_096;

/// Where the content of a small file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) hash: [u8; 16],
    /// Number in the state's bundle table.
    pub(crate) bundle: u32,
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

fn page_sum(page: &[u8]) -> [u8; 16] {
    sum(&page[..PAGE_BYTES - 16])
}

fn leading(hash: &[u8; 16]) -> u64 {
    hash.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Writes places sorted by hash, without repeats; answers how many pages there are.
pub(super) fn write(places: &[Place], to: &mut impl Write) -> std::io::Result<u64> {
    let mut pages = 0;
    for chunk in places.chunks(PAGE_PLACES) {
        let mut page = vec![0; PAGE_BYTES];
        page[0..4].copy_from_slice(&u32::try_from(chunk.len()).unwrap_or_default().to_le_bytes());
        for (slot, place) in page[4..].chunks_exact_mut(PLACE_BYTES).zip(chunk) {
            slot[..16].copy_from_slice(&place.hash);
            slot[16..20].copy_from_slice(&place.bundle.to_le_bytes());
            slot[20..24].copy_from_slice(&place.offset.to_le_bytes());
            slot[24..28].copy_from_slice(&place.bytes.to_le_bytes());
        }
        let sum = page_sum(&page);
        page[PAGE_BYTES - 16..].copy_from_slice(&sum);
        to.write_all(&page)?;
        pages += 1;
    }
    Ok(pages)
}

/// An index in a file.
#[derive(Debug, Default)]
pub(super) struct Index {
    start: u64,
    fences: Vec<u64>,
}

impl Index {
    /// Reads the first hash of every page.
    pub(super) fn open(file: &File, path: &Path, start: u64, pages: u64) -> Result<Self, StateError> {
        let mut fences = Vec::new();
        for page in 0..pages {
            let mut head = [0; 12];
            file.read_exact_at(&mut head, start + page * PAGE_BYTES as u64).map_err(StateError::of("read", path))?;
            fences.push(head.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes)));
        }
        Ok(Self { start, fences })
    }

    /// The place of this content, if the index knows it. A damaged page knows nothing.
    pub(super) fn find(&self, file: &File, hash: &[u8; 16]) -> Option<Place> {
        let after = self.fences.partition_point(|fence| *fence <= leading(hash));
        // Hashes that share their first 8 bytes over a page's border are not looked for: the content is sent again.
        let page_at = after.checked_sub(1)?;
        let mut page = [0; PAGE_BYTES];
        file.read_exact_at(&mut page, self.start + (page_at * PAGE_BYTES) as u64).ok()?;
        if page[PAGE_BYTES - 16..] != page_sum(&page) {
            return None;
        }
        let count = usize::try_from(word(&page, 0)).ok()?.min(PAGE_PLACES);
        let places = page[4..].chunks_exact(PLACE_BYTES).take(count);
        places.map(parse).find(|place| place.hash == *hash)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn parse(bytes: &[u8]) -> Place {
    let mut hash = [0; 16];
    hash.copy_from_slice(&bytes[..16]);
    Place { hash, bundle: word(bytes, 16), offset: word(bytes, 20), bytes: word(bytes, 24) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_written_and_nothing_else() {
        for count in [0u32, 1, 145, 146, 5_000] {
            let mut places: Vec<Place> = (0..count)
                .map(|n| Place {
                    hash: *blake3::hash(&n.to_le_bytes()).as_bytes().first_chunk().unwrap(),
                    bundle: n / 80,
                    offset: n * 3,
                    bytes: n,
                })
                .collect();
            places.sort();
            let mut bytes = Vec::new();
            let pages = write(&places, &mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, pages * PAGE_BYTES as u64);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let index = Index::open(&file, Path::new("index"), 0, pages).unwrap();
            for place in &places {
                assert_eq!(index.find(&file, &place.hash), Some(*place));
            }
            assert_eq!(index.find(&file, &[0xab; 16]), None);
            if let Some(place) = places.first() {
                file.write_all_at(&[1], 9).unwrap();
                assert_eq!(index.find(&file, &place.hash), None, "a damaged page answered");
            }
        }
    }
}
