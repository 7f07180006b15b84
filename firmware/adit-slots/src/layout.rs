// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where things lie on an appliance's disk: partition types, names, sizes, offsets in the state partition, names of
//! files on the ESP. Numbers only; whoever builds, boots or inspects an image takes them from here.

/// A partition's type as its text in a GUID.
pub const ESP_TYPE: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
/// Type of the state partition: raw, holds what [`STATE_RECORD_OFFSETS`] and its neighbours say.
pub const STATE_TYPE: &str = "AD170001-5461-4654-8C1E-000000000001";
/// Type of the partition with keys, peers and configuration: ext4, made at the first boot.
pub const VAR_TYPE: &str = "AD170002-5461-4654-8C1E-000000000002";
/// Type of a data partition: ext4 directly on it.
pub const DATA_TYPE: &str = "AD170003-5461-4654-8C1E-000000000003";
/// Type of a data partition that is a member of an md RAID1.
pub const MIRROR_TYPE: &str = "AD170004-5461-4654-8C1E-000000000004";

/// Names of the partitions, in their order on the boot disk.
pub const ESP_NAME: &str = "adit-esp";
/// Name of the state partition.
pub const STATE_NAME: &str = "adit-state";
/// Name of the partition for keys and configuration, and label of its file system.
pub const VAR_NAME: &str = "adit-var";
/// Name of the data partition, label of its file system, name of a mirror's array.
pub const DATA_NAME: &str = "adit-data";
/// Name of a partition that is a mirror's member.
pub const MIRROR_NAME: &str = "adit-mirror";

/// Where the first partition begins and to what all are aligned, bytes.
pub const ALIGN_BYTES: u64 = 1 << 20;
/// Size of the ESP, bytes: room for three images of [`UKI_BYTES_MAX`].
pub const ESP_BYTES: u64 = 192 << 20;
/// A bit for each cluster of the ESP, bytes: a cluster has a sector at least, and 4,096-byte sectors have fewer of them.
pub const ESP_CLUSTER_MAP_BYTES: usize = 48 << 10;
const _: () = assert!(ESP_BYTES / 512 / 8 <= ESP_CLUSTER_MAP_BYTES as u64, "the ESP grew");
/// Size of the state partition, bytes.
pub const STATE_BYTES: u64 = 1 << 20;
/// Size of the partition for keys and configuration, bytes.
pub const VAR_BYTES: u64 = 64 << 20;
/// Size of the data partition in an image, bytes; it grows to the disk's end at every start.
pub const DATA_BYTES_IMAGE: u64 = 1 << 20;

/// Bytes of one copy of anything that the state partition holds twice.
pub const COPY_BYTES: usize = 4096;
/// Offsets of the two copies of the state record in the state partition, bytes.
pub const STATE_RECORD_OFFSETS: [u64; 2] = [0, 64 << 10];
/// Offsets of the two copies of the key set in the state partition, bytes.
pub const STATE_KEYS_OFFSETS: [u64; 2] = [128 << 10, 192 << 10];
/// Offsets of the two copies of the box's part of the key of encrypted data in the state partition, bytes.
pub const STATE_SHARE_OFFSETS: [u64; 2] = [256 << 10, 320 << 10];
/// A factory reset erases all of the state partition from here on.
pub const STATE_SHARE_OFFSET: u64 = STATE_SHARE_OFFSETS[0];
/// Where room is kept for the last console and kernel log in the state partition, bytes; nothing is written there yet.
pub const STATE_LOG_OFFSET: u64 = 512 << 10;
/// Room for that log, bytes.
pub const STATE_LOG_BYTES: u64 = 512 << 10;

/// The boot loader that firmware starts without any boot entry, x86-64.
pub const BOOT_FILE_X86_64: &str = "EFI/BOOT/BOOTX64.EFI";
/// The same for arm64.
pub const BOOT_FILE_AARCH64: &str = "EFI/BOOT/BOOTAA64.EFI";
/// The boot loader's configuration.
pub const LOADER_CONF: &str = "loader/loader.conf";
/// The folder of slot files, in two steps from the root.
pub const SLOT_FOLDER: [&str; 2] = ["EFI", "Linux"];
/// The preseed in the ESP's root.
pub const PRESEED_FILE: &str = "adit.toml";
/// Tries that a candidate gets, as its file name says when it is staged.
pub const TRIES: u8 = 3;
/// The largest image that a slot takes, bytes.
pub const UKI_BYTES_MAX: u64 = 56 << 20;
const _: () = assert!(3 * UKI_BYTES_MAX < ESP_BYTES, "two slots and a candidate that is being written");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_partition_holds_its_parts_without_overlap() {
        let copy = COPY_BYTES as u64;
        let mut ranges = vec![
            (STATE_RECORD_OFFSETS[0], copy),
            (STATE_RECORD_OFFSETS[1], copy),
            (STATE_KEYS_OFFSETS[0], copy),
            (STATE_KEYS_OFFSETS[1], copy),
            (STATE_SHARE_OFFSETS[0], copy),
            (STATE_SHARE_OFFSETS[1], copy),
            (STATE_LOG_OFFSET, STATE_LOG_BYTES),
        ];
        ranges.push((STATE_BYTES, 0));
        assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
    }
}
