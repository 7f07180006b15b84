// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the kernel counts of the machine as a whole: /proc/vmstat, /proc/meminfo, taint, pressure stalls.
//!
//! Can block: no.

use crate::text;
use std::path::Path;

/// What was found; `None` where this kernel does not tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelReading {
    /// Processes killed for want of memory since boot.
    pub(crate) oom_kills: Option<i64>,
    /// Bits of Documentation/admin-guide/tainted-kernels.rst.
    pub(crate) taint: Option<i64>,
    /// Share of the last five minutes in which all tasks waited for memory, hundredths of a per cent.
    pub(crate) memory_pressure: Option<i64>,
    /// The same for disks.
    pub(crate) io_pressure: Option<i64>,
    /// Memory that was taken out of use because it is broken, KiB.
    pub(crate) poisoned_kib: Option<i64>,
}

pub(crate) fn read(root: &Path) -> KernelReading {
    let keyed = |file: &str, key: &str| text::keyed(&text::read(&root.join(file))?, key);
    let pressure = |of: &str| full_avg300(&text::read(&root.join("proc/pressure").join(of))?);
    KernelReading {
        oom_kills: keyed("proc/vmstat", "oom_kill"),
        taint: text::number(&root.join("proc/sys/kernel/tainted")),
        memory_pressure: pressure("memory"),
        io_pressure: pressure("io"),
        poisoned_kib: keyed("proc/meminfo", "HardwareCorrupted"),
    }
}

/// "full avg10=0.00 avg60=0.00 avg300=1.23 total=…" as hundredths of a per cent.
fn full_avg300(text: &str) -> Option<i64> {
    let line = text.lines().find(|line| line.starts_with("full "))?;
    let value = line.split(' ').find_map(|field| field.strip_prefix("avg300="))?;
    let (whole, fraction) = value.split_once('.')?;
    Some(whole.parse::<i64>().ok()?.saturating_mul(100).saturating_add(fraction.get(..2)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_and_what_it_does_not_tell_is_left_out() {
        let tree = text::tree(&[
            ("proc/vmstat", "nr_free 1\noom_kill 2\n"),
            ("proc/meminfo", "MemTotal:  16 kB\nHardwareCorrupted:     4 kB\n"),
            ("proc/sys/kernel/tainted", "128\n"),
            (
                "proc/pressure/memory",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=7.25 total=9\n",
            ),
        ]);
        let expected = KernelReading {
            oom_kills: Some(2),
            taint: Some(128),
            memory_pressure: Some(725),
            io_pressure: None,
            poisoned_kib: Some(4),
        };
        assert_eq!(read(tree.path()), expected);
        assert_eq!(read(text::tree(&[]).path()), KernelReading::default());
    }
}
