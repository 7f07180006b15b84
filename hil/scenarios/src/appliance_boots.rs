// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The image is written to a disk and started: firmware, boot loader, kernel, first process, agent. Its console gives a token
//! to the first admin, who then sees what runs. The data partition has grown over the disk.

use adit_hil::Lab;
use adit_hil::image::Edition;
use anyhow::{Result, ensure};

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).start()?;
    cellar.pair_admin()?;
    let shown = cellar.show()?;
    ensure!(shown["version"] == "1.0.0" && shown["start"] == "normal", "{shown}");
    ensure!(shown["data"] == "mounted", "{shown}");
    let disks = cellar.disks()?;
    ensure!(disks[0]["serial"] == "boot" && disks[0]["part"] == "system, data", "{disks}");
    cellar.confirmed()
}
