// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One of two mirrored disks fails every request: the array is told as degraded. The disk comes back, is added again, and
//! when the array is whole all is well.

use adit_hil::Lab;
use adit_hil::disk::Kind;
use adit_wire::health::codes::{Check, Reason, Verdict};
use anyhow::Result;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut server = lab.start_machine("server", &[("first", Kind::Scsi), ("second", Kind::Scsi)], |parts| {
        parts.put_inside(|inside| inside.modules(&["raid1"]).debian("mdadm", &["sbin/mdadm"]));
        parts.put_inside(|inside| inside.debian("e2fsprogs", &["sbin/mke2fs"]));
    })?;
    let (first, second) = (server.device("first")?, server.device("second")?);
    let make =
        format!("/sbin/mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --assume-clean {first} {second}");
    server.run_lines(&[make])?;
    server.run_agent("")?;
    server.well("md0", Check::ArrayState)?;
    let (disk, qemu) = server.disk("second")?;
    disk.fail_all(qemu)?;
    server.run_lines(&["/sbin/mke2fs -q /dev/md0"])?;
    server.turns("md0", Check::ArrayState, Verdict::Critical, Reason::Degraded)?;
    let (disk, qemu) = server.disk("second")?;
    disk.heal(qemu)?;
    server.run_lines(&["--remove", "--add"].map(|verb| format!("/sbin/mdadm /dev/md0 {verb} {second}")))?;
    server.well("md0", Check::ArrayState)
}
