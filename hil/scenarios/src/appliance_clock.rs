// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The battery of the box's clock is dead, or its clock was set to the last day of 2099: pairing, an update and its proof do not
//! depend on it, and what the box keeps of the time only goes forward by what it can believe.

use adit_hil::Lab;
use adit_hil::image::{self, Edition};
use anyhow::{Context as _, Result, ensure};

/// 1970-01-01 and 2099-12-31, seconds since 1970.
const CLOCKS_S: [i64; 2] = [0, 4_102_358_400];

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    for clock_s in CLOCKS_S {
        at(lab, clock_s).with_context(|| format!("a clock that says {clock_s}"))?;
    }
    Ok(())
}

fn at(lab: &mut Lab, clock_s: i64) -> Result<()> {
    let home = lab.lan(&format!("home{clock_s}"))?;
    let next = image::image(lab.guest(), Edition::new(1, 1, 0))?;
    let parts = lab.new_appliance(&format!("cellar{clock_s}"), &home, Edition::new(1, 0, 0));
    let mut cellar = parts.with(|parts| parts.clock_s = Some(clock_s)).start()?;
    cellar.pair_admin()?;
    cellar.confirmed()?;
    let web = lab.source(&format!("web{clock_s}"))?;
    cellar.pair_source(&web)?;
    web.backup()?;
    cellar.update(&next.update)?;
    // The clock is right at last: what was backed up under the wrong one is there.
    cellar.cut()?;
    cellar.parts.clock_s = None;
    cellar.start()?;
    ensure!(cellar.version()? == "1.1.0", "{}", cellar.show()?);
    web.backup()?;
    web.restore_equals()?;
    cellar.cut()
}
