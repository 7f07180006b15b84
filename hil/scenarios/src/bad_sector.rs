// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A sector under the store cannot be read any more. No backup asks for it; verification finds it and names the place, and
//! the box goes on serving. The disk puts the sector right, the next backup brings the record again, and all is well.

use adit_hil::Lab;
use adit_hil::disk::fault::{Access, Errno, Failure};
use adit_hil::program::DAMAGED;
use anyhow::{Result, ensure};

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab.start_box("cellar", &home)?;
    let web = lab.source("web1")?;
    web.pair(&mut cellar)?;
    web.backup()?;
    let sector = cellar.sector_of_segment(lab.below(2 << 20) + (1 << 20))?;
    let (disk, qemu) = cellar.disk("store")?;
    disk.fail(qemu, &[Failure { access: Access::Read, sectors: Some(sector..sector + 8), errno: Errno::Io }])?;
    let ran = cellar.verify()?;
    ensure!(ran.code == DAMAGED && ran.stdout.contains("damaged: "), "the bad sector was not found: {ran:?}");
    lab.tell(ran.stdout.trim())?;
    let (disk, qemu) = cellar.disk("store")?;
    disk.heal(qemu)?;
    web.backup()?;
    cellar.verify()?.succeeded()?;
    web.restore_equals()
}
