// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A server pairs with a box over the network, backs up, and gets everything back.

use adit_hil::Lab;
use anyhow::Result;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab.start_box("cellar", &home)?;
    let web = lab.source("web1")?;
    web.pair(&mut cellar)?;
    web.backup()?;
    cellar.verify()?;
    web.restore_equals()
}
