// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One of two mirrored disks is pulled while a backup runs. The backup finishes, and nothing is missing.

use adit_hil::Lab;
use adit_hil::disk::Kind;
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
    run.finish()?.succeeded()?;
    let mirror = cellar.read_text("/proc/mdstat")?;
    ensure!(mirror.contains("[2/1]"), "the fault did not bite: {mirror}");
    web.restore_equals()
}
