// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A file system finds an error in itself and goes on: the agent tells it at once, and until e2fsck has run.

use adit_hil::Lab;
use adit_hil::disk::Kind;
use adit_wire::health::codes::{Check, Reason, Verdict};
use anyhow::{Result, ensure};
use std::time::Duration;

/// What e2fsck says when it put something right.
const CORRECTED: i32 = 1;
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut server = lab.start_machine("server", &[("data", Kind::Virtio)], |parts| {
        parts.put_inside(|inside| inside.debian("e2fsprogs", &["sbin/mke2fs", "sbin/e2fsck"]));
    })?;
    let disk = server.device("data")?;
    server.run_lines(&[format!("/sbin/mke2fs -q -t ext4 {disk}")])?;
    server.hand()?.mount(&disk, "/data", "ext4", &[], "")?;
    server.run_agent("")?;
    server.well("/data", Check::FsErrors)?;
    let trigger = disk.replace("/dev", "/sys/fs/ext4") + "/trigger_fs_error";
    server.hand()?.write_file(&trigger, 0o200, b"1")?;
    server.turns("/data", Check::FsErrors, Verdict::Critical, Reason::FsErrors)?;
    server.hand()?.unmount("/data")?;
    ensure!(server.run(&["/sbin/e2fsck", "-fy", &disk], MINUTE)?.code <= CORRECTED, "e2fsck did not repair it");
    server.hand()?.mount(&disk, "/data", "ext4", &[], "")?;
    server.well("/data", Check::FsErrors)
}
