// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The disk hands out other bytes than it was given and says nothing. Verification, without a key, finds it and names the
//! place; the next backup brings what is missing again.

use adit_hil::Lab;
use adit_hil::program::DAMAGED;
use anyhow::{Result, ensure};

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab.start_box("cellar", &home)?;
    let web = lab.source("web1")?;
    web.pair(&mut cellar)?;
    web.backup()?;
    let sector = cellar.sector_of_segment(lab.below(2 << 20) + (1 << 20))?;
    let (disk, _) = cellar.disk("store")?;
    disk.corrupt(sector * 512 + 100..sector * 512 + 101)?;
    let ran = cellar.verify()?;
    ensure!(ran.code == DAMAGED && ran.stdout.contains("damaged: "), "the rotten bit was not found: {ran:?}");
    web.backup()?;
    cellar.verify()?.succeeded()?;
    web.restore_equals()
}
