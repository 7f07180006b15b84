// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A disk as a qcow2 file, version 3 (QEMU's docs/interop/qcow2.txt), for virtual machines: clusters of zeros take no room.
//! Standing alone, without snapshots or features. Never reads one.
//!
//! ```text
//! cluster 0: header | L1 | refcount table | refcount block | L2 tables | data
//! ```

/// Bytes of a cluster.
pub const CLUSTER_BYTES: usize = 1 << CLUSTER_BITS;
/// The largest disk, in bytes: its refcounts fit one block.
pub const DISK_BYTES_MAX: usize = 1 << 30;
const CLUSTER_BITS: u32 = 16;
const L2_ENTRIES: usize = CLUSTER_BYTES / 8;
/// The cluster has one owner and may be written in place.
const COPIED: u64 = 1 << 63;
const HEADER_BYTES: u32 = 104;
const L1_CLUSTER: usize = 1;
const REFCOUNT_TABLE_CLUSTER: usize = 2;
const REFCOUNT_BLOCK_CLUSTER: usize = 3;
const L2_CLUSTER: usize = 4;

/// A disk larger than [`DISK_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a disk of {0} bytes is not written as qcow2, at most {DISK_BYTES_MAX} are")]
pub struct TooLarge(pub usize);

/// The file for a disk.
pub fn of(disk: &[u8]) -> Result<Vec<u8>, TooLarge> {
    if disk.len() > DISK_BYTES_MAX {
        return Err(TooLarge(disk.len()));
    }
    let clusters: Vec<(usize, &[u8])> =
        disk.chunks(CLUSTER_BYTES).enumerate().filter(|(_, cluster)| cluster.iter().any(|byte| *byte != 0)).collect();
    let tables = disk.len().div_ceil(CLUSTER_BYTES * L2_ENTRIES);
    let data = L2_CLUSTER + tables;
    let end = data + clusters.len();
    let mut file = vec![0; end * CLUSTER_BYTES];
    let mut put = |at: usize, value: u64| file[at..at + 8].copy_from_slice(&value.to_be_bytes());
    let place = |cluster: usize| (cluster * CLUSTER_BYTES) as u64;
    put(REFCOUNT_TABLE_CLUSTER * CLUSTER_BYTES, place(REFCOUNT_BLOCK_CLUSTER));
    for table in 0..tables {
        put(L1_CLUSTER * CLUSTER_BYTES + table * 8, place(L2_CLUSTER + table) | COPIED);
    }
    for (index, (number, _)) in clusters.iter().enumerate() {
        put(L2_CLUSTER * CLUSTER_BYTES + number * 8, place(data + index) | COPIED);
    }
    for (index, (_, cluster)) in clusters.iter().enumerate() {
        let at = (data + index) * CLUSTER_BYTES;
        file[at..at + cluster.len()].copy_from_slice(cluster);
    }
    let counts = [0, 1].repeat(end);
    let at = REFCOUNT_BLOCK_CLUSTER * CLUSTER_BYTES;
    file[at..at + counts.len()].copy_from_slice(&counts);
    let header = header(disk.len() as u64, u32::try_from(tables).unwrap_or(u32::MAX));
    file[..header.len()].copy_from_slice(&header);
    Ok(file)
}

fn header(disk_bytes: u64, tables: u32) -> Vec<u8> {
    let place = |cluster: usize| ((cluster * CLUSTER_BYTES) as u64).to_be_bytes();
    let mut header = b"QFI\xfb\0\0\0\x03".to_vec();
    header.extend([0; 12]); // no backing file
    header.extend(CLUSTER_BITS.to_be_bytes());
    header.extend(disk_bytes.to_be_bytes());
    header.extend([0; 4]); // no encryption
    header.extend(tables.to_be_bytes());
    header.extend(place(L1_CLUSTER));
    header.extend(place(REFCOUNT_TABLE_CLUSTER));
    header.extend(1_u32.to_be_bytes());
    header.extend([0; 12]); // no snapshots
    header.extend([0; 24]); // no feature of any kind
    header.extend(4_u32.to_be_bytes()); // refcounts of 16 bits
    header.extend(HEADER_BYTES.to_be_bytes());
    header.extend([0; 8]); // no extensions
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(file: &[u8], at: usize) -> usize {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&file[at..at + 8]);
        usize::try_from(u64::from_be_bytes(bytes) & !COPIED).unwrap()
    }

    /// Follows the tables as a reader would.
    #[test]
    fn every_cluster_is_found_by_its_tables() {
        let mut disk = vec![0; L2_ENTRIES * CLUSTER_BYTES + 3 * CLUSTER_BYTES + 512];
        for at in [0, 5 * CLUSTER_BYTES + 7, L2_ENTRIES * CLUSTER_BYTES, disk.len() - 1] {
            disk[at] = 0xad;
        }
        let file = of(&disk).unwrap();
        assert_eq!(number(&file, 24), disk.len());
        assert_eq!(file.len(), (4 + 2 + 4) * CLUSTER_BYTES);
        for (index, cluster) in disk.chunks(CLUSTER_BYTES).enumerate() {
            let table = number(&file, number(&file, 40) + index / L2_ENTRIES * 8);
            let place = number(&file, table + index % L2_ENTRIES * 8);
            let zeros = cluster.iter().all(|byte| *byte == 0);
            assert_eq!(zeros, place == 0, "cluster {index}");
            assert!(zeros || file[place..place + cluster.len()] == *cluster, "cluster {index}");
        }
        let counts = &file[number(&file, number(&file, 48))..][..CLUSTER_BYTES];
        let counted = counts.chunks(2).filter(|count| *count == [0, 1]).count();
        assert_eq!(counted * CLUSTER_BYTES, file.len(), "each cluster of the file is counted once");
        assert_eq!(of(&vec![0; DISK_BYTES_MAX + 1]), Err(TooLarge(DISK_BYTES_MAX + 1)));
        assert!(of(&vec![0; DISK_BYTES_MAX]).is_ok());
    }
}
