// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A box with encrypted data is carried away and started later, or elsewhere: nothing opens it by itself, a wrong share opens
//! nothing, and alarms tell it. It comes home with a larger disk; its admin opens it, the data fill the disk. Once the share is
//! deleted the box stays closed, and no other disk is taken from afar in place of a locked one: a person at the box gives the data up.

use crate::appliance_locked::{MEMORY_MIB, is_locked, is_open};
use adit_hil::Lab;
use adit_hil::appliance::Appliance;
use adit_hil::disk::Kind;
use adit_hil::image::Edition;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::time::Duration;

/// Size of the data disk, before and after, bytes.
const BYTES: u64 = 160 << 20;
const BYTES_LATER: u64 = 512 << 20;
/// More than it held before.
const MORE: u64 = 192 << 20;
/// How long a factory reset may take, the machine's own time.
const RESET_WITHIN: Duration = Duration::from_secs(300);
/// How the header of an encrypted volume begins: magic and version.
const LUKS: &[u8] = b"LUKS\xba\xbe\x00\x02";
/// A thief needs longer than a restart, seconds.
const AWAY_S: u64 = 16 * 60;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let home = lab.lan("home")?;
    let mut cellar = lab
        .new_appliance("cellar", &home, Edition::new(1, 0, 0).hardware())
        .with(|parts| parts.memory_mib = MEMORY_MIB)
        .disk("vault", Kind::Scsi, BYTES)
        .disk("spare", Kind::Scsi, BYTES)
        .start()?;
    cellar.pair_admin()?;
    cellar.confirmed()?;
    cellar.admin(&["box", "disk", "use", "vault", "--encrypt", "--confirm", "vault"])?.succeeded()?;
    cellar.serves()?;
    is_open(&cellar)?;
    let web = lab.source("web1")?;
    cellar.pair_source(&web)?;
    web.backup()?;
    let (disk, qmp) = cellar.disk("vault")?;
    disk.grow(qmp, BYTES_LATER)?;
    cellar.cut()?;

    let (seen, share) = (cellar.admin_file("unlock-seen.toml"), cellar.admin_file("unlock-share"));
    let (true_seen, true_share) = (fs::read_to_string(&seen)?, fs::read(&share)?);
    cellar.start()?;
    is_locked(&mut cellar)?;
    // The admin's machine last saw it too long ago.
    fs::write(&seen, earlier(&true_seen)?)?;
    let refused = cellar.admin(&["box", "unlock", "--auto"])?.ended_with(5)?;
    ensure!(refused.stderr.contains("more than 15 minutes ago"), "{}", refused.stderr);
    // Or just now, but elsewhere.
    fs::write(&seen, true_seen.lines().map(elsewhere).collect::<String>())?;
    let refused = cellar.admin(&["box", "unlock", "--auto"])?.ended_with(5)?;
    ensure!(refused.stderr.contains("ANOTHER network") && refused.stderr.contains("stay locked"), "{}", refused.stderr);
    fs::write(&share, [0x5a; 32])?;
    let refused = cellar.admin(&["box", "unlock", "--yes"])?.ended_with(5)?;
    ensure!(refused.stderr.contains("does not open the data"), "{}", refused.stderr);
    is_locked(&mut cellar)?;
    ensure!(web.backup().is_err(), "a backup went to a stolen box");

    fs::write(&share, true_share)?;
    cellar.admin(&["box", "unlock", "--yes"])?.succeeded()?;
    web.restore_equals()?;
    let more = web.add(lab, 4, MORE)?;
    web.backup()?;
    fs::remove_dir_all(more)?;

    cellar.admin(&["box", "unlock", "--forget", "--yes"])?.succeeded()?;
    cellar.cut()?;
    cellar.start()?;
    let refused = cellar.admin(&["box", "unlock", "--yes"])?.ended_with(5)?;
    ensure!(refused.stderr.contains("holds no share"), "{}", refused.stderr);
    is_locked(&mut cellar)?;
    given_up(&mut cellar)
}

/// Nothing is taken in place of a locked disk until a person at the box gives it up; a factory reset leaves no header.
fn given_up(cellar: &mut Appliance) -> Result<()> {
    let take = ["box", "disk", "use", "spare", "--encrypt", "--confirm", "spare"];
    cellar.admin(&take)?.ended_with(5)?;
    // Unplugged, the locked disk is no less worth.
    cellar.pull("vault")?;
    let refused = cellar.admin(&take)?.ended_with(5)?;
    ensure!(refused.stderr.contains("only a person at the box"), "{}", refused.stderr);
    let name = cellar.name_on_console()?;
    cellar.console()?.write(format!("give-up-data {name}\n").as_bytes())?;
    cellar.expect("are given up", Duration::from_secs(60))?;
    cellar.admin(&take)?.succeeded()?;
    cellar.serves()?;
    is_open(cellar)?;

    ensure!(cellar.disk("spare")?.0.find(LUKS).is_ok(), "the spare disk is not encrypted");
    cellar.console()?.write(format!("factory-reset {name}\n").as_bytes())?;
    cellar.expect("the factory reset is done", RESET_WITHIN)?;
    cellar.serves()?;
    ensure!(cellar.disk("spare")?.0.find(LUKS).is_err(), "a header of an encrypted volume is still there");
    Ok(())
}

/// What was written down, as if more than 15 minutes had passed.
fn earlier(text: &str) -> Result<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("seen_s = ")).context("when it was seen")?;
    let seen_s: u64 = line.parse()?;
    Ok(text.replace(line, &seen_s.saturating_sub(AWAY_S).to_string()))
}

/// A line of what was written down, with another address.
fn elsewhere(line: &str) -> String {
    if line.starts_with("address") { "address = \"2001:db8:bad::1\"\n".to_owned() } else { format!("{line}\n") }
}
