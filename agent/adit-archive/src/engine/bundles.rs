// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Small files packed into bundles, and the index that finds equal content again.
//!
//! A first run closes bundles at path boundaries, so that a repeat of the run makes the same ones; later runs pack only
//! what changed, and close early, so that one directory's files don't scatter over many large bundles.

use crate::cut::{PathCutter, PathLevel};
use crate::state::{Bundle, Place, State, short};
use adit_wire::ids::Id;
use std::collections::{HashMap, HashSet};

/// Files of this many bytes or more are cut into chunks of their own.
pub(super) const SMALL_BYTES: usize = 128 << 10;
/// Longest bundle, bytes.
const BUNDLE_BYTES_MAX: usize = 256 << 10;
/// Most files in a bundle.
const BUNDLE_FILES_MAX: usize = 1_024;
/// From this length on a first run's bundle ends at the next path boundary.
const FIRST_BYTES_MIN: usize = 128 << 10;
/// One path in this many is a boundary.
const FIRST_ENDS_MEAN: u32 = 16;
/// A later run's bundle ends at this length.
const CHANGED_BYTES: usize = 64 << 10;

/// Where a small file's content went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Number in this run's table.
    pub(super) bundle: u32,
    pub(super) offset: u32,
}

/// The bundles of a run.
#[derive(Debug)]
pub(super) struct Bundles {
    first: bool,
    /// Every bundle that the snapshot uses; an open one has no id yet.
    table: Vec<Bundle>,
    by_id: HashMap<u64, u32>,
    open: Vec<u8>,
    open_files: usize,
    open_number: Option<u32>,
    places: Vec<Place>,
    /// Leading bytes of the hash to the place, for content read in this run.
    by_hash: HashMap<u64, u32>,
    /// Bundles of the state before that must not be used again.
    barred: HashSet<u64>,
}

fn leading(hash: &[u8; 16]) -> u64 {
    hash.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Bundles {
    /// `before` = the state to compare with; `missing` = short ids that the box lost.
    pub(super) fn new(before: Option<&State>, missing: &HashSet<u64>) -> Self {
        let sparse = before.into_iter().flat_map(State::bundles).filter(|bundle| bundle.is_sparse());
        let barred = sparse.map(|bundle| short(&bundle.id)).chain(missing.iter().copied()).collect();
        Self {
            first: before.is_none(),
            table: Vec::new(),
            by_id: HashMap::new(),
            open: Vec::with_capacity(BUNDLE_BYTES_MAX),
            open_files: 0,
            open_number: None,
            places: Vec::new(),
            by_hash: HashMap::new(),
            barred,
        }
    }

    /// Whether an unchanged file may stay where it lies.
    pub(super) fn may_stay(&self, bundle: &Id) -> bool {
        !self.barred.contains(&short(bundle))
    }

    /// An unchanged file stays in its bundle.
    pub(super) fn stay(&mut self, bundle: Id, bundle_bytes: u32, placed_at: u32, bytes: u32, hash: [u8; 16]) {
        let number = self.number(bundle, bundle_bytes);
        self.places.push(Place { hash, bundle: number, offset: placed_at, bytes });
    }

    fn number(&mut self, id: Id, bytes: u32) -> u32 {
        *self.by_id.entry(short(&id)).or_insert_with(|| {
            self.table.push(Bundle { id, bytes, live: 0 });
            u32::try_from(self.table.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// Where equal content already lies: in this run, or in the state before.
    pub(super) fn find(&mut self, hash: &[u8; 16], bytes: usize, before: Option<&State>) -> Option<Placed> {
        let bytes = u32::try_from(bytes).ok()?;
        if let Some(at) = self.by_hash.get(&leading(hash)) {
            let place = self.places[usize::try_from(*at).ok()?];
            return (place.hash == *hash && place.bytes == bytes)
                .then_some(Placed { bundle: place.bundle, offset: place.offset });
        }
        let before = before?;
        let place = before.find_content(hash).filter(|place| place.bytes == bytes)?;
        let bundle = *before.bundles().get(usize::try_from(place.bundle).ok()?)?;
        if !self.may_stay(&bundle.id) {
            return None;
        }
        let number = self.number(bundle.id, bundle.bytes);
        self.remember(Place { bundle: number, ..place });
        Some(Placed { bundle: number, offset: place.offset })
    }

    fn remember(&mut self, place: Place) {
        let at = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(place);
        self.by_hash.insert(leading(&place.hash), at);
    }

    /// Whether content of this length would overflow the open bundle.
    pub(super) fn overflows(&self, bytes: usize) -> bool {
        !self.open.is_empty() && self.open.len() + bytes > BUNDLE_BYTES_MAX
    }

    /// Adds content to the open bundle; answers its place and whether the bundle ends behind it.
    pub(super) fn add(&mut self, cutter: &PathCutter, path: &[u8], hash: [u8; 16], content: &[u8]) -> (Placed, bool) {
        let number = *self.open_number.get_or_insert_with(|| {
            self.table.push(Bundle { id: Id::ZERO, bytes: 0, live: 0 });
            u32::try_from(self.table.len() - 1).unwrap_or(u32::MAX)
        });
        let placed = Placed { bundle: number, offset: u32::try_from(self.open.len()).unwrap_or(u32::MAX) };
        self.open.extend_from_slice(content);
        self.open_files += 1;
        let bytes = u32::try_from(content.len()).unwrap_or(u32::MAX);
        self.remember(Place { hash, bundle: number, offset: placed.offset, bytes });
        let ends = if self.first {
            self.open.len() >= FIRST_BYTES_MIN && cutter.ends(PathLevel::Bundle, path, FIRST_ENDS_MEAN)
        } else {
            self.open.len() >= CHANGED_BYTES
        };
        (placed, ends || self.open_files >= BUNDLE_FILES_MAX)
    }

    /// The plaintext of the open bundle, if there is one.
    pub(super) fn open_plain(&self) -> Option<&[u8]> {
        self.open_number.map(|_| self.open.as_slice())
    }

    /// The open bundle was sent and has this id now.
    pub(super) fn close(&mut self, id: Id) {
        let Some(number) = self.open_number.take() else { return };
        self.by_id.insert(short(&id), number);
        if let Some(row) = usize::try_from(number).ok().and_then(|number| self.table.get_mut(number)) {
            row.id = id;
            row.bytes = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        }
        self.open.clear();
        self.open_files = 0;
    }

    /// The id of a bundle of this run; `None` while it's open.
    pub(super) fn id(&self, number: u32) -> Option<Id> {
        let row = self.table.get(usize::try_from(number).ok()?)?;
        (!row.id.is_zero()).then_some(row.id)
    }

    /// Bundle table with live bytes, and places sorted by hash: what the state keeps.
    pub(super) fn into_tables(mut self) -> (Vec<Bundle>, Vec<Place>) {
        self.places.sort_unstable_by_key(|place| (place.bundle, place.offset, place.hash));
        let mut last = None;
        for place in &self.places {
            let here = (place.bundle, place.offset);
            if last != Some(here)
                && let Some(row) = usize::try_from(place.bundle).ok().and_then(|at| self.table.get_mut(at))
            {
                row.live = row.live.saturating_add(place.bytes).min(row.bytes);
            }
            last = Some(here);
        }
        self.places.retain(|place| place.hash != [0; 16]);
        self.places.sort_unstable();
        self.places.dedup_by_key(|place| place.hash);
        (self.table, self.places)
    }
}
