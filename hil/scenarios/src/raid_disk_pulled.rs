// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One of two mirrored disks is pulled while a backup runs. The backup finishes, and nothing is missing; the agent tells that
//! the array is degraded, and that it is whole when the disk is back.

use adit_hil::Lab;
use adit_hil::disk::Kind;
use adit_wire::health::codes::{Check, Reason, Verdict};
use anyhow::{Result, ensure};

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab.new_box("cellar", &home).mirror(Kind::Scsi).start()?;
    let web = lab.source_with("web1", 200, 24 << 20)?;
    web.pair(&mut cellar)?;
    home.faults(|faults| faults.rate = Some(4 << 20))?;
    let run = web.start_backup()?;
    cellar.wait_written(2 << 20)?;
    cellar.pull("mirror1")?;
    cellar.turns("md0", Check::ArrayState, Verdict::Critical, Reason::Degraded)?;
    run.finish()?.succeeded()?;
    let mirror = cellar.read_text("/proc/mdstat")?;
    ensure!(mirror.contains("[2/1]"), "the fault did not bite: {mirror}");
    web.restore_equals()?;
    let (disk, qemu) = cellar.disk("mirror1")?;
    disk.plug(qemu)?;
    let member = cellar.device("ADIT-MIRROR1")?;
    cellar.run_lines(&["/sbin/mdadm /dev/md0 --remove detached", &format!("/sbin/mdadm /dev/md0 --add {member}")])?;
    cellar.well("md0", Check::ArrayState)
}
