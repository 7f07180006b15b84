// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What ZFS says of its pools and their devices, from the zpool command. Times are seconds since 1970.

use serde::{Deserialize, Serialize};

/// One pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZpoolReading {
    /// Its name.
    pub name: String,
    /// Its id, which never changes; empty from commands that do not tell.
    pub guid: String,
    /// Its state, such as ONLINE or DEGRADED.
    pub state: String,
    /// Size, MiB.
    pub size_mib: Option<i64>,
    /// In use, MiB.
    pub used_mib: Option<i64>,
    /// Files and objects that no copy can repair.
    pub data_errors: u64,
    /// The last or the running scrub or resilver.
    pub scan: Option<ZpoolScan>,
    /// Top-level devices: stripes over these hold the data.
    pub groups: Vec<ZpoolGroup>,
}

/// A top-level device: a single one, a mirror, a raidz or a draid. Logs, caches and spares are groups too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZpoolGroup {
    /// Its name, such as mirror-0.
    pub name: String,
    /// Its state.
    pub state: String,
    /// Members that it may lose: 0 for a single device, all but one for a mirror, 1 to 3 for raidz and draid.
    pub may_lose: u32,
    /// Its members; a single device is its own member.
    pub members: Vec<ZpoolMember>,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZpoolMember {
    /// Its name or path.
    pub name: String,
    /// Its state.
    pub state: String,
    /// Read errors since they were cleared.
    pub read: u64,
    /// Write errors.
    pub write: u64,
    /// Checksum errors.
    pub checksum: u64,
}

/// A scrub or resilver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZpoolScan {
    /// Whether it is a resilver, which repairs a device, and not a scrub.
    pub is_resilver: bool,
    /// Whether it runs now.
    pub is_running: bool,
    /// When it ended.
    pub end_s: Option<u64>,
    /// Errors that it could not repair.
    pub errors: u64,
}
