// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A second look at a FAT32 volume that shares no code with the driver: who owns which cluster, read from the raw bytes.

use crate::overlay::Overlay;
use std::collections::HashMap;

/// What is wrong with a volume's clusters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Clusters in two chains.
    pub(crate) shared: u32,
    /// Clusters that are taken and in no chain.
    pub(crate) lost: u32,
    /// Chains that run into a free cluster or out of the volume, or are shorter than their file.
    pub(crate) broken: u32,
    /// Sectors in which the two tables differ.
    pub(crate) tables: u32,
}

struct Volume<'d> {
    disk: &'d Overlay,
    table_start: u64,
    data_start: u64,
    cluster_sectors: u64,
    clusters: u32,
}

fn number(bytes: &[u8], at: usize, count: usize) -> u64 {
    bytes[at..at + count].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

impl Volume<'_> {
    fn next(&self, cluster: u32) -> u32 {
        let per_sector = self.disk.sector_bytes as u64 / 4;
        let sector = self.disk.sector(self.table_start + u64::from(cluster) / per_sector);
        let at = usize::try_from(u64::from(cluster) % per_sector).expect("small") * 4;
        u32::try_from(number(sector, at, 4)).expect("32 bits") & 0x0FFF_FFFF
    }

    fn content(&self, cluster: u32) -> Vec<u8> {
        let first = self.data_start + u64::from(cluster - 2) * self.cluster_sectors;
        (first..first + self.cluster_sectors).flat_map(|sector| self.disk.sector(sector).to_vec()).collect()
    }

    /// Marks a chain's clusters as owned, and gives the folder's bytes when it is one.
    fn take(&self, first: u32, wrong: &mut Wrong, owners: &mut HashMap<u32, u32>) -> Vec<u32> {
        let (mut cluster, mut chain) = (first, Vec::new());
        while cluster >= 2 && cluster - 2 < self.clusters && chain.len() <= self.clusters as usize {
            if owners.insert(cluster, first).is_some() {
                wrong.shared += 1;
                return chain;
            }
            chain.push(cluster);
            cluster = self.next(cluster);
        }
        wrong.broken += u32::from(cluster < 0x0FFF_FFF8);
        chain
    }
}

/// Looks at every chain of a volume.
pub(crate) fn wrong_with(disk: &Overlay) -> Wrong {
    let boot = disk.sector(0);
    let (table_sectors, reserved) = (number(boot, 36, 4), number(boot, 14, 2));
    let data_start = reserved + number(boot, 16, 1) * table_sectors;
    let cluster_sectors = number(boot, 13, 1);
    let clusters = u32::try_from((number(boot, 32, 4) - data_start) / cluster_sectors).expect("FAT32");
    let volume = Volume { disk, table_start: reserved, data_start, cluster_sectors, clusters };
    let (mut wrong, mut owners) = (Wrong::default(), HashMap::new());
    let mut folders = vec![u32::try_from(number(boot, 44, 4)).expect("32 bits")];
    while let Some(folder) = folders.pop() {
        let chain = volume.take(folder, &mut wrong, &mut owners);
        let bytes: Vec<u8> = chain.into_iter().flat_map(|cluster| volume.content(cluster)).collect();
        for entry in bytes.chunks(32).take_while(|entry| entry[0] != 0) {
            if entry[0] == 0xE5 || entry[11] & 0x08 != 0 || entry[0] == b'.' {
                continue;
            }
            let first = u32::try_from(number(entry, 20, 2) << 16 | number(entry, 26, 2)).expect("32 bits");
            if entry[11] & 0x10 != 0 {
                folders.push(first);
            } else if first != 0 {
                let held = volume.take(first, &mut wrong, &mut owners).len() as u64;
                let cluster_bytes = cluster_sectors * disk.sector_bytes as u64;
                wrong.broken += u32::from(held != number(entry, 28, 4).div_ceil(cluster_bytes));
            }
        }
    }
    let taken = (2..clusters + 2).filter(|cluster| volume.next(*cluster) != 0);
    wrong.lost = u32::try_from(taken.filter(|cluster| !owners.contains_key(cluster)).count()).expect("32 bits");
    let differ = |sector: &u64| disk.sector(reserved + sector) != disk.sector(reserved + table_sectors + sector);
    wrong.tables = u32::try_from((0..table_sectors).filter(differ).count()).expect("32 bits");
    wrong
}
