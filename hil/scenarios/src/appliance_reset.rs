// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A person at the box types the factory reset. The power goes in the middle of it; it goes on at the next start. Afterwards
//! nothing of what was backed up is on the disk, the box has another key, and gives a first token again.

use adit_hil::Lab;
use adit_hil::image::Edition;
use anyhow::{Result, ensure};
use std::time::Duration;

/// How long a step of the reset may take, the machine's own time.
const STEP: Duration = Duration::from_secs(120);

/// How every segment of a store begins; a fresh store has none.
const SEGMENT: &[u8] = b"ADITSEG1";

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).start()?;
    cellar.pair_admin()?;
    let web = lab.source("web1")?;
    cellar.pair_source(&web)?;
    web.backup()?;
    ensure!(cellar.holds(SEGMENT)?, "the backup is not on the disk");

    let name = cellar.name_on_console()?;
    cellar.console()?.write(b"factory-reset somewhere-else\n")?;
    cellar.expect("This is no command here", STEP)?;
    cellar.console()?.write(format!("factory-reset {name}\n").as_bytes())?;
    cellar.expect("factory reset:", STEP)?;
    cellar.cut()?;
    cellar.switch_on(&[])?;
    cellar.expect("the factory reset is done", STEP)?;
    cellar.serves()?;
    ensure!(!cellar.holds(SEGMENT)?, "a record of the backup is still on the disk");
    ensure!(cellar.name_on_console()? != name, "the box kept its key");
    cellar.console()?.write(b"t\n")?;
    cellar.expect("adit1", STEP).map(drop)
}
