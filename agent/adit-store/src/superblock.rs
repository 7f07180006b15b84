// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The superblock: what a store is, in 4,096 bytes, twice. Written when the store is made or upgraded, never between.

use crate::bytes::{Fields, checked_page, hashed_page};
use crate::types::{Geometry, NewStore};
use adit_wire::ids::StoreId;
use adit_wire::record::RECORD_BYTES_MAX;

/// Names of the two copies.
pub(crate) const NAMES: [&str; 2] = ["store.adt", "store.bak"];
/// The store format of this program.
pub(crate) const FORMAT: u16 = 1;
const MAGIC: &[u8; 8] = b"ADITSTO1";

/// A store's name, secret and sizes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) id: StoreId,
    pub(crate) store_key: [u8; 32],
    pub(crate) geometry: Geometry,
    pub(crate) created_s: u64,
    /// Features without which the store may be read, but not written.
    pub(crate) ro_compat: u64,
}

impl std::fmt::Debug for Superblock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The store key stays out of logs.
        f.debug_struct("Superblock").field("id", &self.id).field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

/// Why a page is no superblock of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SuperblockError {
    Damaged,
    Newer(String),
}

impl Superblock {
    pub(crate) fn new(new: &NewStore) -> Option<Self> {
        let Geometry { data_log2, meta_log2, col_log2, cell_log2 } = new.geometry;
        let fits = (16..=32).contains(&data_log2)
            && (16..=32).contains(&meta_log2)
            && cell_log2 >= 9
            && cell_log2 <= col_log2
            && col_log2 <= data_log2.min(meta_log2);
        fits.then_some(Self {
            id: new.id,
            store_key: new.store_key,
            geometry: new.geometry,
            created_s: new.created_s,
            ro_compat: 0,
        })
    }

    pub(crate) fn to_page(&self) -> [u8; 4096] {
        let geometry = self.geometry;
        hashed_page(&[
            MAGIC,
            &FORMAT.to_le_bytes(),
            &[0; 2],
            &0u64.to_le_bytes(),
            &self.ro_compat.to_le_bytes(),
            &0u64.to_le_bytes(),
            &self.id.0,
            &self.store_key,
            &[geometry.data_log2, geometry.meta_log2, geometry.col_log2, geometry.cell_log2],
            &crate::bytes::narrow(RECORD_BYTES_MAX).to_le_bytes(),
            &self.created_s.to_le_bytes(),
        ])
    }

    pub(crate) fn from_page(page: &[u8]) -> Result<Self, SuperblockError> {
        let body = checked_page(page).ok_or(SuperblockError::Damaged)?;
        Self::fields(body).ok_or(SuperblockError::Damaged)?
    }

    fn fields(body: &[u8]) -> Option<Result<Self, SuperblockError>> {
        let mut fields = Fields::new(body);
        if fields.bytes(7)? != &MAGIC[..7] {
            return None;
        }
        let magic_version = fields.u8()?;
        let format = fields.u16()?;
        fields.u16()?;
        let _compat = fields.u64()?;
        let ro_compat = fields.u64()?;
        let incompat = fields.u64()?;
        if magic_version != MAGIC[7] || format != FORMAT {
            return Some(Err(SuperblockError::Newer(format!("store format {format}, this program reads {FORMAT}"))));
        }
        if incompat != 0 {
            return Some(Err(SuperblockError::Newer(format!("feature bits {incompat:#x}, this program knows none"))));
        }
        let id = StoreId(fields.array()?);
        let store_key = fields.array()?;
        let [data_log2, meta_log2, col_log2, cell_log2] = fields.array()?;
        let record_bytes_max = fields.u32()?;
        let created_s = fields.u64()?;
        if record_bytes_max != crate::bytes::narrow(RECORD_BYTES_MAX) {
            let what = format!("records of {record_bytes_max} bytes, this program takes {RECORD_BYTES_MAX}");
            return Some(Err(SuperblockError::Newer(what)));
        }
        let geometry = Geometry { data_log2, meta_log2, col_log2, cell_log2 };
        let new = NewStore { id, store_key, geometry, created_s };
        Some(Self::new(&new).map(|superblock| Self { ro_compat, ..superblock }).ok_or(SuperblockError::Damaged))
    }

    /// Largest data (or meta) segment, bytes.
    pub(crate) const fn segment_bytes(&self, class: crate::segment::Class) -> u64 {
        match class {
            crate::segment::Class::Data => 1 << self.geometry.data_log2,
            crate::segment::Class::Meta => 1 << self.geometry.meta_log2,
        }
    }

    /// Length of a ledger file: a sixteenth of a data segment, 64 KiB to 16 MiB.
    pub(crate) fn ledger_file_bytes(&self) -> u64 {
        (1u64 << self.geometry.data_log2 >> 4).clamp(64 << 10, 16 << 20)
    }

    /// Entries of the index held in memory before they are written as a table.
    pub(crate) fn memtable_entries(&self) -> usize {
        crate::bytes::memory((1u64 << self.geometry.data_log2 >> 12).clamp(16, 64 << 10))
    }

    /// Bytes gathered before they are handed to the disk.
    pub(crate) fn buffer_bytes(&self) -> usize {
        crate::bytes::memory((1u64 << self.geometry.data_log2 >> 4).clamp(16 << 10, 1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::{Superblock, SuperblockError};
    use crate::bytes::{PAGE, hashed_page};
    use crate::types::{Geometry, NewStore};
    use adit_wire::ids::StoreId;

    fn superblock() -> Superblock {
        let new = NewStore {
            id: StoreId([0x11; 16]),
            store_key: [0x22; 32],
            geometry: Geometry::default(),
            created_s: 0x0102_0304,
        };
        Superblock::new(&new).expect("the default geometry is in range")
    }

    #[test]
    fn golden_bytes() {
        let page = superblock().to_page();
        assert_eq!(&page[..36], b"ADITSTO1\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&page[36..52], &[0x11; 16]);
        assert_eq!(&page[52..84], &[0x22; 32]);
        assert_eq!(&page[84..100], &[28, 26, 22, 12, 0, 0, 0x20, 0, 4, 3, 2, 1, 0, 0, 0, 0]);
        assert!(page[100..PAGE - 32].iter().all(|byte| *byte == 0));
        assert_eq!(Superblock::from_page(&page), Ok(superblock()));
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let page = superblock().to_page();
        for at in 0..PAGE {
            let mut torn = page;
            torn[at] ^= 1;
            assert_eq!(Superblock::from_page(&torn), Err(SuperblockError::Damaged), "byte {at}");
        }
    }

    #[test]
    fn newer_stores_are_named() {
        for (at, value) in [(8, 2), (28, 1)] {
            let mut page = superblock().to_page();
            page[at] = value;
            let page = hashed_page(&[&page[..PAGE - 32]]);
            assert!(matches!(Superblock::from_page(&page), Err(SuperblockError::Newer(_))), "byte {at}");
        }
    }
}
