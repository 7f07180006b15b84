// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Somebody's file fills the boot partition: an update is refused with that word, the version that runs stays, and the file is
//! never touched.

use adit_hil::Lab;
use adit_hil::image::{self, Edition};
use anyhow::{Result, ensure};

/// Leaves less than a slot's room beside what the image has, bytes.
const FOREIGN_BYTES: usize = 160 << 20;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let next = image::image(lab.guest(), Edition::new(1, 1, 0))?;
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).foreign_file(FOREIGN_BYTES).start()?;
    cellar.pair_admin()?;
    cellar.confirmed()?;
    for _ in 0..2 {
        let ran = cellar.start_update(&next.update, &[])?.finish()?.ended_with(5)?;
        ensure!(ran.stderr.contains("the boot partition has no room"), "{}", ran.stderr);
        ensure!(cellar.version()? == "1.0.0" && cellar.slot("1.0.0")? == "good", "{}", cellar.show()?);
    }
    cellar.cut()?;
    cellar.start()?;
    ensure!(cellar.version()? == "1.0.0", "{}", cellar.show()?);
    cellar.confirmed()
}
