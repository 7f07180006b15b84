// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The line breaks in the middle of an update's way to the box, twice: what arrived is not sent again, and the update is whole.

use adit_hil::Lab;
use adit_hil::image::{self, Edition};
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

/// How long so many frames may take, wall time.
const SENT_WITHIN: Duration = Duration::from_secs(300);
/// Bytes that a frame carries at least when much is sent: the smallest MTU of IPv6 less the headers.
const FRAME_BYTES: u64 = 1_200;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let next = image::image(lab.guest(), Edition::new(1, 1, 0))?;
    let bytes = std::fs::metadata(&next.update).context("read an update")?.len();
    let mut cellar = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0)).start()?;
    cellar.pair_admin()?;
    cellar.confirmed()?;
    let sent = || home.counters().map(|counters| counters.delivered);
    let from = sent()?;
    let third = bytes / 1_460 / 3;
    for part in 1..=2 {
        let mut update = cellar.start_update(&next.update, &["--stage-only"])?;
        home.wait("a third of the update", SENT_WITHIN, move |counters| counters.delivered > from + part * third)?;
        ensure!(update.runs()?, "the update went through before the line broke");
        update.kill();
    }
    let before_the_last = sent()?;
    cellar.start_update(&next.update, &["--stage-only"])?.finish()?.succeeded()?;
    let last = sent()? - before_the_last;
    ensure!(last * FRAME_BYTES < bytes / 3 * 2, "{last} frames were sent at last, of an update of {bytes} bytes");
    ensure!(cellar.slot("1.1.0")? == "staged", "{}", cellar.show()?);
    Ok(())
}
