// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The data go to two blank disks as a mirror, and a source backs up to it. One disk is pulled: the box starts degraded and
//! says so. A blank one takes its place and is filled. What holds something, or is in use, is not touched from afar. Without both disks
//! the box serves, but takes no backup.

use adit_hil::Lab;
use adit_hil::disk::Kind;
use adit_hil::image::Edition;
use anyhow::{Result, ensure};
use std::time::Duration;

/// Size of a data disk, bytes.
const BYTES: u64 = 256 << 20;
/// How long a mirror of that size may take to be filled, the machine's own time.
const FILLED_WITHIN: Duration = Duration::from_secs(120);

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab
        .new_appliance("cellar", &home, Edition::new(1, 0, 0))
        .disk("old1", Kind::Scsi, BYTES)
        .disk("old2", Kind::Scsi, BYTES)
        .disk("fresh", Kind::Scsi, BYTES)
        .disk("photos", Kind::Scsi, BYTES)
        .start()?;
    // An old disk of somebody's: it begins as a boot sector does.
    cellar.disk("photos")?.0.corrupt(510..512)?;
    cellar.pair_admin()?;
    cellar.confirmed()?;
    let refused = cellar.admin(&["box", "disk", "use", "photos", "--confirm", "photos"])?.ended_with(5)?;
    ensure!(refused.stderr.contains("only a person at the box may empty it"), "{}", refused.stderr);
    let refused = cellar.admin(&["box", "disk", "use", "boot", "--confirm", "boot"])?.ended_with(5)?;
    ensure!(refused.stderr.contains("in use"), "{}", refused.stderr);
    let refused = cellar.admin(&["box", "disk", "use", "old1", "--confirm", "old2"])?.ended_with(2)?;
    ensure!(refused.stderr.contains("nothing was done"), "{}", refused.stderr);

    cellar.admin(&["box", "disk", "use", "old1", "--mirror", "old2", "--confirm", "old1"])?.succeeded()?;
    // The agent opens its store on the new place.
    cellar.serves()?;
    part(&mut cellar, "old1", "member")?;
    part(&mut cellar, "old2", "member")?;
    let web = lab.source("web1")?;
    cellar.pair_source(&web)?;
    web.backup()?;

    cellar.pull("old2")?;
    cellar.admin(&["box", "restart", "--yes"])?.succeeded()?;
    cellar.serves()?;
    cellar.confirmed()?;
    data(&mut cellar, "one disk of the mirror")?;
    web.backup()?;
    cellar.admin(&["box", "disk", "replace", "old2", "fresh", "--confirm", "fresh"])?.succeeded()?;
    part(&mut cellar, "fresh", "member")?;
    web.restore_equals()?;
    let refused = cellar.admin(&["box", "disk", "replace", "old1", "photos", "--confirm", "photos"])?.ended_with(5)?;
    ensure!(refused.stderr.contains("the mirror is whole"), "{}", refused.stderr);

    // Both are gone: the empty file system on the boot disk must not take their place, or the source would see a box that
    // lost everything. The version is not at fault, so the box stays up.
    cellar.pull("old1")?;
    cellar.pull("fresh")?;
    cellar.admin(&["box", "restart", "--yes"])?.succeeded()?;
    cellar.serves()?;
    cellar.confirmed()?;
    data(&mut cellar, "is a disk missing?")?;
    ensure!(web.backup().is_err(), "a backup went to a box without its data");
    Ok(())
}

/// Waits until the box says this of its data: a mirror waits for its disks.
fn data(cellar: &mut adit_hil::appliance::Appliance, words: &str) -> Result<()> {
    let clock = cellar.clock()?;
    let until = clock.now() + FILLED_WITHIN;
    loop {
        let shown = cellar.show()?;
        if shown["data"].as_str().is_some_and(|data| data.contains(words)) {
            return Ok(());
        }
        ensure!(clock.now() < until, "no word of {words:?}: {shown}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Waits until a disk is this to the box.
fn part(cellar: &mut adit_hil::appliance::Appliance, serial: &str, wanted: &str) -> Result<()> {
    let clock = cellar.clock()?;
    let until = clock.now() + FILLED_WITHIN;
    loop {
        let disks = cellar.disks()?;
        let found = disks.as_array().and_then(|disks| disks.iter().find(|disk| disk["serial"] == serial)).cloned();
        let is = found.as_ref().and_then(|disk| disk["part"].as_str()).unwrap_or_default().to_owned();
        if is == wanted {
            return Ok(());
        }
        ensure!(clock.now() < until, "{serial} is {is:?} and not {wanted}: {disks}");
        std::thread::sleep(Duration::from_millis(300));
    }
}
