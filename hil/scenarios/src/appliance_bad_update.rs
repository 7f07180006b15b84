// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A signed update is bad: its kernel panics, or its agent does not run. After three tries the box is back by itself, says why,
//! and takes the very same update never again.

use adit_hil::Lab;
use adit_hil::image::{self, Edition, Flaw};
use anyhow::{Result, ensure};

pub(crate) fn panics(lab: &mut Lab) -> Result<()> {
    play(lab, Flaw::Panics)
}

pub(crate) fn no_agent(lab: &mut Lab) -> Result<()> {
    play(lab, Flaw::NoAgent)
}

fn play(lab: &mut Lab, flaw: Flaw) -> Result<()> {
    let home = lab.lan("home")?;
    let bad = image::image(lab.guest(), Edition::new(1, 1, 0).with(flaw))?;
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).start()?;
    for stumble in ["Kernel panic", "Call Trace"] {
        cellar.expects(stumble);
    }
    cellar.pair_admin()?;
    cellar.confirmed()?;
    let update = cellar.start_update(&bad.update, &[])?;
    let word = if flaw == Flaw::Panics { "Kernel panic" } else { "it did not become healthy in time" };
    for _ in 0..3 {
        cellar.expect(word, adit_hil::appliance::START_DEADLINE)?;
    }
    cellar.serves()?;
    let ran = update.finish()?.ended_with(5)?;
    ensure!(ran.stderr.contains("the box went back to version 1.0.0"), "{}", ran.stderr);
    ensure!(cellar.version()? == "1.0.0" && cellar.slot("1.0.0")? == "good", "{}", cellar.show()?);
    cellar.confirmed()?;

    let again = cellar.start_update(&bad.update, &[])?.finish()?.ended_with(5)?;
    ensure!(again.stderr.contains("failed here before"), "{}", again.stderr);
    ensure!(cellar.version()? == "1.0.0", "{}", cellar.show()?);
    Ok(())
}
