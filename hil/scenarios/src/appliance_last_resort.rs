// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What both good versions need is broken: the box's own key is damaged on its disk. The newer one is tried three times and left,
//! then the box stays up with the other and says why, instead of starting over for ever. A factory reset by the person at the
//! box brings it back.

use adit_hil::Lab;
use adit_hil::appliance::{BOOT_DISK, START_DEADLINE};
use adit_hil::image::{self, Edition};
use anyhow::{Result, ensure};
use std::time::Duration;

/// How the file with the box's key begins.
const KEY: &[u8] = b"adit identity v1";
/// How long the tries of both versions may take, the machine's own time.
const TRIED_WITHIN: Duration = Duration::from_secs(600);
/// How long the box is watched afterwards, the machine's own time: longer than a start is judged.
const STAYS_FOR: Duration = Duration::from_secs(90);

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let next = image::image(lab.guest(), Edition::new(1, 1, 0))?;
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).start()?;
    cellar.pair_admin()?;
    cellar.confirmed()?;
    cellar.update(&next.update)?;

    cellar.disk(BOOT_DISK)?.0.corrupt_marker(KEY)?;
    cellar.cut()?;
    cellar.switch_on(&[])?;
    cellar.expect("this version has failed; the other one is started", TRIED_WITHIN)?;
    cellar.expect("this start is not healthy: the agent does not serve", TRIED_WITHIN)?;
    let console = cellar.console()?;
    let starts = console.count("adit-init: ");
    cellar.let_pass(STAYS_FOR)?;
    ensure!(console.count("adit-init: ") <= starts + 2, "it goes on starting:\n{}", console.tail());

    // A box that cannot read its key shows the name that it has without one.
    let name = cellar.name_on_console()?;
    cellar.console()?.write(format!("factory-reset {name}\n").as_bytes())?;
    cellar.expect("the factory reset is done", START_DEADLINE)?;
    cellar.serves()?;
    ensure!(cellar.name_on_console()? != name, "the box kept its key");
    Ok(())
}
