// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The router of the home is off when the box starts: the box waits without restarting and its screen says what is missing. The
//! router comes back, and a few seconds later the box has its address.

use adit_hil::Lab;
use adit_hil::appliance::START_DEADLINE;
use adit_hil::image::Edition;
use anyhow::{Result, ensure};
use std::time::Duration;

/// How long an address may take after the router is back, the machine's own time.
const ADDRESS_WITHIN: Duration = Duration::from_secs(5);

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan_without_router("home")?;
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).start()?;
    cellar.expect("the network has no IPv6 router", START_DEADLINE)?;
    cellar.confirmed()?;
    let clock = cellar.clock()?;
    let router = home.router().prefix(adit_hil::lab::PREFIX).rdnss().start()?;
    let since = clock.now();
    let address = cellar.address()?;
    let took = clock.now() - since;
    ensure!(took <= ADDRESS_WITHIN, "the address came {took:?} after the router");
    ensure!(address.segments()[0] == router.address()?.segments()[0], "{address} is of another network");
    cellar.pair_admin()
}
