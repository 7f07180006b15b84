// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The disk of a box becomes larger, as that of a virtual machine does: its data partition and file system fill it at the next
//! start, and what was backed up is there.

use adit_hil::Lab;
use adit_hil::appliance::BOOT_DISK_BYTES;
use adit_hil::image::Edition;
use anyhow::{Result, ensure};

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).start()?;
    cellar.pair_admin()?;
    let web = lab.source("web1")?;
    cellar.pair_source(&web)?;
    web.backup()?;

    cellar.enlarge_boot_disk(3 * BOOT_DISK_BYTES)?;
    cellar.press_power()?;
    cellar.start()?;
    let disks = cellar.disks()?;
    ensure!(disks[0]["bytes"] == 3 * BOOT_DISK_BYTES, "{disks}");
    ensure!(cellar.show()?["data"] == "mounted", "{}", cellar.show()?);
    web.restore_equals()?;
    // More than the disk had before.
    let more = web.add(lab, 4, BOOT_DISK_BYTES)?;
    web.backup()?;
    std::fs::remove_dir_all(more)?;
    Ok(())
}
