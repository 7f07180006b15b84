// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The file system of the data is damaged beyond what may be repaired without a person: the box is reachable, says so, takes no
//! backup and makes nothing new in its place. Once the damage is undone, everything is there.

use adit_hil::Lab;
use adit_hil::appliance::Appliance;
use adit_hil::image::Edition;
use anyhow::{Result, ensure};

/// The name in each copy of the file system's superblock, and the same with all bits turned.
const NAME: &[u8] = b"adit-data";
/// How every segment of a store begins.
const SEGMENT: &[u8] = b"ADITSEG1";

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).start()?;
    cellar.pair_admin()?;
    cellar.confirmed()?;
    let web = lab.source("web1")?;
    cellar.pair_source(&web)?;
    web.backup()?;
    cellar.admin(&["box", "restart", "--yes"])?.succeeded()?;
    // The old start has let go of its disks, the new one has not read them.
    cellar.expect("ends:", adit_hil::appliance::START_DEADLINE)?;
    cellar.cut()?;
    cellar.switch_on(&[])?;
    ensure!(turn(&mut cellar, NAME)? > 0, "there is no file system to be damaged");
    cellar.serves()?;
    let shown = cellar.show()?;
    let data = shown["data"].as_str().unwrap_or_default();
    ensure!(data.contains("not the data of this box"), "{shown}");
    ensure!(web.backup().is_err(), "a backup went to a box without its data");
    ensure!(cellar.holds(SEGMENT)?, "the backup is gone from the disk");

    cellar.cut()?;
    cellar.switch_on(&[])?;
    let turned: Vec<u8> = NAME.iter().map(|byte| !byte).collect();
    turn(&mut cellar, &turned)?;
    cellar.serves()?;
    let shown = cellar.show()?;
    ensure!(shown["data"] == "mounted", "{shown}");
    web.restore_equals()
}

/// Turns the bits of every such text on the boot disk; answers how many there were.
fn turn(cellar: &mut Appliance, text: &[u8]) -> Result<usize> {
    let mut count = 0;
    while cellar.holds(text)? {
        cellar.disk(adit_hil::appliance::BOOT_DISK)?.0.corrupt_marker(text)?;
        count += 1;
    }
    Ok(count)
}
