// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every update that is not right is refused with its own words, and the slot that runs stays untouched.

use adit_hil::Lab;
use adit_hil::image::{self, Edition, Offer};
use anyhow::{Context as _, Result, ensure};

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let next = image::image(lab.guest(), Edition::new(1, 1, 0))?;
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).start()?;
    cellar.pair_admin()?;
    cellar.confirmed()?;
    for (offer, words) in Offer::ALL {
        let path = lab.path("offer.adit");
        std::fs::write(&path, next.offer(offer)?).context("write an update")?;
        let ran = cellar.start_update(&path, &[])?.finish()?.ended_with(5).with_context(|| format!("{offer:?}"))?;
        ensure!(ran.stderr.contains(words), "{offer:?}: {}", ran.stderr);
        let shown = cellar.show()?;
        ensure!(shown["version"] == "1.0.0" && cellar.slot("1.0.0")? == "good", "{offer:?}: {shown}");
        ensure!(cellar.slot("1.1.0").is_err(), "{offer:?} lies in a slot: {shown}");
    }
    // The true one is taken after all of them.
    cellar.start_update(&next.update, &["--stage-only"])?.finish()?.succeeded()?;
    ensure!(cellar.slot("1.1.0")? == "staged", "{}", cellar.show()?);
    Ok(())
}
