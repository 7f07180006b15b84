// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What every program expects before it runs: the kernel's file systems, a host's folders, words of the command line.

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::time::Duration;

/// Kind, place, options. What a kernel does not have is passed over: a virtual machine has no EFI variables.
const MOUNTS: [(&str, &str, &str, MsFlags); 9] = [
    ("proc", "/proc", "", CLOSED),
    ("sysfs", "/sys", "", CLOSED),
    ("devtmpfs", "/dev", "mode=755", MsFlags::MS_NOSUID),
    ("tmpfs", "/run", "mode=755,size=25%", CLOSED),
    ("tmpfs", "/tmp", "mode=1777,size=10%", CLOSED),
    ("devpts", "/dev/pts", "mode=620,ptmxmode=666", MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC)),
    ("cgroup2", "/sys/fs/cgroup", "", CLOSED),
    ("pstore", "/sys/fs/pstore", "", CLOSED),
    ("efivarfs", "/sys/firmware/efi/efivars", "", CLOSED),
];
const CLOSED: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Mounts what can be mounted; answers what could not.
pub(crate) fn mounts() -> Vec<String> {
    let early = MOUNTS.iter().filter(|(kind, ..)| *kind != "efivarfs");
    early.filter_map(|&(kind, target, options, flags)| mount_one(kind, target, options, flags).err()).collect()
}

/// Mounts one of the later ones again: its module was not there the first time.
pub(crate) fn mount_late(kind: &str) {
    for &(_, target, options, flags) in MOUNTS.iter().filter(|(of, ..)| *of == kind) {
        // A kernel without it has nothing to show there.
        drop(mount_one(kind, target, options, flags));
    }
}

fn mount_one(kind: &str, target: &str, options: &str, flags: MsFlags) -> Result<(), String> {
    // sysfs makes its own places.
    let _made = fs::create_dir_all(target);
    mount(Some(kind), target, Some(kind), flags, Some(options)).map_err(|error| format!("mount {target}: {error}"))
}

/// Time since the kernel started.
pub(crate) fn uptime() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// The value of a word `key=value` of the kernel's command line, which is a part of the signed image.
pub(crate) fn word(key: &str) -> Option<String> {
    let words = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    words.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
}

/// Writes a setting of the kernel.
pub(crate) fn set(path: &str, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("write {value} to {path}"))
}
