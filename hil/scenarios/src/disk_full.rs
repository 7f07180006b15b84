// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The box's disk is full in the middle of a backup. The source is told so in words and by its exit code; what was
//! acknowledged before stays whole and comes back.

use adit_hil::Lab;
use anyhow::{Result, ensure};

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab.new_box("cellar", &home).store_bytes(128 << 20).start()?;
    let web = lab.source("web1")?;
    web.pair(&mut cellar)?;
    web.backup()?;
    let much = web.add(lab, 20, 160 << 20)?;
    let ran = web.start_backup()?.finish()?;
    ensure!(ran.code != 0 && ran.stderr.contains("full"), "a full disk was not told: {ran:?}");
    std::fs::remove_dir_all(much)?;
    web.restore_equals()
}
