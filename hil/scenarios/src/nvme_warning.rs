// SPDX-License-Identifier: Apache-2.0 OR MIT
//! NVMe disks raise each of their warnings while the machine runs: each is told by its own reason, and taken back.

use adit_hil::Lab;
use adit_hil::disk::Kind;
use adit_hil::disk::fault::nvme_warning::{CACHE_BACKUP, READ_ONLY, RELIABILITY, SPARE, TEMPERATURE};
use adit_wire::health::codes::{Check, Reason, Verdict};
use anyhow::Result;

/// A disk for each warning, the warning, and what is told.
const WARNINGS: [(&str, u8, Check, Verdict, Reason); 5] = [
    ("spare", SPARE, Check::DiskWear, Verdict::Critical, Reason::SpareLow),
    ("temperature", TEMPERATURE, Check::Temperature, Verdict::Warning, Reason::Hot),
    ("reliability", RELIABILITY, Check::DiskStatus, Verdict::Critical, Reason::FailurePredicted),
    ("readonly", READ_ONLY, Check::DiskStatus, Verdict::Critical, Reason::MediaReadOnly),
    ("backup", CACHE_BACKUP, Check::DiskStatus, Verdict::Critical, Reason::BackupPowerFailed),
];

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut server = lab.start_machine("server", &WARNINGS.map(|(disk, ..)| (disk, Kind::Nvme)), |_| {})?;
    server.run_agent("")?;
    for (name, bits, check, ..) in WARNINGS {
        server.well(name, check)?;
        let (disk, qemu) = server.disk(name)?;
        disk.nvme_warn(qemu, bits)?;
    }
    for (name, _, check, verdict, reason) in WARNINGS {
        server.turns(name, check, verdict, reason)?;
        let (disk, qemu) = server.disk(name)?;
        disk.nvme_warn(qemu, 0)?;
    }
    WARNINGS.iter().try_for_each(|(name, _, check, ..)| server.well(name, *check))
}
