// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An md array as sysfs shows it (Documentation/admin-guide/md.rst).

/// An array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArrayReading {
    /// The kernel's name, such as "md0".
    pub name: String,
    /// Its UUID, else its name.
    pub id: String,
    /// "raid1", "raid6", "linear"…
    pub level: String,
    /// `array_state`. It stays "clean" when a member dies.
    pub state: String,
    /// Members that the array is made for.
    pub raid_disks: i64,
    /// Members that are missing or failed; `None` on levels without redundancy.
    pub degraded: Option<i64>,
    /// RAID10: how often each block lies somewhere.
    pub copies: i64,
    /// What is going on: "idle", "resync", "recover", "check", "repair", "reshape", "frozen".
    pub sync_action: String,
    /// What was going on before it was idle.
    pub last_sync_action: String,
    /// How much of that is done, per mille.
    pub sync_permille: Option<i64>,
    /// Its speed, KiB/s.
    pub sync_kib_per_second: Option<i64>,
    /// Sectors found to differ by the last check or repair.
    pub mismatches: Option<i64>,
    /// Devices that belong to it now.
    pub members: Vec<ArrayMember>,
}

impl ArrayReading {
    /// How many more members may fail for sure; negative when data is lost; `None` where there never was redundancy.
    #[must_use]
    pub fn redundancy_left(&self) -> Option<i64> {
        let whole = match self.level.as_str() {
            "raid1" => self.raid_disks.saturating_sub(1),
            "raid4" | "raid5" => 1,
            "raid6" => 2,
            "raid10" => self.copies.saturating_sub(1),
            _ => return None,
        };
        // RAID10 may survive more than is sure: the kernel says so by staying up.
        let left = whole.saturating_sub(self.degraded.unwrap_or(0));
        Some(if self.level == "raid10" { left.max(0) } else { left })
    }

    /// Spare members.
    #[must_use]
    pub fn spares(&self) -> i64 {
        let spares = self.members.iter().filter(|member| member.slot.is_none() && !member.is("faulty"));
        i64::try_from(spares.count()).unwrap_or(i64::MAX)
    }
}

/// A device of an array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArrayMember {
    /// The kernel's name, such as "sdb1".
    pub device: String,
    /// Id of the disk it is on.
    pub disk_id: Option<String>,
    /// The disk it is on, as a person calls it: name, model, serial, bay.
    pub disk: Option<String>,
    /// Its place in the array; `None` for a spare and for one that failed.
    pub slot: Option<u32>,
    /// Its flags: "in_sync", "faulty", "spare", "write_error", "want_replacement", "replacement", "blocked"…
    pub state: Vec<String>,
    /// Runs of blocks that it cannot hold any more.
    pub bad_blocks: i64,
}

impl ArrayMember {
    /// Whether it has a flag.
    #[must_use]
    pub fn is(&self, flag: &str) -> bool {
        self.state.iter().any(|known| known == flag)
    }

    /// What a person calls it.
    #[must_use]
    pub fn label(&self) -> &str {
        self.disk.as_deref().unwrap_or(&self.device)
    }
}
