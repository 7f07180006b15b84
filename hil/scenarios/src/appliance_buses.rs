// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The image for real machines boots from each kind of disk that a small server has: NVMe with sectors of 4,096 bytes, SATA, a
//! USB stick.

use adit_hil::Lab;
use adit_hil::disk::Kind;
use adit_hil::image::Edition;
use anyhow::{Context as _, Result, ensure};

/// What the flavour for real machines promises to run in, MiB.
const MEMORY_MIB: u32 = 256;

/// A picture of a screen without text is smaller, bytes.
const EMPTY_SCREEN_BYTES: u64 = 4_000;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let sound = Edition::new(1, 0, 0).hardware();
    for (name, kind, edition) in
        [("nvme", Kind::Nvme, sound.large_sectors()), ("sata", Kind::Ahci, sound), ("stick", Kind::Usb, sound)]
    {
        boots(lab, name, kind, edition).with_context(|| format!("boot from {name}"))?;
    }
    Ok(())
}

fn boots(lab: &mut Lab, name: &str, kind: Kind, edition: Edition) -> Result<()> {
    let home = lab.lan(&format!("{name}-home"))?;
    let parts = lab.new_appliance(name, &home, edition).boot_on(kind).with(|parts| {
        parts.memory_mib = MEMORY_MIB;
        parts.screen = true;
    });
    let mut cellar = parts.start()?;
    cellar.pair_admin()?;
    let (shown, disks) = (cellar.show()?, cellar.disks()?);
    ensure!(shown["data"] == "mounted", "{shown}");
    ensure!(disks[0]["serial"] == "boot" && disks[0]["part"] == "system, data", "{disks}");
    cellar.confirmed()?;
    // What its screen shows, for whoever looks at the run with --keep.
    let picture = std::fs::metadata(cellar.picture()?).context("look at the picture")?;
    ensure!(picture.len() > EMPTY_SCREEN_BYTES, "the screen is empty: {} bytes", picture.len());
    cellar.cut()
}
