// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A bad line: one frame in twenty is lost, and no packet above IPv6's least size passes. It is slow, and it is right.

use adit_hil::Lab;
use anyhow::{Result, ensure};

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab.start_box("cellar", &home)?;
    let web = lab.source_with("web1", 60, 2 << 20)?;
    web.pair(&mut cellar)?;
    home.faults(|faults| {
        faults.loss = 0.05;
        faults.mtu = 1280;
    })?;
    web.backup()?;
    web.restore_equals()?;
    let counters = home.counters()?;
    lab.tell(&format!("{counters:?}"))?;
    ensure!(counters.lost > 20, "the fault did not bite: {counters:?}");
    Ok(())
}
