// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An update is sent, tried, judged and confirmed; after a power cut it boots cold. The admin goes back to the version before.

use adit_hil::Lab;
use adit_hil::appliance::Appliance;
use adit_hil::image::{self, Edition};
use anyhow::{Result, ensure};

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let next = image::image(lab.guest(), Edition::new(1, 1, 0))?;
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).start()?;
    cellar.pair_admin()?;
    cellar.confirmed()?;
    let ran = cellar.update(&next.update)?;
    ensure!(ran.stderr.contains("version 1.1.0 runs and is confirmed"), "{}", ran.stderr);
    runs(&cellar, "1.1.0", "1.0.0")?;

    cellar.cut()?;
    cellar.start()?;
    runs(&cellar, "1.1.0", "1.0.0")?;
    cellar.confirmed()?;

    cellar.admin(&["box", "restart", "--back", "--yes"])?.succeeded()?;
    cellar.serves()?;
    ensure!(cellar.version()? == "1.0.0", "the box did not go back");
    ensure!(cellar.slot("1.1.0")? == "bad", "{}", cellar.show()?);
    Ok(())
}

fn runs(cellar: &Appliance, version: &str, other: &str) -> Result<()> {
    let shown = cellar.show()?;
    ensure!(cellar.version()? == version, "{shown}");
    ensure!(cellar.slot(version)? == "good" && cellar.slot(other)? == "good", "{shown}");
    Ok(())
}
