// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A qcow2 file (version 3) over a raw base: writes only what differs, so that a crash state costs as little as what the
//! guest wrote. It is written once; QEMU goes on with it.
//!
//! ```text
//! cluster 0: header, backing format, base's name | L1 | refcount table | refcount blocks | L2 tables | data
//! ```

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a cluster: what one changed byte costs.
pub const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;
/// Longest name of a base, in bytes; the format's own limit.
pub const BASE_NAME_BYTES_MAX: usize = 1023;
/// Largest disk, in bytes.
pub const SIZE_BYTES_MAX: u64 = 64 << 40;
const CLUSTER_BITS: u32 = 16;
/// Clusters that one L2 table maps.
const L2_CLUSTERS: u64 = CLUSTER_BYTES / 8;
/// Clusters that one refcount block counts, with 16 bits each.
const REFCOUNT_CLUSTERS: u64 = CLUSTER_BYTES / 2;
/// The cluster has one owner and may be written in place.
const COPIED: u64 = 1 << 63;
const HEADER_BYTES: u32 = 104;
const NAME_OFFSET: u64 = 128;

/// What an overlay lies over, and how large the guest sees it.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// The raw file below.
    pub base: &'a Path,
    /// Size that the guest sees, in bytes; at least the base's.
    pub size_bytes: u64,
}

/// Where the parts of the file stand, in clusters.
struct Layout {
    l1: u64,
    refcount_table: u64,
    refcount_blocks: u64,
    l2: u64,
    data: u64,
    end: u64,
    l1_entries: u64,
}

impl Overlay<'_> {
    /// Writes the overlay to `path`, with `clusters` (number of the guest's cluster, content of [`CLUSTER_BYTES`]) that
    /// differ from the base, in ascending order.
    pub fn write(&self, path: &Path, clusters: &[(u64, Vec<u8>)]) -> Result<()> {
        let base = std::path::absolute(self.base).with_context(|| format!("find {}", self.base.display()))?;
        let base_bytes = base.metadata().with_context(|| format!("look at {}", base.display()))?.len();
        let name = base.as_os_str().as_bytes();
        ensure!(name.len() <= BASE_NAME_BYTES_MAX, "name of the base {} is too long", base.display());
        ensure!(
            (base_bytes.max(1)..=SIZE_BYTES_MAX).contains(&self.size_bytes),
            "an overlay of {} bytes over {base_bytes} bytes",
            self.size_bytes
        );
        let mut last = None;
        for (number, content) in clusters {
            ensure!(
                last < Some(*number) && *number < self.size_bytes.div_ceil(CLUSTER_BYTES),
                "cluster {number} is out of order"
            );
            ensure!(u64::try_from(content.len())? == CLUSTER_BYTES, "cluster {number} has {} bytes", content.len());
            last = Some(*number);
        }
        let tables: BTreeSet<u64> = clusters.iter().map(|(number, _)| number / L2_CLUSTERS).collect();
        let layout = Layout::new(self.size_bytes, u64::try_from(tables.len())?, u64::try_from(clusters.len())?);
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        self.fill(&file, &layout, name, &tables, clusters).with_context(|| format!("write {}", path.display()))
    }

    fn fill(
        &self,
        file: &File,
        layout: &Layout,
        name: &[u8],
        tables: &BTreeSet<u64>,
        clusters: &[(u64, Vec<u8>)],
    ) -> Result<()> {
        file.set_len(layout.end * CLUSTER_BYTES)?;
        file.write_all_at(&self.header(layout, name)?, 0)?;
        let entry = |place: u64, entry: u64, value: u64| {
            file.write_all_at(&value.to_be_bytes(), place * CLUSTER_BYTES + entry * 8)
        };
        for block in 0..layout.l2 - layout.refcount_blocks {
            entry(layout.refcount_table, block, (layout.refcount_blocks + block) * CLUSTER_BYTES)?;
        }
        let counts = [0, 1].repeat(usize::try_from(layout.end)?);
        file.write_all_at(&counts, layout.refcount_blocks * CLUSTER_BYTES)?;
        for (place, table) in (layout.l2..).zip(tables) {
            entry(layout.l1, *table, (place * CLUSTER_BYTES) | COPIED)?;
        }
        let mut table_of = std::collections::BTreeMap::new();
        for (place, table) in (layout.l2..).zip(tables) {
            table_of.insert(*table, place);
        }
        for (place, (number, content)) in (layout.data..).zip(clusters) {
            let table = table_of.get(&(number / L2_CLUSTERS)).copied().unwrap_or_default();
            entry(table, number % L2_CLUSTERS, (place * CLUSTER_BYTES) | COPIED)?;
            file.write_all_at(content, place * CLUSTER_BYTES)?;
        }
        Ok(())
    }

    fn header(&self, layout: &Layout, name: &[u8]) -> Result<Vec<u8>> {
        let mut header = b"QFI\xfb".to_vec();
        header.extend(3_u32.to_be_bytes());
        header.extend(NAME_OFFSET.to_be_bytes());
        header.extend(u32::try_from(name.len())?.to_be_bytes());
        header.extend(CLUSTER_BITS.to_be_bytes());
        header.extend(self.size_bytes.to_be_bytes());
        header.extend(0_u32.to_be_bytes()); // no encryption
        header.extend(u32::try_from(layout.l1_entries)?.to_be_bytes());
        header.extend((layout.l1 * CLUSTER_BYTES).to_be_bytes());
        header.extend((layout.refcount_table * CLUSTER_BYTES).to_be_bytes());
        header.extend(u32::try_from(layout.refcount_blocks - layout.refcount_table)?.to_be_bytes());
        header.extend([0; 12]); // no snapshots
        header.extend([0; 24]); // no feature of any kind
        header.extend(4_u32.to_be_bytes()); // refcounts of 16 bits
        header.extend(HEADER_BYTES.to_be_bytes());
        header.extend(0xe279_2aca_u32.to_be_bytes());
        header.extend(3_u32.to_be_bytes());
        header.extend(b"raw\0\0\0\0\0");
        header.extend([0; 8]); // end of extensions
        header.extend(name);
        Ok(header)
    }
}

impl Layout {
    fn new(size_bytes: u64, tables: u64, clusters: u64) -> Self {
        let l1_entries = size_bytes.div_ceil(CLUSTER_BYTES * L2_CLUSTERS);
        let l1 = 1;
        let refcount_table = l1 + (l1_entries * 8).div_ceil(CLUSTER_BYTES);
        let mut blocks = 1_u64;
        loop {
            let refcount_blocks = refcount_table + (blocks * 8).div_ceil(CLUSTER_BYTES);
            let l2 = refcount_blocks + blocks;
            let end = l2 + tables + clusters;
            if end <= blocks * REFCOUNT_CLUSTERS {
                return Self { l1, refcount_table, refcount_blocks, l2, data: l2 + tables, end, l1_entries };
            }
            blocks += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_overlays_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        std::fs::write(&base, vec![1; 300_000]).unwrap();
        let out = folder.path().join("out");
        let write = |size_bytes, clusters: &[(u64, Vec<u8>)]| {
            Overlay { base: &base, size_bytes }.write(&out, clusters).map_err(|e| e.to_string())
        };
        let content = || vec![0; 1 << CLUSTER_BITS];
        assert!(write(300_000, &[(0, content()), (4, content())]).is_ok());
        assert!(write(299_999, &[]).unwrap_err().contains("over 300000"));
        assert!(write(SIZE_BYTES_MAX + 1, &[]).is_err());
        assert!(write(300_000, &[(5, content())]).unwrap_err().contains("out of order"));
        assert!(write(300_000, &[(1, content()), (1, content())]).unwrap_err().contains("out of order"));
        assert!(write(300_000, &[(1, vec![0; 9])]).unwrap_err().contains("9 bytes"));
        let long = folder.path().join("x/../".repeat(BASE_NAME_BYTES_MAX / 5)).join("base");
        assert!(Overlay { base: &long, size_bytes: 300_000 }.write(&out, &[]).is_err());
    }

    #[test]
    fn refcounts_cover_themselves() {
        let layout = Layout::new(1 << 40, 2048, 2_000_000);
        let blocks = layout.l2 - layout.refcount_blocks;
        assert!(blocks * REFCOUNT_CLUSTERS >= layout.end && (blocks - 1) * REFCOUNT_CLUSTERS < layout.end + 2);
    }
}
