// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An update's kernel hangs with its interrupts off, three times: the hardware watchdog resets the machine each time, then the
//! version before runs again and the box says why.

use adit_hil::image::{self, Edition};
use adit_hil::{Lab, Watchdog};
use anyhow::{Result, ensure};
use std::time::Duration;

/// What the flavour for real machines promises to run in, MiB.
const MEMORY_MIB: u32 = 256;
/// How long the watchdog may take: its timeout while a machine starts, and some more for a busy host; wall time.
const BITES_WITHIN: Duration = Duration::from_secs(240);

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let next = image::image(lab.guest(), Edition::new(1, 1, 0).hardware())?;
    let parts = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0).hardware()).with(|parts| {
        parts.memory_mib = MEMORY_MIB;
        parts.watchdog = Some(Watchdog::I6300esb);
    });
    let mut cellar = parts.start()?;
    cellar.pair_admin()?;
    cellar.confirmed()?;
    let update = cellar.start_update(&next.update, &[])?;
    for _ in 0..3 {
        // Said behind the step that arms the watchdog, and by no other start.
        cellar.expect("start: trying", adit_hil::appliance::START_DEADLINE)?;
        cellar.hang()?;
        cellar.qmp()?.wait_event("WATCHDOG", BITES_WITHIN, |_| true)?;
    }
    cellar.serves()?;
    let ran = update.finish()?.ended_with(5)?;
    ensure!(ran.stderr.contains("the box went back to version 1.0.0"), "{}", ran.stderr);
    ensure!(cellar.version()? == "1.0.0" && cellar.slot("1.1.0")? == "bad", "{}", cellar.show()?);
    Ok(())
}
