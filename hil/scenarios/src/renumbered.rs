// SPDX-License-Identifier: Apache-2.0 OR MIT
//! In the middle of a backup the provider gives the member's home another prefix. The old address is gone, the connection
//! dies in silence; the same backup finds the box again by its name and finishes.

use adit_hil::Lab;
use adit_hil::net::Router;
use anyhow::{Result, ensure};

const BEFORE: &str = "fd00:ad17:1::/64";
const AFTER: &str = "fd00:ad17:2::/64";
const NAME: &str = "cellar.example";

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let (home, door) = lab.lan_with("home", BEFORE)?;
    let (internet, provider) = lab.lan_with("internet", "fd00:ad17:f::/64")?;
    let router = Router::join(&door, &provider)?;
    let mut cellar = lab.new_box("cellar", &home).called(NAME).start()?;
    router.pinhole(cellar.address(), adit_wire::DEFAULT_PORT)?;
    provider.resolve(NAME, Some(cellar.address()))?;
    let mut web = lab.server("web1", &internet, 24 << 20)?;
    web.resolve_by(provider.address()?)?;
    web.pair(&mut cellar)?;
    internet.faults(|faults| faults.rate = Some(2 << 20))?;
    let run = web.start_backup()?;
    cellar.wait_written(4 << 20)?;
    door.renumber(BEFORE, AFTER)?;
    provider.resolve(NAME, Some(cellar.new_address()?))?;
    let ran = web.finish(run)?.succeeded()?;
    let reconnects = &ran.json()?["reconnects"];
    lab.tell(&format!("{:?}, {reconnects} reconnects", router.forwarded()))?;
    ensure!(*reconnects != 0, "the fault did not bite: the line was never lost");
    let list = web.adit(&["snapshots"])?.succeeded()?;
    ensure!(list.stdout.contains("complete"), "no snapshot arrived: {}", list.stdout);
    Ok(())
}
