// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The disk stops answering for a while in the middle of a backup. The agent still answers, nothing is acknowledged that is
//! not stored, and when the disk comes back the same backup finishes.

use adit_hil::Lab;
use anyhow::{Result, ensure};
use std::time::Duration;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab.start_box("cellar", &home)?;
    let web = lab.source_with("web1", 200, 24 << 20)?;
    web.pair(&mut cellar)?;
    home.faults(|faults| faults.rate = Some(4 << 20))?;
    let mut run = web.start_backup()?;
    cellar.wait_written(2 << 20)?;
    let (disk, qemu) = cellar.disk("store")?;
    disk.stall(qemu)?;
    for _ in 0..5 {
        cellar.let_pass(Duration::from_secs(2))?;
        cellar.report()?;
    }
    ensure!(run.runs()?, "the fault did not bite: the backup finished on a stalled disk");
    let (disk, qemu) = cellar.disk("store")?;
    disk.resume(qemu)?;
    run.finish()?.succeeded()?;
    web.restore_equals()
}
