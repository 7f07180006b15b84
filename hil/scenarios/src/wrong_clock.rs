// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The box's clock battery is dead, or its clock was set to the last day of 2099. Pairing, backups and restores do not
//! depend on anybody's wall clock.

use adit_hil::Lab;
use anyhow::{Result, ensure};

/// 1970-01-01 and 2099-12-31, seconds since 1970.
const CLOCKS_S: [i64; 2] = [0, 4_102_358_400];

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    for (index, clock_s) in CLOCKS_S.into_iter().enumerate() {
        let home = lab.lan(&format!("home{index}"))?;
        let name = format!("cellar{index}");
        let mut cellar = lab.new_box(&name, &home).with(|parts| parts.clock_s = Some(clock_s)).start()?;
        let shown_s = cellar.hand()?.vitals()?.unix_ms / 1000;
        ensure!((shown_s - clock_s).abs() < 600, "the fault did not bite: the clock shows {shown_s}");
        let web = lab.source(&format!("web{index}"))?;
        web.pair(&mut cellar)?;
        web.backup()?;
        cellar.power_cycle()?;
        web.backup()?;
        web.restore_equals()?;
    }
    Ok(())
}
