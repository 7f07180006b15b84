// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One disk of a btrfs mirror hands out other bytes than it was given: the next scrub repairs them from the other disk, and
//! the agent tells it until somebody resets the counters.

use adit_hil::Lab;
use adit_hil::disk::Kind;
use adit_wire::health::codes::{Check, Reason, Verdict};
use anyhow::Result;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut server = lab.start_machine("server", &[("left", Kind::Virtio), ("right", Kind::Virtio)], |parts| {
        let tools = ["bin/btrfs", "sbin/mkfs.btrfs"];
        parts.put_inside(|inside| inside.modules(&["btrfs"]).debian("btrfs-progs", &tools));
        // A scrub ends its threads by a call that loads this library.
        parts.put_inside(|inside| inside.debian("libgcc-s1", &["lib/x86_64-linux-gnu/libgcc_s.so.1"]));
    })?;
    let (left, right) = (server.device("left")?, server.device("right")?);
    let make = format!("/sbin/mkfs.btrfs --quiet --data raid1 --metadata raid1 {left} {right}");
    server.run_lines(&[&make, "/bin/btrfs device scan"])?;
    server.hand()?.mount(&left, "/data", "btrfs", &[], "")?;
    let content = lab.noise(1 << 20);
    server.hand()?.write_file("/data/file", 0o644, &content)?;
    server.hand()?.sync()?;
    server.run_agent("")?;
    server.well("btrfs", Check::PoolErrors)?;
    let (disk, _) = server.disk("right")?;
    disk.corrupt_marker(&content[..4096])?;
    server.run_lines(&["/bin/btrfs scrub start -B /data"])?;
    server.turns("btrfs", Check::PoolErrors, Verdict::Warning, Reason::DeviceErrors)?;
    server.run_lines(&["/bin/btrfs device stats --reset /data"])?;
    server.well("btrfs", Check::PoolErrors)
}
