// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `make hil-guest`: prepares what harness machines boot, and says how large it is and how long it took. Scenarios do the
//! same by themselves; this is for the first time, which takes minutes.
#![expect(clippy::print_stdout, reason = "what it is for")]

use adit_hil::guest::{Guest, Spec};
use std::path::Path;
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    let started = Instant::now();
    let guest = Guest::prepare()?;
    println!("kernel {} and static programs: {:.1} s", guest.kernel_version()?, started.elapsed().as_secs_f64());
    say("vmlinux", &guest.vmlinux())?;
    for name in ["adit-guest", "aditd", "adit"] {
        say(name, &guest.program(name))?;
    }
    let disks = ["ahci", "sd_mod", "nvme", "virtio_scsi", "raid1", "btrfs"];
    let agent = Spec::default().ours(&["aditd"]);
    let tools = agent.clone().modules(&disks).debian("mdadm", &["sbin/mdadm"]).debian("btrfs-progs", &["bin/btrfs"]);
    let tools =
        tools.debian("e2fsprogs", &["sbin/mke2fs", "sbin/e2fsck"]).debian("smartmontools", &["usr/sbin/smartctl"]);
    for (name, spec) in
        [("PID 1 alone", Spec::default()), ("with aditd", agent), ("with aditd, disks and their tools", tools)]
    {
        let started = Instant::now();
        let path = guest.initramfs(&spec)?;
        say(&format!("first file system {name} ({:.1} s)", started.elapsed().as_secs_f64()), &path)?;
    }
    Ok(())
}

fn say(name: &str, path: &Path) -> anyhow::Result<()> {
    let kib = std::fs::metadata(path)?.len() / 1024;
    println!("{kib:>8} KiB  {name}");
    Ok(())
}
