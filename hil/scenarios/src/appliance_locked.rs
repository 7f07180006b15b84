// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The data are encrypted on a mirror. After a power cut the box serves, but its data are locked, and health and screen tell it;
//! the admin opens them, and what was backed up is there. A monitor that holds a share opens them too, by itself after an
//! update's restart; once it is revoked, its share is gone.

use adit_hil::Lab;
use adit_hil::appliance::Appliance;
use adit_hil::disk::Kind;
use adit_hil::image::Edition;
use adit_wire::health::codes::{Check, Reason, Verdict};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// Size of a data disk, bytes.
const BYTES: u64 = 256 << 20;
/// Memory of a machine with the hardware flavour, MiB.
pub(crate) const MEMORY_MIB: u32 = 320;
/// How every segment of a store begins.
const SEGMENT: &[u8] = b"ADITSEG1";
/// How long it may take to mount what was opened or made, wall time.
const OPEN_WITHIN: Duration = Duration::from_secs(60);
/// How long the box may take to wipe a key slot, wall time.
const WIPED_WITHIN: Duration = Duration::from_secs(120);

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab
        .new_appliance("cellar", &home, Edition::new(1, 0, 0).hardware())
        .with(|parts| parts.memory_mib = MEMORY_MIB)
        .disk("old1", Kind::Scsi, BYTES)
        .disk("old2", Kind::Scsi, BYTES)
        .start()?;
    cellar.pair_admin()?;
    cellar.confirmed()?;
    cellar.admin(&["box", "disk", "use", "old1", "--mirror", "old2", "--encrypt", "--confirm", "old1"])?.succeeded()?;
    cellar.serves()?;
    is_open(&cellar)?;
    let web = lab.source("web1")?;
    cellar.pair_source(&web)?;
    web.backup()?;
    ensure!(cellar.disk("old1")?.0.find(SEGMENT).is_err(), "a segment lies in the clear");

    cellar.cut()?;
    cellar.start()?;
    is_locked(&mut cellar)?;
    cellar.expect("adit box unlock", Duration::from_secs(30))?;
    ensure!(web.backup().is_err(), "a backup went to a box with locked data");
    let refused = cellar.admin(&["box", "unlock"])?.ended_with(2)?;
    ensure!(refused.stderr.contains("in the same network"), "{}", refused.stderr);
    cellar.admin(&["box", "unlock", "--yes"])?.succeeded()?;
    // The agent starts again with its store.
    cellar.serves()?;
    cellar.well("adit-data", Check::VolumeState)?;
    web.restore_equals()?;
    cellar.confirmed()?;

    let token = cellar.admin(&["box", "token", "--role", "monitor", "--name", "watch"])?.succeeded()?;
    cellar.pair_as("watch", "monitor", token.stdout.trim())?;
    let share = cellar.admin(&["box", "share", "watch"])?.succeeded()?;
    let file = cellar.file("share");
    std::fs::write(&file, share.stdout)?;
    let file = file.to_string_lossy().into_owned();
    let kept = cellar.run_as("watch", &["box", "unlock", "--keep", &file])?.succeeded()?;
    ensure!(kept.stderr.contains("the share fits"), "{}", kept.stderr);
    cellar.admin(&["box", "restart", "--yes"])?.succeeded()?;
    cellar.serves()?;
    is_locked(&mut cellar)?;
    cellar.run_as("watch", &["box", "unlock", "--auto"])?.succeeded()?;
    cellar.serves()?;
    web.restore_equals()?;
    ensure!(is_open(&cellar)?.contains("2 machines"), "two machines hold a share");

    cellar.admin(&["box", "peers", "revoke", "watch"])?.succeeded()?;
    let until = Instant::now() + WIPED_WITHIN;
    while !is_open(&cellar)?.contains("1 machine ") {
        ensure!(Instant::now() < until, "the share of a revoked peer is still good");
        std::thread::sleep(Duration::from_secs(1));
    }
    cellar.cut()?;
    cellar.start()?;
    cellar.admin(&["box", "unlock", "--yes"])?.succeeded()?;
    web.restore_equals()
}

/// The data are open, now or in a moment; what the admin is told of them.
pub(crate) fn is_open(cellar: &Appliance) -> Result<String> {
    let until = Instant::now() + OPEN_WITHIN;
    loop {
        let ran = cellar.admin(&["box", "unlock"])?;
        if ran.code == 0 && ran.stderr.contains("are open") {
            return Ok(ran.stderr);
        }
        ensure!(Instant::now() < until, "{}", ran.stderr);
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The data are locked, and health says so.
pub(crate) fn is_locked(cellar: &mut Appliance) -> Result<()> {
    cellar.turns("adit-data", Check::VolumeState, Verdict::Critical, Reason::Locked)?;
    let shown = cellar.show()?;
    ensure!(shown["data"].as_str().is_some_and(|data| data.starts_with("locked")), "{shown}");
    Ok(())
}
